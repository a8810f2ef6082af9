"""Weights whose variance depends on the size of their layer, to keep that of the signals."""

from math import exp, sqrt

from torch import Tensor, nn

from dlrun.activation import Activation
from dlrun.errors import not_negative
from dlrun.initializer import Layer, fans, fresh, layers, set_biases, set_weight
from dlrun.model.order import residual_ends


def lecun(
    model: nn.Module,
    x: Tensor,
    *,
    distribution: str = "normal",
    mode: str = "fan_in",
    bias: float = 0.0,
) -> None:
    """Weights of variance 1/fan (LeCun, Bottou, Orr, Müller 1998); mode as in `he`."""
    for layer in layers(model):
        _draw(layer, sqrt(1 / _fan(layer, mode)), distribution)
    set_biases(model, bias)


def xavier(
    model: nn.Module,
    x: Tensor,
    *,
    distribution: str = "uniform",
    mode: str = "average",
    gain: float = 1.0,
    bias: float = 0.0,
) -> None:
    """Weights of variance gain²/fan, by default gain²·2/(fan_in + fan_out); mode as in `he`.

    Glorot, Bengio 2010.
    """
    not_negative(gain=gain)
    for layer in layers(model):
        _draw(layer, gain * sqrt(1 / _fan(layer, mode)), distribution)
    set_biases(model, bias)


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

    He, Zhang, Ren, Sun 2015. mode: fan_in keeps the variance of the signals, fan_out that of
    the gradients, average something of both.
    """
    a = slope_below_zero(activation)
    for layer in layers(model):
        _draw(layer, sqrt(2 / ((1 + a * a) * _fan(layer, mode))), distribution)
    set_biases(model, bias)


def random_walk(
    model: nn.Module,
    x: Tensor,
    *,
    activation: Activation,
    gain: float | None = None,
    bias: float = 0.0,
) -> None:
    """Weights N(0, g²/N), N = fan_in, g such that the gradient's log norm has no drift.

    Sussillo, Abbott 2014: g = √2·exp(1.2/(max(N, 6) − 2.4)) for ReLU, 1.2 for tanh
    (they advise 1.1 to 1.3), exp(1/(2N)) for linear units and, here, for all others.
    """
    not_negative(gain=gain)
    kind = type(activation())
    for layer in layers(model):
        n = fans(layer)[0]
        if gain is not None:
            g = gain
        elif kind is nn.ReLU:
            g = sqrt(2) * exp(1.2 / (max(n, 6) - 2.4))
        elif kind is nn.Tanh:
            g = 1.2
        else:
            g = exp(1 / (2 * n))
        _draw(layer, g / sqrt(n), "normal")
    set_biases(model, bias)


def hanin_rolnick(model: nn.Module, x: Tensor, *, decay: float = 0.9, bias: float = 0.0) -> None:
    """Weights N(0, 2/fan_in); the output of the l-th residual branch is scaled by decay^l.

    Hanin, Rolnick 2018: the variance keeps the mean length of the activations, and a
    finite sum of the scales bounds them in a residual network of any depth.
    """
    if not 0 < decay <= 1:
        raise ValueError(f"decay must be above 0 and at most 1, got {decay}")
    for layer in layers(model):
        _draw(layer, sqrt(2 / fans(layer)[0]), "normal")
    set_biases(model, bias)
    for number, end in enumerate(residual_ends(model), start=1):
        scale_output(end, decay**number)


def scale_output(module: nn.Module, factor: float) -> None:
    """Scale the output of a linear, convolution or norm layer."""
    if isinstance(module, Layer):
        set_weight(module, module.weight * factor)
    elif isinstance(module.weight, Tensor):
        module.weight.mul_(factor)
    if isinstance(module.bias, Tensor):
        module.bias.mul_(factor)


def slope_below_zero(activation: Activation) -> float:
    """a where the activation is x for x > 0 and a·x below; 0 for all others."""
    module = activation()
    if isinstance(module, nn.Identity):
        return 1.0
    if isinstance(module, nn.LeakyReLU):
        return module.negative_slope
    if isinstance(module, nn.PReLU):
        return float(module.weight.detach().mean())
    return 0.0


def _fan(layer: Layer, mode: str) -> float:
    """How many numbers a unit takes in, or gives out, or the mean of both."""
    fan_in, fan_out = fans(layer)
    known = {"fan_in": fan_in, "fan_out": fan_out, "average": (fan_in + fan_out) / 2}
    if mode not in known:
        raise ValueError(f"mode must be fan_in, fan_out or average, got {mode}")
    return known[mode]


def _draw(layer: Layer, std: float, distribution: str) -> None:
    if distribution == "normal":
        set_weight(layer, fresh(layer).normal_(0, std))
    elif distribution == "uniform":
        set_weight(layer, fresh(layer).uniform_(-sqrt(3) * std, sqrt(3) * std))
    else:
        raise ValueError(f"distribution must be normal or uniform, got {distribution}")
