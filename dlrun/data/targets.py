"""What is to be predicted: classes or numbers, and what was made of whole numbers."""

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlrun.data import Source
from dlrun.errors import Mistake

TASKS = ("auto", "classification", "regression")
MOST, EACH = 1000, 5
"""Whole numbers are classes up to so many different ones, with so many samples of each."""

_EVIDENT = 20  # so few different whole numbers are classes without a word
_WHOLE = 2**24  # above, float32 has no fractions, so that nothing can be said
_log = logging.getLogger("dlrun")

Array = NDArray[Any]


def encode(path: str, y: Array, task: str = "auto") -> tuple[Array, tuple[str, ...]]:
    """Targets as (n,) int64 classes 0..K-1 and their names, or (n, targets) float32 and ().

    auto: strings are classes, fractions are numbers; whole numbers are classes where there
    are two different ones, or at most 1000, each of them 5 times on average.
    Classes are in the order of their values. Raises Mistake for what cannot be either.
    """
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    kind = y.dtype.kind
    if kind not in "iubfUS":
        raise Mistake(f"data.path={path}: y has the type {y.dtype}; expected numbers or strings")
    if task == "auto":
        task = "classification" if _are_classes(y) else "regression"
    if kind == "f" and not np.isfinite(y).all():
        raise Mistake(
            f"data.path={path}: y has {(~np.isfinite(y)).sum()} missing or infinite values"
        )
    if task == "regression":
        if kind in "US" or y.ndim not in (1, 2):
            what = "strings" if kind in "US" else f"the shape {y.shape}"
            raise Mistake(
                f"data.task=regression: y has {what}; expected numbers, (n,) or (n, targets)"
            )
        return y.reshape(len(y), -1).astype(np.float32), ()
    if y.ndim != 1:
        raise Mistake(
            f"data.path={path}: y has the shape {y.shape}, classes must be (n,); "
            "data.task=regression predicts several numbers"
        )
    if kind == "f":
        if (y != np.round(y)).any():
            raise Mistake("data.task=classification: y has fractions; use data.task=regression")
        y = y.astype(np.int64)
    values, labels = np.unique(y, return_inverse=True)
    if len(values) < 2:
        raise Mistake(
            f"data.path={path}: y has the single class {values[0]}; at least 2 are needed"
        )
    names = tuple(v.decode() if isinstance(v, bytes) else str(v) for v in values.tolist())
    return labels.astype(np.int64), names


def say_what_for(source: Source) -> None:
    """Say what `auto` has made of whole numbers, where it might not be what was meant."""
    if source.classes:
        names, found = source.classes, len(source.classes)
        if found > _EVIDENT and all(name.lstrip("-").isdecimal() for name in names):
            _log.warning(
                f"y has {found} different whole numbers in {len(source.y)} samples, taken for "
                "classes; data.task=regression takes them for numbers"
            )
        return
    y = source.y.numpy()
    if y.shape[1] == 1 and (y == np.round(y)).all() and np.abs(y).max() < _WHOLE:
        _log.warning(
            f"y has {len(np.unique(y))} different whole numbers in {len(y)} samples, taken for "
            "numbers (regression); data.task=classification takes them for classes"
        )


def _are_classes(y: Array) -> bool:
    if y.dtype.kind not in "iu" or y.ndim != 1:
        return y.dtype.kind != "f"
    return len(np.unique(y)) <= min(MOST, max(2, len(y) // EACH))
