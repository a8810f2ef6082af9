"""What a run shows while it trains: a live bar on a terminal, plain lines elsewhere."""

from collections.abc import Mapping
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from dlrun import format
from dlrun.console import screen

_PAUSE = 1.0  # seconds between plain lines, so that a short epoch does not flood a log
_SMOOTH = 0.1  # weight of the latest value in the mean of samples per second
_WIDE_BAR, _NARROW_BAR = 24, 10
_TIME = 10  # columns of the remaining time, 12:34:56, and the spaces around it


class Progress:
    """Follows one run at a time; the loop's `Show`."""

    def __init__(self, console: Console | None = None, brief: bool = False) -> None:
        """console: standard output by default.

        brief: for a run among many: the bar on a terminal, nothing elsewhere.
        """
        self.console = console or screen.console()
        self._brief = brief
        self._bar: Bar | None = None
        self._total = self._per_epoch = 1
        self._said = self._rate = 0.0
        self._latest: dict[str, float] = {}

    def loading(self, done: int, total: int) -> None:
        """How many samples of a data set are read."""
        self.busy(f"reading  {done:,} of {total:,} samples", done, total)

    def busy(self, text: str, done: int, total: int) -> None:
        """How much of some other work than training is done."""
        if self._live:
            self._draw(done, total, text)
            if done == total:
                self.end()
        elif done == total or monotonic() - self._said >= _PAUSE:
            self._say(text)

    def begin(self, summary: str, total_steps: int, steps_per_epoch: int) -> None:
        """A run is built and about to train."""
        self.end()
        self._total, self._per_epoch = total_steps, steps_per_epoch
        self._rate, self._latest = 0.0, {}
        if not self._brief:
            screen.say(self.console, summary)
        self._said = monotonic()

    def step(self, step: int, epoch: float, loss: float, samples_per_second: float) -> None:
        """A few times a second."""
        if not self._live:
            return
        # The loop measures from point to point, so its first values after one say little.
        now = samples_per_second
        self._rate = now if not self._rate else self._rate + _SMOOTH * (now - self._rate)
        self._draw(step, self._total, self._text(step, epoch, loss))

    def point(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """After every recorded point."""
        self._latest |= values
        last = step >= self._total
        if self._live or self._brief or "time/elapsed" not in values:
            return
        if last or monotonic() - self._said >= _PAUSE:
            self._say(self._line(step, epoch))

    def end(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    @property
    def _live(self) -> bool:
        return self.console.is_terminal

    def _draw(self, done: int, total: int, text: str) -> None:
        """Move the bar, which begins where there is none."""
        if self._bar is None:
            self._bar = Bar(
                BarColumn(bar_width=self._bar_width),
                TextColumn("{task.fields[what]}"),
                TimeRemainingColumn(compact=True),
                console=self.console,
                auto_refresh=False,
                transient=True,
            )
            self._bar.start()
            self._bar.add_task("", total=total, what="")
        self._bar.update(self._bar.task_ids[0], completed=done, total=total, what=text)
        self._bar.refresh()

    @property
    def _bar_width(self) -> int:
        return _WIDE_BAR if self.console.width >= 120 else _NARROW_BAR

    def _text(self, step: int, epoch: float, loss: float) -> str:
        """What fits beside the bar; leaves out first what matters least."""
        val = [(name, value) for name, value in self._latest.items() if name.startswith("val/")]
        shown = [f"{name} {format.value(value)}" for name, value in val]
        place, steps = self._place(step, epoch)
        # In the order of the line, each with its rank.
        parts = [(0, place), (4, steps), (2, f"train/loss {format.value(loss)}")]
        parts += [(1 if i == 0 else 5, one) for i, one in enumerate(shown)]
        parts.append((3, format.rate(self._rate)))
        room = self.console.width - self._bar_width - _TIME
        chosen: set[int] = set()
        for _, i in sorted((rank, i) for i, (rank, part) in enumerate(parts) if part):
            line = "  ".join(part for k, (_, part) in enumerate(parts) if k in chosen | {i})
            if len(line) > room:
                break
            chosen.add(i)
        return "  ".join(part for k, (_, part) in enumerate(parts) if k in chosen)

    def _place(self, step: int, epoch: float) -> tuple[str, str]:
        """How far training is, in epochs and steps, or in steps alone where it is short."""
        steps = f"step {step:,}/{self._total:,}"
        epochs = self._total / self._per_epoch
        if epochs < 1:
            return steps, ""
        return f"epoch {format.epoch(epoch, of=epochs)}/{format.epoch(epochs)}", steps

    def _line(self, step: int, epoch: float) -> str:
        """The latest values as a line for a log."""
        shown = {k: v for k, v in self._latest.items() if k.startswith(("train/", "val/"))}
        parts = [*self._place(step, epoch)]
        parts += [f"{name} {format.value(value)}" for name, value in shown.items()]
        if rate := self._latest.get("time/samples_per_second"):
            parts.append(format.rate(rate))
        return "  ".join(part for part in parts if part)

    def _say(self, line: str) -> None:
        self._said = monotonic()
        screen.say(self.console, line)
