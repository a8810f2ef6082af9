"""The command `dlrun -m`: one sweep, or several stages of one, and what is said at the end."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from omegaconf import OmegaConf

from dlrun import shell
from dlrun.console import screen
from dlrun.errors import Failure, Mistake
from dlrun.recipe import compose, mistakes
from dlrun.recipe.compose import Composer
from dlrun.recipe.schema import Sweep as Settings
from dlrun.sweep import dry_run, first_look
from dlrun.sweep.around import around
from dlrun.sweep.plan import Plan, plan
from dlrun.sweep.sweep import Sweep

_OWN = tuple(Settings.__dataclass_fields__)
_NARROWING = {"around": 3, "margin": 0.1}
"""Settings of a stage alone: the best points of the stage before, and how far beyond them."""


def run(composer: Composer, words: Sequence[str], command: Sequence[str]) -> None:
    """Do what the command asks for. Raises Failure where points have failed."""
    asked = plan(composer, words, command)
    asked.check_searched()
    stages: Any = OmegaConf.to_container(asked.settings.stages)
    if not stages:
        _raise([_one(composer, asked)])
        return
    head = ["dlrun", *shell.config_dirs(command), "-m"]
    _look_ahead(composer, words, stages)
    if asked.settings.dry_run:
        _dry_run(composer, words, stages, head)
        return
    done: list[_Ended] = []
    for number, stage in enumerate(stages, 1):
        narrowing, changes = _read(stage)
        typed = _narrowed(words, done[-1], narrowing) if done else words
        typed = _changed(typed, changes)
        _say(number, len(stages), [*head, *typed])
        staged = plan(composer, typed, [*head, *typed])
        done.append(_one(composer, staged, goes_on=number < len(stages)))
        if staged.settings.dry_run:
            return
    _raise(done)


def _look_ahead(composer: Composer, words: Sequence[str], stages: Sequence[Any]) -> None:
    """Raise Mistake for what is wrong with any stage, before the first of them trains."""
    for number, stage in enumerate(stages, 1):
        typed = _changed(words, _read(stage)[1])
        try:
            mistakes.words(composer, typed)
            staged = plan(composer, typed, ["dlrun", "-m", *typed])
            with mistakes.explained(composer, staged.asked):
                staged.check()
                first_look.check_values(staged)
        except Mistake as mistake:
            raise Mistake(f"stage {number} of {len(stages)}: {mistake}") from mistake


def _dry_run(
    composer: Composer, words: Sequence[str], stages: Sequence[Any], head: Sequence[str]
) -> None:
    """What each stage would cost; the later ones as if their ranges stayed as they are."""
    failures = []
    for number, stage in enumerate(stages, 1):
        typed = _changed(words, _read(stage)[1])
        _say(number, len(stages), [*head, *typed])
        if number > 1:
            screen.console().print("in ranges that the stage before will have narrowed")
        try:
            dry_run.show(Sweep(plan(composer, typed, [*head, *typed]), composer))
        except Failure as failure:
            failures.append(failure)
    if failures:
        raise failures[0]


@dataclass(frozen=True)
class _Ended:
    """A sweep that has run, or one of its stages, and how many of its points have failed."""

    plan: Plan
    sweep: Sweep
    failed: int = 0


def _one(composer: Composer, asked: Plan, goes_on: bool = False) -> _Ended:
    """One sweep, to its end or as a dry run; goes_on: another stage follows."""
    sweep = Sweep(asked, composer)
    if asked.settings.dry_run:
        dry_run.show(sweep)
        return _Ended(asked, sweep)
    with sweep.held():
        failed = sweep.run()
        from dlrun.report.sweep import summarize

        summarize(sweep.directory, sweep.console, goes_on and not sweep.stopped)
        sweep.deliver()
    if sweep.stopped:
        raise Failure("stopped at the first failure; sweep.fail_fast=false goes on")
    return _Ended(asked, sweep, failed)


def _raise(done: Sequence[_Ended]) -> None:
    """Raise Failure where points have failed, after all stages: the others say enough."""
    failed = sum(each.failed for each in done)
    if failed:
        raise Failure(f"{failed} of {sum(each.sweep.total for each in done)} points failed")


def _read(stage: Any) -> tuple[dict[str, float], list[str]]:
    """A stage as its own settings and as overrides."""
    if not isinstance(stage, dict):
        raise Mistake(f"sweep.stages: {stage} is no stage; write {{epochs: 2, trials: 20}}")
    narrowing = {key: stage.get(key, usual) for key, usual in _NARROWING.items()}
    for key in ("around", "margin"):
        value = narrowing[key]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value < inf:
            raise Mistake(f"sweep.stages: {key}={value} must be a number, not below 0")
    changes = []
    for key, value in stage.items():
        if key not in _NARROWING:
            name = f"sweep.{key}" if key.partition(".")[0] in _OWN else str(key)
            changes.append(f"{name}={_typed(value)}")
    return narrowing, changes


def _narrowed(words: Sequence[str], before: _Ended, narrowing: dict[str, float]) -> list[str]:
    """The words with each dimension around the best points of the stage before."""
    book = before.sweep.book
    best = [point.values for point in book.best(max(1, int(narrowing["around"])))]
    if not best:
        raise Failure("no point of the stage before has finished, so there is no best one")
    narrow = around(before.plan.space, best, float(narrowing["margin"]))
    keys = [one.key for one in narrow.dimensions]
    kept = [word for word in words if not any(_is(word, key) for key in keys)]
    narrowed = [one.word() for one in narrow.dimensions]
    if all(not override.is_sweep_override() for override in compose.parse(narrowed)):
        kept = [word for word in kept if not word.startswith(("sweep=", "sweep.sampler."))]
        kept.append("sweep=grid")  # of one point: there is nothing left to search
    return kept + narrowed


def _changed(words: Sequence[str], changes: Sequence[str]) -> list[str]:
    """The words of a stage: those of the command, with its own in the place of some."""
    keys = ["sweep.stages", *map(_key, changes)]
    return [word for word in words if not any(_is(word, key) for key in keys)] + list(changes)


def _say(number: int, count: int, words: Sequence[str]) -> None:
    line = f"stage {number} of {count}: {shell.line(words)}"
    screen.console().print(line, markup=False, soft_wrap=True)


def _typed(value: Any) -> str:
    """A value of a stage as an override's."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list):
        return "[" + ",".join(_typed(one) for one in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_typed(one)}" for key, one in value.items()) + "}"
    return f"'{value}'" if isinstance(value, str) and " " in value else str(value)


def _key(word: str) -> str:
    return compose.parse([word])[0].key_or_group


def _is(word: str, key: str) -> bool:
    return word.partition("=")[0].lstrip("+~") == key
