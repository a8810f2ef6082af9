"""Weights with a structure: orthogonal, identity, of unit norm."""

from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from dlrun.initializer import Layer, by_unit, fans, fresh, layers, set_biases, set_weight
from dlrun.initializer.scaled import scale_output
from dlrun.model.order import residual_ends, weight_layers


def orthogonal(model: nn.Module, x: Tensor, *, gain: float = 1.0, bias: float = 0.0) -> None:
    """Rows or columns of each weight orthonormal, times gain (Saxe, McClelland, Ganguli 2013).

    A convolution's weight counts as a matrix of (channels, rest), that of each group by itself.
    """
    for layer in layers(model):
        values = fresh(layer)
        for group in values.chunk(getattr(layer, "groups", 1)):
            nn.init.orthogonal_(group, gain)
        set_weight(layer, values)
    set_biases(model, bias)


def dirac(model: nn.Module, x: Tensor, *, bias: float = 0.0) -> None:
    """Each layer passes its inputs on unchanged, as many as fit (Zagoruyko, Komodakis 2017)."""
    for layer in layers(model):
        values = fresh(layer)
        if isinstance(layer, nn.Linear):
            nn.init.eye_(values)
        else:
            nn.init.dirac_(values, layer.groups)
        set_weight(layer, values)
    set_biases(model, bias)


def weight_norm(model: nn.Module, x: Tensor, *, bias: float = 0.0) -> None:
    """Random directions of length g, which keep the norm of the signals.

    Arpit, Campos, Bengio 2019: g = √(c·fan_in/fan_out), where c = 2 before a ReLU, 1 for
    the last layer and for shortcuts, and 1/B for the last layer of each of B residual
    branches. Meant for weight-normalized layers, whose length g is learned by itself;
    others get the same weights. A branch that ends in a norm has that scaled by √(1/B).
    """
    gain: dict[nn.Module, float] = dict.fromkeys(weight_layers(model, x)[-1:], 1.0)
    for module in model.modules():
        shortcut = getattr(module, "shortcut", None)
        if isinstance(shortcut, nn.Module):
            gain |= dict.fromkeys(layers(shortcut), 1.0)
    ends = residual_ends(model)
    for end in ends:
        gain[end] = 1 / len(ends)
        if not isinstance(end, Layer):
            scale_output(end, sqrt(1 / len(ends)))
    for layer in layers(model):
        fan_in, fan_out = fans(layer)
        set_weight(layer, fresh(layer).normal_())
        g = sqrt(gain.get(layer, 2.0) * fan_in / fan_out)
        set_weight(layer, by_unit(layer, g / unit_norms(layer)))
    set_biases(model, bias)


def unit_norms(layer: Layer) -> Tensor:
    """The norm of each output unit's incoming weights, (units,)."""
    weight = layer.weight
    if isinstance(layer, _ConvTransposeNd):
        # (in, out/groups, ...) -> (out, in/groups, ...)
        weight = weight.unflatten(0, (layer.groups, -1)).transpose(1, 2).flatten(0, 1)
    norms: Tensor = torch.linalg.vector_norm(weight.flatten(1), dim=1)
    return norms
