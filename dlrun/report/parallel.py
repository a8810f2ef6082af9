"""Parallel coordinates: every point of a sweep as one line."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlrun import record
from dlrun.record.sweep import Dimension, Point, Sweep, named
from dlrun.report import drawing
from dlrun.report.curves import GREY, ORANGE
from dlrun.report.drawing import MANY

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def coordinates(sweep: Sweep) -> str:
    """Every point as a line through an axis for each dimension, and the objective."""
    dimensions, ranked = sweep.dimensions, sweep.ranked[:MANY]
    failed = [point for point in sweep.points if point.status == record.FAILED][:MANY]
    width = drawing.across(len(dimensions) + 1)
    left, right, bottom = 0.7 / width, 1.0 / width, 0.16
    figure, axes = drawing.figure(width, 3.6, (left, bottom, 1 - left - right, 0.96 - bottom))
    scores = drawing.Scale(sweep.objective, [point.mean for point in ranked])
    for point in failed:
        places = _places(dimensions, point)
        axes.plot(
            range(len(places)), places, color=ORANGE, linewidth=0.8, linestyle=":", clip_on=False
        )
    for number, point in reversed(list(enumerate(ranked))):
        places = [*_places(dimensions, point), scores.place(point.mean)]
        colour = ORANGE if number == 0 else drawing.colour(number, len(ranked))
        thick = 2.6 if number == 0 else 1.1
        axes.plot(range(len(places)), places, color=colour, linewidth=thick, alpha=0.9)
    for place, dimension in enumerate(dimensions):
        _axis(axes, place, _ticks(dimension, sweep.points))
    _axis(axes, len(dimensions), scores.ticks())
    names = [*(_name(dimension) for dimension in dimensions), drawing.literal(sweep.objective)]
    axes.set_xticks(range(len(names)), names, fontweight="bold", fontsize=8)
    axes.set_xlim(0, len(dimensions))
    axes.set_ylim(-0.06, 1.06)
    axes.set_yticks([])
    axes.tick_params(bottom=False)
    axes.spines[:].set_visible(False)
    return drawing.svg(figure)


def _axis(axes: "Axes", place: int, ticks: Sequence[tuple[float, str]]) -> None:
    """One upright axis of parallel coordinates, its ticks labelled beside it."""
    axes.plot([place, place], [0, 1], color=GREY, linewidth=1, zorder=3, clip_on=False)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.9, "pad": 0.6}
    beside: dict[str, Any] = {"xytext": (6, 0), "textcoords": "offset points", "bbox": box}
    for height, text in ticks:
        axes.plot(place, height, "_", color=GREY, markersize=6, zorder=3, clip_on=False)
        axes.annotate(text, (place, height), va="center", fontsize=8, zorder=4, **beside)


def _ticks(dimension: Dimension, points: Sequence[Point]) -> list[tuple[float, str]]:
    if not dimension.numeric:
        listed = drawing.choices(dimension, points)
        return [
            (_spread(place, len(listed)), drawing.short(name, 14))
            for place, name in enumerate(listed)
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
            listed = drawing.choices(dimension, [point])
            place = listed.index(named(value)) if named(value) in listed else 0
            found.append(_spread(place, len(listed)))
    return found


def _spread(place: int, count: int) -> float:
    return place / (count - 1) if count > 1 else 0.5


def _name(dimension: Dimension) -> str:
    """The key on two lines where it is long."""
    room, _, last = drawing.literal(dimension.key).rpartition(".")
    return (
        f"{room}.\n{last}" if len(dimension.key) > 14 and room else drawing.literal(dimension.key)
    )
