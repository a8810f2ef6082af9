"""Averages of the weights over the steps, evaluated and kept instead of the last weights.

Polyak, Juditsky 1992, Acceleration of Stochastic Approximation by Averaging.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.duration import Steps
from dlrun.errors import below_one, not_negative
from dlrun.regularization import Regularizer

Share = Callable[[int, int], float]
"""(steps taken, weights averaged so far) -> the share of the new weights, 0 for none."""


class WeightAverage(Regularizer):
    """Averages of all trainable parameters and of all floating buffers of a model.

    Whole numbers, such as a count of batches, stay those of the live model. The statistics of
    batch norm are estimated again wherever averages are evaluated.
    """

    def __init__(self, share: Share) -> None:
        self.share = share
        self.steps = self.count = 0
        self._model: nn.Module | None = None
        self._live: list[Tensor] = []
        self._averages: list[Tensor] = []

    def change_model(self, model: nn.Module, x: Tensor) -> nn.Module:
        """Remember the model, which stays as it is."""
        self._model = model
        return model

    @torch.no_grad()
    def constrain(self, model: nn.Module, groups: Sequence[dict[str, Any]]) -> None:
        """Take in the weights after a step; the model stays as it is."""
        self._model = self._model or model
        self.steps += 1
        share = self.share(self.steps, self.count)
        if not share:
            return
        live = self._bound()
        if self._averages:
            torch._foreach_lerp_(self._averages, live, share)
        else:
            self._averages = [now.detach().clone() for now in live]
        self.count += 1

    def averages(self) -> list[tuple[Tensor, Tensor]]:
        """(live tensor, its average) for each; none before averaging begins."""
        return list(zip(self._bound(), self._averages, strict=True)) if self._averages else []

    def forget(self) -> None:
        """The average begins again; the steps up to its start are not waited for again."""
        self.count, self._averages = 0, []

    def state_dict(self) -> dict[str, Any]:
        """The steps taken, the number of weights averaged so far, and their averages."""
        return {"steps": self.steps, "count": self.count, "averages": list(self._averages)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state_dict."""
        self.steps, self.count = state["steps"], state["count"]
        self._averages = [average.clone() for average in state["averages"]]
        self._live = []

    def _bound(self) -> list[Tensor]:
        """The live tensors; found late, after all other rules have changed the model."""
        if not self._live and self._model is not None:
            # What is frozen, too: it may be trained later.
            every = [*self._model.parameters(), *self._model.buffers()]
            self._live = [each for each in every if each.is_floating_point()]
            # A checkpoint has them on the CPU.
            for i, kept in enumerate(self._averages):
                self._averages[i] = torch.empty_like(self._live[i]).copy_(kept)
        return self._live


def weight_average(
    start: Steps, period: Steps, form: str = "ema", decay: float = 0.999, warmup: bool = True
) -> WeightAverage:
    """An average of the form "ema" (decay, warmup) or "swa" (start, period)."""
    if form not in ("ema", "swa"):
        raise ValueError(f"form must be ema or swa, got {form}")
    return WeightAverage(exponential(decay, warmup) if form == "ema" else equal(start, period))


def exponential(decay: float, warmup: bool = True) -> Share:
    """a ← d·a + (1 − d)·w after every step; a begins with the weights after the first one.

    warmup: d = min(decay, (1 + t)/(10 + t)), t the number of weights averaged so far, which
    soon forgets the early ones; else d = decay.
    """
    below_one(decay=decay)

    def share(steps: int, count: int) -> float:
        return 1 - (min(decay, (1 + count) / (10 + count)) if warmup else decay)

    return share


def equal(start: int, period: int) -> Share:
    """The mean of the weights after the steps start, start + period, start + 2·period, ..."""
    not_negative(start=start)
    if period < 1:
        raise ValueError(f"period must be at least one step, got {period}")
    first = max(start, 1)

    def share(steps: int, count: int) -> float:
        due = steps >= first and (steps - first) % period == 0
        return 1 / (1 + count) if due else 0.0

    return share
