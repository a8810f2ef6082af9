"""The figures of a sweep's report, each as the text of an SVG that needs nothing else."""

import math
import statistics
from collections.abc import Mapping, Sequence
from functools import cache
from io import StringIO
from typing import TYPE_CHECKING, Any

from dlrun import record
from dlrun.record.sweep import WITHOUT, Dimension, Point, Sweep, named
from dlrun.report.curves import (
    BLUE,
    GREY,
    ORANGE,
    PALE,
    Curve,
    literal,
    logarithmic,
    looks,
    new_figure,
    tidy,
    wants_log,
    whole_numbers,
)
from dlrun.report.evidence import Difference

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MANY = 150
"""Curves and lines of points beyond the best so many are left out."""
WIDE = 10.4
"""Inches of a figure that is as wide as the page; its text is then as large as in the others."""
_COLOURS = "cividis_r"  # told apart with any kind of colour vision (Nuñez, Anderton, Renslow 2018)


def coordinates(sweep: Sweep) -> str:
    """Parallel coordinates: every point as a line through an axis for each dimension.

    The last axis is that of the objective, which failed points do not reach.
    """
    ranked = sweep.ranked[:MANY]
    failed = [point for point in sweep.points if point.status == record.FAILED][:MANY]
    scores = [point.mean for point in ranked]
    scale = "log" if wants_log(sweep.metric, scores) else "linear"
    objective = Dimension(sweep.objective, "float", scale, min(scores), max(scores))
    axes_of = [*sweep.dimensions, objective]
    width = across(len(axes_of))
    left, right, bottom = 0.7 / width, 1.0 / width, 0.16
    figure, axes = blank(width, 3.6, (left, bottom, 1 - left - right, 0.96 - bottom))
    for point in failed:
        places = [_place(one, point) for one in sweep.dimensions]
        axes.plot(places, color=ORANGE, linewidth=0.8, linestyle=":", clip_on=False)
    for rank, point in reversed(list(enumerate(ranked))):
        places = [_place(one, point) for one in sweep.dimensions]
        thick = 1.1 if rank else 2.6
        colour = _colour(rank, len(ranked))
        axes.plot([*places, objective.place(point.mean)], color=colour, linewidth=thick, alpha=0.9)
    for number, one in enumerate(axes_of):
        _upright(axes, number, one)
    axes.set_xticks(range(len(axes_of)), map(_title, axes_of), fontweight="bold", fontsize=8)
    axes.set_xlim(0, len(sweep.dimensions))
    axes.set_ylim(-0.06, 1.06)
    axes.set_yticks([])
    axes.tick_params(bottom=False)
    axes.spines[:].set_visible(False)
    return svg(figure)


def against(sweep: Sweep, dimension: Dimension) -> str:
    """The objective against one hyperparameter, on its own scale; alone, as wide as the page."""
    if len(sweep.dimensions) == 1:
        figure, axes = blank(across(), 3.4, (0.07, 0.15, 0.92, 0.82))
    else:
        figure, axes = blank(4.4, 3.0, (0.16, 0.17, 0.81, 0.79))
    best = sweep.ranked[:1]
    others = [point for point in sweep.points if point.scores and point not in best]
    finished = [point for point in others if point.status == record.FINISHED]
    pruned = [point for point in others if point.status == record.PRUNED]
    faint = {"markersize": 5, "elinewidth": 0.8, "alpha": 0.8}
    _scatter(axes, dimension, finished, fmt="o", color=BLUE, **faint)
    _scatter(axes, dimension, pruned, fmt="D", color=GREY, markerfacecolor="none", **faint)
    if not dimension.numeric:
        _boxes(axes, sweep, dimension)
    _scatter(axes, dimension, best, fmt="*", color=ORANGE, markersize=13, zorder=5)
    if wants_log(sweep.metric, [point.mean for point in [*best, *others]]):
        logarithmic(axes)
    failed = [_across(dimension, p) for p in sweep.points if p.status == record.FAILED]
    style: dict[str, Any] = {"color": ORANGE, "clip_on": False, "markersize": 7}
    bottom = axes.get_xaxis_transform()
    axes.plot(failed, [0.0] * len(failed), "x", transform=bottom, markeredgewidth=1.6, **style)
    if dimension.log:
        logarithmic(axes, "x")
    if dimension.ranged and len({*dimension.ends}) == 2:
        axes.axvspan(*dimension.ends, color="#f3f6fa", zorder=0)
    if not dimension.numeric:
        names = dimension.names
        axes.set_xticks(range(len(names)), shortened(tuple(names), 14))
        axes.set_xlim(-0.6, len(names) - 0.4)
        if len(names) > 4:  # which takes more room below
            axes.tick_params(axis="x", labelrotation=30)
            left, below, width, height = axes.get_position().bounds
            axes.set_position((left, below + 0.14, width, height - 0.14))
    _finish(axes, literal(dimension.key), literal(sweep.objective))
    return svg(figure)


