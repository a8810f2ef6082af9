"""The group `regularization`: any number at once, each acting in visible places.

A regularizer is a `Regularizer` with one or more methods of its own: the methods of that
class are all places where one may act, and each is one line of the build or of the loop.
The class may be left out: an object with some of the methods is one too.

`model/roles.py` tells weights from biases and scales. A rule that changes the model raises
Mistake where it finds no place to act.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from dlrun.loss import Loss


class Regularizer:
    """All places where a regularizer may act; here each does nothing.

    regression, labels: whether the targets are numbers, and those several labels at once, each
    0 or 1; the build sets both.

    Of one that stops training:
    metric: the recorded value that it watches; "" for what the recipe monitors.
    restore_best: whether the best weights so far are the result, not the last ones.
    min_improvement: by how much a score must be above the best so far to be the next best.
    patience, best_step: how many steps it waits for a better score, and since when.
    pruned: whether it has stopped the run because others are better.
    """

    regression = False
    labels = False
    metric = ""
    restore_best = True
    min_improvement = 0.0
    patience: int | None = None
    best_step = 0
    pruned = False

    def change_model(self, model: nn.Module, x: Tensor) -> nn.Module:
        """Once, before the initializer and the optimizer; x: a small preprocessed batch."""
        return model

    def change_loss(self, loss: Loss, outputs: int) -> Loss:
        """Once: what targets the loss is given."""
        return loss

    def change_batch(self, x: Tensor, y: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Every training batch, after preprocessing."""
        return x, y

    def add_gradient(self, weights: Sequence[Tensor]) -> None:
        """After backward: adds to .grad of the weights, the gradient of a penalty or noise."""

    def penalty(self, weights: Sequence[Tensor]) -> Tensor:
        """The penalty itself, a scalar, without gradient; weights: all trainable parameters."""
        raise NotImplementedError

    def constrain(self, model: nn.Module, groups: Sequence[dict[str, Any]]) -> None:
        """After every step of the optimizer, whose groups hold `params` and the step's `lr`.

        The weights lie where the step has put them; see `optimizer.Landing`.
        """

    def should_stop(self, score: float, step: int) -> bool:
        """After every validation; a higher score is better."""
        return False

    def averages(self) -> list[tuple[Tensor, Tensor]]:
        """Tensors of the model, each with what stands in for it.

        In validation, in the best weights and at the end, with batch norm's statistics
        estimated for them; none before averaging begins.
        """
        return []

    def forget(self) -> None:
        """After the best weights were put back, as some schedules do: averages begin anew there."""

    def state_dict(self) -> dict[str, Any]:
        """What must survive a kill, as tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state_dict."""


PLACES = (
    *("change_model", "change_loss", "change_batch", "add_gradient", "constrain", "should_stop"),
    "averages",
)
"""The methods with which a rule changes a training; `penalty` alone is only recorded."""


def acts(rule: object, place: str) -> bool:
    """Whether a regularizer does something in a place, by the name of the method."""
    found = getattr(type(rule), place, None)
    return found is not None and found is not getattr(Regularizer, place)


def acting(rules: Iterable[Regularizer], place: str) -> list[Regularizer]:
    """Those that do something in a place."""
    return [rule for rule in rules if acts(rule, place)]
