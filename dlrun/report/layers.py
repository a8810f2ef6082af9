"""What was watched of the layers of a run: as a heat map of layers and epochs, and as curves."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun import record
from dlrun.record.sweep import spans_decades
from dlrun.report.curves import Curve, curve, literal, logarithmic, new_figure, save, whole_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

SIZE, SHARE, SIGNED, FROM_HALF = "size", "share", "signed", "from half"
"""How a statistic is coloured: logarithmically, from 0 to 1, about 0, from 0.5 to 1."""
PANELS = {
    "mean": ("mean of outputs", SIGNED),
    "std": ("standard deviation of outputs", SIZE),
    "gradient_std": ("standard deviation of gradients", SIZE),
    "update": ("norm of a step / norm of the weights", SIZE),
    "zeros": ("zeros among outputs", SHARE),
    "dead": ("dead units", SHARE),
    "saturated": ("saturated outputs", SHARE),
    "same_sign": ("a unit's gradients of one sign", FROM_HALF),
    "distinct": ("distinct units", SHARE),
}
"""The statistics that are drawn, with their titles; see `dlrun/engine/layers.py`."""
_USUAL = {"zeros": 0.0, "distinct": 1.0}
"""What most layers have of a statistic; those that always have it are left out of its panel."""
_ACROSS = 3
_TICKS = 5  # on an axis, at most: they take most of the time
_LABELLED = 40  # labels of layers in a panel, at most
_ROWS = 50  # rows of cells that are as high as in a small panel, at most
_LETTERS = 32  # of a label, at most
_WIDE, _BETWEEN = 2.7, 0.78  # inches of a panel, and between two lines of them
_NAMED = 10  # layers that a legend names
_DECADES = 1e6  # a range of colours spans so much, at most
_LIMITS = {SHARE: (-0.02, 1.02), FROM_HALF: (0.49, 1.01)}
_COLOURS = {SIGNED: "PuOr"}
_SEQUENTIAL = "cividis_r"  # told apart with any kind of colour vision (Nuñez et al. 2018)


@dataclass(frozen=True)
class Panel:
    """A statistic, and its course in each layer that has it, the first layer first."""

    statistic: str
    courses: Mapping[str, Curve]

    @property
    def values(self) -> list[float]:
        """All of them."""
        return [value for _, values in self.courses.values() for value in values]


def draw(directory: Path) -> list[Path]:
    """Draw `layers.png` and `layer_curves.png` of a run that was watched; the files written."""
    kinds = record.read_json(directory / "run.json").get("layers") or {}
    panels = of_points(record.read_points(directory))
    if not panels:
        return []
    paths = [directory / "figures" / f"{name}.png" for name in ("layers", "layer_curves")]
    save(_heat_map(panels, kinds), paths[0])
    save(_curves(panels, kinds), paths[1])
    return paths


def of_points(points: list[dict[str, Any]]) -> list[Panel]:
    """The panels of a run's points."""
    keys = dict.fromkeys(key for p in points for key in p["values"] if key.startswith("layer/"))
    found = []
    for statistic in PANELS:
        mine = [key for key in keys if key.rpartition("/")[2] == statistic]
        courses = {
            key.removeprefix("layer/").rpartition("/")[0]: curve(points, key) for key in mine
        }
        if statistic in _USUAL:
            usual = {_USUAL[statistic]}
            courses = {name: course for name, course in courses.items() if {*course[1]} - usual}
        if courses:
            found.append(Panel(statistic, courses))
    return found


