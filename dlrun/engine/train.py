"""The loop: reads downward, hides nothing, costs what a hand-written one costs.

In a step nothing is read out of the device: losses and metrics stay there as scalars until
a point is recorded. What the screen shows is read a few times a second and changes nothing.
"""

import math
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import inf
from operator import mul
from time import perf_counter, time
from typing import NamedTuple, Protocol

from dlrun.engine import checkpoint
from dlrun.engine.divergence import (
    Diverged,
    LossDiverged,
    back_off,
    check_finite,
    check_stable,
    good,
)
from dlrun.engine.evaluate import averages, measure
from dlrun.engine.interrupt import Request, deferred
from dlrun.engine.run import Run
from dlrun.engine.state import Standing, State, Window, capture, load_best_weights
from dlrun.engine.step import SingleStep, Step
from dlrun.errors import Interrupted, OutOfTime
from dlrun.record import Record
from dlrun.record.files import WRITERS

_LOOK = 0.2  # seconds between looks at what the clock decides: the screen, a checkpoint


class Show(Protocol):
    """What the loop tells whoever watches a run."""

    def step(self, step: int, epoch: float, loss: float, samples_per_second: float) -> None:
        """A few times a second."""

    def point(self, step: int, epoch: float, values: dict[str, float]) -> None:
        """After every point that is recorded."""


@dataclass
class Member:
    """One of the runs that train together, and what is its own.

    failure: why it has ended before its time. ended: its state by then.
    """

    run: Run
    standing: Standing
    record: Record
    show: Show
    failure: Exception | None = None
    ended: State = field(default_factory=State)

    def factor(self, step: int) -> float:
        """Of the learning rates of a step, by the schedule and after returns from divergence."""
        return self.run.multiplier(step) * self.standing.scale


class Factors:
    """Those of all members for a step; of schedules that run alike one is asked."""

    def __init__(self, members: Sequence[Member]) -> None:
        places: dict[Hashable, int] = {}
        self._asked: list[Member] = []
        self._places: list[int] = []
        for member in members:
            run, scale = member.run, member.standing.scale
            lengths = run.lengths.schedule_steps, run.lengths.steps_per_epoch, scale
            course = run.schedule.course
            key = (course, lengths) if course is not None else id(member)
            if places.setdefault(key, len(self._asked)) == len(self._asked):
                self._asked.append(member)
            self._places.append(places[key])

    def __call__(self, step: int) -> list[float]:
        """Of each member in their order."""
        found = [member.factor(step) for member in self._asked]
        return [found[place] for place in self._places]


def train(run: Run, state: State, record: Record, show: Show) -> State:
    """Train until the length is reached or a stopping rule holds; gives the state there.

    Goes on from `state`; ends with the best weights in the model. Raises Failure when the
    loss diverges, Interrupted after a signal: the state is saved, and another
    call goes on from there.
    """
    member = Member(run, state.runs[0], record, show)
    for _ in train_together([member], state, SingleStep(run)):
        state.become(member.ended)
    if member.failure is not None:
        raise member.failure
    return state


def train_together(
    members: Sequence[Member], state: State, step: Step
) -> Iterator[Sequence[Member]]:
    """The same for runs whose steps are taken together: one step moves the weights of all.

    Gives those that end at a step, by their length, by a rule, or by a loss that diverges or a
    metric that raises, their `failure`; the others go on without them.
    """
    members = list(members)
    begun = state.counters.step
    for number, member in enumerate(members):
        member.run.model.train()
        if member.run.modes is not None:
            member.run.modes.train()
        if member.run.backoff and member.standing.good is None:
            member.standing.good = good(member.run, state, member.record.size, number)
    clock = Clock(state)
    housekeeping = Housekeeping(members, state, step, clock)
    while members:
        with deferred() as signal:
            housekeeping.signal = signal
            while not any(_has_ended(member, state) for member in members):
                try:
                    _train_epoch(members, state, step, clock, housekeeping)
                except Diverged as diverged:
                    _answer(members, state, diverged)
            leaving = _take_out(members, state, step)
            if state.counters.step > begun:
                _save_all([(m, m.ended, 0) for m in leaving if m.failure is None])
                if step.draws and members:  # resumed, they are no more than now
                    save(members, state, step)
        for member in leaving:
            if member.failure is None:
                _finish(member)
        yield leaving
        clock.restart()


def _has_ended(member: Member, state: State) -> bool:
    over = state.counters.step >= member.run.lengths.total_steps
    return over or member.standing.stopped or member.failure is not None


def _take_out(members: list[Member], state: State, step: Step) -> list[Member]:
    """Take those that have ended out of the others, each with a state of its own."""
    ended = [number for number, member in enumerate(members) if _has_ended(member, state)]
    leaving = [members[number] for number in ended]
    step.settle()
    for number, member in zip(ended, leaving, strict=True):
        member.ended = state.part([number])
        if member.run.lengths.total_steps <= state.counters.step:
            member.ended.window.clear()  # its last point was its own
    others = [number for number in range(len(members)) if number not in ended]
    step.keep(others)
    members[:] = [members[number] for number in others]
    if others:
        state.become(state.part(others, alone=False))
    return leaving


