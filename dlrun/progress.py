"""What a run shows while it goes on and when it ends: live on a terminal, plain lines elsewhere."""

from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from dlrun import record, screen

_BARS, _WIDTH = " ▁▂▃▄▅▆▇█", 64
_PAUSE = 1.0  # seconds between plain lines, so that a short epoch does not flood a log


class Progress:
    """Follows one run at a time; the loop's `Show`."""

    def __init__(self, console: Console | None = None, brief: bool = False) -> None:
        """`console` is where it is shown; standard output by default.

        brief: of a run among many, show what moves on a terminal alone.
        """
        self.console = console or screen.console()
        self._brief = brief
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._total = self._per_epoch = 1
        self._said = 0.0
        self._latest: dict[str, float] = {}

    def loading(self, done: int, total: int) -> None:
        """How far the decoding of a data set is."""
        if self._live and self._bar is None:
            self._start("decoding images", total)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, what=f"{done:,} of {total:,}")
            self._bar.refresh()
            if done == total:
                self.end()
        elif done == total or monotonic() - self._said >= _PAUSE:
            self._say(f"decoding images  {done:,} of {total:,}")

    def begin(self, summary: str, total_steps: int, steps_per_epoch: int) -> None:
        """A run is built and about to train."""
        self.end()
        self._total, self._per_epoch, self._latest = total_steps, steps_per_epoch, {}
        if not self._brief:
            self.console.print(summary, markup=False, soft_wrap=True)
        self._said = monotonic()

    def step(self, step: int, epoch: float, loss: float, rate: float) -> None:
        """A few times a second."""
        if not self._live:
            return
        if self._bar is None:
            self._start("training", self._total)
        assert self._bar is not None
        assert self._task is not None
        values = {"train/loss": loss} | {
            k: v for k, v in self._latest.items() if k.startswith("val/")
        }
        text = f"{self._place(step, epoch)}  {_shown(values)}  {rate:,.0f} samples/s"
        self._bar.update(self._task, completed=step, what=text)
        self._bar.refresh()

    def point(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """After every recorded point."""
        self._latest |= values
        last = step >= self._total
        if self._live or self._brief or "time/elapsed" not in values:
            return
        if last or monotonic() - self._said >= _PAUSE:
            shown = {k: v for k, v in self._latest.items() if k.startswith(("train/", "val/"))}
            rate = self._latest.get("time/samples_per_second", 0.0)
            self._say(f"{self._place(step, epoch)}  {_shown(shown)}  {rate:,.0f} samples/s")

    def end(self) -> None:
        """Take the bar off the screen."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    def closing(self, directory: Path, uri: str | None) -> None:
        """The table at the end of a run, where its results are, and what to type next."""
        if not directory.is_dir():
            return  # deleted while it was trained; the error says so
        status = record.read_status(directory)
        points = record.read_points(directory)
        self.console.print()
        if points:
            table = _table(points)
            if table.row_count:
                self.console.print(table)
            for line in (_best(points), _course(points)):
                if line:
                    self.console.print(line, markup=False)
        state = str(status.get("status", "")).lower()
        self.console.print(f"{state}: {_near(directory)}", markup=False, soft_wrap=True)
        for what, command in _next(directory, status, uri):
            self.console.print(Text.assemble((f"  {what:<22}", "dim"), command), soft_wrap=True)

    @property
    def _live(self) -> bool:
        return self.console.is_terminal

    def _start(self, what: str, total: int) -> None:
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[what]}"),
            TimeRemainingColumn(compact=True),
            console=self.console,
            auto_refresh=False,
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(what, total=total, what="")

    def _place(self, step: int, epoch: float) -> str:
        epochs = self._total / self._per_epoch
        return f"epoch {epoch:.4g}/{epochs:.4g}  step {step:,}/{self._total:,}"

    def _say(self, line: str) -> None:
        self._said = monotonic()
        self.console.print(line, markup=False, soft_wrap=True)


def _shown(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


def _table(points: list[dict[str, Any]]) -> Table:
    """Train, val, best and test side by side."""
    last: dict[str, float] = {}
    for point in points:
        last |= point["values"]
    names = [
        name.partition("/")[2] for name in last if name.startswith(("train/", "val/", "test/"))
    ]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    splits = [s for s in ("train", "val", "test") if any(k.startswith(f"{s}/") for k in last)]
    for split in splits:
        table.add_column(split, justify="right")
    for name in dict.fromkeys(names):
        cells = [last.get(f"{split}/{name}") for split in splits]
        table.add_row(name, *("" if cell is None else f"{cell:.4f}" for cell in cells))
    return table


def _best(points: list[dict[str, Any]]) -> str:
    """The best value and when it was reached; empty where no run came that far."""
    values = points[-1]["values"] if points else {}
    for name, value in values.items():
        if name.startswith("best/") and name != "best/epoch":
            what = name.removeprefix("best/").replace("_", "/", 1)
            return f"best {what} {value:.4f} at epoch {values['best/epoch']:.4g}"
    return ""


def _course(points: list[dict[str, Any]]) -> str:
    """The learning rate as a line of small bars, where nothing else was recorded."""
    if any(set(point["values"]) != {"lr"} for point in points):
        return ""
    rates = [point["values"]["lr"] for point in points]
    picked = [rates[place * (len(rates) - 1) // _WIDTH] for place in range(_WIDTH + 1)]
    top = max(rates) or 1.0
    bars = "".join(_BARS[round(max(rate, 0.0) / top * (len(_BARS) - 1))] for rate in picked)
    highest = points[rates.index(max(rates))]["epoch"]
    ends = f"{rates[0]:.4g} at first, {max(rates):.4g} at epoch {highest:.4g}, {rates[-1]:.4g} last"
    return f"lr  {bars}\n    {ends}"


def _next(directory: Path, status: Mapping[str, Any], uri: str | None) -> list[tuple[str, str]]:
    """What the user may want to type now."""
    tips = []
    if status.get("status") == record.FINISHED:
        tips.append(("the curves", str(_near(directory / "figures"))))
        tips.append(("train on", f"dlrun resume={directory.name} epochs=…"))
    else:
        tips.append(("go on with it", f"dlrun resume={directory.name}"))
    if uri is not None:
        browse = uri if uri.startswith("http") else f"mlflow ui --backend-store-uri {uri}"
        tips.append(("compare in MLflow", browse))
    return tips


def _near(path: Path) -> Path:
    """The path as seen from here, if it is below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
