"""The figure of a procedure: curves over a number that the runs differ in, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun import record
from dlrun.record.sweep import spans_decades
from dlrun.report import plots
from dlrun.report.curves import (
    COLOURS,
    GREY,
    ORANGE,
    finish,
    literal,
    logarithmic,
    looks,
    new_figure,
    number,
    save,
    whole_numbers,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FEW = 6  # places on a logarithmic axis that are all labelled
_NAMED = 40  # names below an axis, at most
_LETTERS = 24  # of such a name, at most: its end says more
_DENSE = 300  # dots of a name that are drawn smaller
_INSIDE = 4  # lines whose names fit between them
_ACROSS = 72  # letters of a legend's row, and what stands for a line there
_SIGN = 6
_LINE = 0.052  # of a panel's height, for a row of the legend
_LARGE, _BESIDE = 6, 3  # panels of full size, and how many of them lie in a row
_SMALL = 0.62
_WIDTH, _HEIGHT = 6.4, 4.0  # inches of a panel
_SHARES = (0.003, 0.01, 0.025, 0.05, *(0.1 * tenth for tenth in range(1, 10)), 0.95)
"""Shares of the plane below each contour line."""


@dataclass(frozen=True)
class Ground:
    """Values over the plane, below the lines of a chart.

    x: (m,) and y: (n,) places. values: (n, m). regions: whether these are numbers of classes,
    each in the colour of its `dots`, by their order; image: whether they are pixels from −1 to 1,
    the last row lowest; else contour lines are drawn, with a heavy one at level, which says its
    value. equal: whether a unit is as long on both axes.
    """

    x: Sequence[float]
    y: Sequence[float]
    values: Sequence[Sequence[float]]
    regions: bool = False
    image: bool = False
    equal: bool = False
    level: float | None = None


@dataclass(frozen=True)
class Chart:
    """A panel of a figure, which is drawn into `figures/<name>.png` of the procedure's record.

    x, y: what the axes show. at: (n,) places on the x axis, logarithmic with `log`, in order.
    curves: (n,) values by the name in the legend; None where there is none. gap: what it means that
    the first curve has none; marked by crosses on top. lines: upright ones at a place on x, by
    name. levels: flat ones at a value on y, by name. best: the place on the first curve that is
    marked; None for none. names: of the places, below them. bars: the same, where each place is a
    bar then, made of its values one beside the other. linear: whether y is never logarithmic. most:
    the largest value that is shown, where greater ones would hide the others. title: above it.
    ground: below all else. paths: lines by name, with places (x, y) of their own; over a ground
    their ends are marked. thin: grey lines below these, without a name. dots: (x, y) of single
    points, by name.
    """

    name: str
    x: str
    y: str
    at: Sequence[float] = ()
    curves: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    log: bool = False
    gap: str = ""
    lines: Mapping[str, float] = field(default_factory=dict)
    levels: Mapping[str, float] = field(default_factory=dict)
    best: float | None = None
    names: Sequence[str] = ()
    bars: Sequence[str] = ()
    linear: bool = False
    most: float | None = None
    title: str = ""
    ground: Ground | None = None
    paths: Mapping[str, tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)
    dots: Mapping[str, tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)
    thin: Sequence[tuple[Sequence[float], Sequence[float]]] = ()


Charts = Chart | Sequence[Chart] | None
"""A figure: its panels."""


def panels(charts: Charts) -> list[Chart]:
    """The panels of a figure."""
    return [charts] if isinstance(charts, Chart) else list(charts or ())


def plain(charts: Charts) -> Any:
    """A figure as plain values for a record: those of its only panel, a list of them, or None."""
    found = [asdict(chart) for chart in panels(charts)]
    return found if len(found) > 1 else next(iter(found), None)


def of(directory: Path) -> list[Chart]:
    """The panels of a record's figure; none where it has no figure."""
    told = record.read_json(directory / "run.json").get("chart") or []
    return [_chart(each) for each in (told if isinstance(told, list) else [told])]


def draw(directory: Path) -> list[Path]:
    """Draw the figure of a record, if it has one; the files that were written."""
    charts = of(directory)
    if not charts:
        return []
    path = directory / "figures" / f"{charts[0].name}.png"
    save(_figure(charts), path, dpi=150)
    return [path]


def svg(charts: Charts) -> str:
    """A figure as the element <svg> of a page."""
    return plots.svg(_figure(panels(charts)))


def _chart(told: Mapping[str, Any]) -> Chart:
    """A panel from its plain values."""
    ground = told.get("ground")
    return Chart(**{**told, "ground": Ground(**ground) if ground else None})


