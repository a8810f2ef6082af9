"""Weights dropped at random, where dropout drops units.

Wan, Zeiler, Zhang, LeCun, Fergus 2013, Regularization of Neural Networks using DropConnect.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from dlrun.errors import Mistake
from dlrun.regularization import Regularizer
from dlrun.regularization.dropout import drop

_CONVOLUTIONS: dict[int, Any] = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}


class Connections:
    """Replaces a layer's forward; in training some of its connections are missing.

    An object of its own, not a closure: it is copied and pickled with the layer.
    """

    def __init__(self, layer: Any, rate: float, masks: str) -> None:
        self.layer, self.rate, self.masks = layer, rate, masks

    def __call__(self, x: Tensor) -> Tensor:
        """The layer's output; in training with weights and biases dropped and scaled."""
        layer = self.layer
        weight, bias = layer.weight, layer.bias
        if not layer.training:
            out: Tensor = type(layer).forward(layer, x)
        elif self.masks == "batch":
            weight = drop(weight, self.rate)
            bias = None if bias is None else drop(bias, self.rate)
            linear = isinstance(layer, nn.Linear)
            out = F.linear(x, weight, bias) if linear else layer._conv_forward(x, weight, bias)
        else:
            weights = drop(weight.expand(len(x), *weight.shape), self.rate)
            biases = None if bias is None else drop(bias.expand(len(x), *bias.shape), self.rate)
            apply = _linear if isinstance(layer, nn.Linear) else _convolve
            out = apply(layer, x, weights, biases)
        return out


class DropConnect(Regularizer):
    """Each weight and bias is 0 with probability p, else divided by 1 − p; not in evaluation.

    linear: p in every linear layer. convolution: p in every convolution. masks: "batch",
    one mask for all samples of a mini-batch; "sample", one for each, as in the paper, with
    the memory of all those weights. Evaluation uses the mean of the weights, where
    the paper draws from a Gaussian of that mean. Random numbers come from torch's global
    generator of the device.
    """

    def __init__(self, linear: float = 0.5, convolution: float = 0.0, masks: str = "batch") -> None:
        for name, rate in {"linear": linear, "convolution": convolution}.items():
            if not 0 <= rate < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {rate}")
        if masks not in ("batch", "sample"):
            raise ValueError(f"masks must be batch or sample, got {masks}")
        self.linear, self.convolution, self.masks = linear, convolution, masks

    def change_model(self, model: nn.Module, x: Tensor) -> nn.Module:
        """Take over the layers; the model's state_dict stays as it is.

        Raises Mistake where the model has no such layers.
        """
        found = 0
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                rate = self.linear
            elif isinstance(layer, _ConvNd) and not isinstance(layer, _ConvTransposeNd):
                rate = self.convolution
            else:
                continue
            found += 1
            if rate:
                vars(layer)["forward"] = Connections(layer, rate, self.masks)  # before the class's
        if not found:
            raise Mistake(
                "regularization.dropconnect: the model has no linear or convolution layer "
                "whose weights it could drop; leave it out"
            )
        return model


def _linear(layer: nn.Linear, x: Tensor, weights: Tensor, biases: Tensor | None) -> Tensor:
    """(n, ..., inputs) -> (n, ..., outputs), each sample with its own weights."""
    out = torch.bmm(x.reshape(len(x), -1, x.shape[-1]), weights.transpose(1, 2))
    if biases is not None:
        out = out + biases[:, None]
    return out.reshape(*x.shape[:-1], -1)


def _convolve(layer: Any, x: Tensor, weights: Tensor, biases: Tensor | None) -> Tensor:
    """(n, c, ...) -> (n, channels, ...): the samples are groups of one convolution."""
    padding = layer.padding
    if layer.padding_mode != "zeros":
        x = F.pad(x, layer._reversed_padding_repeated_twice, mode=layer.padding_mode)
        padding = 0
    out: Tensor = _CONVOLUTIONS[x.dim()](
        x.reshape(1, -1, *x.shape[2:]),
        weights.flatten(0, 1),
        None if biases is None else biases.flatten(),
        layer.stride,
        padding,
        layer.dilation,
        layer.groups * len(x),
    )
    return out.reshape(len(x), -1, *out.shape[2:])
