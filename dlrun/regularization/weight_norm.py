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

    All linear and convolution layers but those that are reparametrized already. The
    network starts as the function that it was.
    """

    def change_model(self, model: nn.Module, x: Tensor) -> nn.Module:
        """Take the weights apart. Raises Mistake where there are none."""
        layers = [m for m in model.modules() if isinstance(m, nn.Linear | _ConvNd)]
        if not layers:
            raise Mistake(
                "regularization.weight_norm: the model has no linear or convolution layer "
                "whose weights it could take apart; leave it out"
            )
        for layer in layers:
            if not parametrize.is_parametrized(layer, "weight"):
                # A transposed convolution's outputs stand on axis 1.
                parametrizations.weight_norm(layer, dim=int(isinstance(layer, _ConvTransposeNd)))
        return model


def length(layer: Any) -> Tensor | None:
    """The parameter g of a weight-normalized layer; None where it is none."""
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    return roles.length(layer.parametrizations["weight"])
