"""One run of a point, in whatever process: from its recipe to its result."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from dlrun import record, shell
from dlrun.console.outcome import report
from dlrun.engine.interrupt import within
from dlrun.errors import Interrupted, Mistake
from dlrun.job import factory, recording
from dlrun.job.session import Session
from dlrun.recipe import compose, mistakes
from dlrun.recipe.schema import LOSS_OF_TASK, OFF
from dlrun.record.sweep import RunResult
from dlrun.sweep import claims
from dlrun.sweep.claims import Claim
from dlrun.sweep.recipes import Composed
from dlrun.sweep.runs import changed, data_digest, ended, outcome

if TYPE_CHECKING:
    from dlrun.procedure import Procedure


@dataclass(frozen=True)
class Task:
    """What a process needs to know to train one run.

    overrides: all of them; changed: those of the point and the seed; named: what names the run.
    first: whether it is the first run of its point; resume: the directory of a run to go on
        with; whole: with figures and a model; check: look for missing values and references.
    typed: the hash of the recipe as it was typed, where its loss is known since the data are read.
    stack: how many runs of its procedure train at once.
    """

    sweep: str
    trial: int
    seed: int
    first: bool
    hash: str
    objective: str
    values: Mapping[str, Any]
    overrides: Sequence[str]
    changed: Sequence[str]
    named: Sequence[str]
    command: Sequence[str]
    directories: Sequence[Path] = ()
    resume: str | None = None
    whole: bool = False
    check: bool = True
    typed: str = ""
    stack: int | str = OFF

    @property
    def id(self) -> str:
        """The trial and the seed."""
        return f"{self.trial}-{self.seed}"

    @property
    def name(self) -> str:
        """The name for messages and for the run."""
        return " ".join(self.named) or "default"

    def label(self, message: str) -> str:
        """The name, unless the message already begins with it."""
        return "" if message.startswith(self.name) else self.name

    def asked(self, choices: Mapping[str, Any]) -> recording.Invocation:
        """What the job factory needs to know of it."""
        told = {"id": self.sweep, "trial": self.trial, "seed": self.seed, "hash": self.hash}
        told |= {"typed": self.typed} if self.typed else {}
        tags: dict[str, Any] = {"dlrun.sweep": self.sweep, "dlrun.trial": self.trial}
        tags |= {f"sweep.{key}": value for key, value in self.values.items()}
        info = {"sweep": told | {"values": dict(self.values)}, "tags": tags}
        return recording.Invocation(
            self.overrides, self.command, choices, recording.name(self.named), info, self.stack
        )


def trains(recipe: DictConfig) -> bool:
    """Whether a recipe's procedure trains it, as one run."""
    made = _procedure(recipe)
    return made is not None and made.single and made.trains


def judged(recipe: DictConfig) -> bool:
    """Whether a recipe's procedure gives a value by which a sweep may judge it."""
    made = _procedure(recipe)
    return made is None or made.judged


def stride(recipe: DictConfig) -> int:
    """By how much the seed of a repetition is beyond the one before, to share no training."""
    made = _procedure(recipe)
    return made.stride if made is not None else 1


def objective_of(recipe: DictConfig, objective: str) -> str:
    """The name of what a recipe's procedure is judged by; objective: of one run, on val."""
    made = _procedure(recipe)
    if made is None or not objective.startswith("val/"):
        return objective
    return f"{made.split}/{objective.removeprefix('val/')}"


def _procedure(recipe: DictConfig) -> "Procedure | None":
    """A recipe's procedure; None where there is none, which is said when it is about to begin."""
    from dlrun.job.training import procedure_of

    try:
        return procedure_of(recipe)
    except Mistake:
        return None


def perform(
    task: Task,
    made: Composed,
    session: Session,
    stopping: Sequence[Any] = (),
    say: Callable[[BaseException, str], Any] = report,
) -> RunResult:
    """Train a run; an error becomes one line on stderr and a FAILED result.

    If another process trains the recipe now, wait for it and use its result if it finishes.

    say: takes the error and the run's name. Raises Interrupted alone.
    """
    if not trains(made.recipe):
        return _perform(task, made, session, stopping, say)
    task, made = settled(task, made, session)
    outputs = shell.path(made.recipe.outputs, "outputs").absolute()
    what = f"{task.name}, which another sweep trains"
    with claims.held(outputs, task.hash, what, session.show.console) as claim:
        if (known := result_of(claim, task, made, session)) is not None:
            session.records = []
            return known
        result = _perform(task, made, session, stopping, say)
        if result.status == record.FINISHED and result.directory is not None:
            claim.finished(Path(result.directory))
    return result


def settled(task: Task, made: Composed, session: Session) -> tuple[Task, Composed]:
    """A recipe with the loss of its task; as it is where its data cannot be read, which is said
    when it is about to begin."""
    if made.recipe.loss.get("_target_") != LOSS_OF_TASK:
        return task, made
    recipe = compose.copied(made.recipe)
    try:
        with mistakes.resolved():
            choices = session.settled(recipe, made.choices)
    except Exception:
        return task, made
    found = replace(made, recipe=recipe, choices=dict(choices))
    return replace(task, hash=found.digest, typed=task.hash), found


def result_of(claim: Claim, task: Task, made: Composed, session: Session) -> RunResult | None:
    """What another process has found with the same recipe; None where it still counts nowhere."""
    other, now = claim.found(), partial(data_digest, session=session)
    if not other or not ended(other) or changed(other, made.recipe, now):
        return None
    return outcome(RunResult(task.seed, task.hash), other, task.objective)


def _perform(
    task: Task,
    made: Composed,
    session: Session,
    stopping: Sequence[Any],
    say: Callable[[BaseException, str], Any],
) -> RunResult:
    result, value = RunResult(task.seed, task.hash), None
    asked, recipe = task.asked(made.choices), made.recipe
    recipe.resume = task.resume
    session.records = []
    try:
        if task.check:
            mistakes.check(recipe, made.choices, task.directories)
        with mistakes.resolved():
            value = factory.perform(
                recipe, asked, session, stopping, task.whole, measure_test=False
            )
    except Interrupted:
        raise
    except Exception as error:
        if (stopped := within(error)) is not None:
            raise stopped from None
        message = str(error) or type(error).__name__
        say(error, task.label(message))
        with suppress(Mistake, OSError):
            factory.refused(recipe, asked, session, message)
        result = replace(result, status=record.FAILED, message=message)
    if session.records:
        result = outcome(result, session.records[-1], task.objective)
    elif result.status == record.RUNNING:
        result = replace(result, status=record.FINISHED)
    if not trains(recipe) and result.status == record.FINISHED:
        result = replace(result, value=value)
    return result
