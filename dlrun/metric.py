"""What is measured of a model on a split, and which way is better.

A value is recorded under a key that ends in the name of its metric: `val/accuracy`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # reports import this, which do without torch
    from torch import Tensor


@dataclass(frozen=True)
class Metric:
    """A number that says how good a model is.

    share: whether it is the part of the samples for which something holds, from 0 to 1.
    total: (predictions, y, units) -> its sum over a batch, a scalar on the device; None for
        the loss, which is computed otherwise. units: what a difference of 1 between numbers
        is in the units of the data, (targets,).
    """

    name: str
    higher_is_better: bool
    share: bool = False
    total: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None


def right(logits: Tensor, y: Tensor, units: Tensor) -> Tensor:
    """How many answers are right; y: (n,) labels, or mixed (n, classes) probabilities."""
    return (logits.argmax(1) == (y if y.dim() == 1 else y.argmax(1))).sum()


def absolute_error(predicted: Tensor, y: Tensor, units: Tensor) -> Tensor:
    """Σ over the samples of the mean over their targets of |prediction − target|."""
    return ((predicted - y).abs().flatten(1) * units).mean(1).sum()


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", higher_is_better=True, share=True, total=right),
        Metric("loss", higher_is_better=False),
        Metric("mae", higher_is_better=False, total=absolute_error),
    )
}


def metric_of(key: str) -> Metric:
    """The metric of a recorded value, by its key: `val/loss` is a loss.

    Raises KeyError where the key ends in no metric's name, as `lr` does.
    """
    return METRICS[key.rpartition("/")[2]]


def score(key: str, value: float) -> float:
    """A value with the sign that makes higher better; of a score, the value again."""
    return value if metric_of(key).higher_is_better else -value
