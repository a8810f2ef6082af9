"""Averaged stochastic gradient descent.

torch.optim.ASGD has its own schedule of rates, one step late, and does not evaluate the average;
here the rate is the schedule's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from dlrun.duration import Steps
from dlrun.errors import not_negative
from dlrun.optimizer.replay import evaluated, moving


class ASGD(torch.optim.Optimizer):
    """Gradient descent, and the mean of the weights after each step beyond `start`.

    Polyak, Juditsky 1992, Acceleration of Stochastic Approximation by Averaging.
    """

    def __init__(
        self,
        parameters: ParamsT,
        lr: float = 0.1,
        start: Steps | None = None,
        weight_decay: float = 0.0,
    ) -> None:
        not_negative(lr=lr, start=start, weight_decay=weight_decay)
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})
        self._start = start or 0

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step along −g, one more term of the averages."""
        loss = evaluated(closure)
        memory = self.state[self.param_groups[0]["params"][0]]
        memory["step"] = step = memory.get("step", 0) + 1
        for group, moved, grads in moving(self):
            if group["weight_decay"]:
                grads = list(torch._foreach_add(grads, moved, alpha=group["weight_decay"]))
            torch._foreach_add_(moved, grads, alpha=-group["lr"])
        if step > self._start:
            live = [p for group in self.param_groups for p in group["params"]]
            if "average" not in memory:  # resumed with an earlier start counts from here too
                memory["averaged"] = 0
                for p in live:
                    self.state[p]["average"] = torch.zeros_like(p)
            memory["averaged"] += 1
            averages = [self.state[p]["average"] for p in live]
            torch._foreach_lerp_(averages, live, 1 / memory["averaged"])
        return loss

    @contextmanager
    def landed(self) -> Iterator[None]:
        """Inside, the weights lie where they do; the averages take in what becomes of them."""
        memory = self.state[self.param_groups[0]["params"][0]]
        pairs = self.averages() if memory.get("step", 0) > self._start else []
        before = [live.detach().clone() for live, _ in pairs]
        yield
        with torch.no_grad():
            for (live, average), was in zip(pairs, before, strict=True):
                average.add_(live - was, alpha=1 / memory["averaged"])

    def averages(self) -> list[tuple[Tensor, Tensor]]:
        """Each parameter with its average; none before the averaging starts."""
        live = [p for group in self.param_groups for p in group["params"]]
        return [(p, self.state[p]["average"]) for p in live if "average" in self.state[p]]
