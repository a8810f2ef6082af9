"""Metrics of probabilities: whether they are as large as they should be."""

import torch
from torch import Tensor

from dlrun.metric import CLASSES, LABELS, mean, metric


def _gap(sums: Tensor, samples: int) -> Tensor:
    """Σ over the bins of |right − confident|, by the number of answers."""
    gap: Tensor = (sums[2] - sums[1]).abs().sum() / sums[0].sum()
    return gap


@metric(
    higher_is_better=False,
    label="expected calibration error",
    takes=(CLASSES, LABELS),
    probabilities=True,
    of_sums=_gap,
)
def calibration_error(predicted: Tensor, y: Tensor, bins: int = 15) -> Tensor:
    """(3, bins): the answers of a batch by confidence, Σ of their confidence, the right ones.

    Bin k holds the confidences in (k/bins, (k + 1)/bins]. Of several labels at once each is an
    answer of its own, with the confidence max(p, 1 − p).
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    if y.dim() == 1:
        confidence, answer = predicted.max(1)
        right = answer == y
    else:
        confidence = torch.maximum(predicted, 1 - predicted).flatten()
        right = ((predicted > 0.5) == y.bool()).flatten()
    ends = torch.arange(1, bins, dtype=predicted.dtype, device=predicted.device) / bins
    bin_of = torch.bucketize(confidence, ends)
    within = bin_of[:, None] == torch.arange(bins, device=predicted.device)
    each = torch.stack([torch.ones_like(confidence), confidence, right.to(confidence.dtype)])
    return each @ within.to(confidence.dtype)


@metric(
    higher_is_better=False,
    label="Brier score",
    takes=(CLASSES, LABELS),
    probabilities=True,
    of_sums=mean,
)
def brier(predicted: Tensor, y: Tensor) -> Tensor:
    """Σ over samples and classes of (p − t)², where t is 1 for what holds and 0 for the rest."""
    if y.dim() == 1:
        y = y[:, None] == torch.arange(predicted.shape[1], device=predicted.device)
    return (predicted - y.to(predicted.dtype)).square().sum()
