"""The loop: reads downward, hides nothing, costs what a hand-written one costs.

In a step nothing is read out of the device: losses and metrics stay there as scalars until
a point is recorded. What the screen shows is read a few times a second and changes nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from operator import mul
from time import perf_counter, time
from typing import NamedTuple, Protocol

from torch import Tensor

from dlrun.engine import checkpoint
from dlrun.engine.divergence import Diverged, back_off, check_finite, check_stable, good
from dlrun.engine.evaluate import averages, measure
from dlrun.engine.interrupt import Request, deferred
from dlrun.engine.run import Run, Weights
from dlrun.engine.state import Standing, State, Window, capture, load_best_weights
from dlrun.engine.step import SingleStep, Step
from dlrun.errors import Interrupted, OutOfTime
from dlrun.optimizer import Observing
from dlrun.record import Record

_LOOK = 0.2  # seconds between looks at what the clock decides: the screen, a checkpoint


class Show(Protocol):
    """What the loop tells whoever watches a run."""

    def step(self, step: int, epoch: float, loss: float, samples_per_second: float) -> None:
        """A few times a second."""

    def point(self, step: int, epoch: float, values: dict[str, float]) -> None:
        """After every point that is recorded."""


@dataclass
class Member:
    """One of the runs that train together, and what is its own."""

    run: Run
    standing: Standing
    record: Record
    show: Show

    def factor(self, step: int) -> float:
        """Of the learning rates of a step, by the schedule and after returns from divergence."""
        lengths = self.run.lengths
        multiplier = self.run.schedule(step, lengths.schedule_steps, lengths.steps_per_epoch)
        return multiplier * self.standing.scale


def train(run: Run, state: State, record: Record, show: Show) -> State:
    """Train until the length is reached or a stopping rule holds; gives the state there.

    Goes on from `state`; ends with the best weights in the model. Raises Failure when the
    loss diverges, Interrupted after a signal: the state is saved, and another
    call goes on from there.
    """
    train_together([Member(run, state.runs[0], record, show)], state, SingleStep(run))
    return state


def train_together(members: Sequence[Member], state: State, step: Step) -> None:
    """The same for runs whose steps are taken together: one step moves the weights of all."""
    counters, lengths = state.counters, members[0].run.lengths
    begun = counters.step
    for member in members:
        member.run.model.train()
        if member.run.modes is not None:
            member.run.modes.train()
    with deferred() as signal:
        clock = Clock(state)
        housekeeping = Housekeeping(members, state, clock, signal)
        for number, member in enumerate(members):
            if member.run.backoff and member.standing.good is None:
                member.standing.good = good(member.run, state, number)
        while state.counters.step < lengths.total_steps and not _stopped(members):
            try:
                _train_epoch(members, state, step, clock, housekeeping)
            except Diverged as diverged:
                member = members[diverged.number]
                back_off(member.run, state, member.record, diverged)
                member.standing = state.runs[diverged.number]  # that of the last good state
        if state.counters.step > begun:
            save(members, state)
    for member in members:
        _finish(member, state)


def _train_epoch(
    members: Sequence[Member],
    state: State,
    step: Step,
    clock: "Clock",
    housekeeping: "Housekeeping",
) -> None:
    """The rest of the epoch that the counters stand in."""
    counters, window, lengths = state.counters, state.window, members[0].run.lengths
    rows = step.rows(counters.epoch)
    samples = rows.shape[-1]
    for group in step.batches(rows, counters.seen):
        now = counters.step + 1
        ends = now == lengths.total_steps
        logs = ends or now % lengths.log_every == 0
        validates = ends or now % lengths.validate_every == 0
        watches = bool(lengths.watch_every) and (ends or now % lengths.watch_every == 0)
        step.reach(counters.step)
        result = step(group, [member.factor(counters.step) for member in members], logs, watches)

        # A checkpoint may be written after any step, so the counters always say where it stands.
        counters.step = now
        counters.seen += window.add(result)
        if counters.seen >= samples:
            counters.epoch, counters.seen = counters.epoch + 1, 0
        if logs or validates or watches:
            due = Point(logs, validates, watches, result.norm, samples)
            _record_point(members, state, step, clock, due)
        housekeeping.attend()
        if ends or _stopped(members):
            return


class Point(NamedTuple):
    """What is due after a step: the window's means, a validation, a look at the layers.

    norm: of the step's gradient. samples: of an epoch.
    """

    logs: bool
    validates: bool
    watches: bool
    norm: Tensor | None
    samples: int


def _record_point(
    members: Sequence[Member], state: State, step: Step, clock: "Clock", point: Point
) -> None:
    """Measure and record every run, then choose its best weights, react, and stop it."""
    # Validation takes time too, but counts neither as training nor as samples per second.
    clock.lap(training=True)
    for number, member in enumerate(members):
        check_finite(member.run, state, number)
    values: list[dict[str, float]] = [{} for _ in members]
    if point.validates and any(len(member.run.val) for member in members):
        for number, found in enumerate(step.measure()):
            if not math.isfinite(found["loss"]):
                said = f"validation loss became {found['loss']}"
                raise Diverged(state.counters.step, said, number)
            values[number] = _validation(members[number].run, found)
    if point.validates and members[0].run.train_eval is not None:
        for number, found in enumerate(step.measure("train_eval")):
            values[number] |= {f"train_eval/{name}": value for name, value in found.items()}
    if point.watches:
        for number, found in enumerate(step.look()):
            values[number] |= found
    if point.logs:
        for number, member in enumerate(members):
            values[number] |= _window_means(member.run, state.window, point, number)
    for number, member in enumerate(members):
        check_stable(member.run, state, values[number], number)
    if point.logs:
        state.window.clear()
    clock.lap(training=False)
    now, epoch = state.counters.step, state.counters.step / members[0].run.lengths.steps_per_epoch
    for number, member in enumerate(members):
        values[number]["time/elapsed"] = state.counters.elapsed
        member.record.append(now, epoch, values[number])
        member.show.point(now, epoch, values[number])
        if point.logs or point.validates:  # a look alone changes nothing
            _judge(member, state, step, number, values[number])


def _judge(member: Member, state: State, step: Step, number: int, values: dict[str, float]) -> None:
    """Choose the best weights, tell the schedule, and ask the rules that stop training."""
    run, standing, now = member.run, member.standing, state.counters.step
    if run.monitor in values:
        score, loss = run.score(run.monitor, values[run.monitor]), values.get("val/loss", inf)
        if standing.beaten(score, loss, _margin(run)):
            standing.best_score, standing.best_loss, standing.best_step = score, loss, now
            standing.best_averaged = bool(averages(run))
            standing.best = step.weights(number)
        run.schedule.observe(score)
        if isinstance(run.optimizer, Observing):
            run.optimizer.observe(score)
        if run.schedule.returns() and standing.best is not None:
            _return(run, standing.best)
    for rule in run.stopping:
        watched = rule.metric or run.monitor
        if watched in values:
            stops = rule.should_stop(run.score(watched, values[watched]), now)
            standing.stopped = standing.stopped or stops
    if run.backoff:
        standing.good = good(run, state, number)


def _return(run: Run, best: Weights) -> None:
    """Train on from the best weights, with an optimizer that has forgotten its way from there."""
    run.model.load_state_dict(best)
    run.optimizer.state.clear()


class Clock:
    """Seconds of training and of everything, lap by lap."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.mark = perf_counter()

    def lap(self, training: bool) -> None:
        """Count the time since the last lap; training: as time of the window's batches too."""
        now = perf_counter()
        self._state.counters.elapsed += now - self.mark
        if training:
            self._state.window.seconds += now - self.mark
        self.mark = now

    def restart(self) -> None:
        """Leave out the time since the last lap."""
        self.mark = perf_counter()


