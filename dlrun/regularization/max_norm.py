"""Weights that cannot grow beyond a ball.

Srebro, Shraibman 2005; Srivastava et al. 2014, Dropout, section 5.1.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize

from dlrun.regularization import Regularizer
from dlrun.regularization.weight_norm import length

_GROWN = 1e-3  # the share by which weights are made larger, to see whether they may be


class MaxNorm(Regularizer):
    """Each unit's incoming weights are projected back into a ball of radius `limit`.

    This happens after every step, in all linear and convolution layers; biases stay. Where a
    layer is weight-normalized its length g is limited, which is equivalent.
    """

    def __init__(self, limit: float = 3.0) -> None:
        if limit <= 0:
            raise ValueError(f"limit must be above 0, got {limit}")
        self.limit = limit
        self._model: nn.Module | None = None
        self._layers: list[nn.Linear | _ConvNd] = []

    @torch.no_grad()
    def held(self, model: nn.Module) -> float:
        """The share of the weights that may not grow, as their unit is at the limit."""
        held = weights = 0
        for layer in model.modules():
            if isinstance(layer, nn.Linear | _ConvNd):
                grown = (1 + _GROWN) * layer.weight
                allowed = grown.clone()
                project(allowed, layer, self.limit)
                held += int((allowed != grown).sum())
                weights += grown.numel()
        return held / max(weights, 1)

    @torch.no_grad()
    def constrain(self, model: nn.Module, groups: Sequence[dict[str, Any]]) -> None:
        """Project all weights."""
        if model is not self._model:  # searching a deep network takes a while
            layers = [m for m in model.modules() if isinstance(m, nn.Linear | _ConvNd)]
            self._model, self._layers = model, layers
        for layer in filter(_is_trained, self._layers):
            g = length(layer)
            if g is not None:
                g.clamp_(-self.limit, self.limit)
            elif parametrize.is_parametrized(layer, "weight"):
                weight = layer.weight.clone()
                project(weight, layer, self.limit)
                layer.weight = weight
            else:
                project(layer.weight, layer, self.limit)


def _is_trained(layer: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in layer.parameters())


def project(weight: Tensor, layer: nn.Module, limit: float) -> None:
    """Scale each unit's incoming weights down to norm `limit` where it is above, in place."""
    if isinstance(layer, _ConvTransposeNd):
        for group in weight.chunk(layer.groups):  # (in/groups, out/groups, ...)
            group.renorm_(2, 1, limit)
    else:
        weight.renorm_(2, 0, limit)
