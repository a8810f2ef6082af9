"""The group `initializer`: the weights a network starts from.

    (model, x, **options) -> None

It is called once, under no_grad, after the model is built and changed by regularizers; x is a
small preprocessed batch on the model's device, for initializers that look at data. Random
numbers come from torch's global generator. It sets linear and convolution layers, and leaves
norms as they are. `set_weight` also reaches weights that a reparametrization computes, such as
weight norm.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize

from dlrun.model.autoencoder import Transposed

Layer = nn.Linear | _ConvNd


def default(model: nn.Module, x: Tensor) -> None:
    """Leave the weights as the layers' constructors drew them."""


def layers(model: nn.Module) -> Iterator[Layer]:
    """The linear and convolution layers, in the order of the model's definition."""
    for module in model.modules():
        if isinstance(module, Layer):
            yield module


def fans(layer: Layer) -> tuple[int, int]:
    """How many inputs a unit of the layer has, and how many outputs an input feeds."""
    a, b = layer.weight.shape[:2]
    field = layer.weight[0, 0].numel()
    if isinstance(layer, _ConvTransposeNd):
        return a // layer.groups * field, b * field
    return b * field, a // getattr(layer, "groups", 1) * field


def fresh(layer: Layer) -> Tensor:
    """A tensor like the layer's weight, to be filled."""
    return torch.empty_like(layer.weight, memory_format=torch.contiguous_format)


def set_weight(layer: Layer, values: Tensor) -> None:
    """Give the layer's weight these values."""
    if parametrize.is_parametrized(layer, "weight"):
        layer.weight = values  # the reparametrization takes them apart
    else:
        layer.weight.copy_(values)


def set_biases(model: nn.Module, bias: float) -> None:
    """Fill the biases of all layers, and those of layers that use the weights of another."""
    for module in model.modules():
        if isinstance(module, Layer | Transposed) and module.bias is not None:
            module.bias.fill_(bias)


def by_unit(layer: Layer, factors: Tensor) -> Tensor:
    """The layer's weight times one factor for each of its output units, (units,)."""
    weight = layer.weight
    if isinstance(layer, _ConvTransposeNd):
        # (in, out/groups, ...): the groups' outputs stand under each other.
        grouped = weight.unflatten(0, (layer.groups, -1))
        shape = [layer.groups, 1, -1] + [1] * (weight.ndim - 2)
        scaled: Tensor = (grouped * factors.reshape(shape)).flatten(0, 1)
    else:
        scaled = weight * factors.reshape([-1] + [1] * (weight.ndim - 1))
    return scaled
