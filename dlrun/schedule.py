"""The group `schedule`: how the learning rate changes during training.

    (step, total_steps, steps_per_epoch, **options) -> multiplier

step counts optimizer steps from 0; the rate of a step is optimizer.lr times the
multiplier. It is a pure function of numbers, so that it can be drawn, resumed and computed for
many runs at once. Durations are annotated `Steps`: build turns '5 epochs' into steps. Epochs
count from 0 and change after their last step.

A schedule that reacts to validation is a `Schedule`, an object.
"""

from collections.abc import Callable, Hashable, Sequence
from fractions import Fraction
from functools import partial
from math import cos, exp, inf, isnan, log, pi, sqrt
from typing import Any

from dlrun.duration import Steps
from dlrun.errors import not_negative

_LOG_MOST = log(1e30)
Curve = Callable[[int, int, int], float]


class Schedule:
    """What the loop asks of a schedule; a function alone becomes a `Fixed` one.

    The class may be left out: an object with the call and some of the methods is one too.

    shifts: whether it begins after a warm-up, with what then remains, rather than count
        from the beginning of training.
    """

    shifts = True

    def __call__(self, step: int, total_steps: int, steps_per_epoch: int) -> float:
        """The multiplier of a step."""
        raise NotImplementedError

    @property
    def kind(self) -> str:
        """The name under which its memory is kept."""
        return type(self).__name__

    @property
    def course(self) -> Hashable | None:
        """The same for schedules with the same multipliers; None where it depends on scores."""
        return None

    def observe(self, score: float) -> None:
        """After each validation; a higher score is better."""

    def returns(self) -> bool:
        """Whether the last score takes training back to its best weights."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """What must survive a kill, as plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state_dict."""


class Fixed(Schedule):
    """A function of the step alone."""

    def __init__(self, curve: Curve) -> None:
        self._curve = curve
        function = curve.func if isinstance(curve, partial) else curve
        self.shifts = getattr(function, "shifts", True)

    def __call__(self, step: int, total_steps: int, steps_per_epoch: int) -> float:
        """The multiplier of a step."""
        return self._curve(step, total_steps, steps_per_epoch)

    @property
    def course(self) -> Hashable | None:
        """The function with its options."""
        curve = self._curve
        if isinstance(curve, partial):
            return curve.func, repr((curve.args, curve.keywords))
        return curve


def from_the_start(curve: Any) -> Any:
    """Mark a function whose steps count from the beginning of training, warm-up included."""
    curve.shifts = False
    return curve


def watches(schedule: Schedule) -> bool:
    """Whether a schedule reacts to validation."""
    if isinstance(schedule, Warmup):  # hands every score on
        return watches(schedule.schedule)
    return type(schedule).observe is not Schedule.observe


def constant(step: int, total_steps: int, steps_per_epoch: int) -> float:
    """Always 1."""
    return 1.0


def step(
    step: int,
    total_steps: int,
    steps_per_epoch: int,
    every: Steps,
    factor: float = 0.5,
    rounding: str = "down",
) -> float:
    """factor^⌊step / every⌋; rounding up: factor^⌈step / every⌉."""
    if every < 1:
        raise ValueError(f"every must be at least one step, got {every}")
    _one_of("rounding", rounding, ("down", "up"))
    return _power("factor", factor, step // every if rounding == "down" else -(-step // every))


@from_the_start
def multistep(
    step: int, total_steps: int, steps_per_epoch: int, milestones: list[Steps], factor: float = 0.1
) -> float:
    """factor^(the number of milestones reached)."""
    return _power("factor", factor, sum(step >= milestone for milestone in milestones))


@from_the_start
def manual(
    step: int, total_steps: int, steps_per_epoch: int, table: list[tuple[float, float]], lr: float
) -> float:
    """The rate of the last epoch in the table that was reached, over lr; 1 before the first."""
    if lr <= 0:
        raise ValueError(f"lr must be above 0, got {lr}")
    for row in table:
        not_negative(table=min(row))
    reached = [(epoch, rate) for epoch, rate in table if step >= epoch * steps_per_epoch]
    return max(reached)[1] / lr if reached else 1.0


def exponential(
    step: int,
    total_steps: int,
    steps_per_epoch: int,
    gamma: float = 0.95,
    k: float | None = None,
    by: str = "epoch",
) -> float:
    """gamma^t, or e^(−k·t) where k is given; t in epochs or steps."""
    t = _count(step, steps_per_epoch, by)
    if k is not None:
        not_negative(k=k)
        return exp(-k * t)
    return _power("gamma", gamma, t)


def time(
    step: int, total_steps: int, steps_per_epoch: int, k: float = 0.1, by: str = "epoch"
) -> float:
    """1/(1 + k·t), t in epochs or steps."""
    not_negative(k=k)
    return 1 / (1 + k * _count(step, steps_per_epoch, by))


def inverse(
    step: int,
    total_steps: int,
    steps_per_epoch: int,
    gamma: float = 1e-4,
    c: float = 0.75,
    by: str = "step",
) -> float:
    """(1 + gamma·n)^(−c), n in steps or epochs."""
    not_negative(gamma=gamma)
    not_negative(c=c)
    return float((1 + gamma * _count(step, steps_per_epoch, by)) ** -c)


def sqrt_decay(
    step: int, total_steps: int, steps_per_epoch: int, t: float = 1.0, by: str = "epoch"
) -> float:
    """t/√n, n the number of the epoch or step, counted from 1."""
    not_negative(t=t)
    return t / sqrt(_count(step, steps_per_epoch, by) + 1)


def linear(step: int, total_steps: int, steps_per_epoch: int, final: float = 0.0) -> float:
    """From 1 to final, linearly."""
    not_negative(final=final)
    return 1 + (final - 1) * step / total_steps


def polynomial(
    step: int, total_steps: int, steps_per_epoch: int, power: float = 2.0, final: float = 0.0
) -> float:
    """final + (1 − final)·(1 − step/total)^power."""
    not_negative(power=power)
    not_negative(final=final)
    return float(final + (1 - final) * max(0.0, 1 - step / total_steps) ** power)


def cosine(step: int, total_steps: int, steps_per_epoch: int, final: float = 0.0) -> float:
    """From 1 down to final along half a cosine (Loshchilov, Hutter 2017)."""
    not_negative(final=final)
    return final + (1 - final) * 0.5 * (1 + cos(pi * step / total_steps))


def restarts(
    step: int,
    total_steps: int,
    steps_per_epoch: int,
    first: Steps,
    growth: float = 2.0,
    final: float = 0.0,
) -> float:
    """Half a cosine again and again, each `growth` times as long (Loshchilov, Hutter 2017)."""
    if first < 1:
        raise ValueError(f"first must be at least one step, got {first}")
    if growth < 1:
        raise ValueError(f"growth must be at least 1, got {growth}")
    not_negative(final=final)
    length, left = float(first), float(step)
    while left >= length:
        left, length = left - length, length * growth
    return final + (1 - final) * 0.5 * (1 + cos(pi * left / length))


def cyclic(
    step: int,
    total_steps: int,
    steps_per_epoch: int,
    half: Steps,
    low: float = 0.1,
    shape: str = "triangular",
) -> float:
    """From low to 1 in `half` steps and back, again and again (Smith 2017).

    shape: triangular; or halved, where each cycle rises half as far as the one before.
    """
    if half < 1:
        raise ValueError(f"half must be at least one step, got {half}")
    if not 0 <= low <= 1:
        raise ValueError(f"low must be between 0 and 1, got {low}")
    _one_of("shape", shape, ("triangular", "halved"))
    cycle, place = divmod(step, 2 * half)
    height = (1 - low) * (0.5**cycle if shape == "halved" else 1.0)
    return low + height * (1 - abs(place / half - 1))


def one_cycle(
    step: int,
    total_steps: int,
    steps_per_epoch: int,
    rise: Steps,
    start: float = 0.04,
    final: float = 4e-6,
    shape: str = "cosine",
) -> float:
    """From start up to 1 in the first `rise` steps, down to final at the last step."""
    _one_of("shape", shape, ("cosine", "linear"))
    not_negative(start=start)
    not_negative(final=final)
    if step < rise:
        a, b, way = start, 1.0, step / rise
    else:
        a, b, way = 1.0, final, min(1.0, (step - rise) / max(total_steps - 1 - rise, 1))
    if shape == "cosine":
        way = (1 - cos(pi * way)) / 2
    return a + (b - a) * way


class BoldDriver(Schedule):
    """Up after each better validation, down after each worse one.

    up, down: factors; with up=1 the rate only falls. slow: where it is given, up only where the
    score has risen by less than this share of what it was: then progress is slow. most: the
    highest multiplier. return_to_best: down, and on from the best weights, as the driver does; the
    next score is then compared with theirs.

    Vogl, Mangis, Rigler, Zink, Alkon 1988, Accelerating the Convergence of the Back-Propagation
    Method; Battiti 1989, Accelerated Backpropagation Learning: Two Optimization Methods.
    """

    shifts = False

    def __init__(
        self,
        up: float = 1.05,
        down: float = 0.5,
        slow: float | None = None,
        most: float = 100.0,
        return_to_best: bool = True,
    ) -> None:
        _between("down", down)
        for name, value, least in (("up", up, 1.0), ("most", most, 1.0), ("slow", slow, 0.0)):
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least:g}, got {value}")
        self.up, self.down, self.slow, self.most = up, down, slow, most
        self.return_to_best = return_to_best
        self.multiplier, self.previous, self.worse = 1.0, -inf, False

    def __call__(self, step: int, total_steps: int, steps_per_epoch: int) -> float:
        """The multiplier now."""
        return self.multiplier

    def observe(self, score: float) -> None:
        """Take in a score; one that is not a number is worse than any."""
        self.worse = isnan(score) or score < self.previous
        if self.worse:
            self.multiplier *= self.down
        elif self.previous > -inf and self._is_slow(score):
            self.multiplier = min(self.multiplier * self.up, self.most)
        if not (self.worse and self.return_to_best):
            self.previous = score

    def _is_slow(self, score: float) -> bool:
        return self.slow is None or score - self.previous < self.slow * abs(self.previous)

    def returns(self) -> bool:
        """Whether the last score was worse, and that is wanted."""
        return self.worse and self.return_to_best

    def state_dict(self) -> dict[str, float]:
        """The multiplier and the score before."""
        return {"multiplier": self.multiplier, "previous": self.previous}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a state_dict."""
        self.multiplier, self.previous = state["multiplier"], state["previous"]


