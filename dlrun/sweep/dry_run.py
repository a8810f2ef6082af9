"""Every point of a sweep composed and built, none trained: how many, how large, how long."""

import copy
import resource
import sys
import tempfile
from time import perf_counter
from typing import TYPE_CHECKING

from dlrun import record
from dlrun.command import mistakes
from dlrun.command.outcome import report
from dlrun.errors import DlrunError, Failure

if TYPE_CHECKING:
    from dlrun.run import Run
    from dlrun.sweep.sweep import Sweep

_STEPS = 20


def show(sweep: "Sweep") -> None:
    """Build every point, and print what it would cost. Raises Failure where one cannot be."""
    from dlrun import build

    points = sweep.proposed()
    parameters, seconds, failed = [], 0.0, 0
    step_time: dict[tuple[int, int], float] = {}
    for values in points:
        overrides = sweep.plan.space.overrides(values)
        try:
            made = sweep.plan.composer.recipe(overrides)
            recipe = copy.deepcopy(made.recipe)
            mistakes.check(recipe, made.choices, sweep.plan.directories)
            with mistakes.resolved():
                build.check(recipe)
                run = build.build(recipe, sweep.shared.data(recipe))
        except DlrunError as error:
            failed += 1
            report(error, job=" ".join(overrides))
            continue
        size = int(run.facts()["parameters"])
        parameters.append(size)
        key, steps = (size, run.lengths.batch_size), run.lengths.total_steps
        if key not in step_time:
            with mistakes.resolved():
                step_time[key] = _step_time(run)
        seconds += step_time[key] * steps
    runs = len(points) * sweep.settings.repeats
    say = sweep.console.print
    say(f"{len(points)} points, {runs} runs; {failed} of the points cannot be built")
    if parameters:
        low, high = min(parameters), max(parameters)
        say(f"parameters   {low:,}" + (f" to {high:,}" if high != low else ""))
        say(
            f"memory       {_memory() / 2**20:,.0f} MiB, this process after some steps of each size"
        )
        seconds *= sweep.settings.repeats * len(points) / max(len(points) - failed, 1)
        at_once = sweep.jobs.at_once
        beside = f", {_time(seconds / at_once)} with {at_once} at once" if at_once > 1 else ""
        say(f"time         {_time(seconds)} of training{beside}, from {_STEPS} steps of each size")
    sweep.shared.close()
    if failed:
        raise Failure(f"{failed} of {len(points)} points cannot be built")


def _step_time(run: "Run") -> float:
    """Seconds of a step, with its share of the validations."""
    from dataclasses import replace

    from dlrun.evaluate import measure
    from dlrun.progress import Progress
    from dlrun.state import State
    from dlrun.train import train

    whole, val = run.lengths, run.val
    run.lengths = replace(whole, total_steps=min(_STEPS, whole.total_steps), log_every=_STEPS)
    run.val = replace(val, rows=val.rows[:0])  # validation is timed apart
    with tempfile.TemporaryDirectory() as folder:
        kept = record.create(folder, "dry run", {}, "")
        try:
            at = train(run, State(), kept, Progress(brief=True))
        finally:
            kept.close()
    begun = perf_counter()
    if len(val):
        measure(run, val)
    validation = perf_counter() - begun
    return at.elapsed / max(at.step, 1) + validation / whole.validate_every


def _memory() -> float:
    """Bytes: the most the accelerator has held, or this process where there is none."""
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def _time(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    return (
        f"{hours} h {minutes} min"
        if hours
        else f"{minutes} min {left} s"
        if minutes
        else f"{seconds:.1f} s"
    )
