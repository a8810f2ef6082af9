"""Metrics from counts of right and wrong answers.

Of several labels at once, a label is said to hold where its probability is above 1/2.
"""

import torch
from torch import Tensor

from dlrun.errors import Mistake
from dlrun.metric import CLASSES, LABELS, mean, metric

_MANY = 5


@metric(True, share=True, label="top-5 accuracy", takes=(CLASSES,), of_sums=mean)
def top5(predicted: Tensor, y: Tensor) -> Tensor:
    """How many samples have their class among the five with the highest scores."""
    if predicted.shape[1] <= _MANY:
        raise Mistake(
            f"metric=top5: would always be 1, because there are {predicted.shape[1]} classes; "
            "leave it out"
        )
    return (predicted.topk(_MANY).indices == y[:, None]).any(1).sum()


def _counts(predicted: Tensor, y: Tensor) -> Tensor:
    """(4, classes): how often each was said rightly, was said, was so, and was there at all.

    A class that was neither said nor so is not there, a label always is.
    """
    if y.dim() == 1:
        classes = torch.arange(predicted.shape[1], device=predicted.device)
        said, so = predicted.argmax(1)[:, None] == classes, y[:, None] == classes
        there = said | so
    else:
        said, so = predicted > 0.5, y.bool()
        there = torch.ones_like(so)
    return torch.stack([rows.sum(0) for rows in (said & so, said, so, there)])


def _recall(counts: Tensor, samples: int) -> Tensor:
    right, _, so, there = counts
    return _ratio(right, so)[there > 0].mean()


def _precision(counts: Tensor, samples: int) -> Tensor:
    right, said, _, there = counts
    return _ratio(right, said)[there > 0].mean()


def _f1(counts: Tensor, samples: int) -> Tensor:
    right, said, so, there = counts
    return _ratio(2 * right, said + so)[there > 0].mean()


def _balanced(counts: Tensor, samples: int) -> Tensor:
    right, _, so, _ = counts
    return _ratio(right, so)[so > 0].mean()


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """part/whole, and 0 for 0/0."""
    return part.double() / whole.clamp(min=1)


@metric(True, label="balanced accuracy", takes=(CLASSES,), of_sums=_balanced)
def balanced_accuracy(predicted: Tensor, y: Tensor) -> Tensor:
    """The mean of the recalls of the classes that the split has; their counts of a batch."""
    return _counts(predicted, y)


@metric(True, label="precision, mean over classes", takes=(CLASSES, LABELS), of_sums=_precision)
def precision(predicted: Tensor, y: Tensor) -> Tensor:
    """The mean over classes of the right ones among the answers; their counts of a batch."""
    return _counts(predicted, y)


@metric(True, label="recall, mean over classes", takes=(CLASSES, LABELS), of_sums=_recall)
def recall(predicted: Tensor, y: Tensor) -> Tensor:
    """The mean over classes of the part of its samples that is found; their counts of a batch."""
    return _counts(predicted, y)


@metric(True, label="F1, mean over classes", takes=(CLASSES, LABELS), of_sums=_f1)
def macro_f1(predicted: Tensor, y: Tensor) -> Tensor:
    """The mean over classes of 2·right/(answers + samples); their counts of a batch."""
    return _counts(predicted, y)
