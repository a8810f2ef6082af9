"""The command `dlrun -m`: one sweep, or several stages one after another."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from dlrun import record, shell
from dlrun.console import screen
from dlrun.console.summary import show_expected
from dlrun.errors import Failure, Mistake
from dlrun.format import is_number
from dlrun.recipe import compose, experiment, mistakes, settle, start
from dlrun.recipe.compose import Composer
from dlrun.recipe.schema import GROUPS, ROOT
from dlrun.recipe.schema import Sweep as Settings
from dlrun.record import expected
from dlrun.record.sweep import SEED
from dlrun.sweep import dry_run
from dlrun.sweep.driver import Driver
from dlrun.sweep.plan import Plan, plan

_log = logging.getLogger("dlrun")
_OWN = Settings.__dataclass_fields__.keys() - ROOT.keys()
"""Settings of a sweep that a stage names alone; `seed` is the recipe's, and sweep.seed this one."""
_NARROWING = {"around": 3, "margin": 0.1}
"""Settings that only a stage has, and their defaults."""
_REFINE = "refine"


def run(composer: Composer, words: Sequence[str], command: Sequence[str]) -> Path | None:
    """Do what the command asks for; gives the directory of the best run.

    None where there is none. Raises Failure if points have failed.
    """
    asked = plan(composer, words, command)
    asked.check_searched()
    composer.tell_left_out(*_with_each_option(asked))
    searched = [shell.key(word) for word in asked.asked]
    for key in asked.settings.params:
        if key not in searched:
            _log.warning(f"sweep.params: {key} is of no option that is chosen, and is left out")
    listed: Any = OmegaConf.to_container(asked.settings.stages)
    stages = [read_stage(stage) for stage in listed]
    head = ["dlrun", *shell.config_dirs(command), "-m"]
    _look_ahead(composer, words, stages)
    if stages and asked.settings.dry_run:
        _dry_run(composer, words, stages, head)
        return None
    done = _in_turn(composer, words, stages, head) if stages else [_one(asked)]
    if asked.settings.dry_run:
        return None
    points = [point for driver in done for point in driver.ledger.sweep().points]
    runs = [run for point in points for run in point.runs]
    what, each = ("runs", runs) if len(runs) > len(points) else ("points", points)
    failed = sum(one.status == record.FAILED for one in each)
    wrong = _judge(asked, words, done)
    if failed and (wrong is None or not all(driver.only_diverged for driver in done)):
        # after all stages: the others say enough
        raise Failure(f"{failed} of {len(each)} {what} failed")
    if wrong:
        raise Failure(wrong)
    return done[-1].best_run()


def _judge(asked: Plan, words: Sequence[str], done: Sequence[Driver]) -> str | None:
    """Set what a sweep came to beside what was expected; what is to be said where it is not so.

    None where nothing judges it: else a point that diverges is no disagreement by itself.
    Of several stages it is the last one, and `stage 1 best` and so on of each.
    """
    each = list(_expectations(asked, words, done[-1]))
    if not any(expect for expect, _ in each):
        return None
    got = expected.reached_by_sweep(done[-1].directory)
    for number, driver in enumerate(done, 1):
        stage = expected.reached_by_sweep(driver.directory)
        got |= {f"stage {number} {key}": value for key, value in stage.items()}
    compared = [(expected.compared(expect, got), unjudged) for expect, unjudged in each]
    rows = [row for some, _ in compared for row in some]
    judging = [row for some, unjudged in compared if not unjudged for row in some]
    unjudged = "; ".join(dict.fromkeys(filter(None, (why for _, why in compared))))
    expected.keep(done[-1].directory, rows, unjudged)
    show_expected(done[-1].console, record.read_json(done[-1].directory / "run.json"))
    return experiment.disagreement(judging, got) if judging else None


