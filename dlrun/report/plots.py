"""The figures of a sweep's report, each as the text of an SVG that needs nothing else."""

import math
import statistics
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

from dlrun import record
from dlrun.report.curves import BLUE, GREY, ORANGE, wants_log
from dlrun.report.results import Curve, Dimension, Point, Sweep, named

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MANY = 150
"""Curves and lines of points beyond the best so many are left out."""
_PALE = "#dddddd"
_COLOURS = "cividis_r"  # told apart with any kind of colour vision (Nuñez, Anderton, Renslow 2018)


def parallel(sweep: Sweep) -> str:
    """Every point as a line through an axis for each dimension, and the objective."""
    dimensions, ranked = sweep.dimensions, sweep.ranked[:MANY]
    failed = [point for point in sweep.points if point.status == record.FAILED][:MANY]
    figure, axes = _figure(max(4.0, 1.3 * (len(dimensions) + 1)), 3.3, (0.05, 0.14, 0.9, 0.83))
    scores = _Scale([point.mean for point in ranked])
    for point in failed:
        places = _places(dimensions, point)
        axes.plot(range(len(places)), places, color=ORANGE, linewidth=0.8, linestyle=":")
    for number, point in reversed(list(enumerate(ranked))):
        places = [*_places(dimensions, point), scores.place(point.mean)]
        colour = ORANGE if number == 0 else _colour(number, len(ranked))
        width = 2.6 if number == 0 else 1.1
        axes.plot(range(len(places)), places, color=colour, linewidth=width, alpha=0.9)
    for place, dimension in enumerate(dimensions):
        _axis(axes, place, _ticks(dimension, sweep.points))
    _axis(axes, len(dimensions), scores.ticks())
    names = [*(_name(dimension) for dimension in dimensions), _literal(sweep.objective)]
    axes.set_xticks(range(len(names)), names, fontweight="bold", fontsize=8)
    axes.set_xlim(-0.25, len(dimensions) + 0.35)
    axes.set_ylim(-0.06, 1.06)
    axes.set_yticks([])
    axes.tick_params(bottom=False)
    axes.spines[:].set_visible(False)
    return _svg(figure)


def against(sweep: Sweep, dimension: Dimension) -> str:
    """The objective against one hyperparameter, on its own scale."""
    figure, axes = _figure(4.4, 3.0, (0.16, 0.17, 0.81, 0.79))
    best = sweep.ranked[0] if sweep.ranked else None
    listed = [] if dimension.numeric else _choices(dimension, sweep.points)
    at = {id(point): _across(dimension, point, listed) for point in sweep.points}
    shown = [point for point in sweep.points if point.scores]
    for status, marker, face in ((record.FINISHED, "o", BLUE), (record.PRUNED, "D", "none")):
        some = [point for point in shown if point.status == status and point is not best]
        if some:
            colour = BLUE if status == record.FINISHED else GREY
            axes.errorbar(
                [at[id(point)] for point in some],
                [point.mean for point in some],
                yerr=[point.stderr or 0.0 for point in some],
                fmt=marker,
                color=colour,
                markerfacecolor=face,
                markersize=5,
                elinewidth=0.8,
                alpha=0.8,
            )
    if not dimension.numeric:
        _boxes(axes, sweep, dimension, listed)
    if best is not None:
        star: dict[str, Any] = {"color": ORANGE, "markersize": 13, "zorder": 5}
        axes.errorbar([at[id(best)]], [best.mean], [best.stderr or 0.0], fmt="*", **star)
    if _Scale([point.mean for point in shown]).log:
        axes.set_yscale("log")
    failed = [at[id(point)] for point in sweep.points if point.status == record.FAILED]
    if failed:
        bottom = axes.get_xaxis_transform()
        style: dict[str, Any] = {
            "color": ORANGE,
            "transform": bottom,
            "clip_on": False,
        }
        axes.plot(failed, [0.0] * len(failed), "x", markersize=7, markeredgewidth=1.6, **style)
    if dimension.log:
        axes.set_xscale("log")
    if dimension.ranged and len({*dimension.ends}) == 2:
        axes.axvspan(*dimension.ends, color="#f3f6fa", zorder=0)
    if not dimension.numeric:
        axes.set_xticks(range(len(listed)), [_short(choice, 14) for choice in listed])
        axes.set_xlim(-0.6, len(listed) - 0.4)
        if len(listed) > 4:
            axes.tick_params(axis="x", labelrotation=30)
    axes.set_xlabel(_literal(dimension.key))
    axes.set_ylabel(_literal(sweep.objective))
    _plain(axes)
    return _svg(figure)