def _answer(members: Sequence[Member], state: State, diverged: Diverged) -> None:
    """Return to a good state, where the recipe asks for that; else the member has failed."""
    member = members[diverged.number]
    try:
        back_off(member.run, state, member.record, diverged)
        member.standing = state.runs[diverged.number]  # that of the last good state
        _save(member, state)  # the one before may know of points that are cut off now
    except LossDiverged as failure:
        member.failure = failure


def _train_epoch(
    members: Sequence[Member],
    state: State,
    step: Step,
    clock: "Clock",
    housekeeping: "Housekeeping",
) -> None:
    """The rest of the epoch that the counters stand in, or until a member has ended."""
    counters, window, lengths = state.counters, state.window, members[0].run.lengths
    end = min(member.run.lengths.total_steps for member in members)
    rows = step.rows(counters.epoch)
    samples = rows.shape[-1]
    factors = Factors(members)
    for group in step.batches(rows, counters.seen):
        now = counters.step + 1
        ends = now == end
        logs = ends or now % lengths.log_every == 0
        validates = ends or now % lengths.validate_every == 0
        watches = bool(lengths.watch_every) and (ends or now % lengths.watch_every == 0)
        step.reach(counters.step)
        result = step(group, factors(counters.step), logs, watches)

        # A checkpoint may be written after any step, so the counters always say where it stands.
        counters.step = now
        counters.seen += window.add(result)
        if counters.seen >= samples:
            counters.epoch, counters.seen = counters.epoch + 1, 0
        due = logs or validates or watches
        if due:
            norms = None if result.norm is None else result.norm.reshape(-1).tolist()
            point = Point(logs, validates, watches, norms, samples)
            _record_points(members, state, step, clock, point)
        housekeeping.attend()
        if due and (
            state.counters is not counters  # which are those of a good state again
            or any(_has_ended(member, state) for member in members)
        ):
            return


class Point(NamedTuple):
    """What is due after a step: the window's means, a validation, a look at the layers.

    norms: of the step's gradients, of each run. samples: of an epoch.
    """

    logs: bool
    validates: bool
    watches: bool
    norms: list[float] | None
    samples: int


def _record_points(
    members: Sequence[Member], state: State, step: Step, clock: "Clock", point: Point
) -> None:
    """Measure and record the runs for which something is due, and answer what diverges.

    At the end of a shorter run nothing may be due for the others.
    """
    # Validation takes time too, but counts neither as training nor as samples per second.
    clock.lap(training=True)
    now, lengths = state.counters.step, members[0].run.lengths
    ending = [n for n, member in enumerate(members) if member.run.lengths.total_steps == now]
    others = [n for n in range(len(members)) if n not in ending]
    found = _values(members, state, step, point, ending) if ending else {}
    if ending and others:
        logs, validates = (not now % every for every in (lengths.log_every, lengths.validate_every))
        watches = point.watches and not now % lengths.watch_every
        point = point._replace(logs=logs, validates=validates, watches=watches)
    if others and (point.logs or point.validates or point.watches):
        found |= _values(members, state, step, point, others)
    if point.logs:
        state.window.clear()
    clock.lap(training=False)
    epoch = now / lengths.steps_per_epoch
    judges = point.logs or point.validates  # a look alone changes nothing
    for number, values in found.items():
        member = members[number]
        if isinstance(values, Diverged):
            _answer(members, state, values)
            continue
        if isinstance(values, Exception):
            member.failure = values
            continue
        values["time/elapsed"] = state.counters.elapsed
        member.record.append(now, epoch, values)
        member.show.point(now, epoch, values)
        if judges or number in ending:
            _judge(member, state, step, number, values)


def _values(
    members: Sequence[Member], state: State, step: Step, point: Point, numbers: Sequence[int]
) -> dict[int, dict[str, float] | Exception]:
    """What there is to record of these runs; of one that fails, by what: Diverged, or another."""
    validates = point.validates and any(len(members[number].run.val) for number in numbers)
    measured = step.measure() if validates else None
    on_train = point.validates and members[0].run.train_eval is not None
    again = step.measure("train_eval") if on_train else None
    looks = step.look() if point.watches else None
    found: dict[int, dict[str, float] | Exception] = {}
    for number in numbers:
        run, values = members[number].run, dict[str, float]()
        try:
            check_finite(run, state, number)
            if measured is not None:
                on_val = _had(measured[number])
                if not math.isfinite(on_val["loss"]):
                    said = f"validation loss became {on_val['loss']}"
                    raise Diverged(state.counters.step, said, number)
                values |= _validation(run, on_val)
            if again is not None:
                values |= {f"train_eval/{name}": each for name, each in _had(again[number]).items()}
            values |= looks[number] if looks is not None else {}
            values |= _window_means(run, state.window, point, number) if point.logs else {}
            check_stable(run, state, values, number)
            found[number] = values
        except Exception as error:  # of this run alone: the others go on
            found[number] = error
    return found


