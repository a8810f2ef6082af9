"""Images beside and below each other, in one PNG."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dlrun import record

_SMALLEST = 64  # pixels of an image in the figure, at least
_GAP = 4  # pixels between images


def write(rows: Sequence[NDArray[np.float32]], path: Path) -> None:
    """Write rows of images, (n, channels, height, width) each, on any scale of values.

    Each row is spread over black to white by its own lowest and highest value.
    """
    lines = [_line(row) for row in rows]
    width = max(line.shape[1] for line in lines)
    filled = [
        np.pad(line, ((0, _GAP), (0, width - line.shape[1]), (0, 0)), constant_values=255)
        for line in lines
    ]
    with record.guard(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    with record.replacing(path) as part:
        Image.fromarray(np.concatenate(filled)).save(part, format="png")


def _line(row: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A row of images as (height, width, 3) bytes."""
    low, high = float(row.min()), float(row.max())
    scaled = ((row - low) / max(high - low, 1e-12) * 255).round().astype(np.uint8)
    if scaled.shape[1] == 1:
        scaled = scaled.repeat(3, axis=1)
    times = max(1, -(-_SMALLEST // scaled.shape[3]))
    images = scaled.repeat(times, axis=2).repeat(times, axis=3).transpose(0, 2, 3, 1)
    padded = np.pad(images, ((0, 0), (0, 0), (0, _GAP), (0, 0)), constant_values=255)
    return np.concatenate(list(padded), axis=1)
