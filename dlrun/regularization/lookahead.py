"""Lookahead: slow weights that follow the fast ones of any optimizer.

Zhang, Lucas, Hinton, Ba 2019, Lookahead Optimizer: k Steps Forward, 1 Step Back.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.duration import Steps
from dlrun.regularization import Regularizer


class Lookahead(Regularizer):
    """Every so many steps φ ← φ + α(θ − φ) and θ ← φ; the slow weights φ are evaluated.

    They begin as the first weights. What the optimizer remembers stays as it is.
    """

    def __init__(self, every: Steps, share: float = 0.5) -> None:
        if every < 1:
            raise ValueError(f"every must be at least one step, got {every}")
        if not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {share}")
        self.every, self.share = every, share
        self.steps = 0
        self._model: nn.Module | None = None
        self._slow: list[Tensor] = []

    def change_model(self, model: nn.Module, x: Tensor) -> nn.Module:
        """Remember the model, which stays as it is."""
        self._model = model
        return model

    def add_gradient(self, weights: Sequence[Tensor]) -> None:
        """Nothing to the gradient; before the first step the slow weights are the model's."""
        if not self._slow:
            self._slow = [p.detach().clone() for p in self._fast()]

    @torch.no_grad()
    def constrain(self, model: nn.Module, groups: Sequence[dict[str, Any]]) -> None:
        """Count a step; let the slow weights follow, and the fast ones begin from there."""
        self.steps += 1
        if self.steps % self.every == 0:
            fast = self._fast()
            torch._foreach_lerp_(self._slow, fast, self.share)
            torch._foreach_copy_(fast, self._slow)

    def averages(self) -> list[tuple[Tensor, Tensor]]:
        """(fast, slow) of each parameter; none before the first step."""
        return list(zip(self._fast(), self._slow, strict=True)) if self._slow else []

    def forget(self) -> None:
        """The slow weights begin again as those of the model."""
        self._slow = []

    def state_dict(self) -> dict[str, Any]:
        """The steps taken and the slow weights."""
        return {"steps": self.steps, "slow": list(self._slow)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state_dict, which a checkpoint keeps on the CPU."""
        self.steps = state["steps"]
        pairs = zip(self._fast(), state["slow"], strict=True) if state["slow"] else ()
        self._slow = [torch.empty_like(p).copy_(kept).detach() for p, kept in pairs]

    def _fast(self) -> list[Tensor]:
        """Of the model, found late: other rules may have changed it."""
        assert self._model is not None
        return list(self._model.parameters())
