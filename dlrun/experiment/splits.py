"""Sets whose splits don't belong together, to see what a diagnosis makes of them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_SHARES = (0.6, 0.85)  # where training ends, and validation
_POINTS = 10_000
_CLASSES = 10
_WHITE = 255.0

Arrays = tuple[NDArray[Any], NDArray[np.int64]]


def digits(relabelled: float = 0.0, lightened: float = 0.0) -> dict[str, Arrays]:
    """Handwritten digits, x (n, 8, 8) and y (n,), by split.

    relabelled: the share of training samples that get another class, drawn at random.
    lightened: how far validation images are moved towards white, from 0 to 1.
    """
    from sklearn.datasets import load_digits  # takes a second to import

    generator = np.random.default_rng(0)
    images, classes = load_digits(return_X_y=True)
    order = generator.permutation(len(classes))
    x, y = (images[order] * 15).astype(np.uint8).reshape(-1, 8, 8), classes[order].astype(np.int64)
    made = _dealt(x, y)
    inputs, labels = made["train"]
    wrong = generator.permutation(len(labels))[: round(relabelled * len(labels))]
    labels[wrong] = (labels[wrong] + generator.integers(1, _CLASSES, len(wrong))) % _CLASSES
    images, right = made["val"]
    lighter = (images + lightened * (_WHITE - images)).astype(np.uint8)
    return made | {"train": (inputs, labels), "val": (lighter, right)}


def island(size: float = 0.25) -> dict[str, Arrays]:
    """Points x (n, 2) of a square, and y (n,), on which side of a line they lie, by split.

    On the one side lies a square island of the other class, which training has and validation has
    not: no line can be right on it. size: of its edge.
    """
    generator = np.random.default_rng(0)
    x = generator.uniform(-1, 1, (_POINTS, 2)).astype(np.float32)
    inside = (np.abs(x - (0.6, 0.0)) < size / 2).all(1)
    y = ((x[:, 0] > 0) ^ inside).astype(np.int64)
    order = np.concatenate([np.flatnonzero(inside), np.flatnonzero(~inside)])
    made = _dealt(x[order], y[order])
    shuffled = generator.permutation(len(made["train"][1]))
    points, sides = made["train"]
    return made | {"train": (points[shuffled], sides[shuffled])}


def _dealt(x: NDArray[Any], y: NDArray[np.int64]) -> dict[str, Arrays]:
    """The first samples for training, the next for validation, the rest for the test."""
    ends = [round(share * len(y)) for share in _SHARES]
    parts = zip(np.split(x, ends), np.split(y, ends), strict=True)
    return dict(zip(("train", "val", "test"), parts, strict=True))
