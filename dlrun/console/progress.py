"""What a run shows while it trains: a live bar on a terminal, plain lines elsewhere."""

from collections.abc import Mapping
from pathlib import Path
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from dlrun.console import format, screen, summary

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
        self._task: TaskID | None = None
        self._total = self._per_epoch = 1
        self._said = self._rate = 0.0
        self._latest: dict[str, float] = {}

    def loading(self, done: int, total: int) -> None:
        """How many samples of a data set are read."""
        self.busy(f"reading  {done:,} of {total:,} samples", done, total)

    def busy(self, text: str, done: int, total: int) -> None:
        """How much of some other work than training is done."""
        if self._live and self._bar is None:
            self._start(total)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, what=text)
            self._bar.refresh()
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
            self.console.print(summary, markup=False, soft_wrap=True)
        self._said = monotonic()

    def step(self, step: int, epoch: float, loss: float, samples_per_second: float) -> None:
        """A few times a second."""
        if not self._live:
            return
        if self._bar is None:
            self._start(self._total)
        assert self._bar is not None
        assert self._task is not None
        # The loop measures from point to point, so its first values after one say little.
        now = samples_per_second
        self._rate = now if not self._rate else self._rate + _SMOOTH * (now - self._rate)
        self._bar.update(self._task, completed=step, what=self._text(step, epoch, loss))
        self._bar.refresh()

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
            self._bar = self._task = None

    def summary(self, directory: Path, uri: str | None) -> None:
        """Show the results of a run that has ended, and what to type next."""
        summary.show(self.console, directory, uri)

    @property
    def _live(self) -> bool:
        return self.console.is_terminal

    def _start(self, total: int) -> None:
        self._bar = Bar(
            BarColumn(bar_width=_WIDE_BAR if self._wide else _NARROW_BAR),
            TextColumn("{task.fields[what]}"),
            TimeRemainingColumn(compact=True),
            console=self.console,
            auto_refresh=False,
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task("", total=total, what="")

    @property
    def _wide(self) -> bool:
        return self.console.width >= 120

    def _text(self, step: int, epoch: float, loss: float) -> str:
        """What fits beside the bar; leaves out first what matters least."""
        val = [(name, value) for name, value in self._latest.items() if name.startswith("val/")]
        shown = [f"{name} {format.value(value)}" for name, value in val]
        place, steps = self._place(step, epoch)
        # In the order of the line, each with its rank.
        parts = [(0, place), (4, steps), (2, f"train/loss {format.value(loss)}")]
        parts += [(1 if i == 0 else 5, one) for i, one in enumerate(shown)]
        parts.append((3, format.rate(self._rate)))
        room = self.console.width - (_WIDE_BAR if self._wide else _NARROW_BAR) - _TIME
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
        self.console.print(line, markup=False, soft_wrap=True)
