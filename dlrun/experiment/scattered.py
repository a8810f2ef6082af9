"""Handwritten digits anywhere in a larger picture: what is learned in one place helps in others."""

from dataclasses import replace

import numpy as np
import torch

from dlrun.data import Report, Source
from dlrun.data.digits import digits
from dlrun.data.fingerprint import hash_content, hash_samples
from dlrun.data.sample import make_numbers
from dlrun.errors import Mistake


def scattered(
    side: int = 16, seed: int = 0, cache: str | None = None, report: Report | None = None
) -> Source:
    """The embedded 8×8 digits, each at a random place: x (1797, 1, side, side) uint8.

    Raises Mistake for a side that no digit fits into.
    """
    if side < 8:
        raise Mistake(f"data.side={side}: must be at least 8")
    source = digits(cache, report)
    small, y = source.x.numpy(), source.y.numpy()
    places = make_numbers(seed).integers(side - 7, size=(len(y), 2))
    x = np.zeros((len(y), 1, side, side), np.uint8)
    for canvas, digit, (down, right) in zip(x, small, places, strict=True):
        canvas[:, down : down + 8, right : right + 8] = digit
    hashes = hash_samples(x.reshape(len(x), -1))
    digest = hash_content(hashes, y, source.classes, {})
    return replace(
        source,
        name="scattered digits",
        x=torch.from_numpy(x),
        hashes=torch.from_numpy(hashes),
        digest=digest,
    )
