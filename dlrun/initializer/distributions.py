"""Weights from a distribution whose width does not depend on the layer."""

from torch import Tensor, nn

from dlrun.initializer import layers, set_bias


def normal(
    model: nn.Module, x: Tensor, *, mean: float = 0.0, std: float = 0.01, bias: float = 0.0
) -> None:
    """Weights N(mean, std²)."""
    if std < 0:
        raise ValueError(f"std must not be negative, got {std}")
    for layer in layers(model):
        layer.weight.normal_(mean, std)
        set_bias(layer, bias)
