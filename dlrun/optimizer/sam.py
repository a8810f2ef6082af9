"""Sharpness-aware minimization: the gradient from the worst place nearby.

Foret, Kleiner, Mobahi, Neyshabur 2021; adaptive, where nearby is by the size of each weight:
Kwon, Kim, Park, Choi 2021, ASAM.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from dlrun.errors import below_one, not_negative
from dlrun.optimizer.replay import Objective, replayed, trainable

BASES = ("momentum", "adamw")


class SAM(torch.optim.Optimizer):
    """The base's step with ∇L(θ + ε), ε = ρ·g/‖g‖ the steepest way up.

    adaptive: ε = ρ·T²g/‖Tg‖ with T = |θ| + η. base: momentum, or adamw, which takes `betas`.
    groups: of the weights, for the base; None for one of all.

    Both gradients are of the same mini-batch with the same random masks; running statistics take
    it in once, at θ.
    """

    def __init__(
        self,
        model: nn.Module,
        lr: float = 0.05,
        rho: float = 0.05,
        adaptive: bool = False,
        eta: float = 0.01,
        base: str = "momentum",
        momentum: float = 0.9,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
        groups: Any = None,
    ) -> None:
        not_negative(rho=rho, eta=eta)
        if base not in BASES:
            raise ValueError(f"base must be {' or '.join(BASES)}, got {base}")
        below_one(momentum=momentum, betas=betas)
        weights: Any = trainable(model) if groups is None else groups
        if base == "momentum":
            self._base: torch.optim.Optimizer = torch.optim.SGD(
                weights, lr, momentum, weight_decay=weight_decay
            )
        else:
            self._base = torch.optim.AdamW(weights, lr, betas, weight_decay=weight_decay)
        super().__init__(self._base.param_groups, self._base.defaults)
        self._model, self._rho, self._adaptive, self._eta = model, rho, adaptive, eta

    @torch.no_grad()
    def step(self, closure: Objective) -> Tensor:  # type: ignore[override]
        """Two gradients, one step; the objective before it."""
        objective = replayed(closure, self._model)
        value = objective()
        moved = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        if moved:
            start = torch._foreach_add(moved, 0.0)  # copies
            torch._foreach_add_(moved, self._way_up(moved))
            objective()
            torch._foreach_copy_(moved, start)
        self._base.param_groups, self._base.state = self.param_groups, self.state
        self._base.step()
        return value

    def _way_up(self, moved: list[nn.Parameter]) -> list[Tensor]:
        """ε of each weight."""
        ways = [cast(Tensor, p.grad) for p in moved]
        scales = [p.abs() + self._eta for p in moved] if self._adaptive else None
        if scales is not None:
            ways = list(torch._foreach_mul(ways, scales))
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(ways)))
        if scales is not None:
            ways = list(torch._foreach_mul(ways, scales))
        return list(torch._foreach_mul(ways, self._rho / (norm + 1e-12)))
