"""Slow resampling of single images in float64, for tests to compare with."""

from collections.abc import Callable

import numpy as np
from scipy.ndimage import map_coordinates

Map = Callable[[np.ndarray], np.ndarray]
"""Points (..., 2), x before y, in pixels from the middle -> where they lie in the input."""

MODES = {"zero": "grid-constant", "edge": "nearest", "reflect": "mirror"}


def affine(matrix: np.ndarray) -> Map:
    return lambda points: points @ matrix[:, :2].T + matrix[:, 2]


def pixels(height: int, width: int, closer: int = 1) -> np.ndarray:
    """The points of an image, (h, w, 2); each pixel as `closer` points a side."""
    y, x = (np.arange(side * closer) for side in (height, width))
    y, x = ((at - (side * closer - 1) / 2) / closer for at, side in ((y, height), (x, width)))
    return np.stack(np.meshgrid(x, y), -1)


def resampled(
    image: np.ndarray,
    maps: list[Map],
    mode: str = "zero",
    size: tuple[int, int] | None = None,
    closer: int = 1,
    order: int = 1,
) -> np.ndarray:
    """(c, h, w) seen through the maps of the steps, the last step's first."""
    height, width = image.shape[1:]
    points = pixels(*(size or (height, width)), closer)
    for one in reversed(maps):
        points = one(points)
    at = [points[..., 1] + (height - 1) / 2, points[..., 0] + (width - 1) / 2]
    out = np.stack(
        [map_coordinates(channel, at, order=order, mode=MODES[mode]) for channel in image]
    )
    c, h, w = out.shape
    return out.reshape(c, h // closer, closer, w // closer, closer).mean((2, 4))