def _with_each_option(asked: Plan) -> Iterator[list[str]]:
    """The words of every run, and with one option more, of those that are searched.

    Beside each file of the whole recipe, such as an experiment, where these are searched.
    """
    each = {
        one.key: [f"{one.prefix}{one.key}={word}" for word in one.typed]
        for one in asked.space.dimensions
    }
    files = [key for key in each if settle.is_whole(asked.composer.catalogue, key)]
    for chosen in product(*(each[key] for key in files)):
        words = [*asked.words, *chosen]
        yield words
        for group in filter(GROUPS.__contains__, each):
            yield from ([*words, word] for word in each[group])


def _expectations(
    asked: Plan, words: Sequence[str], driver: Driver
) -> Iterator[tuple[dict[str, Any], str]]:
    """What is expected of a sweep, and why that does not judge it; "" where it does.

    Of a sweep over files such as experiments, what each says of its own point.
    """
    catalogue = asked.composer.catalogue
    if not any(settle.is_whole(catalogue, one.key) for one in asked.space.dimensions):
        yield experiment.expectations(asked.base, words)
        return
    for point in driver.ledger.sweep().points:
        recipe = asked.recipes.of(point.overrides).recipe
        expect, unjudged = experiment.expectations(recipe, words)
        yield {" ".join((*point.overrides, name)): one for name, one in expect.items()}, unjudged


@dataclass(frozen=True)
class Stage:
    """A stage of a sweep, around the best points of the one before.

    around: how many of them; margin: how far beyond them, as a part of each range; refine: whether
    listed numbers get others between and beside the best; changes: the overrides of the stage.
    """

    around: int
    margin: float
    refine: bool
    changes: Sequence[str]

    def words(self, words: Sequence[str], before: "Driver | None" = None) -> list[str]:
        """The words of the command, some replaced by those of the stage.

        before: the previous stage, whose best points narrow the ranges.
        """
        narrowed = _narrowed(words, before, self) if before is not None else words
        changes = [start.placed(word, words, several=True) for word in self.changes]
        keys = ["sweep.stages", *(one.key_or_group for one in compose.parse(changes))]
        kept = [word for word in narrowed if shell.key(word) not in keys]
        in_file = any(shell.key(word) == "experiment" for word in words)
        return [*kept, *changes, *(["sweep.stages=[]"] if in_file else [])]


def read_stage(stage: Any) -> Stage:
    """A stage as typed. Raises Mistake if it is not one."""
    if not isinstance(stage, dict):
        raise Mistake(f"sweep.stages: {stage} is not a stage; write {{epochs: 2, trials: 20}}")
    narrowing = {key: stage.get(key, usual) for key, usual in _NARROWING.items()}
    around, margin = narrowing.values()
    if not isinstance(around, int) or isinstance(around, bool) or around < 1:
        raise Mistake(f"sweep.stages: around={shell.shown(around)}: must be a whole number above 0")
    if not is_number(margin) or margin < 0:
        raise Mistake(f"sweep.stages: margin={shell.shown(margin)}: must be a number, not below 0")
    refine = stage.get(_REFINE, False)
    if not isinstance(refine, bool):
        raise Mistake(f"sweep.stages: {_REFINE}={shell.shown(refine)}: must be true or false")
    changes = {
        f"sweep.{key}" if key.partition(".")[0] in _OWN else str(key): _typed(value)
        for key, value in stage.items()
        if key not in (*_NARROWING, _REFINE)
    }
    return Stage(
        **narrowing, refine=refine, changes=[f"{key}={value}" for key, value in changes.items()]
    )


def _one(asked: Plan, goes_on: bool = False) -> Driver:
    """One sweep, to its end or as a dry run; goes_on: another stage follows."""
    driver = Driver(asked)
    if again := asked.space.again:
        screen.say(driver.console, again)
    if asked.settings.dry_run:
        dry_run.show(driver)
        return driver
    with driver.held():
        driver.run()
        driver.complete_best(measure_test=not goes_on and not driver.stopped)
        from dlrun.report.sweep import summarize

        summarize(driver.directory, driver.console, goes_on and not driver.stopped)
        driver.deliver()
    if driver.stopped:
        raise Failure("stopped at the first failure; sweep.fail_fast=false goes on")
    return driver


