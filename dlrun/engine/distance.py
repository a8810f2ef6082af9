"""Distances between samples, with all digits where samples lie close together."""

import torch
from torch import Tensor

_MANY = 256  # inputs, above which exact differences take many times as long


def distances(a: Tensor, b: Tensor) -> Tensor:
    """(n, m) The Euclidean distances of the rows of a (n, inputs) to those of b (m, inputs).

    Of up to 256 inputs from differences: ‖a‖² + ‖b‖² − 2ab, which torch.cdist prefers, loses the
    digits of distances far below the norms. Of more from that, after the mean of b is taken off.
    """
    if a.shape[1] <= _MANY:
        return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    middle = b.mean(0)
    return torch.cdist(a - middle, b - middle)
