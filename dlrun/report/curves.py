"""The curves of a run as figures, drawn from its `metrics.jsonl`."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import cycle
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from dlrun import record
from dlrun.metric import Metric, known
from dlrun.record.sweep import Sweep, spans_decades

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito, Color universal design, 2008: told apart with any kind of colour vision.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#555555"
COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#882255")
PALE = "#dddddd"
_DASHES = ("-", "--", ":", "-.")
_SOME, _DECADES = 0.7, 2.0  # below which all, or some, places between powers of ten are labelled

Curve = tuple[list[float], list[float]]
"""Epochs and values."""


@dataclass(frozen=True)
class Section:
    """One figure: its file name, its axis, and the values that it shows."""

    name: str
    label: str
    curves: tuple[tuple[str, str, str], ...]  # key, name in the legend, colour
    metric: Metric | None = None  # what the values are; its best validation is marked
    linear: bool = False  # never on a logarithmic axis


_OTHERS = (
    Section("lr", "learning rate", (("lr", "learning rate", GREEN),), linear=True),
    Section("grad_norm", "norm of the gradient", (("grad/norm", "gradient", GREY),)),
    Section(
        "sharpness",
        "curvature of the loss",
        (
            ("sharpness", "largest eigenvalue of the Hessian", BLUE),
            ("sharpness/bound", "beyond it descent is unstable", GREY),
        ),
    ),
)


OF_SHOW = (
    *("reliability", "filters", "weights", "activations", "inputs", "loss_line", "loss_plane"),
)
"""What `dlrun show` draws alone; once a run has trained on, they are of other weights."""
_TAKEN = {
    *(section.name for section in _OTHERS),
    *("layers", "layer_curves", "predictions", "mistakes", "confusion", *OF_SHOW),
}
"""The names of all figures that are of no metric."""


def sections(metrics: Iterable[Metric]) -> list[Section]:
    """The figures of a run: one of each metric, and some others."""
    return [
        *(
            Section(
                f"{one.name}_metric" if one.name in _TAKEN else one.name,
                one.label or one.name.replace("_", " "),
                (
                    (f"train/{one.name}", "training", BLUE),
                    (f"train_eval/{one.name}", "training, in evaluation mode", GREEN),
                    (f"val/{one.name}", "validation", ORANGE),
                ),
                one,
            )
            for one in metrics
        ),
        *_OTHERS,
    ]


def warm() -> None:
    """Draw what nobody sees: the first figure takes longer than those after it."""
    axes = blank()
    axes.plot([0.0, 1.0], [1.0, 100.0], label="a line")
    logarithmic(axes)
    finish(axes, "x", "y")
    figure = axes.get_figure(root=True)
    assert figure is not None
    _print(figure, BytesIO())


def draw(directory: str | Path) -> list[Path]:
    """Draw the sections that have points into `figures/` of the run's directory.

    Returns the files that were written. Raises Failure where they cannot be.
    """
    points = record.read_points(directory)
    folder = Path(directory) / "figures"
    drawn = []
    metrics = known(record.read_json(Path(directory) / "run.json").get("metrics"))
    for section in sections(metrics.values()):
        curves = {key: curve(points, key) for key, _, _ in section.curves}
        if not any(epochs for epochs, _ in curves.values()):
            continue
        path = folder / f"{section.name}.png"
        _draw(section, curves, path, _chosen(points, section.metric))
        drawn.append(path)
    return drawn


def of_runs(sweep: Sweep, outputs: str | Path) -> dict[int, list[Curve]]:
    """The course of the objective in every run of a sweep, by the point's trial."""
    found = {}
    for point in sweep.points:
        runs = (record.read_points(Path(outputs) / run) for run in point.directories)
        drawn = [curve(points, sweep.objective) for points in runs]
        found[point.trial] = [each for each in drawn if each[0]]
    return found


def curve(points: Sequence[Mapping[str, Any]], key: str) -> Curve:
    """Epochs and finite values of one metric."""
    found = [
        (float(point["epoch"]), float(point["values"][key]))
        for point in points
        if key in point["values"] and math.isfinite(point["values"][key])
    ]
    return [epoch for epoch, _ in found], [value for _, value in found]


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """The mean of several curves at the epochs that all of them have."""
    found = [dict(zip(*each, strict=True)) for each in curves]
    shared = sorted(set.intersection(*map(set, found))) if found else []
    return shared, [fmean(values[epoch] for values in found) for epoch in shared]


def looks() -> Iterator[tuple[str, str]]:
    """A colour and a dash for each of many lines: told apart by colours, then by dashes."""
    return cycle((colour, dash) for dash in _DASHES for colour in COLOURS)


