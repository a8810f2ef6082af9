"""Time a step of training on this machine: where it goes, how long all takes, what is faster."""

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median, stdev
from time import perf_counter
from typing import Any

import torch

from dlrun.data import Data
from dlrun.data.sample import sample
from dlrun.duration import spoken
from dlrun.engine import device as devices
from dlrun.engine.constant import best_constant, losses_of
from dlrun.engine.look import Seen
from dlrun.engine.run import Run
from dlrun.engine.timing import PARTS, VALIDATE, TimedStep, Turns, timed_training
from dlrun.errors import DlrunError, Mistake, first_line
from dlrun.finding import NOTE, WARN, Finding
from dlrun.procedure import BuiltRun, Lab, Outcome, Training, procedure
from dlrun.report import forecast
from dlrun.report.chart import Chart
from dlrun.shell import counted

SLOW = 0.5
"""Seconds of a step above which it is called slow: a hundred steps take a minute."""
LEAST = 1.05
"""A gain below this is not worth a setting."""
SURE = 3.5
"""Standard errors by which a gain must be above none."""
FEWEST, MOST = 5, 30
"""Rounds of turns: fewer say nothing, more are not needed."""
COMPILING = 60.0
"""Seconds of the procedure from which compiling, which alone takes half a minute, is tried."""
_TRAINED, _COMPARED, _COMBINED = 0.3, 0.75, 0.9  # of the time, when each part ends
_SEEN = 0.05  # of all steps, at least, that tell how the loss goes on
_INSIDE = 0.5  # seconds in which the steps of a setting are looked into
_TURN = 0.05  # seconds of a turn, if one step is not longer
_SAMPLES = 2048  # of the training split, at least, whose steps are compared


@procedure(judged=False, trains=False)
def time(lab: Lab, seconds: float = 20.0) -> Outcome:
    """The procedure `time`: times the recipe as it is, then beside it what could be faster.

    seconds: for all of it, beside reading the data; a step or a compiler that has begun ends.

    Raises Mistake where `seconds` is not above 0.
    """
    if not seconds > 0:
        raise Mistake(f"procedure.seconds={seconds}: must be a number above 0")
    threads, clock = torch.get_num_threads(), _Clock(seconds)
    with lab.built(Training(recorded=False)) as built:
        lab.progress("timing the recipe as it is", 0, 4)
        course = _trained(built, clock.share(_TRAINED))
        variants, left = _variants(lab.recipe, built.run, seconds)
        lengths = built.run.lengths
    alike = _alike(lab.data(), lengths.step_samples, lab.recipe, built.run)
    try:
        with ExitStack() as stack:
            trials, wrong = _built(lab, stack, [_AS_IT_IS, *variants], alike, clock)
            lab.progress(f"{len(trials)} settings in turn", 1, 4)
            _compare(trials, clock, _COMPARED)
            lab.progress("the fastest together", 2, 4)
            trials += _together(lab, stack, trials, alike, clock)
            lab.progress("where their steps go", 3, 4)
            _look_inside(trials, clock)
    finally:
        torch.set_num_threads(threads)
    return _outcome(lab, course, trials, [*left, *wrong])


class _Clock:
    """How much of the procedure's time is left."""

    def __init__(self, seconds: float) -> None:
        self._begun, self._seconds = perf_counter(), seconds

    def share(self, share: float) -> float:
        """Seconds until this share of the time is over."""
        return max(0.0, self._begun + share * self._seconds - perf_counter())


_LeftOut = tuple[str, str]
"""What is not tried, and why."""


@dataclass(frozen=True)
class _Variant:
    """Other settings. learns: what they change of what is learnt; "" where it is nothing."""

    changes: Mapping[str, Any]
    learns: str = ""
    halved: bool = False

    @property
    def name(self) -> str:
        spelled = (f"{key}={str(value).lower()}" for key, value in self.changes.items())
        return " ".join(spelled) or "as it is"


