"""Distances between samples, with all digits where samples lie close together."""

import torch
from torch import Tensor

_FEW, _MANY = 16, 256  # inputs, above which differences, and then float64, take far longer
_ROUNDED = 1e-13  # a share of the squared norms that is what rounding leaves of 0


def distances(a: Tensor, b: Tensor) -> Tensor:
    """(n, m) The Euclidean distances of the rows of a (n, inputs) to those of b (m, inputs).

    Of up to 16 inputs from differences. Of more from ‖a‖² + ‖b‖² − 2ab, after the mean of b is
    taken off: this loses the digits of distances far below the norms, so that up to 256 inputs
    are taken in float64.
    """
    middle, inputs = b.mean(0), a.shape[1]
    if inputs > _MANY:
        return torch.cdist(a - middle, b - middle)
    if inputs <= _FEW or a.device.type == "mps":  # which has no float64
        return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    left, right = (a - middle).double(), (b - middle).double()
    norms = left.square().sum(1, keepdim=True) + right.square().sum(1)
    squared = torch.addmm(norms, left, right.T, alpha=-2)
    return squared.masked_fill_(squared <= _ROUNDED * norms, 0).sqrt_().to(a.dtype)