class Plateau(Schedule):
    """Times factor after `patience` steps without a better score.

    Better: above the best so far by more than min_improvement. After a cut the patience starts
    again; the multiplier never falls below minimum. return_to_best: at a cut training goes on
    from its best weights.
    """

    shifts = False

    def __init__(
        self,
        patience: Steps,
        factor: float = 0.5,
        min_improvement: float = 0.0,
        minimum: float = 0.0,
        return_to_best: bool = False,
    ) -> None:
        if patience < 1:
            raise ValueError(f"patience must be at least one step, got {patience}")
        _between("factor", factor)
        not_negative(min_improvement=min_improvement)
        if not 0 <= minimum <= 1:
            raise ValueError(f"minimum must be between 0 and 1, got {minimum}")
        self.patience, self.factor = patience, factor
        self.min_improvement, self.minimum = min_improvement, minimum
        self.multiplier, self.best, self.since, self.step = 1.0, -inf, 0, 0
        self.return_to_best, self.cut = return_to_best, False

    def __call__(self, step: int, total_steps: int, steps_per_epoch: int) -> float:
        """The multiplier now; notes the step, for `observe` to measure patience by."""
        self.step = step + 1
        return self.multiplier

    def observe(self, score: float) -> None:
        """Take in the score after the step that was last asked for."""
        self.cut = False
        if score > self.best + self.min_improvement:
            self.best, self.since = score, self.step
        elif self.step - self.since >= self.patience:
            self.multiplier = max(self.multiplier * self.factor, self.minimum)
            self.since, self.cut = self.step, True

    def returns(self) -> bool:
        """Whether the last score brought a cut, and that is wanted."""
        return self.cut and self.return_to_best

    def state_dict(self) -> dict[str, float]:
        """The multiplier, the best score, and the steps they belong to."""
        names = ("multiplier", "best", "since", "step")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a state_dict."""
        self.multiplier, self.best = state["multiplier"], state["best"]
        self.since, self.step = int(state["since"]), int(state["step"])


class Replay(Schedule):
    """The rates of another training, at the same step or after as many of its steps.

    schedule: as that training began with it; steps, per_epoch: its length, and its steps in an
    epoch. scores: its validations, as (step, score), for schedules that react to them. every:
    how many of its steps one of the new training stands for.
    """

    shifts = False

    def __init__(
        self,
        schedule: Schedule,
        steps: int,
        per_epoch: int,
        scores: Sequence[tuple[int, float]] = (),
        every: Fraction = Fraction(1),
    ) -> None:
        self.schedule, self.steps, self.per_epoch = schedule, steps, per_epoch
        self.left, self.every = list(scores), every

    def __call__(self, step: int, total_steps: int, steps_per_epoch: int) -> float:
        """The multiplier of a step."""
        now = int(step * self.every)
        while self.left and self.left[0][0] <= now:
            at, score = self.left.pop(0)
            self.schedule(
                at - 1, self.steps, self.per_epoch
            )  # some note the step they are asked for
            self.schedule.observe(score)
        return self.schedule(now, self.steps, self.per_epoch)


class Warmup(Schedule):
    """The schedule after a linear rise over the first `steps` steps.

    Step t < steps has the multiplier s(0)·(t + 1)/steps: the first step already learns, and the
    last of the rise has the multiplier at which the schedule s starts. Then it is s(t − steps),
    with total_steps − steps as the length of s. Milestones, the epochs of a table, and schedules
    that react to validation count from the start of training: theirs is s(t), times
    (t + 1)/steps during the rise.
    """

    def __init__(self, schedule: Schedule, steps: Steps) -> None:
        self.schedule, self.steps = schedule, steps

    def __call__(self, step: int, total_steps: int, steps_per_epoch: int) -> float:
        """The multiplier of a step."""
        rise = min(1.0, (step + 1) / self.steps)
        if not self.schedule.shifts:
            return self.schedule(step, total_steps, steps_per_epoch) * rise
        left = max(total_steps - self.steps, 1)
        return self.schedule(max(step - self.steps, 0), left, steps_per_epoch) * rise

    @property
    def kind(self) -> str:
        """That of the schedule."""
        return self.schedule.kind

    @property
    def course(self) -> Hashable | None:
        """That of the schedule, with the warm-up."""
        course = self.schedule.course
        return course and (course, self.steps)

    def observe(self, score: float) -> None:
        """Hand the score on."""
        self.schedule.observe(score)

    def returns(self) -> bool:
        """As the schedule says."""
        return self.schedule.returns()

    def state_dict(self) -> dict[str, Any]:
        """That of the schedule."""
        return self.schedule.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state_dict."""
        self.schedule.load_state_dict(state)


def warmup(schedule: Schedule, steps: Steps) -> Schedule:
    """The schedule with a warm-up of `steps` steps; itself for 0."""
    not_negative(warmup=steps)
    return Warmup(schedule, steps) if steps else schedule


def _count(step: int, steps_per_epoch: int, by: str) -> int:
    if by == "epoch":
        return step // steps_per_epoch
    if by == "step":
        return step
    raise ValueError(f"by must be epoch or step, got {by}")


def _power(name: str, base: float, exponent: int) -> float:
    """base^exponent; infinite where it overflows 32 bits."""
    not_negative(**{name: base})
    return inf if base > 1 and exponent * log(base) > _LOG_MOST else base**exponent


def _one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be {' or '.join(known)}, got {value}")


def _between(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} must be between 0 and 1, got {value}")
