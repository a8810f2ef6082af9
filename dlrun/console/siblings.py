"""What runs show that train at once: one line for all of them."""

from collections.abc import Callable, Mapping, Sequence
from time import monotonic

from dlrun import format
from dlrun.console.progress import Progress

_PAUSE = 10.0  # seconds between plain lines
Score = Callable[[str, float], float]


class Siblings:
    """Follows runs that train at once."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._said = progress, monotonic()
        self._latest: dict[int, float] = {}
        self._scores: Sequence[Score] = ()
        self._monitor = ""
        self._step, self._total, self._per_epoch = 0, 1, 1

    def show(self, number: int) -> "Sibling":
        """What the loop tells of one of them."""
        return Sibling(self, number)

    def begin(self, scores: Sequence[Score], monitor: str, steps: int, per_epoch: int) -> None:
        """All are built and about to train. scores: of each, of a value of what it monitors."""
        self._scores, self._monitor = scores, monitor
        self._total, self._per_epoch = steps, per_epoch

    def end(self) -> None:
        """Remove the bar."""
        self._progress.end()

    def step(self, step: int, epoch: float, samples_per_second: float) -> None:
        """A few times a second, of each; the first one tells of all."""
        if step == self._step:
            return
        self._step = step
        if not self._progress.console.is_terminal and monotonic() - self._said < _PAUSE:
            return
        self._said = monotonic()
        total, epochs = self._total, self._total / self._per_epoch
        count = len(self._scores)
        parts = [
            f"{count} at once",
            f"epoch {format.epoch(epoch, of=epochs)}/{format.epoch(epochs)}",
            self._spread(),
            format.rate(samples_per_second * count),
        ]
        text = "  ".join(filter(None, parts))
        self._progress.busy(text, min(step, total - 1), total)

    def point(self, number: int, values: Mapping[str, float]) -> None:
        """After a point of one of them."""
        if self._monitor in values:
            self._latest[number] = values[self._monitor]

    def _spread(self) -> str:
        """The best of what they monitor, and how far apart they are."""
        if not self._latest:
            return ""
        score = self._scores[0]
        ordered = sorted(self._latest.values(), key=lambda value: score(self._monitor, value))
        worst, best = (format.value(ordered[place]) for place in (0, -1))
        return f"{self._monitor} {best} at best, {worst} at worst"


class Sibling:
    """The loop's `Show` of one of them."""

    def __init__(self, all: Siblings, number: int) -> None:
        self._all, self._number = all, number

    def step(self, step: int, epoch: float, loss: float, samples_per_second: float) -> None:
        """A few times a second."""
        self._all.step(step, epoch, samples_per_second)

    def point(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """After every recorded point."""
        self._all.point(self._number, values)
