"""The figure of a procedure: curves over a number that the runs differ in, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun import record
from dlrun.record.sweep import spans_decades
from dlrun.report import plots
from dlrun.report.curves import BLUE, COLOURS, GREEN, GREY, ORANGE, blank, finish, number, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FEW = 6  # places on a logarithmic axis that are all labelled
_NAMED = 40  # names below an axis, at most
_LETTERS = 24  # of such a name, at most: its end says more
Drawn = tuple["Axes", str, str]
"""The axes of a figure, and what they show across and upwards."""


@dataclass(frozen=True)
class Chart:
    """A figure, drawn into `figures/<name>.png` of the procedure's record.

    x, y: what the axes show. at: (n,) places on the x axis, logarithmic with `log`, in order.
    curves: (n,) values by the name in the legend; None where there is none. gap: what it means
    that the first curve has none; marked by crosses on top. lines: upright ones at a place on x,
    by name. levels: flat ones at a value on y, by name. best: the place on the first curve that is
    marked; None for none. names: of the places, below them. bars: the same, where each place is a
    bar then, made of its values one beside the other. linear: whether y is never logarithmic.
    """

    name: str
    x: str
    y: str
    at: Sequence[float]
    curves: Mapping[str, Sequence[float | None]]
    log: bool = False
    gap: str = ""
    lines: Mapping[str, float] = field(default_factory=dict)
    levels: Mapping[str, float] = field(default_factory=dict)
    best: float | None = None
    names: Sequence[str] = ()
    bars: Sequence[str] = ()
    linear: bool = False

    def plain(self) -> dict[str, Any]:
        """As plain values for a record."""
        return asdict(self)


def draw(directory: Path) -> list[Path]:
    """Draw the chart of a record, if it has one; the files that were written."""
    told = record.read_json(directory / "run.json").get("chart")
    if not told:
        return []
    chart = Chart(**told)
    path = directory / "figures" / f"{chart.name}.png"
    write(*_drawn(chart), path)
    return [path]


def svg(chart: Chart) -> str:
    """A chart as the element <svg> of a page."""
    axes, x, y = _drawn(chart)
    finish(axes, x, y)
    figure = axes.get_figure(root=True)
    assert figure is not None
    return plots.svg(figure)


def _drawn(chart: Chart) -> Drawn:
    return _bars(chart) if chart.bars else _lines(chart)


def _bars(chart: Chart) -> Drawn:
    """Bars below each other, in the order of the places."""
    axes = blank()
    ends = [0.0] * len(chart.at)
    for (name, values), colour in zip(chart.curves.items(), cycle(COLOURS), strict=False):
        lengths = [value or 0.0 for value in values]
        axes.barh(chart.at, lengths, 0.62, ends, color=colour, label=name)
        ends = [end + length for end, length in zip(ends, lengths, strict=True)]
    left = min(0.5, 0.04 + 0.012 * max(map(len, chart.bars)))
    axes.set_position((left, 0.13, 0.97 - left, 0.72))
    axes.set_yticks(list(chart.at), list(chart.bars))
    axes.invert_yaxis()
    axes.tick_params(left=False)
    axes.legend(frameon=False, fontsize=8, ncols=4, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    return axes, chart.y, chart.x


def _lines(chart: Chart) -> Drawn:
    """Curves over the places."""
    axes = blank()
    everything = []
    for (name, values), colour in zip(
        chart.curves.items(), cycle((BLUE, ORANGE, GREEN)), strict=False
    ):
        drawn = [(x, y) for x, y in zip(chart.at, values, strict=True) if y is not None]
        marker = "o" if len(drawn) <= 40 else ""
        axes.plot(*zip(*drawn, strict=True), color=colour, label=name, marker=marker, markersize=3)
        everything += [y for _, y in drawn]
    for (name, level), dashes in zip(chart.levels.items(), ("--", ":"), strict=False):
        axes.axhline(level, color=GREY, linestyle=dashes, label=f"{name}: {number(level)}")
    if chart.log:
        axes.set_xscale("log")
        if len(chart.at) <= _FEW:
            axes.set_xticks(list(chart.at), [f"{place:g}" for place in chart.at])
            axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    elif chart.names:
        below = 0.13 + 0.0135 * min(_LETTERS, max(map(len, chart.names)))
        axes.set_position((0.14, below, 0.83, 0.96 - below))
        every = -(-len(chart.at) // _NAMED)
        shown = [
            name if len(name) <= _LETTERS else f"…{name[1 - _LETTERS :]}" for name in chart.names
        ]
        axes.set_xticks(list(chart.at)[::every], shown[::every], rotation=90, fontsize=7)
    elif all(place == int(place) for place in chart.at):
        axes.locator_params(axis="x", integer=True)
    if not chart.linear and spans_decades(everything):
        axes.set_yscale("log")
    first = dict(zip(chart.at, next(iter(chart.curves.values())), strict=True))
    gaps = [place for place, value in first.items() if value is None]
    if chart.gap and gaps:
        style: Any = {"clip_on": False, "markersize": 7, "markeredgewidth": 1.6}
        top = axes.get_xaxis_transform()
        axes.plot(
            gaps, [1.0] * len(gaps), "x", color=ORANGE, transform=top, label=chart.gap, **style
        )
    for name, place in chart.lines.items():
        axes.axvline(place, color=GREY, linestyle=":", label=f"{name}: {place:g}")
    if chart.best is not None:
        value = first[chart.best] or 0.0
        label = f"best: {number(value)} at {chart.best:g}"
        axes.plot(chart.best, value, "*", color=ORANGE, markersize=13, label=label)
    if chart.lines or chart.levels:  # which would cross the words of a legend among them
        axes.set_position((0.14, 0.13, 0.83, 0.71))
        axes.legend(
            frameon=False, fontsize=9, ncols=2, loc="lower right", bbox_to_anchor=(1.0, 1.03)
        )
    return axes, chart.x, chart.y
