"""Weights from a distribution whose width does not depend on the layer."""

from torch import Tensor, nn

from dlrun.errors import not_negative
from dlrun.initializer import fresh, layers, set_biases, set_weight


def constant(model: nn.Module, x: Tensor, *, value: float = 0.0, bias: float = 0.0) -> None:
    """All weights equal."""
    for layer in layers(model):
        set_weight(layer, fresh(layer).fill_(value))
    set_biases(model, bias)


def normal(
    model: nn.Module, x: Tensor, *, mean: float = 0.0, std: float = 0.01, bias: float = 0.0
) -> None:
    """Weights N(mean, std²)."""
    not_negative(std=std)
    for layer in layers(model):
        set_weight(layer, fresh(layer).normal_(mean, std))
    set_biases(model, bias)


def uniform(
    model: nn.Module, x: Tensor, *, low: float = -0.05, high: float = 0.05, bias: float = 0.0
) -> None:
    """Weights U(low, high)."""
    if high < low:
        raise ValueError(f"high must not be below low={low}, got {high}")
    for layer in layers(model):
        set_weight(layer, fresh(layer).uniform_(low, high))
    set_biases(model, bias)
