"""Where the time of a step goes: a watch around the parts of the step that the loop takes.

What is timed is the loop itself and what it calls. A run that is not watched pays nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from dlrun.engine.batches import Batch
from dlrun.engine.device import synchronize
from dlrun.engine.run import Run, Weights
from dlrun.engine.state import State
from dlrun.engine.step import SingleStep, StepResult, endless
from dlrun.engine.train import Member, Show, train_together
from dlrun.record import Record

FETCH, AUGMENT, PREPROCESS = "fetch", "augment", "preprocess"
FORWARD, BACKWARD, UPDATE, RECORD = "forward", "backward", "update", "record"
PARTS = (FETCH, AUGMENT, PREPROCESS, FORWARD, BACKWARD, UPDATE, RECORD)
"""Of a step, in their order. forward: with the loss; backward: with penalties and clipping;
record: the metric on the mini-batch, the curves, checkpoints and the screen."""
VALIDATE = "validate"
WARM = (1, 3)
"""After so many steps what was counted is forgotten: the first ones compile, allocate memory and
look for the fastest kernels."""


class Enough(Exception):
    """The time is up."""


class Stopwatch:
    """Seconds by part. What a part calls of another part counts for that one alone."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = {}
        self.mark = 0.0
        self._device = device
        self._running: list[str] = []

    def enter(self, part: str) -> None:
        """From now on it is this part; all that validation calls is validation."""
        self._charge()
        self._running.append(VALIDATE if VALIDATE in self._running else part)

    def leave(self) -> None:
        """From now on it is the part that has called this one."""
        self._charge()
        self._running.pop()

    def around(self, owner: object, name: str, part: str) -> None:
        """Let a method of an object count as this part."""
        function: Callable[..., Any] = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            self.enter(part)
            try:
                return function(*arguments, **named)
            finally:
                self.leave()

        setattr(owner, name, timed)

    def _charge(self) -> None:
        synchronize(self._device)
        now = perf_counter()
        if self._running:
            part = self._running[-1]
            self.seconds[part] = self.seconds.get(part, 0.0) + now - self.mark
        self.mark = now


class TimedStep:
    """The step of one run with a watch around its parts, until the time is up.

    steps: how many are in `seconds`. ends: of each step, in seconds since the first began.
    validations: how many were made.
    """

    draws = False

    def __init__(self, run: Run, seconds: float) -> None:
        """seconds: after the first step; then `Enough` is raised, after one more."""
        self._step, self._seconds = SingleStep(run), seconds
        self.stopwatch = watch = Stopwatch(run.device)
        self.steps, self.validations, self.samples = 0, 0, 0
        self.ends: list[float] = []
        self._losses: list[list[Tensor]] = []
        self._begun = 0.0
        watch.around(self._step, "forward", FORWARD)
        watch.around(self._step, "gradient", BACKWARD)
        watch.around(run, "metric_sum", RECORD)
        watch.around(run.preprocessing, "forward", PREPROCESS)
        if run.augmentation is not None:
            watch.around(run, "augmentation", AUGMENT)
        for rule in run.change_batch:
            watch.around(rule, "change_batch", AUGMENT)

    def reach(self, step: int) -> None:
        """As the step itself."""
        self._step.reach(step)

    def rows(self, epoch: int) -> Tensor:
        """The rows of an epoch."""
        if not self._begun:
            self.stopwatch.enter(RECORD)  # what the loop does itself
            self._begun = self.stopwatch.mark
        self.stopwatch.enter(FETCH)
        rows = self._step.rows(epoch)
        self.stopwatch.leave()
        return rows

    def batches(self, rows: Tensor, start: int) -> Iterator[list[Batch]]:
        """The mini-batches of each step."""
        groups = self._step.batches(rows, start)
        while True:
            done = len(self.ends)
            if done > 1 and self.ends[-1] - self.ends[0] >= self._seconds:
                raise Enough
            if done in WARM:
                self.steps = self.samples = self.validations = 0
                self.stopwatch.seconds.clear()
            self.stopwatch.enter(FETCH)
            group = next(groups, None)
            self.stopwatch.leave()
            if group is None:
                return
            yield group

    def __call__(
        self, group: list[Batch], factors: Sequence[float], norm: bool, watched: bool = False
    ) -> StepResult:
        """Take the step."""
        self.stopwatch.enter(UPDATE)
        result = self._step(group, factors, norm, watched)
        self.stopwatch.leave()
        self.steps += 1
        self.samples += sum(batch.samples for batch in result.batches)
        self.ends.append(self.stopwatch.mark - self._begun)
        self._losses.append([batch.loss for batch in result.batches])
        return result

    def measure(self, split: str = "val") -> Sequence[dict[str, float] | Exception]:
        """The loss and the metrics on a split."""
        self.stopwatch.enter(VALIDATE)
        found = self._step.measure(split)
        self.stopwatch.leave()
        self.validations += split == "val"
        return found

    def look(self) -> list[dict[str, float]]:
        """What is watched of the layers and of the curvature of the loss."""
        self.stopwatch.enter(RECORD)
        found = self._step.look()
        self.stopwatch.leave()
        return found

    def weights(self, number: int) -> Weights:
        """A copy of the weights as they are evaluated."""
        return self._step.weights(number)

    def forget(self, number: int) -> None:
        """As the step itself."""
        self._step.forget(number)

    def settle(self) -> None:
        """As the step itself."""
        self._step.settle()

    def keep(self, numbers: Sequence[int]) -> None:
        """As the step itself."""
        self._step.keep(numbers)

    def losses(self) -> list[float]:
        """The loss of each step."""
        means = [torch.stack(parts).mean() for parts in self._losses]
        found: list[float] = torch.stack(means).tolist()
        return found

    def of_a_step(self) -> dict[str, float]:
        """Seconds of a step by part, all of them."""
        return {part: self.stopwatch.seconds.get(part, 0.0) / self.steps for part in PARTS}


def timed_training(run: Run, state: State, record: Record, show: Show, seconds: float) -> TimedStep:
    """Train in the loop itself for so many seconds, at least for two steps, or to the end."""
    step = TimedStep(run, seconds)
    with suppress(Enough):  # how far it has come stands in the step
        list(train_together([Member(run, state.runs[0], record, show)], state, step))
    return step


class Turns:
    """Steps of a run in turns, each timed as a whole: nothing is looked at in between."""

    def __init__(self, run: Run) -> None:
        """The process has as many threads now as the run is to have."""
        self.run, self.threads = run, torch.get_num_threads()
        self._step = SingleStep(run)
        self._groups = endless(self._step)
        run.model.train()
        if run.modes is not None:
            run.modes.train()

    def take(self, steps: int) -> float:
        """Take so many steps; gives the seconds for each sample."""
        torch.set_num_threads(self.threads)
        synchronize(self.run.device)
        samples, begun = 0, perf_counter()
        for _ in range(steps):
            group = next(self._groups)
            self._step(group, [1.0], norm=False)
            samples += sum(len(y) for _, y in group)
        synchronize(self.run.device)
        return (perf_counter() - begun) / samples
