"""A dry run: builds every point of a sweep and trains none; says how many, how large, how long."""

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

from dlrun import record, shell
from dlrun.console import screen
from dlrun.console.outcome import report
from dlrun.duration import spoken
from dlrun.errors import DlrunError, Failure
from dlrun.recipe import compose, mistakes
from dlrun.recipe.schema import AUTO, GROUPS, SEVERAL

if TYPE_CHECKING:
    from dlrun.engine.run import Run
    from dlrun.sweep.driver import Driver
    from dlrun.sweep.recipes import Composed

_STEPS = 20
_KEPT = 16  # runs of each group, to time them
_FREE = ("schedule", "initializer", "procedure", "test_augmentation", "tracking")
"""Groups that do not change the time of a step."""


def show(driver: "Driver") -> None:
    """Build every point and print the cost.

    Raises the Mistake that the sweep itself would raise, and Failure if a point cannot be built.
    """
    from dlrun.engine import device as devices
    from dlrun.engine.count import parameters as trained
    from dlrun.engine.count import size

    driver.find_objective()  # refuses what the sweep would, and leaves out what it would
    points = list(driver.proposals())
    parameters, steps, known = [], [], list[str]()
    failed: dict[str, DlrunError] = {}
    step_time, groups = dict[str, float | None](), list[_Group]()
    for values in points:
        overrides = driver.plan.space.overrides(values)
        try:
            made, run = _built(driver, overrides)
        except DlrunError as error:
            failed[" ".join(overrides)] = error
            continue
        known.append(made.digest)
        if made.digest in known[:-1]:
            continue
        parameters.append(size(run.model))
        kind = _kind(made, run, trained(run.model))
        steps.append((kind, run.lengths.total_steps))
        _put(run, groups)
        if step_time.setdefault(kind) is None:
            with suppress(Failure), mistakes.resolved():  # training fails in its first steps
                step_time[kind] = _step_time(run)
    if failed and not parameters:
        raise next(iter(failed.values()))
    for job, why in failed.items():
        report(why, job)
    twins = len(known) - len(set(known))
    runs = (len(points) - twins) * driver.settings.repeats
    say = driver.console.print
    which = f"{len(failed)} of the points cannot be built" if failed else "all can be built"
    apart = f", {len(points) - twins} of them different" if twins else ""
    say(f"{shell.counted(len(points), 'point')}{apart}, {shell.counted(runs, 'run')}; {which}")
    if parameters:
        low, high = min(parameters), max(parameters)
        say(f"parameters   {low:,}" + (f" to {high:,}" if high != low else ""))
        used = devices.peak_memory(devices.choose(driver.plan.base.device)) / 2**20
        say(f"memory       {used:,.0f} MiB, this process after some steps of each kind")
    gain = _say_stacks(driver, groups) if parameters else 1.0
    timed = [time * count for kind, count in steps if (time := step_time[kind]) is not None]
    if timed:
        seconds = sum(timed) / len(timed) * runs / gain
        at_once = driver.jobs.at_once
        beside = f", {spoken(seconds / at_once)} with {at_once} at once" if at_once > 1 else ""
        say(f"time         {spoken(seconds)} of training{beside}, from {_STEPS} steps of each kind")
    elif parameters:
        say("time         unknown: all of them fail in their first steps")
    driver.session.close()
    if failed:
        raise Failure(f"{len(failed)} of {len(points)} points cannot be built")


def _built(driver: "Driver", overrides: Sequence[str]) -> "tuple[Composed, Run]":
    """A point and its run, which is not trained. Raises Mistake."""
    from dlrun.recipe import build

    made = driver.plan.recipes.of(overrides)
    recipe = compose.copied(made.recipe)
    mistakes.check(recipe, made.choices, driver.plan.composer.catalogue.own)
    with mistakes.resolved():
        build.check(recipe)
        choices = dict(driver.session.settled(recipe, made.choices))  # as the sweep tells twins
        run = build.build(recipe, driver.session.data(recipe))
    return replace(made, recipe=recipe, choices=choices), run


