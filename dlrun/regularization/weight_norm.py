"""Weights as a length and a direction.

Salimans, Kingma 2016, Weight Normalization: A Simple Reparameterization to Accelerate
Training of Deep Neural Networks.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrizations, parametrize

from dlrun.errors import Mistake
from dlrun.model import roles
from dlrun.regularization import Regularizer


class WeightNorm(Regularizer):
    """w = g·v/‖v‖ for each unit's incoming weights; g and v are learned in place of w.

    This concerns all linear and convolution layers that are not reparametrized already. The
    network starts as the same function.
    """

    def change_model(self, model: nn.Module, x: Tensor) -> nn.Module:
        """Reparametrize the weights. Raises Mistake where there are none."""
        layers = [m for m in model.modules() if isinstance(m, nn.Linear | _ConvNd)]
        if not layers:
            raise Mistake(
                "regularization.weight_norm: the model has no linear or convolution layer "
                "whose weights it could reparametrize; leave it out"
            )
        for layer in layers:
            if not parametrize.is_parametrized(layer, "weight"):
                # The outputs of a transposed convolution are on axis 1.
                parametrizations.weight_norm(layer, dim=int(isinstance(layer, _ConvTransposeNd)))
        return model


def length(layer: Any) -> Tensor | None:
    """The parameter g of a weight-normalized layer; None for other layers."""
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    return roles.length(layer.parametrizations["weight"])
