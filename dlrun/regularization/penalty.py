"""Penalties on the size of the weights.

Each adds its gradient after backward, which costs less than building it into the loss.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def choose(weights: Sequence[Tensor], parameters: str) -> list[Tensor]:
    """Those that a penalty is for.

    "all", or "weights": what has more than one axis, so no bias and no scale of a norm.
    """
    return [w for w in weights if parameters == "all" or w.ndim > 1]


def with_gradient(weights: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Those weights that the last backward reached, and their gradients."""
    reached = [(w, w.grad) for w in weights if w.grad is not None]
    return [w for w, _ in reached], [grad for _, grad in reached]


def norms(weights: Sequence[Tensor], parameters: str, order: int) -> Tensor:
    """The norms of those that a penalty is for, (chosen,); maybe none, whose sum is 0."""
    chosen = choose(weights, parameters)
    if not chosen:
        return weights[0].new_zeros(0)
    return torch.stack(torch._foreach_norm(chosen, order))


def require(strength: float, parameters: str) -> None:
    """Raise ValueError where a value of these two options cannot be."""
    if strength < 0:
        raise ValueError(f"strength must not be negative, got {strength}")
    if parameters not in ("weights", "all"):
        raise ValueError(f"parameters must be weights or all, got {parameters}")


class L2:
    """(strength/2)·Σw², whose gradient is strength·w (Hoerl, Kennard 1970)."""

    def __init__(self, strength: float = 1e-3, parameters: str = "weights") -> None:
        require(strength, parameters)
        self.strength, self.parameters = strength, parameters

    @torch.no_grad()
    def add_gradient(self, weights: Sequence[Tensor]) -> None:
        """Add strength·w to the gradient of each weight that has one."""
        chosen, grads = with_gradient(choose(weights, self.parameters))
        if grads:
            torch._foreach_add_(grads, chosen, alpha=self.strength)

    @torch.no_grad()
    def penalty(self, weights: Sequence[Tensor]) -> Tensor:
        """The penalty now, a scalar."""
        return self.strength / 2 * norms(weights, self.parameters, 2).square().sum()


class Decay:
    """w ← (1 − rate·strength)·w after every step, past the optimizer (Loshchilov, Hutter 2019).

    rate: the learning rate of the step, which the loop sets. A frozen weight stays as it is.
    """

    def __init__(self, strength: float = 1e-3, parameters: str = "weights") -> None:
        require(strength, parameters)
        self.strength, self.parameters = strength, parameters
        self.rate = 0.0

    @torch.no_grad()
    def constrain(self, model: nn.Module) -> None:
        """Make the weights smaller."""
        trainable = [w for w in model.parameters() if w.requires_grad]
        chosen = choose(trainable, self.parameters)
        if chosen:
            torch._foreach_mul_(chosen, 1 - self.rate * self.strength)


def l2(strength: float = 1e-3, parameters: str = "weights", decoupled: bool = False) -> L2 | Decay:
    """The penalty, or decay that no gradient scaling of the optimizer touches."""
    return (Decay if decoupled else L2)(strength, parameters)


class L1:
    """strength·Σ|w|, whose gradient is strength·sign(w), 0 at 0 (Tibshirani 1996)."""

    def __init__(self, strength: float = 1e-5, parameters: str = "weights") -> None:
        require(strength, parameters)
        self.strength, self.parameters = strength, parameters

    @torch.no_grad()
    def add_gradient(self, weights: Sequence[Tensor]) -> None:
        """Add strength·sign(w) to the gradient of each weight that has one."""
        chosen, grads = with_gradient(choose(weights, self.parameters))
        if grads:
            torch._foreach_add_(grads, torch._foreach_sign(chosen), alpha=self.strength)

    @torch.no_grad()
    def penalty(self, weights: Sequence[Tensor]) -> Tensor:
        """The penalty now, a scalar."""
        return self.strength * norms(weights, self.parameters, 1).sum()


class Elastic:
    """strength·(ratio·Σ|w| + (1 − ratio)/2·Σw²): L1 and L2 in one (Zou, Hastie 2005)."""

    def __init__(
        self, strength: float = 1e-4, ratio: float = 0.5, parameters: str = "weights"
    ) -> None:
        require(strength, parameters)
        if not 0 <= ratio <= 1:
            raise ValueError(f"ratio must be between 0 and 1, got {ratio}")
        self._parts = L1(strength * ratio, parameters), L2(strength * (1 - ratio), parameters)

    def add_gradient(self, weights: Sequence[Tensor]) -> None:
        """Add strength·(ratio·sign(w) + (1 − ratio)·w) to the gradient of each that has one."""
        for part in self._parts:
            part.add_gradient(weights)

    def penalty(self, weights: Sequence[Tensor]) -> Tensor:
        """The penalty now, a scalar."""
        first, second = self._parts
        return first.penalty(weights) + second.penalty(weights)