_AS_IT_IS = _Variant({})


@dataclass
class _Trial:
    """A variant that runs. times: of each round, in seconds for each sample.

    beside: those of the recipe as it is in the same rounds. parts: their median by the parts of a
    step, where there was time to look.
    """

    variant: _Variant
    built: BuiltRun
    turns: Turns
    times: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Course:
    """What the training of the recipe as it is has told, in seconds.

    parts: of a step. whole: of the recipe's length. seen: how many steps there were, of `length`.
    chance: the step and the time from which the loss was better than undecided.
    """

    parts: Mapping[str, float]
    samples: int
    whole: float
    seen: int
    length: int
    memory: int
    undecided: float
    chance: tuple[int, float] | None
    settles: float | None
    ends: Sequence[float]

    @property
    def step(self) -> float:
        return sum(self.parts.values())


def _trained(built: BuiltRun, seconds: float) -> _Course:
    """Train as the recipe says, for so long."""
    run, undecided = built.run, _undecided(built.run)
    if run.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(run.device)
    step = timed_training(run, built.state, built.record, built.show, seconds)
    memory, losses, parts = devices.peak_memory(run.device), step.losses(), step.of_a_step()
    first = forecast.better_than(losses, undecided)
    lengths = run.lengths
    validations = math.ceil(lengths.total_steps / lengths.validate_every)
    return _Course(
        parts=parts,
        samples=lengths.step_samples,
        whole=lengths.total_steps * sum(parts.values()) + validations * _validation(run, step),
        seen=len(step.ends),
        length=lengths.total_steps,
        memory=memory,
        undecided=undecided,
        chance=None if first is None else (first, step.ends[first - 1]),
        settles=forecast.settles(losses) if len(losses) > _SEEN * lengths.total_steps else None,
        ends=step.ends,
    )


def _undecided(run: Run) -> float:
    """The loss of a network that says the same of every training sample."""
    y = Seen(run).y
    says = best_constant(run.loss, y, run.data.outputs)
    return float(losses_of(run.loss, [says], y))


def _validation(run: Run, step: TimedStep) -> float:
    """Seconds of a validation; about as many as forward passes take, where none was seen."""
    if step.validations:
        return step.stopwatch.seconds[VALIDATE] / step.validations
    return step.stopwatch.seconds["forward"] / step.samples * len(run.val)


def _variants(
    recipe: Mapping[str, Any], run: Run, seconds: float
) -> tuple[list[_Variant], list[_LeftOut]]:
    """What is worth a try here, and what is not, with the reason."""
    found: list[_Variant] = []
    left: list[_LeftOut] = []
    on_cpu, images = run.device.type == "cpu", len(run.data.shape) == 3
    for precision in {"float32", "bf16", "fp16"} - {recipe["precision"]}:
        if precision == "fp16" and run.device.type != "cuda":
            left.append(("precision=fp16", "needs a GPU"))
        else:
            found.append(_Variant({"precision": precision}))
    found.sort(key=lambda variant: variant.name)
    if images and any(weight.dim() == 4 for weight in run.model.parameters()):
        found.append(_Variant({"channels_last": not recipe["channels_last"]}))
    else:
        left.append(("channels_last", "no convolutions of images"))
    if recipe["compile"]:
        found.append(_Variant({"compile": False}))
    elif why := _no_compiler(on_cpu, seconds):
        left.append(("compile=true", why))
    else:
        found.append(_Variant({"compile": True}))
    if on_cpu:
        now, cores = torch.get_num_threads(), devices.CORES
        counts = sorted({1, cores // 2, cores} - {0, now})
        found += [_Variant({"threads": count}) for count in counts]
        left += [] if counts else [("threads", "torch has one thread here")]
    size, most = recipe["batch_size"], len(run.train) // run.lengths.accumulate
    larger = [] if size == "full" else [size * times for times in (2, 4) if size * times <= most]
    learns = "a larger batch means fewer updates in an epoch, and often another learning rate"
    found += [_Variant({"batch_size": many}, learns) for many in larger]
    left += [] if larger else [("batch_size", "the training split is not larger")]
    if images and "size" in recipe["data"]:
        sides = [side // 2 for side in run.data.shape[1:]]
        value = sides[0] if sides[0] == sides[1] else sides
        found.append(_Variant({"data.size": value}, "smaller images show less", halved=True))
    else:
        left.append(("a smaller resolution", f"data={run.data.name} has no data.size"))
    return found, left


def _no_compiler(on_cpu: bool, seconds: float) -> str:
    """Why nothing is compiled."""
    if on_cpu and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))):
        return "there is no C++ compiler"
    if seconds < COMPILING:
        return f"compiling takes long; procedure.seconds={COMPILING:g} tries it"
    return ""


