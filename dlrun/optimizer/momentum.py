"""Gradient descent with a momentum that may rise, in the form of torch or of the textbooks.

    torch       v ← βv + g,      θ ← θ − αv           Nesterov: θ ← θ − α(g + βv)
    classical   v ← βv − αg,     θ ← θ + v            Nesterov: g = ∇L(θ + βv)

As long as the rate stays the same both take the same path (for Nesterov, torch's θ is the
look-ahead θ + βv of the classical form). Where it falls, v still moves on by the rates before.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from dlrun.duration import Steps
from dlrun.errors import below_one
from dlrun.optimizer.replay import evaluated, moving

FORMS, RISES = ("torch", "classical"), ("line", "switch")


def momentum(
    parameters: ParamsT,
    lr: float = 0.05,
    momentum: float = 0.9,
    momentum_start: float | None = None,
    momentum_steps: Steps | None = None,
    momentum_rise: str = "line",
    momentum_patience: Steps | None = None,
    nesterov: bool = False,
    form: str = "torch",
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """Descent whose momentum rises from `momentum_start`, where there is one.

    momentum_rise: line, over `momentum_steps`; or switch, after them, or where there is a
    `momentum_patience`, once the monitored score has been no better for so long.
    form: torch or classical, see above. With torch's and a constant momentum, torch's own SGD.

    Polyak 1964, Some Methods of Speeding Up the Convergence of Iteration Methods; Nesterov 1983;
    rising, and as a switch, in Hinton 2012, A Practical Guide to Training Restricted Boltzmann
    Machines; classical: Sutskever, Martens, Dahl, Hinton 2013.
    """
    below_one(momentum=momentum, momentum_start=momentum_start)
    for name, word, known in (("form", form, FORMS), ("momentum_rise", momentum_rise, RISES)):
        if word not in known:
            raise ValueError(f"{name} must be {' or '.join(known)}, got {word}")
    if momentum_patience is not None and momentum_rise != "switch":
        raise ValueError("momentum_patience is for momentum_rise=switch")
    if momentum_rise == "switch" and momentum_start is None:
        raise ValueError("momentum_rise=switch needs a momentum_start, 0.5 say")
    start, steps = (momentum, 0) if momentum_start is None else (momentum_start, momentum_steps)
    rise = Rise(start, momentum, steps or 0, momentum_rise, momentum_patience)
    if form == "classical":
        return Classical(parameters, lr, rise, nesterov, weight_decay)
    kind = torch.optim.SGD if momentum_patience is None else Switched
    optimizer = kind(
        parameters, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay
    )
    if momentum_start is not None and (momentum_steps or momentum_patience is not None):
        optimizer.register_step_pre_hook(partial(_rise, rise=rise))
    if isinstance(optimizer, Switched):
        optimizer.rise = rise
    return optimizer


class Rise:
    """The momentum of each step; how far it is stands in the memory of the optimizer."""

    def __init__(
        self, start: float, end: float, steps: int, how: str, patience: int | None
    ) -> None:
        self.start, self.end, self.steps = start, end, steps
        self.how, self.patience = how, patience

    def value(self, memory: dict[str, Any], ahead: int = 0) -> float:
        """After the steps that the memory counts, and `ahead` more."""
        taken = memory.get("step", 0) + ahead
        if self.patience is not None:
            return self.end if memory.get("risen") else self.start
        if self.how == "switch":
            return self.end if taken >= self.steps else self.start
        share = min(taken / self.steps, 1.0) if self.steps else 1.0
        return self.start + (self.end - self.start) * share

    def observe(self, memory: dict[str, Any], score: float) -> None:
        """Take in the score after the steps so far; a higher one is better."""
        taken = memory.get("step", 0)
        if score > memory.get("best", -math.inf):
            memory["best"], memory["since"] = score, taken
        elif self.patience is not None and taken - memory.get("since", 0) >= self.patience:
            memory["risen"] = True


class Switched(torch.optim.SGD):
    """torch's SGD with a momentum that rises when validation gets no better."""

    rise: Rise

    def observe(self, score: float) -> None:
        """Take in the monitored score; a higher one is better."""
        self.rise.observe(_memory(self), score)