def bars(importance: Mapping[str, float]) -> str:
    """The share of every hyperparameter, the largest on top."""
    names, shares = [literal(key) for key in importance], list(importance.values())
    height = 0.65 + 0.3 * len(names)
    longest = min(0.4, 0.02 + 0.0085 * max(map(len, names)))
    box = (longest, 0.5 / height, 0.98 - longest, 1 - 0.6 / height)
    figure, axes = blank(across(), height, box)
    axes.barh(range(len(names)), shares, color=BLUE, height=0.6, tick_label=names)
    for place, share in enumerate(shares):
        axes.text(share + 0.005, place, f"{share:.0%}", va="center", fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.05 * max(shares) + 0.02)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    _finish(axes, "share of the variation it explains", "")
    axes.tick_params(left=False)
    axes.grid(visible=False, axis="y")
    return svg(figure)


def gains(objective: str, found: Sequence[tuple[Point, Difference]]) -> str:
    """What each ingredient of an ablation gives, the most on top, with its interval."""
    names = [literal(str(point.values[WITHOUT])) for point, _ in found]
    means, noise = ([getattr(apart, what) for _, apart in found] for what in ("mean", "noise"))
    height = 0.75 + 0.34 * len(names)
    longest = min(0.4, 0.02 + 0.0085 * max(map(len, names)))
    figure, axes = blank(
        across(), height, (longest, 0.5 / height, 0.98 - longest, 1 - 0.6 / height)
    )
    colours = [(BLUE if a.mean > 0 else ORANGE) if a.decided else PALE for _, a in found]
    axes.barh(range(len(names)), means, color=colours, height=0.6, tick_label=names)
    known = [place for place, each in enumerate(noise) if math.isfinite(each)]
    at = [means[place] for place in known]
    spread = [noise[place] for place in known]
    axes.errorbar(at, known, xerr=spread, fmt="none", ecolor="#222222", elinewidth=1.2, capsize=3)
    axes.axvline(0, color=GREY, linewidth=1)
    axes.invert_yaxis()
    _finish(axes, f"what it gives in {literal(objective)}", "")
    axes.tick_params(left=False)
    axes.grid(visible=False, axis="y")
    return svg(figure)


