"""Schedule-free descent and AdamW: a mean of the steps in place of a falling rate.

Defazio, Yang, Mehta, Mishchenko, Khaled, Cutkosky 2024, The Road Less Scheduled. Their package
`schedulefree` keeps its counters among the options of its groups, moves the weights between
training and evaluation with an error of rounding each time, and leaves batch norm's
statistics to the user; here the counters are in the state, and what is evaluated is an average
like any other. Both take the same steps.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from dlrun.errors import below_one, not_negative
from dlrun.optimizer.replay import evaluated


def sgd(
    parameters: ParamsT, lr: float = 1.0, momentum: float = 0.9, weight_decay: float = 0.0
) -> "ScheduleFree":
    """Schedule-free gradient descent."""
    return ScheduleFree(parameters, lr, momentum, weight_decay)


def adamw(
    parameters: ParamsT,
    lr: float = 0.0025,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> "ScheduleFree":
    """Schedule-free AdamW."""
    return ScheduleFree(parameters, lr, betas[0], weight_decay, betas[1], eps)


class ScheduleFree(torch.optim.Optimizer):
    """z ← z − α·(u(y) + λy), x ← (1 − c)x + cz, y = (1 − β)z + βx, which the model has.

    u is the gradient; or with `square`, β₂, Adam's g/(√v̂ + ε). c is the share of a step's squared
    rate, the highest so far, in the sum over all steps. x is what is evaluated.
    """

    def __init__(
        self,
        parameters: ParamsT,
        lr: float,
        momentum: float,
        weight_decay: float,
        square: float | None = None,
        eps: float = 1e-8,
    ) -> None:
        not_negative(lr=lr, eps=eps, weight_decay=weight_decay)
        if not 0 < momentum < 1:
            name = "momentum" if square is None else "betas"
            raise ValueError(f"{name} must be above 0 and below 1, got {momentum}")
        below_one(betas=square)
        options: dict[str, Any] = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        options |= {"adam": square is not None, "square": square or 0.0, "eps": eps}
        super().__init__(parameters, options)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step from the gradients at y."""
        loss = evaluated(closure)
        for group in self.param_groups:
            share = self._share(group)
            moved = [p for p in group["params"] if p.grad is not None]
            if not moved:
                continue
            updates = [self._update(p, group) for p in moved]
            if group["weight_decay"]:
                torch._foreach_add_(updates, moved, alpha=group["weight_decay"])
            ends = [self.state[p]["z"] for p in moved]
            rate = group["lr"]
            torch._foreach_lerp_(moved, ends, share)
            back = rate * (group["momentum"] * (1 - share) - 1)
            torch._foreach_add_(moved, updates, alpha=back)
            torch._foreach_sub_(ends, updates, alpha=rate)
        return loss

    def _share(self, group: dict[str, Any]) -> float:
        """c of this step."""
        memory = self.state[group["params"][0]]
        memory["step"] = memory.get("step", 0) + 1
        memory["most"] = max(memory.get("most", 0.0), group["lr"])
        memory["total"] = memory.get("total", 0.0) + memory["most"] ** 2
        return _share(memory)

    def _update(self, p: Tensor, group: dict[str, Any]) -> Tensor:
        """u, a tensor of its own."""
        memory, grad, rho = self.state[p], cast(Tensor, p.grad), group["square"]
        if "z" not in memory:
            memory["z"] = p.clone()
            if group["adam"]:
                memory["square"] = torch.zeros_like(p)
        if not group["adam"]:
            return grad.clone()
        square = cast(Tensor, memory["square"])
        square.mul_(rho).addcmul_(grad, grad, value=1 - rho)
        steps = self.state[group["params"][0]]["step"]
        scale: Tensor = (square / (1 - rho**steps)).sqrt_().add_(group["eps"])
        return grad / scale

    @contextmanager
    def landed(self) -> Iterator[None]:
        """Inside, the weights lie at z; x takes in what becomes of it, and y lies between."""
        moved = [
            (p, (1 - beta) + beta * _share(self.state[group["params"][0]]))
            for group in self.param_groups
            for beta in [group["momentum"]]
            for p in group["params"]
            if "z" in self.state[p]
        ]
        before = [p.detach().clone() for p, _ in moved]
        with torch.no_grad():
            for p, _ in moved:
                p.copy_(self.state[p]["z"])
        yield
        with torch.no_grad():
            for (p, of_y), y in zip(moved, before, strict=True):
                z = self.state[p]["z"]
                y.add_(p - z, alpha=of_y)
                z.copy_(p)
                p.copy_(y)

    def averages(self) -> list[tuple[Tensor, Tensor]]:
        """Each parameter at y with x, where it has moved."""
        return [
            (p, p.detach().lerp(self.state[p]["z"], 1 - 1 / group["momentum"]))
            for group in self.param_groups
            for p in group["params"]
            if "z" in self.state[p]
        ]


def _share(memory: dict[str, Any]) -> float:
    """c of the last step that a memory counts."""
    return float(memory["most"] ** 2 / memory["total"]) if memory["total"] else 0.0
