"""Images of more than 8 bits a value: from the values in the files to those of the samples."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dlrun.data import Data, Values
from dlrun.data.images.read import DEPTHS, bits
from dlrun.data.sample import sample
from dlrun.errors import Mistake

_log = logging.getLogger("dlrun")


class FromDepth(nn.Module):
    """Whole numbers of `depth` bits to floats: value/(2^depth − 1), at most 1."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.white = 2**depth - 1

    def forward(self, x: Tensor) -> Tensor:
        """(n, *shape) whole numbers -> (n, *shape) float32 in [0, 1]."""
        scaled: Tensor = x.to(torch.float32) / self.white
        return scaled.clamp(max=1)


def raw_example(data: Data, count: int = 2) -> Tensor:
    """Some training samples, with the values of their files."""
    x: Tensor = data.train.x[sample(data.train, count, seed=0)]
    if data.depth is None:
        return x
    white = 1 if x.dtype == torch.uint8 else 2**data.depth - 1
    return (x.to(torch.float32) * white).round().to(torch.uint16)


def choose_depth(values: Values, rows: Mapping[str, NDArray[Any]], wanted: int | None) -> int:
    """The depth asked for, or the smallest that holds the training split; says which.

    rows: of each split. Returns 0 where no depth holds the values: they are then taken as they
    are. Raises Mistake where the depth asked for does not hold them.
    """
    seen = values.extents[rows["train"]]
    seen = seen if np.isfinite(seen).any() else values.extents
    low, high = int(np.nanmin(seen[:, 0])), int(np.nanmax(seen[:, 1]))
    depth = wanted or (0 if low < 0 or high >= 2 ** DEPTHS[-1] else bits(high))
    if wanted:
        _check(depth, low, high)
    else:
        _say_depth(depth, values.bits, low, high)
    if depth:
        _say_beyond(depth, values.extents[np.concatenate([rows["val"], rows["test"]])])
    return depth


def _check(depth: int, low: int, high: int) -> None:
    if low >= 0 and high < 2**depth:
        return
    if low < 0 or high >= 2 ** DEPTHS[-1]:
        right = "leave it out, and they are taken as they are"
    else:
        right = f"data.depth={bits(high)} holds them"
    raise Mistake(
        f"data.depth={depth}: holds values from 0 to {2**depth - 1:,}, and those of the training "
        f"images go from {low:,} to {high:,}; {right}"
    )


def _say_depth(depth: int, stored: int, low: int, high: int) -> None:
    """Say on what scale the values are, where their files have another."""
    if depth == 0:
        _log.warning(
            f"the values of the training images go from {low:,} to {high:,}, more than any depth "
            "holds: they are taken as they are"
        )
    elif depth != stored:
        _log.warning(
            f"the images are stored with {stored} bits a value, and those of train go from "
            f"{low:,} to {high:,}: taken for {depth} bits, {2**depth - 1:,} is white; "
            f"data.depth={min(stored, DEPTHS[-1])} says otherwise"
        )


def _say_beyond(depth: int, extents: NDArray[Any]) -> None:
    """extents: of the images of val and test."""
    beyond = (extents[:, 0] < 0) | (extents[:, 1] >= 2**depth)
    if not beyond.any():
        return
    most = int(extents[beyond, 1].max())
    holds = f"; data.depth={bits(most)} holds them" if 2**depth <= most < 2 ** DEPTHS[-1] else ""
    count = f"{beyond.sum():,} image{'s have' if beyond.sum() > 1 else ' has'}"
    _log.warning(
        f"of val and test {count} values outside of 0 to {2**depth - 1:,}, which are cut off{holds}"
    )