def learning(sweep: Sweep, curves: Mapping[int, Sequence[Curve]]) -> str:
    """The objective of every run over its epochs, coloured by the rank of its point."""
    figure, axes = blank(across(), 4.0, (0.07, 0.12, 0.92, 0.79))
    ranked = sweep.ranked
    faint: dict[str, Any] = {"color": GREY, "linewidth": 0.8, "alpha": 0.7}
    for point in [point for point in sweep.points if point not in ranked][:MANY]:
        dash = "--" if point.status == record.PRUNED else ":"
        for curve in curves.get(point.trial, ()):
            axes.plot(*_thin(*curve), linestyle=dash, **faint)
    everything: list[float] = []
    for rank, point in reversed(list(enumerate(ranked[:MANY]))):
        label = None if rank else f"best: {short(point.label, 130)}"
        for epochs, values in curves.get(point.trial, ()):
            everything += values
            style: dict[str, Any] = {"linewidth": 1.0 if rank else 2.2, "label": label}
            style |= {"color": _colour(rank, len(ranked)), "marker": "o" * (len(epochs) == 1)}
            axes.plot(*_thin(epochs, values), **style)
            label = None
    if wants_log(sweep.metric, everything):
        logarithmic(axes)
    whole_numbers(axes, 8)
    _finish(axes, "epoch", literal(sweep.objective))
    if axes.get_legend_handles_labels()[1]:
        _legend(axes)
    return svg(figure)


def rates(courses: Mapping[str, Curve]) -> str:
    """Learning rates over the epochs; told apart by colours, then by dashes."""
    legend = 0.3 + 0.2 * -(-len(courses) // 2)  # inches
    height = 3.6 + legend
    box = (0.07, 0.5 / height, 0.92, (height - 0.5 - legend) / height)
    figure, axes = blank(across(), height, box)
    for (name, curve), (colour, dash) in zip(courses.items(), looks(), strict=False):
        axes.plot(*curve, color=colour, linestyle=dash, linewidth=1.6, label=short(name, 70))
    _finish(axes, "epoch", "learning rate")
    _legend(axes, columns=2)
    return svg(figure)


def across(axes: int = 1) -> float:
    """Inches of a figure as wide as the page, or wider for so many upright axes."""
    return max(WIDE, 1.3 * axes)


def blank(
    width: float, height: float, box: tuple[float, float, float, float]
) -> tuple["Figure", "Axes"]:
    """An empty figure of so many inches, its axes in the box (left, bottom, width, height)."""
    figure = new_figure(width, height)
    figure.patch.set_alpha(0)
    return figure, figure.add_axes(box)


def svg(figure: "Figure") -> str:
    """The figure as the element <svg> of a page."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    text = StringIO()
    with rc_context({"svg.fonttype": "none", "svg.id": None}):  # text stays text
        FigureCanvasSVG(figure).print_figure(
            text, format="svg", metadata={"Date": None, "Creator": None}
        )
    return text.getvalue()[text.getvalue().index("<svg") :]


def short(text: str, most: int) -> str:
    """The text, or so many of its letters."""
    return literal(cut(text, most))


def cut(text: str, most: int) -> str:
    """The text, or so many of its letters; it may be literal already."""
    return text if len(text) <= most else text[: most - 1] + "…"


@cache
def shortened(names: tuple[str, ...], most: int) -> tuple[str, ...]:
    """Names of so many letters at most, of which those that differ still differ.

    Cut off at their end, else in the middle, else numbered.
    """
    head = (most - 1) // 2
    for shorten in (
        lambda name: name[: most - 1] + "…",
        lambda name: f"{name[:head]}…{name[head + 1 - most :]}",
    ):
        found = [name if len(name) <= most else shorten(name) for name in names]
        if len({*found}) == len({*names}):
            return tuple(map(literal, found))
    places = {name: f"… {place}" for place, name in enumerate(dict.fromkeys(names), 1)}
    return tuple(
        literal(name if len(name) <= most else name[: most - len(places[name])] + places[name])
        for name in names
    )


def _finish(axes: "Axes", x: str, y: str) -> None:
    """The names of the axes, a light grid, and no frame."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    tidy(axes)
    axes.tick_params(which="both", labelsize=8)


def _legend(axes: "Axes", columns: int = 1) -> None:
    """The names of the lines, above them."""
    above: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0)}
    axes.legend(frameon=False, fontsize=8, borderaxespad=0.2, ncols=columns, **above)


