"""What acts on the gradients and the weights of a stack beside its update.

Penalties and limits on weights act on all runs at once. What nothing is known of here acts on
the networks of the runs, one after another, whose weights and gradients are views.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize

from dlrun.engine.run import Run
from dlrun.model.roles import decaying
from dlrun.regularization.max_norm import MaxNorm
from dlrun.regularization.penalty import L1, L2, Decay, Elastic
from dlrun.stack.update import Update, number_of
from dlrun.stack.weights import Stack


class Gradients(Protocol):
    """A rule that changes gradients, and may have a penalty."""

    def add(self) -> None:
        """Change the gradients."""

    def penalty(self) -> Tensor:
        """(runs,) The penalty of each run."""


class Constraint(Protocol):
    """A rule that acts after each update."""

    def constrain(self) -> None:
        """Change the weights, or look at them."""


def gradients(runs: Sequence[Run], place: int, stack: Stack) -> Gradients:
    """The rule in a place among those that change gradients, of all runs."""
    rules = [run.change_gradient[place] for run in runs]
    parts = [rule.parts() for rule in rules if isinstance(rule, L1 | L2 | Elastic)]
    if len(parts) < len(rules):
        return _EachGradient(runs, rules)
    if any(part.choice.among(run.weights).made for part, run in _pairs(parts, runs)):
        return _EachGradient(runs, rules)
    return _Penalties(runs, parts, stack)


def constraint(runs: Sequence[Run], place: int, stack: Stack, update: Update) -> Constraint:
    """The rule in a place among the constraints, of all runs."""
    rules = [run.constraints[place] for run in runs]
    if all(type(rule) is Decay for rule in rules):
        return _Decays(runs, rules, stack, update)
    if not any(map(_is_apart, runs[0].model.modules())) and all(
        type(rule) is MaxNorm for rule in rules
    ):
        return _Balls(runs, rules, stack)
    return _EachConstraint(runs, rules, update)


class _EachGradient:
    """The rules of the runs, one after another."""

    def __init__(self, runs: Sequence[Run], rules: Sequence[Any]) -> None:
        self._runs, self._rules = runs, rules

    def add(self) -> None:
        for run, rule in zip(self._runs, self._rules, strict=True):
            rule.add_gradient(run.weights)

    def penalty(self) -> Tensor:
        pairs = zip(self._runs, self._rules, strict=True)
        return torch.stack([rule.penalty(run.weights) for run, rule in pairs])


class _Penalties:
    """Sums of |w| and w²/2 over some columns, with a strength for each run."""

    def __init__(self, runs: Sequence[Run], parts: Sequence[Any], stack: Stack) -> None:
        self._stack = stack
        self._terms = []
        for own in zip(*parts, strict=True):
            chosen = {id(w) for w in own[0].choice.among(runs[0].weights).plain}
            strength = number_of([part.strength for part in own], stack.flat)
            if isinstance(strength, Tensor):
                strength = strength.to(stack.flat)
            some = _columns(runs[0], chosen, stack)
            pairs = [(stack.flat[:, columns], stack.grad[:, columns]) for columns in some]
            self._terms.append((isinstance(own[0], L1), strength, pairs))

    def add(self) -> None:
        for absolute, strength, pairs in self._terms:
            for weights, grad in pairs:
                slope = weights.sign() if absolute else weights
                if isinstance(strength, Tensor):
                    grad.addcmul_(slope, strength)
                else:
                    grad.add_(slope, alpha=strength)

    def penalty(self) -> Tensor:
        total = self._stack.flat.new_zeros(len(self._stack.flat))
        for absolute, strength, pairs in self._terms:
            for weights, _ in pairs:
                norm = torch.linalg.vector_norm(weights, 1 if absolute else 2, dim=1)
                size = norm if absolute else norm.square() / 2
                total += size * (strength[:, 0] if isinstance(strength, Tensor) else strength)
        return total


class _EachConstraint:
    """The rules of the runs, one after another."""

    def __init__(self, runs: Sequence[Run], rules: Sequence[Any], update: Update) -> None:
        self._runs, self._rules, self._update = runs, rules, update

    def constrain(self) -> None:
        self._update.set_rates()
        for run, rule in zip(self._runs, self._rules, strict=True):
            rule.constrain(run.model, run.optimizer.param_groups)


class _Decays:
    """As `Decay`, each run with its own rate and strength."""

    def __init__(
        self, runs: Sequence[Run], rules: Sequence[Any], stack: Stack, update: Update
    ) -> None:
        self._stack, self._update, self._absolute = stack, update, rules[0].absolute
        self._strength = number_of([rule.strength for rule in rules], stack.flat)
        first = runs[0]
        every = rules[0].parameters == "all"
        chosen = {id(w) for w in decaying(first.model, every, frozen=True)}
        mask = _mask(first, chosen, stack)
        self._groups = []
        for names in stack.groups:
            start, stop = stack.columns[names[0]].start, stack.columns[names[-1]].stop
            self._groups.append((slice(start, stop), mask[:, start:stop]))

    def constrain(self) -> None:
        for place, (columns, mask) in enumerate(self._groups):
            weights = self._stack.flat[:, columns]
            share = self._update.rate(place) * self._strength
            share = share.to(weights) * mask if isinstance(share, Tensor) else share * mask
            if self._absolute:
                weights.copy_(weights.sign() * (weights.abs() - share).clamp_(min=0))
            else:
                weights.mul_(1 - share)


class _Balls:
    """As `MaxNorm`, each run with its own limit."""

    def __init__(self, runs: Sequence[Run], rules: Sequence[Any], stack: Stack) -> None:
        self._weights = [
            stack.leaves[f"{name}.weight" if name else "weight"].detach()
            for name, layer in runs[0].model.named_modules()
            if isinstance(layer, nn.Linear | _ConvNd)
        ]
        self._limits = stack.flat.new_tensor([rule.limit for rule in rules])[:, None]

    def constrain(self) -> None:
        for weights in self._weights:
            norms = torch.linalg.vector_norm(weights.flatten(2), dim=2)
            share = torch.where(norms > self._limits, self._limits / (norms + 1e-7), 1.0)
            weights.mul_(share.view(*norms.shape, *[1] * (weights.dim() - 2)))


def _is_apart(layer: nn.Module) -> bool:
    """Whether the incoming weights of a layer's units are something else than its rows."""
    return isinstance(layer, _ConvTransposeNd) or parametrize.is_parametrized(layer)


def _pairs(parts: Sequence[Any], runs: Sequence[Run]) -> list[tuple[Any, Run]]:
    return [(part, run) for own, run in zip(parts, runs, strict=True) for part in own]


def _mask(run: Run, chosen: set[int], stack: Stack) -> Tensor:
    """(1, n): 1 for what is chosen of a run's weights, by their ids, else 0."""
    mask = torch.zeros_like(stack.flat[:1])
    for place in _columns(run, chosen, stack):
        mask[:, place] = 1
    return mask


def _columns(run: Run, chosen: set[int], stack: Stack) -> list[slice]:
    """Where what is chosen of a run's weights lies in a row, by their ids."""
    found: list[slice] = []
    for name, weight in run.model.named_parameters():
        if name in stack.columns and id(weight) in chosen:
            place = stack.columns[name]
            found.append(slice(place.start, place.stop))
    return found