def _figure(charts: Sequence[Chart]) -> "Figure":
    """All panels side by side, at most three in a row; many are smaller, five in a row."""
    small = len(charts) > _LARGE
    rows = -(-len(charts) // (_BESIDE + 2 * small))
    columns = -(-len(charts) // rows)
    size = _SMALL if small else 1.0
    figure = new_figure(_WIDTH * size * columns, _HEIGHT * size * rows)
    places = figure.subfigures(rows, columns, squeeze=False).flat
    for chart, place in zip(charts, places, strict=False):
        axes = place.add_axes((0.14 / size, 0.13 / size, 0.83, 0.83))
        if chart.bars:
            _bars(axes, chart)
            finish(axes, chart.y, chart.x)
        else:
            _frame(axes, chart, _lines(axes, chart) / size, size)
            finish(axes, chart.x, chart.y, legend=False)
        if chart.title:
            place.text(0.5, 0.975, literal(chart.title), ha="center", va="top", fontsize=12.5)
    return figure


def _bars(axes: "Axes", chart: Chart) -> None:
    """Bars below each other, in the order of the places."""
    ends = [0.0] * len(chart.at)
    for (name, values), colour in zip(chart.curves.items(), cycle(COLOURS), strict=False):
        lengths = [value or 0.0 for value in values]
        axes.barh(chart.at, lengths, 0.62, ends, color=colour, label=literal(name))
        ends = [end + length for end, length in zip(ends, lengths, strict=True)]
    left = min(0.5, 0.04 + 0.012 * max(map(len, chart.bars)))
    axes.set_position((left, 0.13, 0.97 - left, 0.66 if chart.title else 0.72))
    axes.set_yticks(list(chart.at), list(map(literal, chart.bars)))
    axes.invert_yaxis()
    axes.tick_params(left=False)
    axes.legend(frameon=False, fontsize=8, ncols=4, loc="lower right", bbox_to_anchor=(1.0, 1.0))


def _frame(axes: "Axes", chart: Chart, below: float, size: float) -> None:
    """Place the axes, and name their lines: among them, or above where they would be crossed.

    below: how much of the height the names of the places need. size: of the panel.
    """
    names = axes.get_legend_handles_labels()[1]
    top = 1 - (0.11 if chart.title else 0.04) / size
    if len(names) > 1 or (names and (chart.dots or chart.paths)):
        style: dict[str, Any] = {"frameon": False, "fontsize": 9}
        if chart.lines or chart.levels or chart.ground or chart.paths or len(names) > _INSIDE:
            columns = max(1, min(4, _ACROSS // (max(map(len, names)) + _SIGN), len(names)))
            top -= (_LINE * -(-len(names) // columns) + 0.02) / size
            style |= {"ncols": columns, "loc": "lower right", "bbox_to_anchor": (1.0, 1.01)}
            style |= {"columnspacing": 1.2}
        axes.legend(**style)
    left = 0.125 / size if size < 1 else 0.14
    axes.set_position((left, below, 0.97 - left, top - below))


def _lines(axes: "Axes", chart: Chart) -> float:
    """Everything that lies between the axes; how much of the height their names need below."""
    below = 0.13
    drawn = _drawn(axes, chart)
    everything = [value for value in drawn if chart.most is None or value <= chart.most]
    for (name, level), dashes in zip(chart.levels.items(), cycle(("--", ":", "-.")), strict=False):
        axes.axhline(level, color=GREY, linestyle=dashes, label=literal(f"{name}: {number(level)}"))
    if chart.log:
        logarithmic(axes, "x")
        if 0 < len(chart.at) <= _FEW:
            axes.set_xticks(list(chart.at), [f"{place:g}" for place in chart.at])
            axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    elif chart.names:
        below += 0.0135 * min(_LETTERS, max(map(len, chart.names)))
        every = -(-len(chart.at) // _NAMED)
        shown = [
            literal(name if len(name) <= _LETTERS else f"…{name[1 - _LETTERS :]}")
            for name in chart.names
        ]
        style: dict[str, Any] = {"rotation": 90, "fontsize": 7}
        if len(chart.names) * max(map(len, chart.names)) <= _ACROSS:  # there is room side by side
            below, style = 0.13, {"fontsize": 9}
        axes.set_xticks(list(chart.at)[::every], shown[::every], **style)
    elif not chart.ground and all(place == int(place) for place in _places(chart)):
        whole_numbers(axes)
    if not chart.linear and not chart.ground and spans_decades(everything):
        logarithmic(axes)
    if chart.most is not None and 0 < len(everything) < len(drawn):
        least, log = min(everything), axes.get_yscale() == "log"
        margin = least * (1 - (least / chart.most) ** 0.05) if log else 0.05 * (chart.most - least)
        axes.set_ylim(least - margin, chart.most)
    values = next(iter(chart.curves.values()), [None] * len(chart.at))
    first = dict(zip(chart.at, values, strict=True))
    gaps = [place for place, value in first.items() if value is None]
    if chart.gap and gaps:
        cross: Any = {"clip_on": False, "markersize": 7, "markeredgewidth": 1.6}
        top = axes.get_xaxis_transform()
        axes.plot(
            gaps, [1.0] * len(gaps), "x", color=ORANGE, transform=top, label=chart.gap, **cross
        )
    for name, place in chart.lines.items():
        axes.axvline(place, color=GREY, linestyle=":", label=literal(f"{name}: {place:g}"))
    if chart.best is not None:
        value = first[chart.best] or 0.0
        label = f"best: {number(value)} at {chart.best:g}"
        axes.plot(chart.best, value, "*", color=ORANGE, markersize=13, label=label)
    return below


def _drawn(axes: "Axes", chart: Chart) -> list[float]:
    """The ground, the curves, the paths and the dots; the heights of curves and paths."""
    if chart.ground:
        _ground(axes, chart.ground)
    everything: list[float] = []
    courses: list[tuple[str, Sequence[float], Sequence[float | None]]] = [
        *((name, chart.at, values) for name, values in chart.curves.items()),
        *((name, *places) for name, places in chart.paths.items()),
    ]
    for line in chart.thin:
        axes.plot(*line, color=GREY, linewidth=0.6, alpha=0.5)
        everything += line[1]
    for (name, at, values), (colour, dash) in zip(courses, looks(), strict=False):
        drawn = [(x, y) for x, y in zip(at, values, strict=True) if y is not None]
        xs, ys = [x for x, _ in drawn], [y for _, y in drawn]
        marker = "o" if len(drawn) <= _NAMED else ""
        axes.plot(
            xs, ys, color=colour, linestyle=dash, label=literal(name), marker=marker, markersize=3
        )
        if chart.ground and drawn:
            axes.plot(*drawn[-1], "o", color=colour, markersize=6)
        everything += ys
    edge: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.4, "zorder": 1.9}
    taken = 0 if chart.ground and chart.ground.regions else len(courses) % len(COLOURS)
    colours = cycle((*COLOURS[taken:], *COLOURS[:taken]))
    for (name, dots), colour in zip(chart.dots.items(), colours, strict=False):
        size = 4.5 if len(dots[0]) <= _DENSE else 2.5
        if chart.ground and not chart.ground.regions:  # a place on a map, over the paths to it
            edge, colour, size = {"marker": "*", "zorder": 4}, "#000000", 9
        axes.plot(
            *dots,
            **{"marker": "o"} | edge,
            linestyle="",
            color=colour,
            label=literal(name),
            markersize=size,
        )
    return everything


def _places(chart: Chart) -> list[float]:
    """All places on the x axis."""
    return [*chart.at, *(x for xs, _ in [*chart.paths.values(), *chart.dots.values()] for x in xs)]


def _ground(axes: "Axes", ground: Ground) -> None:
    """Regions of classes in pale colours, or contour lines through equal shares of the plane."""
    import numpy as np

    values = np.asarray(ground.values, float)
    if ground.regions:
        from matplotlib.colors import ListedColormap

        classes = int(np.nanmax(values)) + 1
        colours = [COLOURS[place % len(COLOURS)] for place in range(classes)]
        style: dict[str, Any] = {"cmap": ListedColormap(colours), "alpha": 0.22}
        style |= {"vmin": -0.5, "vmax": classes - 0.5, "shading": "nearest"}
        axes.pcolormesh(ground.x, ground.y, values, linewidth=0, rasterized=True, **style)
    elif ground.image:
        axes.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1, origin="lower", aspect="equal")
        axes.set_axis_off()
        return
    else:
        levels = np.unique(np.nanquantile(values, _SHARES))
        lines: dict[str, Any] = {"cmap": "Greys", "alpha": 0.35, "extend": "both"}
        axes.contourf(ground.x, ground.y, values, levels, **lines)
        axes.contour(ground.x, ground.y, values, levels, colors="#9aa4b0", linewidths=0.6)
        if ground.level is not None and values.min() < ground.level < values.max():
            at = axes.contour(ground.x, ground.y, values, [ground.level], colors="black")
            axes.clabel(at, fmt=f"{ground.level:.3g}")
    axes.set_xlim(min(ground.x), max(ground.x))
    axes.set_ylim(min(ground.y), max(ground.y))
    if ground.equal:
        axes.set_aspect("equal")
