"""Gradient descent that tries several rates at every step."""

from typing import cast

import torch
from torch import Tensor, nn

from dlrun.errors import not_negative
from dlrun.optimizer.replay import Objective, replayed, trainable


class LineSearch(torch.optim.Optimizer):
    """Tries θ − α·k·g for every k of `multipliers` and keeps the one with the lowest objective.

    All trials see the same batch and the same random masks. Where none is lower than before the
    step, or that is not finite, the weights stay.
    """

    def __init__(self, model: nn.Module, lr: float, multipliers: list[float]) -> None:
        not_negative(lr=lr)
        if not multipliers or min(multipliers) <= 0:
            raise ValueError(f"multipliers must be numbers above 0, got {multipliers}")
        super().__init__(trainable(model), {"lr": lr})
        self._model, self._multipliers = model, sorted(multipliers)

    @torch.no_grad()
    def step(self, closure: Objective) -> Tensor:  # type: ignore[override]
        """One gradient and one evaluation for every rate; returns the objective before it."""
        objective = replayed(closure, self._model)
        before = objective()
        group = self.param_groups[0]
        moved = [p for p in group["params"] if p.grad is not None]
        if not moved:
            return before
        direction = [cast(Tensor, p.grad) for p in moved]
        start = torch._foreach_add(moved, 0.0)  # copies
        rates = [group["lr"] * multiplier for multiplier in self._multipliers]
        values = [before]
        for rate in rates:
            torch._foreach_copy_(moved, torch._foreach_add(start, direction, alpha=-rate))
            values.append(objective(backward=False))
        found = torch.stack(values).nan_to_num(nan=torch.inf).argmin()
        chosen = torch.tensor([0.0, *rates], dtype=before.dtype, device=before.device)[found]
        torch._foreach_copy_(moved, start)
        torch._foreach_sub_(moved, torch._foreach_mul(direction, chosen))
        return before
