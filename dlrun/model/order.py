"""The order in which a network's layers run, found by running it."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd


def weight_layers(model: nn.Module, x: Tensor) -> list[nn.Module]:
    """The linear and convolution layers in the order in which x meets them.

    One forward pass of (n, *shape) in evaluation mode, without gradient; each layer's
    mode is as before afterwards. A layer that runs twice counts once; one that does not
    run through its own forward, as in attention, is left out.
    """
    met: dict[nn.Module, None] = {}

    def meet(layer: nn.Module, args: Any) -> None:
        met.setdefault(layer)

    modes = [(module, module.training) for module in model.modules()]
    handles = [
        module.register_forward_pre_hook(meet)
        for module in model.modules()
        if isinstance(module, nn.Linear | _ConvNd)
    ]
    try:
        model.eval()
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training
    return list(met)