def bars(importance: Mapping[str, float]) -> str:
    """The share of every hyperparameter, the largest on top."""
    names = [_literal(key) for key in importance]
    height = 0.65 + 0.34 * len(names)
    longest = min(0.5, 0.06 + 0.0165 * max(map(len, names)))
    figure, axes = _figure(5.2, height, (longest, 0.5 / height, 0.9 - longest, 1 - 0.6 / height))
    axes.barh(names, list(importance.values()), color=BLUE, height=0.6)
    for place, share in enumerate(importance.values()):
        axes.text(share + 0.01, place, f"{share:.0%}", va="center", fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.08 * max(importance.values()) + 0.04)
    axes.set_xlabel("share of the variation it explains")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    _plain(axes)
    axes.tick_params(left=False)
    axes.grid(visible=False, axis="y")
    return _svg(figure)


def learning(sweep: Sweep, curves: Mapping[int, Sequence[Curve]]) -> str:
    """The objective of every run over its epochs, coloured by the rank of its point."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _figure(5.2, 3.3, (0.14, 0.15, 0.83, 0.82))
    ranked = sweep.ranked
    others = [point for point in sweep.points if point not in ranked]
    for point in others[:MANY]:
        dash = "--" if point.status == record.PRUNED else ":"
        for epochs, values in curves.get(point.trial, ()):
            axes.plot(*_thin(epochs, values), color=GREY, linewidth=0.8, linestyle=dash, alpha=0.7)
    everything: list[float] = []
    for number, point in reversed(list(enumerate(ranked[:MANY]))):
        colour = ORANGE if number == 0 else _colour(number, len(ranked))
        for place, (epochs, values) in enumerate(curves.get(point.trial, ())):
            everything += values
            label = f"best: {_short(point.label, 46)}" if number == 0 and place == 0 else None
            width = 2.2 if number == 0 else 1.0
            marker = "o" if len(epochs) == 1 else ""
            style: dict[str, Any] = {
                "color": colour,
                "linewidth": width,
                "label": label,
                "marker": marker,
            }
            axes.plot(*_thin(epochs, values), **style)
    if not sweep.maximize and wants_log(everything):
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.set_xlabel("epoch")
    axes.set_ylabel(_literal(sweep.objective))
    _plain(axes)
    if axes.get_legend_handles_labels()[1]:
        corner: Any = f"{'lower' if sweep.maximize else 'upper'} right"
        axes.legend(frameon=False, fontsize=7, loc=corner)
    return _svg(figure)


class _Scale:
    """Where the values of the objective lie between the smallest and the largest."""

    def __init__(self, values: Sequence[float]) -> None:
        self.log = wants_log(list(values))
        self._low, self._high = (min(values), max(values)) if values else (0.0, 1.0)

    def place(self, value: float) -> float:
        there = math.log if self.log else float
        low, high = there(self._low), there(self._high)
        return 0.5 if low == high else (there(value) - low) / (high - low)

    def ticks(self) -> list[tuple[float, str]]:
        values = [self._low, (self._low + self._high) / 2, self._high]
        if self.log:
            values[1] = math.sqrt(self._low * self._high)
        if self._low == self._high:
            values = values[:1]
        return [(self.place(value), f"{value:.3g}") for value in values]


def _figure(
    width: float, height: float, box: tuple[float, float, float, float]
) -> tuple["Figure", "Axes"]:
    # Imported here, and without pyplot: it has a global state and costs a second.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    figure.patch.set_alpha(0)
    return figure, figure.add_axes(box)


def _svg(figure: "Figure") -> str:
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    text = StringIO()
    with rc_context({"svg.fonttype": "none", "svg.id": None}):  # text stays text
        FigureCanvasSVG(figure).print_figure(
            text, format="svg", metadata={"Date": None, "Creator": None}
        )
    return text.getvalue()[text.getvalue().index("<svg") :]


def _plain(axes: "Axes") -> None:
    axes.grid(color=_PALE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _axis(axes: "Axes", place: int, ticks: Sequence[tuple[float, str]]) -> None:
    """One upright axis of parallel coordinates, its ticks labelled beside it."""
    axes.plot([place, place], [0, 1], color=GREY, linewidth=1, zorder=3)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.9, "pad": 0.6}
    for height, text in ticks:
        axes.plot([place - 0.02, place + 0.02], [height, height], color=GREY, linewidth=1, zorder=3)
        axes.text(place + 0.05, height, text, va="center", fontsize=8, zorder=4, bbox=box)


def _ticks(dimension: Dimension, points: Sequence[Point]) -> list[tuple[float, str]]:
    if not dimension.numeric:
        listed = _choices(dimension, points)
        return [
            (_spread(place, len(listed)), _short(name, 14)) for place, name in enumerate(listed)
        ]
    low, high = dimension.ends
    if not dimension.ranged:
        values = sorted(float(choice) for choice in dimension.choices)
    elif dimension.log:
        first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
        every = max(1, math.ceil((last - first) / 6))
        values = [10.0**power for power in range(first, last + 1, every)]
        values = values if len(values) > 1 else [low, math.sqrt(low * high), high]
    else:
        values = [low + (high - low) * quarter / 4 for quarter in range(5)]
    return [(dimension.place(value), f"{value:.3g}") for value in values]


def _places(dimensions: Sequence[Dimension], point: Point) -> list[float]:
    """Where a point crosses the axes, from 0 to 1."""
    found = []
    for dimension in dimensions:
        value = point.values.get(dimension.key)
        if dimension.numeric:
            found.append(math.nan if value is None else dimension.place(float(value)))
        else:
            listed = _choices(dimension, [point])
            place = listed.index(named(value)) if named(value) in listed else 0
            found.append(_spread(place, len(listed)))
    return found


def _choices(dimension: Dimension, points: Sequence[Point]) -> list[str]:
    """The names of the choices, in their order."""
    listed = [named(choice) for choice in dimension.choices]
    return listed or sorted({named(point.values.get(dimension.key)) for point in points})


def _across(dimension: Dimension, point: Point, listed: Sequence[str]) -> float:
    """Where a point stands on the axis of a dimension; choices are spread a little."""
    value: Any = point.values.get(dimension.key)
    if dimension.numeric:
        return math.nan if value is None else float(value)
    place = listed.index(named(value)) if named(value) in listed else math.nan
    return place + 0.3 * ((point.trial * 0.618034) % 1 - 0.5)  # by the golden section


def _boxes(axes: "Axes", sweep: Sweep, dimension: Dimension, listed: Sequence[str]) -> None:
    """The quartiles behind the points of a choice, or a bar at their median where they are few."""
    for place, name in enumerate(listed):
        means = [p.mean for p in sweep.ranked if named(p.values.get(dimension.key)) == name]
        if len(means) >= 5:
            low, middle, high = statistics.quantiles(means, n=4, method="inclusive")
            axes.bar(place, high - low, 0.5, low, color="#e3eaf2", edgecolor=GREY, zorder=1)
        elif means:
            middle = statistics.median(means)
        else:
            continue
        axes.plot([place - 0.25, place + 0.25], [middle, middle], color=GREY, linewidth=2, zorder=2)


def _colour(rank: int, count: int) -> Any:
    """The better, the darker."""
    from matplotlib import colormaps

    place = 1 - rank / count
    return colormaps[_COLOURS](0.15 + 0.85 * place)


def _thin(epochs: list[float], values: list[float], most: int = 200) -> Curve:
    """A curve with so many points at most, the last of which is kept."""
    every = math.ceil(len(epochs) / most)
    keep = sorted({*range(0, len(epochs), every), len(epochs) - 1}) if epochs else []
    return [epochs[place] for place in keep], [values[place] for place in keep]


def _spread(place: int, count: int) -> float:
    return place / (count - 1) if count > 1 else 0.5


def _name(dimension: Dimension) -> str:
    """The key on two lines where it is long."""
    room, _, last = _literal(dimension.key).rpartition(".")
    return f"{room}.\n{last}" if len(dimension.key) > 14 and room else _literal(dimension.key)


def _short(text: str, most: int) -> str:
    return _literal(text if len(text) <= most else text[: most - 1] + "…")


def _literal(text: str) -> str:
    """Text that Matplotlib takes as it is: between dollars it would read a formula."""
    return text.replace("$", r"\$")