class Classical(torch.optim.Optimizer):
    """v ← βv − αg, θ ← θ + v; with Nesterov g is the gradient at θ + βv.

    There the weights lie at θ + βv while training goes on; what is evaluated and kept is θ.
    """

    def __init__(
        self, parameters: ParamsT, lr: float, rise: Rise, nesterov: bool, weight_decay: float
    ) -> None:
        options = {"lr": lr, "weight_decay": weight_decay, "nesterov": nesterov}
        super().__init__(parameters, options)
        self._rise, self._nesterov = rise, nesterov
        self._there: list[Tensor] | None = None  # θ + βv, during an evaluation

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step from the gradients where the weights lie."""
        loss = evaluated(closure)
        memory = _memory(self)
        now, then = self._rise.value(memory), self._rise.value(memory, ahead=1)
        memory["step"] = memory.get("step", 0) + 1
        for group, moved, grads in moving(self):
            if group["weight_decay"]:
                grads = list(torch._foreach_add(grads, moved, alpha=group["weight_decay"]))
            velocities = [self._velocity(p) for p in moved]
            if self._nesterov:  # back to θ
                torch._foreach_sub_(moved, [self.state[p]["ahead"] for p in moved])
            torch._foreach_mul_(velocities, now)
            torch._foreach_add_(velocities, grads, alpha=-group["lr"])
            torch._foreach_add_(moved, velocities)
            if self._nesterov:
                for p, velocity in zip(moved, velocities, strict=True):
                    self.state[p]["ahead"] = then * velocity
                torch._foreach_add_(moved, [self.state[p]["ahead"] for p in moved])
        return loss

    def observe(self, score: float) -> None:
        """Take in the monitored score; a higher one is better."""
        self._rise.observe(_memory(self), score)

    @torch.no_grad()
    def eval(self) -> None:
        """Put the weights at θ."""
        moved = [p for p in self._weights() if "ahead" in self.state[p]]
        if self._there is None and moved:
            self._there = [p.detach().clone() for p in moved]
            torch._foreach_sub_(moved, [self.state[p]["ahead"] for p in moved])

    @torch.no_grad()
    def train(self) -> None:
        """Put the weights at θ + βv again, to the last bit."""
        if self._there is not None:
            moved = [p for p in self._weights() if "ahead" in self.state[p]]
            torch._foreach_copy_(moved, self._there)
            self._there = None

    @contextmanager
    def landed(self) -> Iterator[None]:
        """Inside, the weights lie at θ; the look-ahead is added to what becomes of it."""
        moved = [p for p in self._weights() if "ahead" in self.state[p]]
        with torch.no_grad():
            for p in moved:
                p.sub_(self.state[p]["ahead"])
        yield
        with torch.no_grad():
            for p in moved:
                p.add_(self.state[p]["ahead"])

    def _weights(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def _velocity(self, p: Tensor) -> Tensor:
        memory = self.state[p]
        if "velocity" not in memory:
            memory["velocity"] = torch.zeros_like(p)
            if self._nesterov:
                memory["ahead"] = torch.zeros_like(p)
        return cast(Tensor, memory["velocity"])


def _memory(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """What an optimizer remembers of all weights together, with that of the first."""
    return cast(dict[str, Any], optimizer.state[optimizer.param_groups[0]["params"][0]])


def _rise(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any, rise: Rise) -> None:
    """Set the momentum of the next step, from the number of steps taken, which the state keeps."""
    memory = _memory(optimizer)
    value = rise.value(memory)
    memory["step"] = memory.get("step", 0) + 1
    for group in optimizer.param_groups:
        group["momentum"] = value
