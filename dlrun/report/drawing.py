"""What the figures of a sweep's report have in common: an empty figure, its text, its colours."""

import math
from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

from dlrun.record.sweep import Dimension, Point, named
from dlrun.report.curves import metric_wants_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MANY = 150
"""Curves and lines of points beyond the best so many are left out."""
WIDE = 10.4
"""Inches of a figure that is as wide as the page; its text is then as large as in the others."""
_PALE = "#dddddd"
_COLOURS = "cividis_r"  # told apart with any kind of colour vision (Nuñez, Anderton, Renslow 2018)


class Scale:
    """Where the values of the objective lie between the smallest and the largest."""

    def __init__(self, objective: str, values: Sequence[float]) -> None:
        """It is logarithmic where the values span much, but for an accuracy."""
        self.log = metric_wants_log(objective, list(values))
        self._low, self._high = (min(values), max(values)) if values else (0.0, 1.0)

    def place(self, value: float) -> float:
        """From 0, the smallest, to 1."""
        there = math.log if self.log else float
        low, high = there(self._low), there(self._high)
        return 0.5 if low == high else (there(value) - low) / (high - low)

    def ticks(self) -> list[tuple[float, str]]:
        """The ends and the middle as (place, label)."""
        values = [self._low, (self._low + self._high) / 2, self._high]
        if self.log:
            values[1] = math.sqrt(self._low * self._high)
        if self._low == self._high:
            values = values[:1]
        return [(self.place(value), f"{value:.3g}") for value in values]


def across(axes: int = 1) -> float:
    """Inches of a figure as wide as the page, or wider for so many upright axes."""
    return max(WIDE, 1.3 * axes)


def figure(
    width: float, height: float, box: tuple[float, float, float, float]
) -> tuple["Figure", "Axes"]:
    """An empty figure of so many inches, its axes in the box (left, bottom, width, height)."""
    # Imported here, and without pyplot: it has a global state and costs a second.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
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


def plain(axes: "Axes") -> None:
    """Draw a light grid, and no frame."""
    axes.grid(color=_PALE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def colour(rank: int, count: int) -> Any:
    """The better, the darker."""
    from matplotlib import colormaps

    place = 1 - rank / count
    return colormaps[_COLOURS](0.15 + 0.85 * place)


def choices(dimension: Dimension, points: Sequence[Point]) -> list[str]:
    """The names of the choices, in their order."""
    listed = [named(choice) for choice in dimension.choices]
    return listed or sorted({named(point.values.get(dimension.key)) for point in points})


def short(text: str, most: int) -> str:
    """The text, or so many of its letters."""
    return literal(text if len(text) <= most else text[: most - 1] + "…")


def literal(text: str) -> str:
    """Text that Matplotlib takes as it is: between dollars it would read a formula."""
    return text.replace("$", r"\$")
