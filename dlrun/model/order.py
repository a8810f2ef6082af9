"""The order in which a network's layers run, found by running it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils.hooks import RemovableHandle


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in evaluation mode; afterwards each layer's mode is as before."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def hooked(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Inside, modules have the hooks of these handles; afterwards they have not."""
    put = list(handles)
    try:
        yield
    finally:
        for handle in put:
            handle.remove()


def weight_layers(model: nn.Module, x: Tensor) -> list[nn.Linear | _ConvNd]:
    """The linear and convolution layers in the order in which x meets them.

    It takes one forward pass of (n, *shape) in evaluation mode, without gradient. A layer that
    runs twice counts once; one that does not run through its own forward, as in attention, is
    left out.
    """
    met: dict[nn.Linear | _ConvNd, None] = {}

    def meet(layer: nn.Module, args: Any) -> None:
        if isinstance(layer, nn.Linear | _ConvNd):
            met.setdefault(layer)

    handles = [
        module.register_forward_pre_hook(meet)
        for module in model.modules()
        if isinstance(module, nn.Linear | _ConvNd)
    ]
    with hooked(handles), evaluation(model), torch.no_grad():
        model(x)
    return list(met)


def output_of(layer: nn.Module, model: nn.Module, x: Tensor) -> Tensor:
    """The output of the layer when the model runs on x, in evaluation mode, without gradient."""
    given: list[Tensor] = []
    handle = layer.register_forward_hook(lambda module, args, out: given.append(out))
    with hooked([handle]), evaluation(model), torch.no_grad():
        model(x)
    return given[0]


def residual_ends(model: nn.Module) -> list[nn.Module]:
    """The last linear, convolution or norm layer of each residual branch, in order.

    A branch is a block's attribute `residual`; torchvision's residual blocks count too.
    """
    ends: list[nn.Module] = []
    for module in model.modules():
        branch = getattr(module, "residual", None)
        if isinstance(branch, nn.Module):
            ends += [m for m in branch.modules() if _has_weight(m)][-1:]
        elif type(module).__name__ in ("BasicBlock", "Bottleneck"):
            ends += [norm for norm in (getattr(module, f"bn{i}", None) for i in (3, 2)) if norm][:1]
    return ends


def _has_weight(module: nn.Module) -> bool:
    """Whether a module is a linear, convolution or norm layer, also one of the user."""
    return isinstance(getattr(module, "weight", None), Tensor) and not isinstance(module, nn.PReLU)
