"""The Kronecker factors of a network's Fisher information, watched in its forward passes."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from dlrun.model.order import hooked

Layer = nn.Linear | nn.Conv2d
Fisher = Callable[[Tensor, Tensor], Tensor]
"""(logits, u) -> gradients, see `dlrun.loss.Loss`."""


class Factors:
    """Sums over samples and positions of what a layer takes in and of gradients by its output.

    inputs: āāᵀ, (inputs [+ 1 for the bias],)². gradients: ggᵀ, (outputs,)².
    """

    def __init__(self, layer: Layer) -> None:
        weight = layer.weight
        size = weight[0].numel() + (layer.bias is not None)
        self.inputs = weight.new_zeros(size, size)
        self.gradients = weight.new_zeros(len(weight), len(weight))
        self.samples = 0
        self.positions = 0  # of all samples together

    def moments(self) -> tuple[Tensor, Tensor]:
        """A, the sum over the positions of a sample, and G, their mean; of samples the mean.

        The Kronecker product of the two is nearly the layer's Fisher information.
        """
        return self.inputs / self.samples, self.gradients / self.positions


class _Met(NamedTuple):
    """A layer that ran, before its gradients are known."""

    layer: Layer
    inputs: Tensor
    positions: int
    output: GradientEdge


@contextmanager
def watched(
    model: nn.Module, layers: list[Layer], fisher: Fisher, draws: int
) -> Iterator[dict[Layer, Factors]]:
    """Inside, every forward pass of the model with gradients adds to its layers' factors.

    draws: random u a sample; 0 takes every unit vector instead, which is exact.
    """
    factors: dict[Layer, Factors] = {}
    met: list[_Met] = []

    def meet(layer: Any, args: tuple[Tensor, ...], output: Tensor) -> None:
        if output.requires_grad:
            rows = _inputs(layer, args[0].detach())
            met.append(_Met(layer, rows.T @ rows, len(rows), get_gradient_edge(output)))

    def finish(_: Any, args: tuple[Tensor, ...], logits: Tensor) -> None:
        for one in met:
            found = factors.setdefault(one.layer, Factors(one.layer))
            found.inputs += one.inputs
            found.positions += one.positions
        for layer in dict.fromkeys(one.layer for one in met):
            factors[layer].samples += len(logits)
        with torch.autocast(logits.device.type, enabled=False):
            at = logits.detach().to(torch.promote_types(logits.dtype, torch.float32))
            for draw in _draws(at, draws) if met else ():
                gradients = torch.autograd.grad(
                    logits,
                    [one.output for one in met],
                    fisher(at, draw).to(logits.dtype),
                    retain_graph=True,
                    materialize_grads=True,
                )
                for one, gradient in zip(met, gradients, strict=True):
                    rows = _outputs(one.layer, gradient)
                    factors[one.layer].gradients += rows.T @ rows
        met.clear()

    handles = [layer.register_forward_hook(meet) for layer in layers]
    handles.append(model.register_forward_hook(finish))
    with hooked(handles):
        yield factors


def _draws(logits: Tensor, count: int) -> Iterator[Tensor]:
    """Directions u, one for every sample, whose uuᵀ add up to I, in expectation or exactly."""
    for _ in range(count):
        yield torch.randn_like(logits) / math.sqrt(count)
    for k in range(logits[0].numel() if not count else 0):
        unit = torch.zeros_like(logits).flatten(1)
        unit[:, k] = 1
        yield unit.view(logits.shape)


def _inputs(layer: Layer, x: Tensor) -> Tensor:
    """What the rows of the weight matrix meet, (samples × positions, inputs [+ 1])."""
    if isinstance(layer, nn.Conv2d):
        size: Any = (layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        x = F.unfold(x, *size).mT
    rows = x.reshape(-1, x.shape[-1]).to(layer.weight.dtype)
    return rows if layer.bias is None else F.pad(rows, (0, 1), value=1.0)


def _outputs(layer: Layer, gradient: Tensor) -> Tensor:
    """Gradients by the layer's outputs, (samples × positions, outputs)."""
    last = gradient.movedim(1, -1) if isinstance(layer, nn.Conv2d) else gradient
    return last.reshape(-1, last.shape[-1]).to(layer.weight.dtype)
