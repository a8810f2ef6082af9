"""Lion: steps by the sign of a momentum, all of one size."""

from collections.abc import Callable

import torch
from torch.optim.optimizer import ParamsT

from dlrun.errors import below_one, not_negative
from dlrun.optimizer.replay import evaluated, moving


class Lion(torch.optim.Optimizer):
    """θ ← θ − α·(sign(β₁m + (1−β₁)g) + λθ), then m ← β₂m + (1−β₂)g.

    Chen et al. 2023, Symbolic Discovery of Optimization Algorithms.
    """

    def __init__(
        self,
        parameters: ParamsT,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        not_negative(lr=lr, weight_decay=weight_decay)
        below_one(betas=betas)
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step from the gradients."""
        loss = evaluated(closure)
        for group, moved, grads in moving(self):
            first, second = group["betas"]
            for p in moved:
                if not self.state[p]:
                    self.state[p]["momentum"] = torch.zeros_like(p)
            means = [self.state[p]["momentum"] for p in moved]
            updates = torch._foreach_lerp(grads, means, first)
            if group["weight_decay"]:
                torch._foreach_mul_(moved, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_sub_(moved, torch._foreach_sign(updates), alpha=group["lr"])
            torch._foreach_lerp_(means, grads, 1 - second)
        return loss
