"""The group `initializer`: the weights a network starts from.

    (model, x, **options) -> None

Called once, under no_grad, after the model is built; x is a small preprocessed batch
on the model's device, for those that look at data. Random numbers come from torch's
global generator. Linear and convolution layers are set, norms are left as they are.
"""

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd


def default(model: nn.Module, x: Tensor) -> None:
    """Leaves the weights as the layers' own constructors drew them."""


def layers(model: nn.Module) -> Iterator[nn.Linear | _ConvNd]:
    """The linear and convolution layers, in the order of the model's definition."""
    for module in model.modules():
        if isinstance(module, nn.Linear | _ConvNd):
            yield module


def fans(layer: nn.Linear | _ConvNd) -> tuple[int, int]:
    """How many inputs a unit of the layer has, and how many outputs an input feeds."""
    a, b = layer.weight.shape[:2]
    field = layer.weight[0, 0].numel()
    if isinstance(layer, _ConvTransposeNd):
        return a // layer.groups * field, b * field
    return b * field, a // getattr(layer, "groups", 1) * field


def set_bias(layer: nn.Linear | _ConvNd, bias: float) -> None:
    """Fill the layer's bias, if it has one."""
    if layer.bias is not None:
        layer.bias.fill_(bias)