class Housekeeping:
    """What is done now and then: the screen, a checkpoint, a signal, the end of the time."""

    def __init__(
        self, members: Sequence[Member], state: State, clock: Clock, signal: Request
    ) -> None:
        self._members, self._state, self._clock, self._signal = members, state, clock, signal
        self._every = members[0].run.lengths.checkpoint_every
        self._look = clock.mark + _LOOK
        lengths = members[0].run.lengths
        self._stop, self._total = clock.mark + lengths.stop_at - time(), lengths.total_steps
        self._saved(clock.mark)

    def attend(self) -> None:
        """Do what is due after a step."""
        now, step = perf_counter(), self._state.counters.step
        if now < self._look and step < self._save_step and not self._signal.signum:
            return
        self._look = now + _LOOK
        self._clock.lap(training=True)
        if self._state.window.losses:
            self._show()
        ends = now >= self._stop and step < self._total
        if now >= self._save_time or step >= self._save_step or self._signal.signum or ends:
            save(self._members, self._state)
            self._saved(perf_counter())
        if self._signal.signum:
            raise Interrupted(self._signal.signum, "the state is saved")
        if ends:
            raise OutOfTime()
        self._clock.restart()

    def _saved(self, now: float) -> None:
        """The next checkpoint is due so long after this one."""
        timed = self._every.unit == "seconds"
        self._save_time = now + self._every.amount if timed else inf
        self._save_step = inf if timed else self._state.counters.step + self._every.amount

    def _show(self) -> None:
        """Show how it goes, and notice a loss that is no longer finite."""
        counters, window = self._state.counters, self._state.window
        epoch = counters.step / self._members[0].run.lengths.steps_per_epoch
        samples_per_second = sum(window.sizes) / max(window.seconds, 1e-9)
        for number, member in enumerate(self._members):
            loss = window.of(window.losses[-1:], number)[0]
            objective = window.of(window.objectives[-1:], number)[0] if window.objectives else loss
            if not math.isfinite(loss + objective):
                check_finite(member.run, self._state, number)
            member.show.step(counters.step, epoch, loss, samples_per_second)


