"""Weights fitted to a batch of data, layer after layer in the order in which they run."""

import copy
import logging
from math import exp, log

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dlrun.initializer import Layer, by_unit, fresh, layers, set_biases, set_weight
from dlrun.initializer.structured import orthogonal
from dlrun.model.order import evaluation, output_of, weight_layers

log_of_dlrun = logging.getLogger("dlrun")
MOST_ROUNDS = 1000
"""Each round costs a backward pass for each sample, and a few dozen are enough."""


def lsuv(
    model: nn.Module, x: Tensor, *, tolerance: float = 0.1, most_trials: int = 10, bias: float = 0.0
) -> None:
    """Orthonormal weights, each layer scaled until its output has variance 1.

    Mishkin, Matas 2015: W ← W/√Var(output) until |Var − 1| < tolerance.
    """
    if tolerance <= 0:
        raise ValueError(f"tolerance must be above 0, got {tolerance}")
    if not 0 <= most_trials <= MOST_ROUNDS:
        raise ValueError(f"most_trials must be between 0 and {MOST_ROUNDS}, got {most_trials}")
    orthogonal(model, x, bias=bias)
    for layer in weight_layers(model, x):
        for _ in range(most_trials):
            variance = output_of(layer, model, x).var(correction=0)
            if abs(variance - 1) < tolerance or not variance > 0:
                break
            set_weight(layer, layer.weight / variance.sqrt())


def data_dependent(
    model: nn.Module,
    x: Tensor,
    *,
    beta: float = 0.0,
    rounds: int = 10,
    damping: float = 0.5,
    samples: int = 16,
) -> None:
    """Give every unit's output mean beta and variance 1, then let all layers learn equally fast.

    Krähenbühl, Doersch, Donahue, Darrell 2015. Second part: the relative rate of change
    C = √E‖∂l/∂W‖²/‖W‖, l a random linear function of a sample's output, is made equal by
    W ← W·(C/C̃)^(damping/2), C̃ the geometric mean over the layers, `rounds` times. That keeps
    the output in a chain of layers with ReLU-like activations; elsewhere only the first part
    is done.
    """
    if not 0 < damping <= 1:
        raise ValueError(f"damping must be above 0 and at most 1, got {damping}")
    if not 0 <= rounds <= MOST_ROUNDS:
        raise ValueError(f"rounds must be between 0 and {MOST_ROUNDS}, got {rounds}")
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    for layer in layers(model):
        set_weight(layer, fresh(layer).normal_())
    set_biases(model, 0.0)
    chain = weight_layers(model, x)
    for layer in chain:
        _normalize_units(layer, output_of(layer, model, x), beta)
    _equalize(model, chain, x[:samples], rounds, damping)


def _normalize_units(layer: Layer, out: Tensor, beta: float) -> None:
    """Give each output unit mean beta (if there is a bias) and variance 1 on this output."""
    units = out.movedim(-1 if isinstance(layer, nn.Linear) else 1, 0).flatten(1)
    mean, std = units.mean(1), units.std(1, correction=0)
    std = torch.where(std > 0, std, torch.ones_like(std))
    set_weight(layer, by_unit(layer, 1 / std))
    if layer.bias is not None:
        layer.bias.copy_(beta - mean / std)


def _equalize(model: nn.Module, chain: list[Layer], x: Tensor, rounds: int, damping: float) -> None:
    """Shift scale between the layers until all change at the same relative rate."""
    saved = copy.deepcopy(model.state_dict())
    with evaluation(model):
        before = model(x)
        for _ in range(rounds):
            logs = [log(rate) for rate in change_rates(model, chain, x)]
            middle = sum(logs) / len(logs)
            # All factors up to a layer scale its output, and so its bias.
            reached = 1.0
            for layer, rate in zip(chain, logs, strict=True):
                factor = exp((rate - middle) * damping / 2)
                reached *= factor
                set_weight(layer, layer.weight * factor)
                if layer.bias is not None:
                    layer.bias.mul_(reached)
        if not torch.allclose(model(x), before, rtol=1e-3, atol=1e-3 * float(before.abs().max())):
            model.load_state_dict(saved)
            log_of_dlrun.warning(
                "initializer=data_dependent: scale cannot be moved between the layers of this "
                "network, so each was normalized only by itself"
            )


def change_rates(model: nn.Module, chain: list[Layer], x: Tensor) -> list[float]:
    """√E‖∂l/∂W‖²/‖W‖ of each layer, l a random linear function of one sample's output."""
    squares = [0.0] * len(chain)
    with torch.enable_grad(), parametrize.cached():
        weights = [layer.weight for layer in chain]
        for sample in x:
            out = model(sample[None])
            grads = torch.autograd.grad(
                (out * torch.randn_like(out)).sum(), weights, retain_graph=True
            )
            squares = [s + float(g.square().sum()) for s, g in zip(squares, grads, strict=True)]
        norms = [float(weight.detach().norm()) for weight in weights]
    tiny = 1e-30  # for a layer without gradient, which must not stop the others
    rates = [(s / len(x)) ** 0.5 / max(norm, tiny) for s, norm in zip(squares, norms, strict=True)]
    return [max(rate, tiny) for rate in rates]
