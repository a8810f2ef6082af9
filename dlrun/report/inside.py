"""What is in a trained network, as figures: filters, weights, activations, inputs, the loss around.

All from plain values; `dlrun/engine/inside.py` and `dlrun/engine/surface.py` measure them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlrun.record.sweep import spans_decades
from dlrun.report.curves import BLUE, GREY, ORANGE, blank, logarithmic, save, write
from dlrun.report.plots import short
from dlrun.report.sheet import WIDE, grid, headline, picture, sheet

Images = NDArray[np.float32]
"""(n, channels, height, width)"""
Histogram = Mapping[str, Any]
"""layer, kind, counts, edges and zeros, as `dlrun/engine/inside.py` has them."""

_GAP = 0.15  # between filters, as a part of one
_ACROSS = 4  # panels of histograms
_COLOURS = {"train": BLUE, "val": ORANGE}
_NAMES = {"train": "training", "val": "validation"}


def filters(kernels: Images, path: Path) -> None:
    """Draw the filters of the first layer; those of one channel by sign, in colours about 0."""
    many, channels, tall, wide = kernels.shape
    across = min(8, many)
    down = -(-many // across)
    most = float(np.abs(kernels).max()) or 1.0
    gap = max(1, round(_GAP * max(tall, wide)))
    size = down * (tall + gap) - gap, across * (wide + gap) - gap
    canvas = np.full((*size, channels), np.nan, np.float32)
    for place, kernel in enumerate(kernels):
        y, x = place // across * (tall + gap), place % across * (wide + gap)
        canvas[y : y + tall, x : x + wide] = np.moveaxis(kernel, 0, 2)
    room = WIDE - 1.25 if channels == 1 else WIDE - 0.3
    high = min(room * size[0] / size[1], 9.0)
    height = high + 0.55
    title = f"{many} filters of the first layer, {tall}×{wide} weights" + (
        " for each colour" if channels == 3 else ""
    )
    figure = sheet(height, title)
    axes = figure.add_axes((0.15 / WIDE, 0.1 / height, room / WIDE, high / height))
    axes.set_axis_off()
    if channels == 3:
        shown = np.nan_to_num(0.5 + canvas / (2 * most), nan=1.0)
        axes.imshow(shown, interpolation="nearest")
        return save(figure, path)
    drawn = axes.imshow(canvas[:, :, 0], "RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
    bar = figure.colorbar(drawn, cax=axes.inset_axes((1.03, 0, 0.035, 1)))
    bar.ax.tick_params(labelsize=8)
    bar.set_label("weight", fontsize=9)
    save(figure, path)


def histograms(found: Sequence[Histogram], title: str, path: Path) -> None:
    """Draw how values are distributed, a panel for each layer, the first on top."""
    across = min(_ACROSS, len(found))
    down = -(-len(found) // across)
    high = 1.35
    height = down * high + 0.4
    figure = sheet(height, f"{title}: how often each value occurs")
    for place, each in enumerate(found):
        row, column = divmod(place, across)
        cell = (WIDE - 0.1) / across
        box = (0.1 + column * cell + 0.12, height - 0.4 - (row + 1) * high + 0.38)
        size = cell - 0.24, high - 0.62
        axes = figure.add_axes((box[0] / WIDE, box[1] / height, size[0] / WIDE, size[1] / height))
        counts, edges = np.asarray(each["counts"]), np.asarray(each["edges"])
        axes.stairs(counts / max(counts.max(), 1), edges, fill=True, color=BLUE)
        if each["zeros"] > 0.005:
            zeros = f"{each['zeros']:.0%} are 0"
            axes.text(0.97, 0.95, zeros, transform=axes.transAxes, fontsize=7,
                      ha="right", va="top", color=GREY)  # fmt: skip
        name = short(f"{each['layer']} {each['kind']}", round(14 * cell))
        axes.set_title(name, fontsize=7.5, pad=3)
        axes.set_yticks([])
        axes.locator_params(axis="x", nbins=4)
        axes.tick_params(labelsize=7, length=2)
        axes.spines[["top", "right", "left"]].set_visible(False)
    save(figure, path)


def inputs(raw: Images, augmented: Sequence[Images], seen: Images | None, path: Path) -> None:
    """Draw samples before and after augmentation, a row for each draw."""
    rows = [("before", raw), *((f"draw {n}", each) for n, each in enumerate(augmented, 1))]
    if seen is not None:
        low, high = float(seen.min()), float(seen.max())
        rows.append(("as the\nnetwork\nsees it", (seen - low) / max(high - low, 1e-12)))
    images = [picture(image.clip(0, 1)) for _, row in rows for image in row]
    title = "training samples before and after augmentation"
    if not augmented:
        title = "training samples; nothing augments them"
    note = "the last row: preprocessed, without augmentation" if seen is not None else ""
    names = [name for name, _ in rows]
    captions = [("", GREY)] * len(images)
    save(grid(images, captions, title, across=len(raw), note=note, rows=names), path)


def line(
    along: Sequence[float],
    losses: Mapping[str, Sequence[float]],
    samples: Mapping[str, int],
    path: Path,
) -> None:
    """Draw the loss of each split along one direction from the trained weights."""
    axes = blank()
    axes.set_position((0.14, 0.13, 0.83, 0.78))
    for split, values in losses.items():
        label = f"{_NAMES[split]}, {samples[split]:,} samples"
        axes.plot(along, values, color=_COLOURS[split], label=label)
    axes.axvline(0, color=GREY, linestyle=":", linewidth=1, label="the trained weights")
    everything = [v for values in losses.values() for v in values if np.isfinite(v)]
    if spans_decades(everything):
        logarithmic(axes)
    figure = axes.get_figure(root=True)
    headline(figure, "the loss along a random direction from the trained weights")
    write(axes, "distance from the trained weights, in norms of each filter", "loss", path)


def plane(
    across: Sequence[float], losses: Sequence[Sequence[float]], samples: int, path: Path
) -> None:
    """Draw the training loss on the plane of two directions, by lines of equal loss."""
    from matplotlib.colors import LogNorm, Normalize

    values = np.ma.masked_invalid(np.asarray(losses, np.float64))
    low, high = float(values.min()), float(values.max())
    log = low > 0 and high > 3 * low
    high = max(high, low + 1e-9)
    levels = list(map(float, (np.geomspace if log else np.linspace)(low, high, 16)))
    figure = sheet(5.4, f"the loss of {samples:,} training samples around the trained weights")
    axes = figure.add_axes((0.13, 0.1, 0.68, 0.81))
    norm = LogNorm(low, high) if log else Normalize(low, high)
    drawn = axes.contourf(across, across, values, levels, cmap="cividis", norm=norm)
    lines = axes.contour(across, across, values, levels, colors="white", linewidths=0.5, norm=norm)
    axes.clabel(lines, levels[::3], fontsize=7, fmt="{:.2g}".format)
    axes.plot(0, 0, "*", color=ORANGE, markersize=13, label="the trained weights")
    axes.set_aspect("equal")
    axes.set_xlabel("first direction, in norms of each filter", fontsize=9)
    axes.set_ylabel("second direction", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8, loc="upper right", framealpha=0.85)
    bar = figure.colorbar(drawn, cax=axes.inset_axes((1.04, 0, 0.045, 1)))
    bar.set_ticks(levels[::3], labels=[f"{level:.2g}" for level in levels[::3]])
    bar.minorticks_off()
    bar.ax.tick_params(labelsize=8)
    bar.set_label("loss", fontsize=9)
    save(figure, path)
