"""The group `activation`: the nonlinearity of a network.

    () -> nn.Module

A factory, called once for each place, so that a module with weights of its own learns them for
that place. A module whose attribute `pieces` is k > 1 reads k times as many features as it
returns; the layer before it is made k times as wide.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Activation = Callable[[], nn.Module]


def pieces(activation: Activation) -> int:
    """How many features the activation takes for each that it returns."""
    return int(getattr(activation(), "pieces", 1))


class Maxout(nn.Module):
    """The largest of each k neighbouring features (Goodfellow et al. 2013).

    Features are on axis 1. Where several are the largest, they share the gradient.
    """

    def __init__(self, pieces: int = 2) -> None:
        super().__init__()
        if pieces < 2:
            raise ValueError(f"pieces must be at least 2, got {pieces}")
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        """(n, k·features, ...) -> (n, features, ...)."""
        grouped: Tensor = x.unflatten(1, (-1, self.pieces))
        return grouped.amax(2)


class MaxPReLU(nn.PReLU):
    """max(a·x, x) with a learned a; where a is above 1 it bends the other way than PReLU."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, features, ...) -> the same shape."""
        shape = [1, -1] + [1] * (x.dim() - 2) if self.num_parameters > 1 else [1]
        return torch.maximum(self.weight.view(shape) * x, x)


def prelu(num_parameters: int = 1, init: float = 0.25, form: str = "slope") -> nn.PReLU:
    """PReLU (He, Zhang, Ren, Sun 2015); form: slope, a·x below 0, or max, max(a·x, x)."""
    if form not in ("slope", "max"):
        raise ValueError(f"form must be slope or max, got {form}")
    return (nn.PReLU if form == "slope" else MaxPReLU)(num_parameters, init)


def softplus(beta: float = 1.0) -> nn.Softplus:
    """log(1 + e^(beta·x))/beta (Dugas, Bengio, Bélisle, Nadeau, Garcia 2001)."""
    if beta == 0:
        raise ValueError(f"beta must not be 0, got {beta}")
    return nn.Softplus(beta)
