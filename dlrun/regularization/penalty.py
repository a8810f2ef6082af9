"""Penalties on the size of the weights.

Each adds its gradient after backward, which costs less than building it into the loss. Where
a layer computes its weight from other parameters, such as g·v/‖v‖, the penalty is that of the
weight, and those parameters get their share of its gradient.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlrun.errors import not_negative
from dlrun.model.roles import Used, decaying, everything, length, value, weights
from dlrun.regularization import Regularizer

Slope = Callable[[list[Tensor]], Sequence[Tensor]]
"""The gradient of a penalty of strength 1 with respect to each of its tensors."""


class Choice:
    """The tensors of a model that a penalty is for.

    parameters: "weights", as in `model/roles.py`, or "all"; without a known model, parameters
    with more than one axis are weights. squares: whether the penalty is one of squares only;
    then g replaces a weight g·v/‖v‖, because Σw² = Σg².
    """

    def __init__(self, parameters: str, squares: bool = False) -> None:
        self.parameters, self.squares = parameters, squares
        self.model: nn.Module | None = None
        self._found: Used | None = None
        self._trained = 0

    def among(self, given: Sequence[Tensor]) -> Used:
        """The tensors; found late, after all other rules have changed the model."""
        if self.model is None:
            return Used([w for w in given if self.parameters == "all" or w.ndim > 1], [])
        if self._found is None or len(given) != self._trained:  # some may be trained later
            self._trained = len(given)
            plain, made = (everything if self.parameters == "all" else weights)(self.model)
            for one in list(made) if self.squares else ():
                g = length(one)
                if g is not None:
                    plain.append(g)
                    made.remove(one)
            self._found = Used(plain, made)
        return self._found

    @torch.no_grad()
    def add_gradient(self, given: Sequence[Tensor], strength: float, slope: Slope) -> None:
        """Add strength·slope(w) to the gradient of each w that the last backward reached."""
        chosen = self.among(given)
        reached = [(w, w.grad) for w in chosen.plain if w.grad is not None]
        if reached:
            tensors, grads = (list(some) for some in zip(*reached, strict=True))
            torch._foreach_add_(grads, list(slope(tensors)), alpha=strength)
        for made in chosen.made:
            parts = [p for p in made.parameters() if p.grad is not None]
            if not parts:
                continue
            with torch.enable_grad():
                w = value(made)
            (outer,) = slope([w.detach()])
            found = torch.autograd.grad(w, parts, outer, allow_unused=True)
            for part, grad in zip(parts, found, strict=True):
                if grad is not None and part.grad is not None:
                    part.grad.add_(grad, alpha=strength)

    @torch.no_grad()
    def norms(self, given: Sequence[Tensor], order: int) -> Tensor:
        """The norm of each tensor, (chosen,); may be empty, with sum 0."""
        chosen = self.among(given)
        tensors = [*chosen.plain, *(value(made) for made in chosen.made)]
        if not tensors:
            return given[0].new_zeros(0)
        return torch.stack(torch._foreach_norm(tensors, order))


def require(strength: float, parameters: str) -> None:
    """Raise ValueError for a value that these two options cannot have."""
    not_negative(strength=strength)
    if parameters not in ("weights", "all"):
        raise ValueError(f"parameters must be weights or all, got {parameters}")


class L2(Regularizer):
    """(strength/2)·Σw², whose gradient is strength·w (Hoerl, Kennard 1970)."""

    def __init__(self, strength: float = 1e-3, parameters: str = "weights") -> None:
        require(strength, parameters)
        self.strength, self.choice = strength, Choice(parameters, squares=True)

    def change_model(self, model: nn.Module, x: Tensor) -> nn.Module:
        """Remember the model, which stays as it is."""
        self.choice.model = model
        return model

    def add_gradient(self, weights: Sequence[Tensor]) -> None:
        """Add strength·w to the gradient of each weight that has one."""
        self.choice.add_gradient(weights, self.strength, list)

    def parts(self) -> "Sequence[L1 | L2]":
        """What it is the sum of."""
        return (self,)

    def penalty(self, weights: Sequence[Tensor]) -> Tensor:
        """The penalty now, a scalar."""
        return self.strength / 2 * self.choice.norms(weights, 2).square().sum()


class Decay(Regularizer):
    """Weights shrink after every step, outside the optimizer, by its rate times the strength.

    absolute: whether by as much each, to 0 at most, w ← sign(w)·max(|w| − rate·strength, 0), the
    proximal step of L1 (Daubechies, Defrise, De Mol 2004); else in proportion to what they are,
    w ← (1 − rate·strength)·w (Loshchilov, Hutter 2019).

    Each weight at the `lr` of its group. Of a weight g·v/‖v‖ only g shrinks, which is equivalent;
    with other reparametrizations their parameters shrink. Frozen weights stay.
    """

    def __init__(
        self, strength: float = 1e-3, parameters: str = "weights", absolute: bool = False
    ) -> None:
        require(strength, parameters)
        self.strength, self.parameters, self.absolute = strength, parameters, absolute
        self._model: nn.Module | None = None
        self._groups: Sequence[dict[str, Any]] = ()
        self._chosen: list[list[Tensor]] = []

    @torch.no_grad()
    def constrain(self, model: nn.Module, groups: Sequence[dict[str, Any]]) -> None:
        """Shrink the weights."""
        if model is not self._model or groups is not self._groups:
            found = set(decaying(model, self.parameters == "all", frozen=True))
            self._model, self._groups = model, groups
            self._chosen = [[p for p in group["params"] if p in found] for group in groups]
        for group, chosen in zip(groups, self._chosen, strict=True):
            shrinking, share = [p for p in chosen if p.requires_grad], group["lr"] * self.strength
            if self.absolute:
                for weight in shrinking:
                    weight.copy_(F.softshrink(weight, float(share)))
            elif shrinking:
                torch._foreach_mul_(shrinking, 1 - float(share))


def l2(
    strength: float = 1e-3, parameters: str = "weights", half: bool = True, decoupled: bool = False
) -> L2 | Decay:
    """The penalty, or decay that the optimizer does not scale; half: (strength/2)·Σw²."""
    return (Decay if decoupled else L2)(strength if half else 2 * strength, parameters)


class L1(Regularizer):
    """strength·Σ|w|, whose gradient is strength·sign(w), 0 at 0 (Tibshirani 1996)."""

    def __init__(self, strength: float = 1e-5, parameters: str = "weights") -> None:
        require(strength, parameters)
        self.strength, self.choice = strength, Choice(parameters)

    def change_model(self, model: nn.Module, x: Tensor) -> nn.Module:
        """Remember the model, which stays as it is."""
        self.choice.model = model
        return model

    def add_gradient(self, weights: Sequence[Tensor]) -> None:
        """Add strength·sign(w) to the gradient of each weight that has one."""
        self.choice.add_gradient(weights, self.strength, torch._foreach_sign)

    def parts(self) -> "Sequence[L1 | L2]":
        """What it is the sum of."""
        return (self,)

    def penalty(self, weights: Sequence[Tensor]) -> Tensor:
        """The penalty now, a scalar."""
        return self.strength * self.choice.norms(weights, 1).sum()


def l1(
    strength: float = 1e-5, parameters: str = "weights", form: str = "subgradient"
) -> L1 | Decay:
    """The penalty, or its proximal step."""
    if form not in ("subgradient", "proximal"):
        raise ValueError(f"form must be subgradient or proximal, got {form}")
    if form == "proximal":
        return Decay(strength, parameters, absolute=True)
    return L1(strength, parameters)


class Elastic(Regularizer):
    """strength·(ratio·Σ|w| + (1 − ratio)/2·Σw²): L1 and L2 in one (Zou, Hastie 2005)."""

    def __init__(
        self, strength: float = 1e-4, ratio: float = 0.5, parameters: str = "weights"
    ) -> None:
        require(strength, parameters)
        if not 0 <= ratio <= 1:
            raise ValueError(f"ratio must be between 0 and 1, got {ratio}")
        self._parts = L1(strength * ratio, parameters), L2(strength * (1 - ratio), parameters)

    def change_model(self, model: nn.Module, x: Tensor) -> nn.Module:
        """Remember the model, which stays as it is."""
        for part in self._parts:
            part.change_model(model, x)
        return model

    def add_gradient(self, weights: Sequence[Tensor]) -> None:
        """Add strength·(ratio·sign(w) + (1 − ratio)·w) to the gradient of each that has one."""
        for part in self._parts:
            part.add_gradient(weights)

    def parts(self) -> "Sequence[L1 | L2]":
        """What it is the sum of."""
        return self._parts

    def penalty(self, weights: Sequence[Tensor]) -> Tensor:
        """The penalty now, a scalar."""
        first, second = self._parts
        return first.penalty(weights) + second.penalty(weights)
