"""Metrics of how scores order the samples, each class or label against the rest.

They need all predictions of a split. A class that no sample has cannot be ranked, nor, by
`auroc`, one that all have: it is left out of the mean. Where none is left, the value is nan.
"""

import torch
from torch import Tensor

from dlrun.metric import CLASSES, LABELS, metric


@metric(True, label="area under the ROC curve", takes=(CLASSES, LABELS))
def auroc(predicted: Tensor, y: Tensor) -> Tensor:
    """The chance that a sample of a class has a higher score than another; ties count half.

    By the ranks of its samples, ties in the middle (Mann, Whitney 1947):
    (Σ ranks − n₊(n₊ + 1)/2)/(n₊·n₋).
    """
    scores, so = _columns(predicted, y)
    ordered = scores.sort(1).values
    ranks = (_below(ordered, scores) + _up_to(ordered, scores) + 1).double() / 2
    positive = so.sum(1).double()
    negative = so.shape[1] - positive
    above = (ranks * so).sum(1) - positive * (positive + 1) / 2
    return (above / (positive * negative))[(positive > 0) & (negative > 0)].mean()


@metric(True, label="average precision", takes=(CLASSES, LABELS))
def average_precision(predicted: Tensor, y: Tensor) -> Tensor:
    """The mean, over the samples of a class, of the precision down to the score of each.

    That is Σ (Rₖ − Rₖ₋₁)·Pₖ over the different scores, from the highest on.
    """
    scores, so = _columns(predicted, y)
    positive = so.sum(1)
    said = so.shape[1] - _below(scores.sort(1).values, scores)
    # Those of other samples come first and are no part of the difference.
    own = scores.masked_fill(~so, -torch.inf).sort(1).values
    right = so.shape[1] - _below(own, scores)
    precisions = torch.where(so, right.double() / said, 0.0).sum(1)
    return (precisions / positive)[positive > 0].mean()


def _columns(predicted: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(classes, n) scores, and which samples are of the class; of two classes the second alone."""
    if y.dim() == 1:
        so = y[:, None] == torch.arange(predicted.shape[1], device=predicted.device)
        if predicted.shape[1] == 2:
            predicted, so = predicted[:, 1:], so[:, 1:]
    else:
        so = y.bool()
    return predicted.T.contiguous(), so.T.contiguous()


def _below(ordered: Tensor, scores: Tensor) -> Tensor:
    """How many of the ordered scores of each row are below each score."""
    return torch.searchsorted(ordered, scores)


def _up_to(ordered: Tensor, scores: Tensor) -> Tensor:
    return torch.searchsorted(ordered, scores, right=True)
