"""The group `metric`: what is measured of a model on a split, and which way is better.

    (predicted, y, **options) -> scalar

predicted: what the model says of all samples of the split. (n, classes), probabilities where the
loss has a softmax or a sigmoid, else scores that only compare classes; (n, labels) probabilities,
where several labels hold at once; (n, targets) numbers in the units of the data.
y: (n,) int64 class indices; (n, labels) int64, 0 or 1; (n, targets) numbers.
Everything but indices is float64, on the device (on the CPU, where the device has no float64).

A function is enough, if `@metric(higher_is_better=...)` stands above it: no name can tell that.
`Metric` says what else there is. Where no sum over the batches will do, the predictions of the
split are kept until its end. A value is recorded as `val/<name>`, and so of other splits.

counts.py          from right and wrong answers: top5, precision, recall, macro_f1, ...
probabilities.py   calibration_error, brier
ranking.py         from the order of the scores: auroc, average_precision
regression.py      rmse, r2
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dlrun.errors import Mistake

if TYPE_CHECKING:  # reports import this, which do without torch
    from torch import Tensor

CLASSES, LABELS, NUMBERS = "classes", "labels", "numbers"
KINDS = (CLASSES, LABELS, NUMBERS)
"""Of targets: one class out of several, several labels at once, numbers."""


@dataclass(eq=False)
class Metric:
    """A number that says how good a model is, and all that is known of it.

    share: whether it is the part of the samples for which something holds, from 0 to 1.
    label: what it is called in figures; "" for its name.
    takes: the kinds of targets that it is for.
    probabilities: whether it needs probabilities, not just scores.
    function: (predicted, y) -> Tensor; None for the loss, which is computed otherwise.
    of_sums: (total, samples) -> scalar, where the function gives something of each batch that
        is added up over the split; None where it gives the value, of the whole split at once.
    merge: what puts two of these together where adding them will not do.
    """

    name: str
    higher_is_better: bool
    share: bool = False
    label: str = ""
    takes: Sequence[str] = KINDS
    probabilities: bool = False
    function: Callable[..., Tensor] | None = None
    of_sums: Callable[[Tensor, int], Tensor] | None = None
    merge: Callable[[Tensor, Tensor], Tensor] = operator.add

    def __post_init__(self) -> None:
        if self.function is not None:
            # The signature and the docstring are the function's, for whoever checks arguments.
            functools.update_wrapper(self, self.function, updated=())

    def __call__(self, predicted: Tensor, y: Tensor, **options: Any) -> Tensor:
        """What the function gives."""
        assert self.function is not None
        return self.function(predicted, y, **options)

    def score(self, value: float) -> float:
        """A value with the sign that makes higher better; of a score, the value again."""
        return value if self.higher_is_better else -value

    def facts(self) -> dict[str, Any]:
        """What a record says of it, for `known`."""
        return {name: getattr(self, name) for name in ("higher_is_better", "share", "label")}


def metric(higher_is_better: bool, **more: Any) -> Callable[[Callable[..., Tensor]], Metric]:
    """Decorate a function that is a metric. more: what else `Metric` says of it."""

    def declare(function: Callable[..., Tensor]) -> Metric:
        return Metric(function.__name__, higher_is_better, function=function, **more)

    return declare


def mean(total: Tensor, samples: int) -> Tensor:
    """What `of_sums` is for a mean over the samples."""
    return total.double() / samples


@metric(higher_is_better=True, share=True, takes=(CLASSES, LABELS), of_sums=mean)
def accuracy(predicted: Tensor, y: Tensor) -> Tensor:
    """How many answers are right; of several labels, all labels of a sample.

    y: also mixed (n, classes) probabilities, in training.
    """
    return right(predicted, y).sum()


@metric(higher_is_better=False, label="mean absolute error", takes=(NUMBERS,), of_sums=mean)
def mae(predicted: Tensor, y: Tensor) -> Tensor:
    """Σ over the samples of the mean over their targets of |prediction − target|."""
    return absolute_errors(predicted, y).sum()


def right(predicted: Tensor, y: Tensor) -> Tensor:
    """(n,) Whether the answer is right; see `accuracy`."""
    if y.dim() == 1:
        return predicted.argmax(1) == y
    if y.is_floating_point():
        return predicted.argmax(1) == y.argmax(1)
    return ((predicted > 0.5) == y.bool()).all(1)


def absolute_errors(predicted: Tensor, y: Tensor) -> Tensor:
    """(n,) The mean over the targets of |prediction − target|; see `mae`."""
    return (predicted - y).abs().flatten(1).mean(1)


METRICS = {one.name: one for one in (Metric("loss", higher_is_better=False), accuracy, mae)}
"""The metrics that are there without being asked for; which one beside the loss, the task says."""


def of(made: Callable[..., Tensor], name: str) -> Metric:
    """What a recipe's metric is, with its options, under its name in the recipe.

    Raises Mistake where nobody says which way is better, and where the name is taken.
    """
    known: Any = made
    options: dict[str, Any] = {}
    if isinstance(made, functools.partial):
        known, options = made.func, made.keywords
    if not isinstance(known, Metric) or known.function is None:
        raise Mistake(
            f"metric.{name}: does not say which way is better; write above the function "
            "@dlrun.metric.metric(higher_is_better=True), or False"
        )
    if name in METRICS and known is not METRICS[name]:
        raise Mistake(f"metric.{name}: is always measured; give your own metric another name")
    return replace(known, name=name, function=functools.partial(known.function, **options))


def known(recorded: Any) -> dict[str, Metric]:
    """The metrics that a record tells of, by name, with those that are always there."""
    found = dict(METRICS)
    for name, facts in recorded.items() if isinstance(recorded, Mapping) else ():
        if isinstance(facts, Mapping) and isinstance(facts.get("higher_is_better"), bool):
            share, label = facts.get("share") is True, str(facts.get("label") or "")
            found[name] = Metric(name, facts["higher_is_better"], share, label)
    return found


def metric_of(key: str, among: Mapping[str, Metric] = METRICS) -> Metric:
    """The metric of a recorded value, by its key: `val/loss` is a loss.

    Raises KeyError where the key ends in no metric's name, as `lr` does.
    """
    return among[key.rpartition("/")[2]]


def score(key: str, value: float, among: Mapping[str, Metric] = METRICS) -> float:
    """A recorded value with the sign that makes higher better; of a score, the value again."""
    return metric_of(key, among).score(value)