def save(members: Sequence[Member], state: State) -> None:
    """Write a checkpoint of each run."""
    for number, member in enumerate(members):
        folder = member.record.directory / "checkpoints"
        captured = capture(member.run, state, member.record.position(), number)
        checkpoint.save(captured, folder)
        if member.standing.best is not None:
            checkpoint.save_best(member.standing.best, folder)


def _stopped(members: Sequence[Member]) -> bool:
    return all(member.standing.stopped for member in members)


def _finish(member: Member, state: State) -> None:
    """Put the weights that count into the model.

    Where their statistics of batch norm are better known now, best.pt and the best score are
    those of the weights with them.
    """
    run, standing = member.run, member.standing
    before = standing.best
    load_best_weights(run, state.counters, standing)
    if standing.best is None or standing.best is before:
        return
    checkpoint.save_best(standing.best, member.record.directory / "checkpoints")
    if run.monitor.startswith("val/"):
        values = _validation(run, measure(run, run.val))
        standing.best_score = run.score(run.monitor, values[run.monitor])


def _validation(run: Run, found: dict[str, float]) -> dict[str, float]:
    """What a validation found, by the keys of the record.

    The headline first: MLflow's comparisons begin with what was recorded first.
    """
    named = {f"val/{name}": value for name, value in found.items()}
    return dict(sorted(named.items(), key=lambda item: item[0] != run.monitor))


def _window_means(run: Run, window: Window, point: Point, number: int) -> dict[str, float]:
    """The means of the window over its samples.

    train/loss is what val/loss is, of the training batches; train/objective, with what weighs
    classes, smooths labels and punishes weights, is recorded where it is something else.
    """
    samples = sum(window.sizes)

    def mean(values: list[float]) -> float:
        return float(sum(map(mul, values, window.sizes)) / samples)

    values = {
        "train/loss": mean(window.of(window.losses, number)),
        f"train/{run.metric.name}": sum(window.of(window.metric_sums, number)) / samples,
    }
    if window.objectives or window.penalties:
        values["train/objective"] = mean(window.of(window.minimized(), number))
    for place, rule in enumerate(run.penalties):
        penalties = [each[place] for each in window.penalties]
        values[f"train/{type(rule).__name__.lower()}"] = mean(window.of(penalties, number))
    values["lr"] = float(run.optimizer.param_groups[0]["lr"])
    if point.norm is not None:
        values["grad/norm"] = float(point.norm.reshape(-1)[number])
    values["time/samples_per_second"] = samples / max(window.seconds, 1e-9)
    values["time/epoch"] = window.seconds * point.samples / samples
    return values


def _margin(run: Run) -> float:
    """By how much a score must be above the best to be the next one.

    As the rules ask that return the best by the monitor: what they call an improvement is one.
    """
    asked = [
        rule.min_improvement
        for rule in run.stopping
        if rule.restore_best and (rule.metric or run.monitor) == run.monitor
    ]
    return max(asked, default=0.0)
