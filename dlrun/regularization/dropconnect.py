"""Weights dropped at random, where dropout drops units.

Wan, Zeiler, Zhang, LeCun, Fergus 2013, Regularization of Neural Networks using DropConnect.
"""

import logging
from math import exp
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from dlrun.errors import Mistake, below_one
from dlrun.model.autoencoder import Transposed, is_linear
from dlrun.model.order import evaluation, hooked
from dlrun.regularization import Regularizer
from dlrun.regularization.batch_norm import ACTIVATIONS
from dlrun.regularization.dropout import drop

_log = logging.getLogger("dlrun")
_CONVOLUTIONS: dict[int, Any] = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}
_POINTS = [place / 10 for place in range(-50, 51)]
"""Where an activation is asked of a Gaussian, in standard deviations: the trapezoidal rule."""
_SHARES = [exp(-place * place / 2) / sum(exp(-p * p / 2) for p in _POINTS) for place in _POINTS]
_AFTER = "regularization.dropconnect.inference=gaussian: needs an activation right after each layer"


class Connections:
    """Replaces a layer's forward; in training some of its connections are missing.

    An object of its own, not a closure: it is copied and pickled with the layer.
    """

    def __init__(self, layer: Any, rate: float, masks: str) -> None:
        self.layer, self.rate, self.masks = layer, rate, masks
        self.activation: Averaged | None = None  # tell it how the output is spread

    def __call__(self, x: Tensor) -> Tensor:
        """The layer's output; in training with weights and biases dropped and scaled."""
        layer = self.layer
        weight, bias = layer.weight, layer.bias
        if not layer.training:
            out: Tensor = type(layer).forward(layer, x)
            if self.activation is not None:
                odds = self.rate / (1 - self.rate)
                squares = None if bias is None else bias.square()
                variance = odds * _apply(layer, x.square(), weight.square(), squares)
                self.activation.given = out, variance.sqrt()
        elif self.masks == "batch":
            weight = drop(weight, self.rate)
            out = _apply(layer, x, weight, None if bias is None else drop(bias, self.rate))
        else:
            weights = drop(weight.expand(len(x), *weight.shape), self.rate)
            biases = None if bias is None else drop(bias.expand(len(x), *bias.shape), self.rate)
            each = _linear if is_linear(layer) else _convolve
            out = each(layer, x, weights, biases)
        return out


class Averaged:
    """Replaces an activation's forward; in evaluation it gives the mean of a(u), u Gaussian.

    given: the mean of u and its standard deviation, where a layer with dropped weights has just
    run. Others go through as they are.
    """

    def __init__(self, activation: nn.Module) -> None:
        self.activation = activation
        self.given: tuple[Tensor, Tensor] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Σ over the points z of their shares times a(mean + std·z)."""
        forward: Any = type(self.activation).forward
        given, self.given = self.given, None
        if given is None:
            plain: Tensor = forward(self.activation, x)
            return plain
        mean, std = given
        if x is not mean:
            raise Mistake(f"{_AFTER}; put nothing between, or use inference=mean")
        total = torch.zeros_like(mean)
        for z, share in zip(_POINTS, _SHARES, strict=True):
            total = total + share * forward(self.activation, mean + z * std)
        return total


class DropConnect(Regularizer):
    """Each weight and bias is 0 with probability p, else divided by 1 − p; not in evaluation.

    linear: p in every linear layer. convolution: p in every convolution but transposed ones.
    masks: "batch", one mask for all samples of a mini-batch; "sample", one for each, as in the
    paper, with the memory of all those weights. inference: what evaluation uses: "mean", the mean
    of the weights; or "gaussian", the mean of the activation of N(Wx, p/(1 − p)·W²x²), as in the
    paper, by the trapezoidal rule in place of drawn numbers. Random numbers come from torch's
    global generator of the device.
    """

    def __init__(
        self,
        linear: float = 0.5,
        convolution: float = 0.0,
        masks: str = "batch",
        inference: str = "mean",
    ) -> None:
        below_one(linear=linear, convolution=convolution)
        if masks not in ("batch", "sample"):
            raise ValueError(f"masks must be batch or sample, got {masks}")
        if inference not in ("mean", "gaussian"):
            raise ValueError(f"inference must be mean or gaussian, got {inference}")
        self.linear, self.convolution = linear, convolution
        self.masks, self.inference = masks, inference

    def change_model(self, model: nn.Module, x: Tensor) -> nn.Module:
        """Take over the layers; the model's state_dict stays as it is.

        Raises Mistake where the model has no such layers, or none with an activation after it
        where inference asks for that.
        """
        found, left, changed = 0, 0, []
        for layer in model.modules():
            if is_linear(layer):
                rate = self.linear
            elif isinstance(layer, Transposed | _ConvTransposeNd):
                left += bool(self.convolution)
                continue
            elif isinstance(layer, _ConvNd):
                rate = self.convolution
            else:
                continue
            found += 1
            if rate:
                changed.append(Connections(layer, rate, self.masks))
                vars(layer)["forward"] = changed[-1]  # before the class's
        if not found:
            raise Mistake(
                "regularization.dropconnect: the model has no linear or convolution layer "
                "whose weights it could drop; leave it out"
            )
        if left:
            _log.warning(
                "regularization.dropconnect: transposed convolutions, of which there are "
                f"{left}, keep all weights"
            )
        if self.inference == "gaussian":
            _tell_activations(model, x, changed)
        return model


def _tell_activations(model: nn.Module, x: Tensor, changed: list[Connections]) -> None:
    """Let the activation after each layer know of it; the mean of a linear output is exact."""
    own = {connections.layer: connections for connections in changed}
    waiting: dict[Connections, Tensor] = {}

    def enter(module: nn.Module, args: Any) -> None:
        takes = [each for each, out in waiting.items() if args and args[0] is out]
        for connections in takes:
            del waiting[connections]
            if isinstance(module, ACTIVATIONS):
                forward = vars(module).setdefault("forward", Averaged(module))
                connections.activation = forward
            elif not isinstance(module, nn.Identity):
                kind = type(module).__name__
                raise Mistake(f"{_AFTER}, and here comes a {kind}; use inference=mean")

    def leave(module: nn.Module, args: Any, out: Tensor) -> None:
        if module in own:
            waiting[own[module]] = out

    leaves = [module for module in model.modules() if not any(True for _ in module.children())]
    handles = [module.register_forward_pre_hook(enter) for module in leaves]
    handles += [layer.register_forward_hook(leave) for layer in own]
    with hooked(handles), evaluation(model), torch.no_grad():
        model(x)
    if any(connections.layer is not changed[-1].layer for connections in waiting):
        raise Mistake(f"{_AFTER}, and here it is not a module; use inference=mean")


def _apply(layer: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What the layer gives with these weights."""
    if is_linear(layer):
        return F.linear(x, weight, bias)
    out: Tensor = layer._conv_forward(x, weight, bias)
    return out


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
