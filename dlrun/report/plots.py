"""The plots of a sweep's report, each as the text of an SVG that needs nothing else."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dlrun import record
from dlrun.record.sweep import Dimension, Point, Sweep, named
from dlrun.report import drawing
from dlrun.report.curves import BLUE, GREY, ORANGE, Curve, metric_wants_log
from dlrun.report.drawing import MANY

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def against(sweep: Sweep, dimension: Dimension) -> str:
    """The objective against one hyperparameter, on its own scale; alone, as wide as the page."""
    if len(sweep.dimensions) == 1:
        figure, axes = drawing.figure(drawing.across(), 3.4, (0.07, 0.15, 0.92, 0.82))
    else:
        figure, axes = drawing.figure(4.4, 3.0, (0.16, 0.17, 0.81, 0.79))
    best = sweep.ranked[0] if sweep.ranked else None
    listed = [] if dimension.numeric else drawing.choices(dimension, sweep.points)
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
    if drawing.Scale(sweep.objective, [point.mean for point in shown]).log:
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
        axes.set_xticks(range(len(listed)), [drawing.short(choice, 14) for choice in listed])
        axes.set_xlim(-0.6, len(listed) - 0.4)
        if len(listed) > 4:
            axes.tick_params(axis="x", labelrotation=30)
    axes.set_xlabel(drawing.literal(dimension.key))
    axes.set_ylabel(drawing.literal(sweep.objective))
    drawing.plain(axes)
    return drawing.svg(figure)


def bars(importance: Mapping[str, float]) -> str:
    """The share of every hyperparameter, the largest on top."""
    names = [drawing.literal(key) for key in importance]
    width, height = drawing.across(), 0.65 + 0.3 * len(names)
    longest = min(0.4, 0.02 + 0.0085 * max(map(len, names)))
    figure, axes = drawing.figure(
        width, height, (longest, 0.5 / height, 0.98 - longest, 1 - 0.6 / height)
    )
    axes.barh(names, list(importance.values()), color=BLUE, height=0.6)
    for place, share in enumerate(importance.values()):
        axes.text(share + 0.005, place, f"{share:.0%}", va="center", fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.05 * max(importance.values()) + 0.02)
    axes.set_xlabel("share of the variation it explains")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    drawing.plain(axes)
    axes.tick_params(left=False)
    axes.grid(visible=False, axis="y")
    return drawing.svg(figure)


def learning(sweep: Sweep, curves: Mapping[int, Sequence[Curve]]) -> str:
    """The objective of every run over its epochs, coloured by the rank of its point."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = drawing.figure(drawing.across(), 4.0, (0.07, 0.12, 0.92, 0.79))
    ranked = sweep.ranked
    others = [point for point in sweep.points if point not in ranked]
    for point in others[:MANY]:
        dash = "--" if point.status == record.PRUNED else ":"
        for epochs, values in curves.get(point.trial, ()):
            axes.plot(*_thin(epochs, values), color=GREY, linewidth=0.8, linestyle=dash, alpha=0.7)
    everything: list[float] = []
    for number, point in reversed(list(enumerate(ranked[:MANY]))):
        colour = ORANGE if number == 0 else drawing.colour(number, len(ranked))
        for place, (epochs, values) in enumerate(curves.get(point.trial, ())):
            everything += values
            label = (
                f"best: {drawing.short(point.label, 130)}" if number == 0 and place == 0 else None
            )
            width = 2.2 if number == 0 else 1.0
            marker = "o" if len(epochs) == 1 else ""
            style: dict[str, Any] = {
                "color": colour,
                "linewidth": width,
                "label": label,
                "marker": marker,
            }
            axes.plot(*_thin(epochs, values), **style)
    if metric_wants_log(sweep.objective, everything):
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.set_xlabel("epoch")
    axes.set_ylabel(drawing.literal(sweep.objective))
    drawing.plain(axes)
    if axes.get_legend_handles_labels()[1]:
        above: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0)}
        axes.legend(frameon=False, fontsize=8, borderaxespad=0.2, **above)
    return drawing.svg(figure)


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


def _thin(epochs: list[float], values: list[float], most: int = 200) -> Curve:
    """A curve with so many points at most, the last of which is kept."""
    every = math.ceil(len(epochs) / most)
    keep = sorted({*range(0, len(epochs), every), len(epochs) - 1}) if epochs else []
    return [epochs[place] for place in keep], [values[place] for place in keep]