def _colour(rank: int, count: int) -> Any:
    """The better, the darker; the best stands out."""
    from matplotlib import colormaps

    return colormaps[_COLOURS](0.15 + 0.85 * (1 - rank / count)) if rank else ORANGE


def _upright(axes: "Axes", at: int, dimension: Dimension) -> None:
    """One upright axis of parallel coordinates, its ticks labelled beside it."""
    axes.plot([at, at], [0, 1], color=GREY, linewidth=1, zorder=3, clip_on=False)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.9, "pad": 0.6}
    beside: dict[str, Any] = {"xytext": (6, 0), "textcoords": "offset points", "bbox": box}
    values = tuple(dict.fromkeys(_ticks(dimension)))
    texts = shortened(tuple(map(named, values)), 14)
    if dimension.ranged:
        texts = tuple(f"{value:.3g}" for value in values)
    for value, text in zip(values, texts, strict=True):
        height = dimension.place(value)
        axes.plot(at, height, "_", color=GREY, markersize=6, zorder=3, clip_on=False)
        axes.annotate(text, (at, height), va="center", fontsize=8, zorder=4, **beside)


def _ticks(dimension: Dimension) -> list[Any]:
    """The values that are labelled: all of a list, else decades or quarters of the range."""
    if not dimension.numeric:
        return dimension.names
    if not dimension.ranged:
        return sorted(map(float, dimension.choices))
    low, high = dimension.ends
    if not dimension.log:
        return [low + (high - low) * quarter / 4 for quarter in range(5)]
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    powers = range(first, last + 1, max(1, math.ceil((last - first) / 6)))
    return [10.0**power for power in powers] if last > first else [low, math.sqrt(low * high), high]


def _title(dimension: Dimension) -> str:
    """The key, on two lines where it is long."""
    room, _, last = literal(dimension.key).rpartition(".")
    return f"{room}.\n{last}" if len(dimension.key) > 14 and room else literal(dimension.key)


def _place(dimension: Dimension, point: Point) -> float:
    """Where a point crosses an upright axis; nan where it does not."""
    value = point.values.get(dimension.key)
    return math.nan if value is None else dimension.place(value)


def _across(dimension: Dimension, point: Point) -> float:
    """Where a point stands on the axis of a dimension; choices are spread a little."""
    value: Any = point.values.get(dimension.key)
    if value is None:
        return math.nan
    if dimension.numeric:
        return float(value)
    spread = 0.3 * ((point.trial * 0.618034) % 1 - 0.5)  # by the golden section
    return dimension.names.index(named(value)) + spread


def _scatter(axes: "Axes", dimension: Dimension, points: Sequence[Point], **style: Any) -> None:
    """The means of some points, with their standard errors."""
    if points:
        x, y = [_across(dimension, p) for p in points], [p.mean for p in points]
        axes.errorbar(x, y, yerr=[point.stderr or 0.0 for point in points], **style)


def _boxes(axes: "Axes", sweep: Sweep, dimension: Dimension) -> None:
    """The quartiles behind the points of a choice, or a bar at their median where they are few."""
    for place, name in enumerate(dimension.names):
        means = [p.mean for p in sweep.ranked if named(p.values.get(dimension.key)) == name]
        if len(means) >= 5:
            low, middle, high = statistics.quantiles(means, n=4, method="inclusive")
            axes.bar(place, high - low, 0.5, low, color="#e3eaf2", edgecolor=GREY, zorder=1)
        elif means:
            middle = statistics.median(means)
        else:
            continue
        axes.plot([place - 0.25, place + 0.25], [middle, middle], color=GREY, linewidth=2, zorder=2)


def _thin(epochs: list[float], values: list[float], most: int = 200) -> Curve:
    """A curve with so many points at most, the last of which is kept."""
    every = math.ceil(len(epochs) / most)
    keep = sorted({*range(0, len(epochs), every), len(epochs) - 1}) if epochs else []
    return [epochs[place] for place in keep], [values[place] for place in keep]