def wants_log(metric: Metric | None, values: list[float]) -> bool:
    """Whether a logarithmic axis shows values better: never those of which more is better."""
    return not (metric and metric.higher_is_better) and spans_decades(values)


def _chosen(points: list[dict[str, Any]], metric: Metric | None) -> float | None:
    """The epoch of the weights that were kept, where this metric has chosen them."""
    end = record.last_values(points)
    return end.get("best/epoch") if metric and f"best/val_{metric.name}" in end else None


def _draw(
    section: Section,
    curves: dict[str, tuple[list[float], list[float]]],
    path: Path,
    chosen: float | None,
) -> None:
    axes = blank()
    for key, name, colour in section.curves:
        epochs, values = curves[key]
        if epochs:
            marker = "o" if len(epochs) <= 40 else ""
            axes.plot(epochs, values, color=colour, label=name, marker=marker, markersize=3)
    everything = [value for _, values in curves.values() for value in values]
    metric = section.metric
    if not section.linear and wants_log(metric, everything):
        logarithmic(axes)
    if metric is not None and curves[f"val/{metric.name}"][0]:
        epochs, values = curves[f"val/{metric.name}"]
        choose, word = (max, "highest") if metric.higher_is_better else (min, "lowest")
        word = "best" if chosen in epochs else word
        place = epochs.index(chosen) if chosen in epochs else values.index(choose(values))
        best = f"{word}: {number(values[place])} at epoch {epochs[place]:.4g}"
        axes.plot(epochs[place], values[place], "*", color=ORANGE, markersize=13, label=best)
    whole_numbers(axes)
    write(axes, "epoch", section.label, path)


def logarithmic(axes: "Axes", which: Literal["x", "y"] = "y") -> None:
    """Make an axis logarithmic, with plain labels: those that matplotlib sets as formulas cost
    more time than all else of a figure. Below two decades, which may hold a single power of ten,
    there are labels between the powers.
    """
    axes.set(**{f"{which}scale": "log"})
    axis = axes.yaxis if which == "y" else axes.xaxis

    def between(value: float, _: float) -> str:
        low, high = map(math.log10, axis.get_view_interval())
        first = f"{value:.0e}"[0]
        shown = high - low < _SOME or (high - low < _DECADES and first in "25")
        return _plain(value) if shown else ""

    axis.set_major_formatter(lambda value, _: _plain(value))
    axis.set_minor_formatter(between)


def _plain(value: float) -> str:
    """A number below an axis: 0.01, 1e-6, 1e9."""
    return re.sub(r"e\+?(-?)0*", r"e\1", f"{value:.4g}")


def whole_numbers(axes: "Axes", most: int | Literal["auto"] = "auto") -> None:
    """Label whole numbers alone on the x axis, so many at most."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(most, integer=True))
    if axes.dataLim.width == 0:  # around one place alone Matplotlib would label fractions
        axes.set_xlim(axes.dataLim.x0 - 1, axes.dataLim.x0 + 1)


def number(value: float) -> str:
    """A value in a legend: four digits, and all of a large one that people read, 21,940."""
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of so many inches."""
    # Imported here, and without pyplot: it has a global state and costs a second.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def blank() -> "Axes":
    """The axes of an empty figure of one PNG."""
    return new_figure(6.4, 4.0).add_axes((0.14, 0.13, 0.83, 0.83))


def write(axes: "Axes", x: str, y: str, path: Path) -> None:
    """Name the axes, and write their figure as a PNG."""
    finish(axes, x, y)
    figure = axes.get_figure(root=True)
    assert figure is not None
    save(figure, path)


def literal(text: str) -> str:
    """Text that Matplotlib takes as it is: between dollars it would read a formula, and leave out
    of a legend what begins with _.
    """
    return (" " * text.startswith("_") + text).replace("$", r"\$")


def finish(axes: "Axes", x: str, y: str, legend: bool = True) -> None:
    """Name the axes; a light grid, no frame, and a legend where there are several lines."""
    axes.set_xlabel(literal(x))
    axes.set_ylabel(literal(y))
    tidy(axes)
    if legend and len(axes.get_lines()) > 1 and axes.get_legend() is None:
        axes.legend(frameon=False)


def tidy(axes: "Axes") -> None:
    """A light grid and no frame."""
    axes.grid(color=PALE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def save(figure: "Figure", path: Path, dpi: int = 110) -> None:
    """Write a figure as a PNG."""
    with record.guard(path.parent):
        path.parent.mkdir(exist_ok=True)
    with record.replacing(path) as part:
        _print(figure, part, dpi)


def _print(figure: "Figure", to: Path | BytesIO, dpi: int = 110) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).print_figure(to, format="png", dpi=dpi)
