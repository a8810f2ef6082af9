"""Metrics of numbers, in the units of the data; `mae` stands where the loop measures it."""

import torch
from torch import Tensor

from dlrun.metric import NUMBERS, metric

_ROUNDING = 1e-14
"""Of sums of float64, relative to Σy²."""


def _root(sums: Tensor, samples: int) -> Tensor:
    return (sums / samples).sqrt().mean()


@metric(False, label="root mean squared error", takes=(NUMBERS,), of_sums=_root)
def rmse(predicted: Tensor, y: Tensor) -> Tensor:
    """(targets,): Σ over the samples of (prediction − target)²; the mean of the targets' roots."""
    return (predicted - y).square().flatten(1).sum(0)


def _explained(sums: Tensor, samples: int) -> Tensor:
    """1 − Σe²/Σ(y − ȳ)², the mean over the targets; of a constant one 1 where e is 0, else 0."""
    errors, total, squares = sums
    spread = squares - total.square() / samples
    constant = spread <= _ROUNDING * squares
    met = (errors == 0).to(errors.dtype)
    return torch.where(constant, met, 1 - errors / spread).mean()


@metric(True, label="R²", takes=(NUMBERS,), of_sums=_explained)
def r2(predicted: Tensor, y: Tensor) -> Tensor:
    """(3, targets): Σe², Σy and Σy² over the samples of a batch."""
    y = y.to(predicted.dtype)
    parts = ((predicted - y).square(), y, y.square())
    return torch.stack([part.flatten(1).sum(0) for part in parts])