def _alike(data: Data, batch: int, recipe: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """What all that are compared have in common: some rows, and when they record points."""
    many = len(data.train) if recipe["batch_size"] == "full" else max(_SAMPLES, 8 * batch)
    rows = sample(data.train, many, int(recipe["seed"])).sort().values
    every = f"{run.lengths.log_every} steps"
    settings = {"monitor": "train/loss", "train_eval": False, "validate_on": None}
    settings |= {
        "log_every": every,
        "validate_every": every,
        "epochs": f"{run.lengths.total_steps} steps",
    }
    return {"rows": {"train": rows.tolist()}, "settings": settings, "recorded": False}


def _built(
    lab: Lab,
    stack: ExitStack,
    variants: Sequence[_Variant],
    alike: Mapping[str, Any],
    clock: _Clock,
) -> tuple[list[_Trial], list[_LeftOut]]:
    """The variants that can be built and take a step, and why others cannot."""
    trials: list[_Trial] = []
    left: list[_LeftOut] = []
    for variant in variants:
        if trials and not clock.share(_COMPARED):
            left.append((variant.name, "no time was left; procedure.seconds= gives more"))
            continue
        settings = {**alike["settings"], **({} if variant.halved else variant.changes)}
        training = Training(**{**alike, "settings": settings}, halved=variant.halved)
        try:
            built = stack.enter_context(lab.built(training))
            turns = Turns(built.run)
            turns.take(2)
        except (DlrunError, RuntimeError) as error:  # no kernel, no memory, no compiler
            if variant is _AS_IT_IS:
                raise
            left.append((variant.name, first_line(error)))
        else:
            trials.append(_Trial(variant, built, turns))
    return trials, left


def _compare(trials: Sequence[_Trial], clock: _Clock, until: float) -> None:
    """Time them in turn, back and forth, so that a busy machine is as busy for all."""
    lengths = trials[0].built.run.lengths
    a_step = trials[0].turns.take(1) * lengths.batch_size * lengths.accumulate
    steps = max(1, round(_TURN / a_step))
    for number in range(MOST):
        for trial in trials if number % 2 else trials[::-1]:
            trial.times.append(trial.turns.take(steps))
        if not clock.share(until):
            break
    for trial in trials:
        trial.beside = trials[0].times


def _together(
    lab: Lab, stack: ExitStack, trials: Sequence[_Trial], alike: Mapping[str, Any], clock: _Clock
) -> list[_Trial]:
    """Those that change nothing of what is learnt, and gain alone, as one variant."""
    base = trials[0]
    changes: dict[str, Any] = {}
    for trial in sorted(trials[1:], key=_times_as_fast):
        if not trial.variant.learns and _gains(trial):
            changes |= trial.variant.changes
    if len(changes) < 2 or not clock.share(_COMBINED):
        return []
    made, _ = _built(lab, stack, [_Variant(changes)], alike, clock)
    beside = _Trial(base.variant, base.built, base.turns)
    _compare([beside, *made], clock, _COMBINED)
    for trial in made:  # as if it had been timed with the others
        scale = median(base.times) / median(beside.times)
        trial.times = [scale * each for each in trial.times]
        trial.beside = [scale * each for each in beside.times]
    return made


def _look_inside(trials: Sequence[_Trial], clock: _Clock) -> None:
    """Where the steps of each go, as far as there is time."""
    for place, trial in enumerate(trials):
        left = clock.share(1.0) / (len(trials) - place)
        if not left:
            return
        built = trial.built
        torch.set_num_threads(trial.turns.threads)
        step = timed_training(built.run, built.state, built.record, built.show, min(left, _INSIDE))
        parts = step.of_a_step()
        each = median(trial.times) / sum(parts.values())
        trial.parts = {part: each * value for part, value in parts.items()}


def gain(base: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """How many times as fast, and the standard error of its logarithm, from paired times.

    The median of the rounds; 1.2533 is what its standard error is of that of a mean.
    """
    logs = [math.log(one / two) for one, two in zip(base, other, strict=True)]
    error = 1.2533 * stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else math.inf
    return math.exp(median(logs)), error


def is_faster(base: Sequence[float], other: Sequence[float]) -> bool:
    """Whether a gain is worth a setting and cannot be noise."""
    times, error = gain(base, other)
    return len(base) >= FEWEST and math.log(times) > max(math.log(LEAST), SURE * error)


def _times_as_fast(trial: _Trial) -> float:
    return gain(trial.beside, trial.times)[0]


def _gains(trial: _Trial) -> bool:
    return is_faster(trial.beside, trial.times)


def _outcome(
    lab: Lab, course: _Course, trials: Sequence[_Trial], left: Sequence[_LeftOut]
) -> Outcome:
    assert lab.record is not None
    number = len(lab.record.points()) + 1
    lab.record.append(number, float(number), _values(course, trials[0]))
    faster = [_faster(lab, trial) for trial in _fastest(trials)]
    findings = [*_slow(course, faster), *faster]
    text = [_where(course, trials[0]), _how_long(course), _curve(course)]
    if len(trials[0].times) < FEWEST:
        text.append("There was too little time to compare settings: procedure.seconds= gives more.")
    elif not faster:
        text.append(f"Nothing that was tried is faster by {LEAST - 1:.0%} and more than the noise.")
    if left:
        text.append(_left_out(left))
    return Outcome(
        findings=findings,
        text="\n".join(text),
        table=[_row(trial) for trial in trials if trial.times],
        chart=_chart(trials),
    )


def _left_out(left: Sequence[_LeftOut]) -> str:
    """What was not tried, those with the same reason together."""
    names: dict[str, list[str]] = {}
    for name, why in left:
        names.setdefault(why, []).append(name)
    parts = [f"{', '.join(each)} ({why})" for why, each in names.items()]
    return f"Left out: {'; '.join(parts)}."


def _values(course: _Course, base: _Trial) -> dict[str, float]:
    """What is recorded: seconds, of a step by its parts, and bytes."""
    values = {f"time/{part}": seconds for part, seconds in course.parts.items()}
    values |= {"time/step": course.step, "time/samples_per_second": _rate(base)}
    values |= {"time/whole": course.whole, "memory/peak": float(course.memory)}
    if course.chance is not None:
        values["time/better_than_chance"] = course.chance[1]
    return values


def _rate(trial: _Trial) -> float:
    """Samples a second."""
    return 1 / median(trial.times)


def _where(course: _Course, base: _Trial) -> str:
    shares = sorted(course.parts.items(), key=lambda item: -item[1])
    each = ", ".join(f"{part} {seconds / course.step:.0%}" for part, seconds in shares if seconds)
    return (
        f"A step of {counted(course.samples, 'sample')} takes {spoken(course.step)}: {each}. "
        f"{_rate(base):,.0f} samples/s; peak memory {course.memory / 2**20:,.0f} MiB."
    )


def _how_long(course: _Course) -> str:
    """The whole length, and the first step that is better than chance."""
    length = counted(course.length, "step")
    whole = f"The whole recipe, {length}, takes about {spoken(course.whole)}."
    steps, took = course.chance or (course.seen, course.ends[-1])
    was = "was not yet" if course.chance is None else "was"
    return (
        f"{whole} The loss {was} better than chance ({course.undecided:.4g}) after "
        f"{counted(steps, 'step')}, {spoken(took)}."
    )


def _curve(course: _Course) -> str:
    """When the loss will have converged, from its curve so far."""
    share = f"{forecast.SETTLED:.0%} of its fall"
    if course.settles is None:
        taken = counted(course.seen, "step")
        return f"The {taken} taken so far cannot tell when the loss has converged."
    if math.isinf(course.settles):
        far = f"{forecast.FAR * course.seen:,}"
        return f"By its curve so far, the loss will not complete {share} within {far} steps."
    steps = math.ceil(course.settles)
    took = f"{counted(steps, 'step')}, {spoken(steps * course.step)}"
    return f"By its curve so far, the loss will complete {share} after {took}."


def _fastest(trials: Sequence[_Trial]) -> list[_Trial]:
    """The fastest that changes nothing of what is learnt, and what is faster still but does."""
    ranked = sorted(filter(_gains, trials[1:]), key=_times_as_fast, reverse=True)
    found = next((trial for trial in ranked if not trial.variant.learns), None)
    return [*([found] if found else []), *(one for one in ranked[:1] if one is not found)]


def _faster(lab: Lab, trial: _Trial) -> Finding:
    times, error = gain(trial.beside, trial.times)
    low = math.exp(math.log(times) - 2 * error)
    but = f"; but {trial.variant.learns}" if trial.variant.learns else ""
    text = (
        f"With {trial.variant.name} training is {times:.2f} times as fast on this machine "
        f"(at least {low:.2f}, by {len(trial.times)} rounds in turn){but}."
    )
    numbers = {"gain": times, "at_least": low, "samples_per_second": _rate(trial)}
    return Finding("faster", NOTE, text, numbers, lab.command(trial.variant.changes))


def _slow(course: _Course, faster: Sequence[Finding]) -> list[Finding]:
    """Whether a step takes too long to try things out."""
    if course.step <= SLOW:
        return []
    part, most = max(course.parts.items(), key=lambda item: item[1])
    text = (
        f"A step takes {spoken(course.step)}, {most / course.step:.0%} of it for {part}: a hundred "
        "steps take a minute, which is too long to try things out."
    )
    command = faster[0].command if faster else ""
    return [Finding("slow_step", WARN, text, {"seconds": course.step, part: most}, command)]


def _row(trial: _Trial) -> dict[str, Any]:
    times, error = gain(trial.beside, trial.times)
    row = {"setting": trial.variant.name, "samples/s": f"{_rate(trial):,.0f}"}
    if not trial.variant.changes:
        return row
    noise = f" ± {times * error:.2f}" if math.isfinite(error) else ""
    few = len(trial.times) < FEWEST
    said = "" if _gains(trial) else "too few rounds" if few else "no gain"
    return row | {"times as fast": f"{times:.2f}{noise}", "": said}


def _chart(trials: Sequence[_Trial]) -> Chart | None:
    """The time for each sample, by the parts of a step."""
    seen = [trial for trial in trials if trial.parts]
    if not seen:
        return None
    parts = [part for part in PARTS if any(trial.parts[part] for trial in seen)]
    slow = max(median(trial.times) for trial in seen) > 1e-3
    return Chart(
        name="step",
        x="",
        y=f"{'milliseconds' if slow else 'microseconds'} for each sample",
        at=list(range(len(seen))),
        curves={
            part: [(1e3 if slow else 1e6) * trial.parts[part] for trial in seen] for part in parts
        },
        bars=[trial.variant.name for trial in seen],
    )
