"""Weights whose variance follows the size of their layer, so that signals keep theirs."""

from math import sqrt

from torch import Tensor, nn

from dlrun.activation import Activation
from dlrun.initializer import fans, layers, set_bias


def xavier(
    model: nn.Module,
    x: Tensor,
    *,
    distribution: str = "uniform",
    gain: float = 1.0,
    bias: float = 0.0,
) -> None:
    """Weights of variance gain²·2/(fan_in + fan_out) (Glorot, Bengio 2010)."""
    for layer in layers(model):
        fan_in, fan_out = fans(layer)
        _draw(layer.weight, gain * sqrt(2 / (fan_in + fan_out)), distribution)
        set_bias(layer, bias)


def he(
    model: nn.Module,
    x: Tensor,
    *,
    activation: Activation,
    distribution: str = "normal",
    mode: str = "fan_in",
    bias: float = 0.0,
) -> None:
    """Weights of variance 2/((1 + a²)·fan), a the activation's slope below 0.

    He, Zhang, Ren, Sun 2015. mode: fan_in keeps the variance of what goes forward,
    fan_out that of the gradients.
    """
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode must be fan_in or fan_out, got {mode}")
    a = slope_below_zero(activation)
    for layer in layers(model):
        fan_in, fan_out = fans(layer)
        fan = fan_in if mode == "fan_in" else fan_out
        _draw(layer.weight, sqrt(2 / ((1 + a * a) * fan)), distribution)
        set_bias(layer, bias)


def slope_below_zero(activation: Activation) -> float:
    """a where the activation is x for x > 0 and a·x below; 0 for all that are not so."""
    module = activation()
    if isinstance(module, nn.Identity):
        return 1.0
    if isinstance(module, nn.LeakyReLU):
        return module.negative_slope
    if isinstance(module, nn.PReLU):
        return float(module.weight.detach().mean())
    return 0.0


def _draw(weight: Tensor, std: float, distribution: str) -> None:
    if distribution == "normal":
        weight.normal_(0, std)
    elif distribution == "uniform":
        weight.uniform_(-sqrt(3) * std, sqrt(3) * std)
    else:
        raise ValueError(f"distribution must be normal or uniform, got {distribution}")