def _had(measured: dict[str, float] | Exception) -> dict[str, float]:
    """What was measured of a run. Raises the error that stands in its place."""
    if isinstance(measured, Exception):
        raise measured
    return measured


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
        if hears := getattr(run.optimizer, "observe", None):  # `Observing`, asked a tenth as long
            hears(score)
        if run.schedule.returns() and standing.best is not None:
            run.model.load_state_dict(standing.best)
            step.forget(number)
            for rule in run.regularizers.values():
                rule.forget()
    for rule in run.stopping:
        watched = rule.metric or run.monitor
        if watched in values:
            stops = rule.should_stop(run.score(watched, values[watched]), now)
            standing.stopped = standing.stopped or stops
    if run.backoff:
        standing.good = good(run, state, member.record.size, number)


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

    def __init__(self, members: Sequence[Member], state: State, step: Step, clock: Clock) -> None:
        self.signal = Request()
        self._members, self._state, self._step, self._clock = members, state, step, clock
        lengths = members[0].run.lengths
        self._every = lengths.checkpoint_every
        self._look = clock.mark + _LOOK
        self._stop = clock.mark + lengths.stop_at - time()
        self._saved(clock.mark)

    def attend(self) -> None:
        """Do what is due after a step."""
        now, step = perf_counter(), self._state.counters.step
        if now < self._look and step < self._save_step and not self.signal.signum:
            return
        self._look = now + _LOOK
        self._clock.lap(training=True)
        if self._state.window.losses:
            self._show()
        total = max(member.run.lengths.total_steps for member in self._members)
        ends = now >= self._stop and step < total
        if now >= self._save_time or step >= self._save_step or self.signal.signum or ends:
            save(self._members, self._state, self._step)
            self._saved(perf_counter())
        if self.signal.signum:
            raise Interrupted(self.signal.signum, "the state is saved")
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
        losses = window.losses[-1].reshape(-1).tolist()
        objectives = window.objectives[-1].reshape(-1).tolist() if window.objectives else losses
        for number, member in enumerate(self._members):
            if not math.isfinite(losses[number] + objectives[number]):
                check_finite(member.run, self._state, number)
            member.show.step(counters.step, epoch, losses[number], samples_per_second)


def save(members: Sequence[Member], state: State, step: Step) -> None:
    """Write a checkpoint of each run."""
    step.settle()
    _save_all([(member, state, number) for number, member in enumerate(members)])


def _save_all(saved: Sequence[tuple[Member, State, int]]) -> None:
    """Write several checkpoints, one after another; the disk is waited for at once."""
    if len(saved) == 1:
        _save(*saved[0])
        return
    with ThreadPoolExecutor(WRITERS, thread_name_prefix="checkpoint") as threads:
        settled, drawn = [], checkpoint.process_random_state()
        for each in saved:
            files = ExitStack()
            files.enter_context(_saving(*each, drawn))
            settled.append(threads.submit(files.close))
        for one in settled:
            one.result()


def _save(member: Member, state: State, number: int = 0) -> None:
    with _saving(member, state, number):
        pass


@contextmanager
def _saving(
    member: Member, state: State, number: int, drawn: checkpoint.State | None = None
) -> Iterator[None]:
    """Write what is to be kept to the side; at the end it is in place, safely on the disk."""
    record, best = member.record, member.standing.best
    record.check_there()
    folder = record.directory / "checkpoints"
    with ExitStack() as files:
        if best is not None:
            files.enter_context(checkpoint.saving_as("best.pt", best, folder))
        whole = capture(member.run, state, record.size, number, drawn)
        files.enter_context(checkpoint.saving(whole, folder))
        yield
        record.settle()  # no checkpoint knows of points that a power cut takes


def _finish(member: Member) -> None:
    """Put the weights that count into the model of one that has ended.

    Where their statistics of batch norm are better known now, best.pt and the best score are
    those of the weights with them.
    """
    run, standing = member.run, member.standing
    before = standing.best
    load_best_weights(run, member.ended.counters, standing)
    if standing.best is None or standing.best is before:
        return
    checkpoint.save_as("best.pt", standing.best, member.record.directory / "checkpoints")
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
        "train/loss": mean(window.of("losses", number)),
        f"train/{run.metric.name}": sum(window.of("metric_sums", number)) / samples,
    }
    if window.objectives or window.penalties:
        values["train/objective"] = mean(window.of("minimized", number))
    for place, rule in enumerate(run.penalties):
        values[f"train/{type(rule).__name__.lower()}"] = mean(window.of("penalties", number, place))
    values["lr"] = float(run.optimizer.param_groups[0]["lr"])
    if point.norms is not None:
        values["grad/norm"] = point.norms[number]
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