def _in_turn(
    composer: Composer, words: Sequence[str], stages: Sequence[Stage], head: Sequence[str]
) -> list[Driver]:
    """One stage after another, each around the best points of the one before."""
    done: list[Driver] = []
    for number, stage in enumerate(stages, 1):
        typed = stage.words(words, done[-1] if done else None)
        _say(number, len(stages), [*head, *typed])
        later = [word for each in stages[number:] for word in each.words(words)]
        staged = replace(plan(composer, typed, [*head, *typed]), later=later)
        if done:
            _say_narrowed(staged, stage, shown=True)
        done.append(_one(staged, goes_on=number < len(stages)))
        if staged.settings.dry_run:
            break
    for driver in done[:-1]:
        driver.ledger.end_stages()
    return done


def _look_ahead(composer: Composer, words: Sequence[str], stages: Sequence[Stage]) -> None:
    """Raise Mistake for what is wrong with any stage, before the first one trains."""
    for number, stage in enumerate(stages, 1):
        try:
            typed = stage.words(words)
            mistakes.words(composer, typed)
            staged = plan(composer, typed, ["dlrun", "-m", *typed])
            with mistakes.explained(composer, staged.asked):
                staged.check()
                staged.check_gaps()
                staged.check_values(goes_on=number < len(stages))
        except Mistake as mistake:
            raise Mistake(f"stage {number} of {len(stages)}: {mistake}") from mistake


def _dry_run(
    composer: Composer, words: Sequence[str], stages: Sequence[Stage], head: Sequence[str]
) -> None:
    """Print what each stage would cost, as if no range were narrowed."""
    failures = []
    for number, stage in enumerate(stages, 1):
        typed = stage.words(words)
        _say(number, len(stages), [*head, *typed])
        try:
            staged = plan(composer, typed, [*head, *typed])
            if number > 1:
                _say_narrowed(staged, stage, shown=False)
            dry_run.show(Driver(staged))
        except Failure as failure:
            failures.append(failure)
    if failures:
        raise failures[0]


def _say_narrowed(staged: Plan, stage: Stage, shown: bool) -> None:
    """Say which keys of a stage stay whole, and which are narrowed unless the words have shown it.

    shown: whether they have.
    """
    own = [one.key_or_group for one in compose.parse(stage.changes)]
    left = [one for one in staged.space.dimensions if one.key not in (*own, SEED)]
    narrow = ", ".join(one.key for one in left if one.zip is None)
    whole = ", ".join(one.key for one in left if one.zip is not None)
    if narrow and not shown:
        line = f"{narrow}: narrowed to what was best in the stage before"
        screen.say(screen.console(), line)
    if whole:
        screen.say(screen.console(), f"{whole}: not narrowed, as they are zipped")


def _narrowed(words: Sequence[str], before: Driver, stage: Stage) -> list[str]:
    """The words, with each dimension narrowed around the best points of the stage before."""
    best = before.ledger.sweep().ranked[: stage.around]
    if not best:
        objective = before.ledger.sweep().objective
        raise Failure(f"no point of the stage before has a {objective}, so there is no best one")
    found = [point.values for point in best]
    narrow = before.plan.space.around(found, stage.margin, stage.refine).dimensions
    keys = [one.key for one in narrow]
    kept = [word for word in words if shell.key(word) not in keys]
    narrowed = [one.word() for one in narrow]
    if all(not override.is_sweep_override() for override in compose.parse(narrowed)):
        kept = [word for word in kept if not word.startswith(("sweep=", "sweep.sampler."))]
        kept.append("sweep=grid")  # of one point: there is nothing left to search
    return kept + narrowed


def _say(number: int, count: int, words: Sequence[str]) -> None:
    line = f"stage {number} of {count}: {shell.line(words)}"
    screen.say(screen.console(), line)


def _typed(value: Any) -> str:
    """A value of a stage as it is written in an override; text may be a range of values."""
    return value if isinstance(value, str) and " " not in value else shell.spelled(value)