def _heat_map(panels: Sequence[Panel], kinds: Mapping[str, str]) -> "Figure":
    """A row of cells for each layer, a column for each look."""
    names = {name for panel in panels for name in panel.courses}
    labels = {name: _label(name, kinds) for name in names}
    figure, places = _grid(panels, labels.values(), row=0.17, least=0.9, below=0.0)
    for panel, axes in zip(panels, places, strict=True):
        _cells(figure, axes, panel)
        whole_numbers(axes, _TICKS)
        every = -(-len(panel.courses) // _LABELLED)
        shown = [labels[name] for name in panel.courses][::every]
        axes.set_yticks(range(0, len(panel.courses), every), shown)
    return figure


def _cells(figure: "Figure", axes: "Axes", panel: Panel) -> None:
    scale = PANELS[panel.statistic][1]
    epochs = sorted({epoch for at, _ in panel.courses.values() for epoch in at})
    places = {epoch: place for place, epoch in enumerate(epochs)}
    cells = [[math.nan] * len(epochs) for _ in panel.courses]
    for row, (at, values) in zip(cells, panel.courses.values(), strict=True):
        for epoch, value in zip(at, values, strict=True):
            row[places[epoch]] = value if scale != SIZE or value > 0 else math.nan
    colours = _COLOURS.get(scale, _SEQUENTIAL)
    rows = [number - 0.5 for number in range(len(cells) + 1)]
    drawn = axes.pcolormesh(_edges(epochs), rows, cells, cmap=colours, norm=_norm(panel))
    axes.set_facecolor("#eeeeee")
    axes.invert_yaxis()
    bar = figure.colorbar(drawn, cax=axes.inset_axes((1.02, 0, 0.035, 1)))
    bar.ax.tick_params(labelsize=7)
    bar.minorticks_off()
    bar.outline.set_visible(False)


def _norm(panel: Panel) -> "Normalize":
    from matplotlib.colors import LogNorm, Normalize, PowerNorm

    scale = PANELS[panel.statistic][1]
    if scale == SHARE:
        return PowerNorm(0.5, 0, 1)  # so that a few percent show
    if scale == FROM_HALF:
        return Normalize(0.5, 1)
    if scale == SIGNED:
        most = max(map(abs, panel.values)) or 1.0
        return Normalize(-most, most)
    above = [value for value in panel.values if value > 0] or [1.0]
    high = max(above)
    low = max(min(above), high / _DECADES)
    return LogNorm(low, high) if spans_decades(above) else Normalize(min(low, 0.9 * high), high)


def _edges(epochs: Sequence[float]) -> list[float]:
    """Where the columns of these epochs end: half-way between them."""
    inner = [(a + b) / 2 for a, b in pairwise(epochs)]
    first = 2 * epochs[0] - inner[0] if inner else epochs[0] - 0.5
    last = 2 * epochs[-1] - inner[-1] if inner else epochs[0] + 0.5
    return [first, *inner, last]


def _curves(panels: Sequence[Panel], kinds: Mapping[str, str]) -> "Figure":
    """A line for each layer, from the first, dark, to the last."""
    from matplotlib import colormaps
    from matplotlib.lines import Line2D

    names = list(dict.fromkeys(name for panel in panels for name in panel.courses))
    shades = colormaps["viridis"].resampled(256)
    colours = {name: shades(0.9 * n / max(1, len(names) - 1)) for n, name in enumerate(names)}
    shown = names if len(names) <= _NAMED else [names[0], names[-1]]
    figure, places = _grid(panels, (), row=0.0, least=1.7, below=0.35)
    for panel, axes in zip(panels, places, strict=True):
        scale = PANELS[panel.statistic][1]
        for name, (epochs, values) in panel.courses.items():
            marker = "o" if len(epochs) == 1 else ""
            axes.plot(epochs, values, color=colours[name], linewidth=1.2, marker=marker)
        if scale == SIZE and spans_decades(panel.values):
            logarithmic(axes)
        elif scale in _LIMITS:
            axes.set_ylim(*_LIMITS[scale])
        whole_numbers(axes, _TICKS)
        axes.minorticks_off()
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    lines = [Line2D([], [], color=colours[name], label=_label(name, kinds)) for name in shown]
    figure.legend(handles=lines, ncols=len(lines), loc="lower center", frameon=False, fontsize=8)
    return figure


def _label(name: str, kinds: Mapping[str, str]) -> str:
    """A layer's name and what it is, as far as that is known; the end of what is too long."""
    text = literal(f"{name} {kinds.get(name, '')}".strip())
    return text if len(text) <= _LETTERS else f"…{text[1 - _LETTERS :]}"


def _grid(
    panels: Sequence[Panel], labels: Iterable[str], row: float, least: float, below: float
) -> tuple["Figure", list["Axes"]]:
    """An empty figure with axes for each panel; what is given is in inches.

    labels: on the left of each. row: the height of a layer, least: that of a panel.
    below: the space for a legend.
    """
    left = 0.25 + 0.06 * min(_LETTERS, max(map(len, labels), default=4))
    across = min(_ACROSS, len(panels))
    lines = [panels[start : start + across] for start in range(0, len(panels), across)]
    heights = [
        max(least, row * min(_ROWS, max(len(panel.courses) for panel in line))) for line in lines
    ]
    cell = left + _WIDE + 0.6
    width, height = across * cell, sum(heights) + _BETWEEN * len(lines) + below
    figure = new_figure(width, height)
    made, top = [], height
    for line, tall in zip(lines, heights, strict=True):
        top -= tall + _BETWEEN
        for place, panel in enumerate(line):
            at = (place * cell + left) / width, (top + 0.45) / height
            axes = figure.add_axes((*at, _WIDE / width, tall / height))
            axes.set_title(PANELS[panel.statistic][0], fontsize=9)
            axes.set_xlabel("epoch", fontsize=8)
            axes.tick_params(labelsize=7)
            made.append(axes)
    return figure, made