@dataclass
class _Group:
    """Runs that can train at once: some of them, how many there are, what keeps them from others.

    alone: why each trains by itself.
    """

    runs: "list[Run]"
    count: int = 0
    apart: str = ""
    alone: str = ""


def _put(run: "Run", groups: list[_Group]) -> None:
    """Put a run to its like; of each group a few are kept."""
    from dlrun.stack import apart, unfit

    said = ""
    for group in groups:
        difference = apart(group.runs[0], run)
        if not difference:
            group.count += 1
            group.runs += [run] if len(group.runs) < _KEPT and not group.alone else []
            return
        said = said or difference
    groups.append(_Group([run], 1, said, unfit(run)))


def _say_stacks(driver: "Driver", groups: Sequence[_Group]) -> float:
    """Print which points train at once; gives how many times as fast all of them are so."""
    why = driver.unstacked
    if why:
        screen.say(driver.console, f"at once      none: {why}")
        return 1.0
    cost, lines = 0.0, []
    for group in groups:
        gain, alone = _gain(group, driver.settings.stack == AUTO)
        cost += group.count / gain
        beside = f", apart by {group.apart}" if group.apart else ""
        kept = f"alone: {alone}" if alone else f"as one network, {gain:.1f} times as fast{beside}"
        lines.append(f"{shell.counted(group.count, 'point')} {kept}")
    for place, line in enumerate(lines):
        head = "" if place else "at once"
        screen.say(driver.console, f"{head:<13}{line}")
    return sum(group.count for group in groups) / cost


def _gain(group: _Group, chooses: bool) -> tuple[float, str]:
    """How many times as fast a group is at once, and why its points train alone all the same.

    chooses: whether the faster way is taken.
    """
    from dlrun.job import stacked
    from dlrun.stack import worth

    if group.alone or group.count == 1:
        return 1.0, group.alone or group.apart or "it has no like"
    if chooses and group.count * group.runs[0].lengths.total_steps < stacked.SOON:
        return 1.0, "over soon"
    gain = worth.gain(group.runs)
    if chooses and gain < worth.LEAST:
        return 1.0, f"faster one by one, {gain:.2f} times at once"
    return gain, ""


def _kind(made: "Composed", run: "Run", trained: int) -> str:
    """What the time of a step depends on; recipes with the same are timed once."""
    recipe, lengths = made.recipe, run.lengths
    parts = {group: made.choices.get(group) for group in GROUPS if group not in _FREE}
    parts |= {group: list(recipe[group] or []) for group in SEVERAL}
    parts |= {key: recipe[key] for key in ("precision", "channels_last", "compile", "accumulate")}
    sizes = trained, run.flops, lengths.batch_size, lengths.validate_every
    return repr((parts, recipe.model.get("_target_"), sizes))


def _step_time(run: "Run") -> float:
    """Seconds of a step, including its share of the validations."""
    from dlrun.console.progress import Progress
    from dlrun.engine.evaluate import measure
    from dlrun.engine.state import State
    from dlrun.engine.train import train

    whole, val = run.lengths, run.val
    run.val = replace(val, rows=val.rows[:0])  # validation is timed apart
    with tempfile.TemporaryDirectory() as folder:
        kept = record.create(folder, "dry run", {}, "")
        try:
            for steps in (1, _STEPS):  # the first step makes buffers and chooses kernels
                few = min(steps, whole.total_steps)
                run.lengths = replace(whole, total_steps=few, log_every=_STEPS)
                counters = train(run, State(), kept, Progress(brief=True)).counters
        finally:
            kept.close()
            run.lengths, run.val = whole, val
    begun = perf_counter()
    if len(val):
        measure(run, val)
    validation = perf_counter() - begun
    return counters.elapsed / max(counters.step, 1) + validation / whole.validate_every
