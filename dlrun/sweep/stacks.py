"""Points of a sweep that train at once, each with a result as any other."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from dlrun import record, shell
from dlrun.console.outcome import report
from dlrun.errors import Interrupted
from dlrun.job import factory, stacked
from dlrun.job.session import Session
from dlrun.job.stacked import Stack, Stacks, Wanted
from dlrun.procedure import Training
from dlrun.recipe import mistakes
from dlrun.record.sweep import RunResult
from dlrun.sweep import claims
from dlrun.sweep.claims import Claim
from dlrun.sweep.recipes import Composed
from dlrun.sweep.runs import outcome
from dlrun.sweep.task import Task, result_of, settled, trains


@dataclass(frozen=True)
class Asked:
    """A run of a sweep: its recipe, and what may stop it early."""

    task: Task
    made: Composed
    judge: Any | None


Result = tuple[Task, RunResult]


def train(asked: Sequence[Asked], session: Session, stacks: Stacks) -> Iterator[Result]:
    """Train at once what is faster so; gives the result of each when it has ended.

    Leaves out the others, what another process trains, and what cannot begin: they train alone.
    """
    with stacked.keeping():
        known = _known(asked, session) if len(asked) > 1 else {}
        divided = stacks.divided(list(known))
    for stack in divided:
        yield from _trained(stack, known, session)


def _known(asked: Sequence[Asked], session: Session) -> dict[Wanted, Asked]:
    """Those of the runs that train, and can."""
    known: dict[Wanted, Asked] = {}
    for each in asked:
        if trains(each.made.recipe):
            with suppress(Exception):  # is said when it is about to train alone
                known.update([_wanted(each, session)])
    return known


def _wanted(asked: Asked, session: Session) -> tuple[Wanted, Asked]:
    """A run as the job of its recipe wants it."""
    task, made = settled(asked.task, asked.made, session)
    made.recipe.resume = task.resume
    rules = [asked.judge] if asked.judge is not None else []
    with mistakes.resolved():
        lab = factory.lab_of(
            made.recipe, task.asked(made.choices), session, rules, task.whole, measure_test=False
        )
    return lab.wanted(Training(), {}), Asked(task, made, asked.judge)


def _trained(stack: Stack, known: dict[Wanted, Asked], session: Session) -> Iterator[Result]:
    free: dict[Wanted, Claim] = {}
    with ExitStack() as held, mistakes.resolved():
        for wanted in stack.wanted:
            task, made = known[wanted].task, known[wanted].made
            outputs = shell.path(made.recipe.outputs, "outputs").absolute()
            claim = held.enter_context(claims.free(outputs, task.hash))
            if claim is None:
                continue
            other = result_of(claim, task, made, session)
            if other is not None:
                yield task, other
            else:
                free[wanted] = claim
        if len(free) < 2:
            return
        say = partial(session.show.console.print, markup=False)
        said: BaseException | None = None
        for ended in stacked.train(Stack(list(free), stack.gain), say):
            task, error = known[ended.wanted].task, ended.error
            run = outcome(RunResult(task.seed, task.hash), ended.directory, task.objective)
            cause = error and (error.__cause__ or error)
            if error is not None and cause is not said and not isinstance(error, Interrupted):
                report(error, task.label(run.message))
            said = cause or said  # that of a step ends all of them
            if run.status == record.FINISHED:
                free[ended.wanted].finished(ended.directory)
            yield task, run
