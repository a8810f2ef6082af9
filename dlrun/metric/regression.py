"""Metrics of numbers, in the units of the data; `mae` stands where the loop measures it."""

import torch
from torch import Tensor

from dlrun.metric import NUMBERS, metric

_ROUNDING = 1e-28
"""Of a mean of float64 and squared, relative to it: a variance below is that of one value."""


def _root(sums: Tensor, samples: int) -> Tensor:
    return (sums / samples).sqrt().mean()


@metric(False, label="root mean squared error", takes=(NUMBERS,), of_sums=_root)
def rmse(predicted: Tensor, y: Tensor) -> Tensor:
    """(targets,): Σ over the samples of (prediction − target)²; the mean of the targets' roots."""
    return (predicted - y).square().flatten(1).sum(0)


def _explained(parts: Tensor, samples: int) -> Tensor:
    """1 − Σe²/Σ(y − ȳ)², the mean over the targets; of a constant one 1 where e is 0, else 0."""
    count, errors, mean, spread = parts
    constant = spread <= _ROUNDING * count * mean.square()
    met = (errors == 0).to(errors.dtype)
    return torch.where(constant, met, 1 - errors / spread).mean()


def _merged(one: Tensor, other: Tensor) -> Tensor:
    """The parts of two batches together (Chan, Golub, LeVeque 1979): Σy² would lose the digits."""
    n, errors, mean, spread = one
    m, more, others, within = other
    total, apart = n + m, others - mean
    spread = spread + within + apart.square() * (n * m / total)
    return torch.stack([total, errors + more, mean + apart * (m / total), spread])


@metric(True, label="R²", takes=(NUMBERS,), of_sums=_explained, merge=_merged)
def r2(predicted: Tensor, y: Tensor) -> Tensor:
    """(4, targets): n, Σe², ȳ and Σ(y − ȳ)² over the samples of a batch."""
    y = y.to(predicted.dtype).flatten(1)
    errors, mean = (predicted.flatten(1) - y).square().sum(0), y.mean(0)
    return torch.stack([torch.full_like(mean, len(y)), errors, mean, (y - mean).square().sum(0)])
