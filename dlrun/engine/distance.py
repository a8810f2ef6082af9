"""Distances between samples, with all digits where samples lie close together."""

import torch
from torch import Tensor

_MANY = 256  # inputs, above which float64 takes many times as long
_ROUNDED = 1e-12  # a share of the squared norms that is what rounding leaves of 0


def distances(a: Tensor, b: Tensor) -> Tensor:
    """(n, m) The Euclidean distances of the rows of a (n, inputs) to those of b (m, inputs).

    From ‖a‖² + ‖b‖² − 2ab after the mean of b is taken off, which loses the digits of distances
    far below the norms: of up to 256 inputs in float64, which has enough of them.
    """
    middle = b.mean(0)
    if a.shape[1] > _MANY or a.device.type == "mps":  # which has no float64
        exact = a.shape[1] <= _MANY
        mode = f"{'donot_' if exact else ''}use_mm_for_euclid_dist"
        return torch.cdist(a - middle, b - middle, compute_mode=mode)
    left, right = (a - middle).double(), (b - middle).double()
    norms = left.square().sum(1, keepdim=True) + right.square().sum(1)
    squared = torch.addmm(norms, left, right.T, alpha=-2)
    return squared.masked_fill_(squared <= _ROUNDED * norms, 0).sqrt_().to(a.dtype)
