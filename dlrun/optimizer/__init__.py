"""The group `optimizer`: how a gradient becomes a step.

    (parameters, **options) -> torch.optim.Optimizer

parameters: tensors, or torch's parameter groups. A factory whose first parameter is called
`model` gets the network instead, and all its trainable parameters to train; where it takes `groups`
too, the tensors or groups that others get.

The loop sets each group's `lr` before a step. One whose `step` requires a `closure`
evaluates the objective itself: `closure()` with its gradient, `closure(backward=False)`
alone; `replay.py` gives all calls of a step the same random numbers. One that is `Averaging`
or `Switching` is evaluated with other weights than it trains, and says as `Landing` where limits on
weights act; one that is `Observing` hears of validations.
A group whose rate is a setting of its own beside `lr` says so: `own_rate=True`.
What changes while training goes on is in `state_dict()`, never in a group's options:
those are the recipe's.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch import Tensor
    from torch.optim import Optimizer


@runtime_checkable
class Averaging(Protocol):
    """Has averages that stand in for live tensors in evaluation; none before averaging begins."""

    def averages(self) -> list[tuple[Tensor, Tensor]]:
        """(live, average) for each."""


@runtime_checkable
class Switching(Protocol):
    """Moves the weights to where it trains or is evaluated, as schedule-free optimizers do."""

    def train(self) -> None:
        """To where it trains."""

    def eval(self) -> None:
        """To where it is evaluated."""


@runtime_checkable
class Landing(Protocol):
    """Keeps more of the weights than where they lie, as a look-ahead or an average does."""

    def landed(self) -> AbstractContextManager[None]:
        """Inside, the weights lie where the last step has put them, before anything else is made
        of that; what is changed there, as by a limit on weights, counts for all that is kept.
        """


@runtime_checkable
class Observing(Protocol):
    """Reacts to validation, as some schedules do."""

    def observe(self, score: float) -> None:
        """After each validation; a higher score is better."""


def takes_closure(optimizer: Optimizer) -> bool:
    """Whether the optimizer evaluates the loss itself, as L-BFGS and line searches do."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty
