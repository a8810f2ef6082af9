"""Folds for cross-validation, and a stratified part of some samples, by their places 0 to n−1."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dlrun.data.sample import make_generator

_FOLDS, _PART = 7, 9  # uses of a seed; others are elsewhere

Places = NDArray[np.int64]


def folds(
    labels: NDArray[Any], count: int, seed: int, groups: NDArray[Any] | None = None
) -> list[Places]:
    """Deal the places of labels into so many folds, each place into one.

    labels: (n,) classes, which each fold has in the same shares, within one sample; numbers
        with fractions are dealt at random. The sizes of the folds differ by at most one.
    groups: (n,) of each place; a group stays in one fold, the sizes are as near as that allows,
        and labels don't count.
    Raises ValueError for fewer than 2 folds, or fewer places or groups than folds.
    """
    generator = make_generator(_FOLDS, seed, 0)
    names, of = _units(len(labels), groups)
    if not 2 <= count <= len(names):
        what = "samples" if groups is None else "groups"
        raise ValueError(f"folds must be from 2 to {len(names):,}, as many as {what}, got {count}")
    if groups is None:
        order = _by_class(labels, generator)
        return [np.sort(order[fold::count]) for fold in range(count)]
    sizes = np.bincount(of)
    shuffled = torch.randperm(len(names), generator=generator).numpy()
    fold_of, filled = np.zeros(len(names), np.int64), np.zeros(count, np.int64)
    for group in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:  # the largest first
        fold_of[group] = np.argmin(filled)
        filled[fold_of[group]] += sizes[group]
    return [np.flatnonzero(fold_of[of] == fold) for fold in range(count)]


def part(labels: NDArray[Any], count: int, seed: int, groups: NDArray[Any] | None = None) -> Places:
    """So many places of labels, of each class its share, within one sample.

    groups: (n,) of each place; whole groups are taken, at random, until there are about so many.
    """
    generator = make_generator(_PART, seed, 0)
    if groups is None:
        order = _by_class(labels, generator)
        return np.sort(order[np.arange(count) * len(order) // count])
    names, of = _units(len(labels), groups)
    order = torch.randperm(len(names), generator=generator).numpy()
    sums = np.bincount(of)[order].cumsum()
    many = max(1, int(np.argmin(abs(sums - count))) + 1)
    return np.flatnonzero(np.isin(of, order[:many]))


def amount(value: float | str, of: int) -> int:
    """How many of so many samples `100` or `10%` is, at least one.

    Raises ValueError for anything else, and where none would be left.
    """
    text = str(value).strip()
    try:
        exact = Fraction(text.removesuffix("%")) * (Fraction(of, 100) if text.endswith("%") else 1)
    except (ValueError, ZeroDivisionError):
        exact = Fraction(0)
    whole = text.endswith("%") or exact.denominator == 1
    if not whole or not 1 <= exact < of:
        raise ValueError(
            f"must be a share such as 10%, or a whole number from 1 to {of - 1:,}, got {value}"
        )
    return round(exact)


def _units(count: int, groups: NDArray[Any] | None) -> tuple[Sequence[Any], Places]:
    """What is dealt out, and which of these each place belongs to."""
    each = np.arange(count) if groups is None else np.asarray(groups)
    names, of = np.unique(each, return_inverse=True)
    return list(names), of


def _by_class(labels: NDArray[Any], generator: torch.Generator) -> Places:
    """All places, class by class, shuffled within each: every k-th has the shares of the whole."""
    order: Places = torch.randperm(len(labels), generator=generator).numpy()
    if labels.ndim == 1 and labels.dtype.kind in "iub":
        order = order[labels[order].argsort(kind="stable")]
    return order
