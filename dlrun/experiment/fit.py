"""Problems so small that their answer is known: polynomials, a sample or two, correlated inputs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dlrun.data.sample import make_numbers
from dlrun.errors import Mistake

Array = NDArray[Any]
Parts = Mapping[str, tuple[Array, Array]]


class Polynomial(nn.Module):
    """A polynomial of a number in [0, 1]: (n, 1) -> (n, 1).

    A weighted sum of Legendre's polynomials of 2x − 1, which are orthonormal on [0, 1], so that
    the weights depend little on each other.
    """

    def __init__(self, degree: int) -> None:
        super().__init__()
        self.degree = degree
        self.sum = nn.Linear(degree + 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """p₀ = 1, p₁ = t, (k + 1)·pₖ₊₁ = (2k + 1)·t·pₖ − k·pₖ₋₁; each times √(2k + 1)."""
        t = 2 * x.flatten(1) - 1
        basis = [torch.ones_like(t), t]
        for k in range(1, self.degree):
            basis.append(((2 * k + 1) * t * basis[k] - k * basis[k - 1]) / (k + 1))
        unit = [p * (2 * k + 1) ** 0.5 for k, p in enumerate(basis[: self.degree + 1])]
        found: Tensor = self.sum(torch.cat(unit, 1))
        return found


def samples(x: list[list[float]], y: list[float], copies: int = 1) -> Parts:
    """These samples, all of them to train on: x (n, inputs) and a number for each."""
    inputs, targets = np.array(x * copies, np.float32), np.array(y * copies, np.float32)
    return {"train": (inputs, targets[:, None])}


def linear(
    n_samples: int, weights: list[float], correlation: float, noise: float, seed: int = 0
) -> tuple[Array, Array]:
    """y = x·weights + ε with x ~ N(0, Σ), Σ = 1 on the diagonal, else `correlation`.

    noise: the standard deviation of ε. Raises Mistake for a correlation that cannot be.
    """
    check_correlation(correlation, len(weights))
    generator = make_numbers(seed)
    inputs = len(weights)
    covariance = np.full((inputs, inputs), correlation) + (1 - correlation) * np.eye(inputs)
    x = generator.multivariate_normal(np.zeros(inputs), covariance, n_samples)
    y = x @ np.array(weights) + noise * generator.standard_normal(n_samples)
    return x.astype(np.float32), y.astype(np.float32)[:, None]


def check_correlation(correlation: float, inputs: int = 2) -> None:
    """Raise Mistake where so many inputs cannot all be correlated by as much.

    1 + (inputs − 1)·correlation is an eigenvalue of their covariance, which is not negative.
    """
    least = -1 / max(1, inputs - 1)
    if not least <= correlation <= 1:
        raise Mistake(f"data.correlation={correlation:g}: must be from {least:.4g} to 1")


def on_the_wrong_side(n_samples: int, shares: Mapping[str, float], seed: int = 0) -> Parts:
    """Two clouds far apart, of a class each, and in each split a share of samples in the other's.

    shares: by the name of the split: what a line between the clouds gets wrong there, exactly.
    """
    generator = make_numbers(seed)
    parts = {}
    for name, share in shares.items():
        y = np.arange(n_samples) % 2
        wrong = generator.permutation(n_samples) < round(share * n_samples)
        side = np.where(wrong, 1 - y, y)
        x = 8.0 * side[:, None] + generator.standard_normal((n_samples, 2))
        parts[name] = x.astype(np.float32), y
    return parts
