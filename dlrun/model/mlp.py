"""Fully connected networks."""

from math import prod

from torch import nn

from dlrun.activation import Activation
from dlrun.model.blocks import dense, require_norm, require_sizes


def linear(shape: list[int], outputs: int) -> nn.Module:
    """One affine map of the flattened sample: (n, *shape) -> (n, outputs)."""
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(shape), outputs))


def mlp(
    shape: list[int], outputs: int, activation: Activation, hidden: list[int], norm: str = "none"
) -> nn.Module:
    """Hidden layers of the given widths, then a linear one: (n, *shape) -> (n, outputs)."""
    require_norm(norm)
    require_sizes("hidden", hidden)
    return nn.Sequential(nn.Flatten(), *dense(prod(shape), hidden, outputs, activation, norm))
