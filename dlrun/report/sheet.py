"""A figure as wide as a page: its title, and pictures beside and below each other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dlrun.report.curves import GREY, new_figure
from dlrun.report.plots import cut

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE = 6.4
"""Inches of every figure, of 110 dots each."""
Caption = tuple[str, str]
"""Its text and colour."""


def picture(image: NDArray[Any]) -> NDArray[Any]:
    """(channels, height, width) as (height, width, 3) from 0 to 1."""
    values = image.astype(np.float32) / (255 if image.dtype == np.uint8 else 1)
    low, high = float(values.min()), float(values.max())
    if image.dtype != np.uint8 and (low < 0 or high > 1):
        values = (values - low) / max(high - low, 1e-12)
    whole: NDArray[Any] = np.moveaxis(np.broadcast_to(values, (3, *values.shape[1:])), 0, 2)
    return whole


def grid(
    images: Sequence[NDArray[Any] | None],
    captions: Sequence[Caption | None],
    title: str,
    across: int,
    note: str = "",
    rows: Sequence[str] = (),
) -> "Figure":
    """Pictures beside and below each other, each with its caption below.

    rows: the name of each row, on its left.
    """
    longest = max((len(line) for name in rows for line in name.splitlines()), default=0)
    left = 0.15 + 0.085 * longest
    side = min(0.85 if rows else 1.15, (WIDE - left - 0.15) / across)
    shapes = [image.shape[:2] for image in images if image is not None]
    flat = max((tall / max(tall, wide) for tall, wide in shapes), default=1.0)
    cell = (side - 0.06) * flat + 0.06
    lines = max((text.count("\n") + 1 for text, _ in filter(None, captions)), default=1)
    below = 0.06 + 0.14 * lines
    down = -(-len(images) // across)
    top = 0.57 if note else 0.38
    height = top + down * (cell + below) + 0.05
    figure = sheet(height, title)
    if note:
        y = 1 - 0.34 / height
        figure.text(0.15 / WIDE, y, cut(note, 108), fontsize=7.5, va="top", color=GREY)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, WIDE)
    axes.set_ylim(0, height)
    axes.set_axis_off()
    for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
        if image is None or caption is None:
            continue
        x = left + place % across * side
        y = height - top - (place // across) * (cell + below)
        _place(axes, image, x, y, side - 0.06, cell - 0.06)
        axes.text(
            *(x + side / 2 - 0.03, y - cell + 0.03, caption[0]),
            color=caption[1], fontsize=7.5 if side > 1 else 6.6, ha="center", va="top",
            linespacing=1.1,
        )  # fmt: skip
    for line, name in enumerate(rows):
        y = height - top - line * (cell + below) - cell / 2
        axes.text(left - 0.1, y, name, fontsize=8, ha="right", va="center", weight="bold")
    return figure


def sheet(height: float, title: str) -> "Figure":
    """A figure of WIDE by so many inches, with its title."""
    figure = new_figure(WIDE, height)
    headline(figure, title)
    return figure


def headline(figure: Any, title: str) -> None:
    """A line on top, on the left; in smaller letters where it would not end within the figure."""
    y = 1 - 0.14 / figure.get_figheight()
    text = figure.text(0.15 / WIDE, y, title, fontsize=9, va="top", weight="bold")
    room, wide = figure.bbox.width * (1 - 0.3 / WIDE), text.get_window_extent().width
    text.set_fontsize(9 * min(1.0, room / max(wide, 1.0)))


def _place(axes: "Axes", image: NDArray[Any], x: float, y: float, side: float, room: float) -> None:
    """An image into the cell, so wide and high, whose upper left corner this is."""
    tall, wide = image.shape[:2]
    high, broad = side * tall / max(tall, wide), side * wide / max(tall, wide)
    x, y = x + (side - broad) / 2, y - (room - high) / 2
    extent = (x, x + broad, y - high, y)
    axes.imshow(image, extent=extent, interpolation="nearest", aspect="auto", vmin=0, vmax=1)
    axes.set_autoscale_on(False)
