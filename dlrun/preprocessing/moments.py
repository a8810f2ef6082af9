"""Mean and variance of a stream of batches, in one pass and in float64.

Chan, Golub, LeVeque 1979, Updating Formulae and a Pairwise Algorithm for Computing
Sample Variances: (n, mean, M) of two parts give those of the whole without the
cancellation that E[x²] − E[x]² suffers from.
"""

from collections.abc import Iterable

import torch
from torch import Tensor


def moments(batches: Iterable[Tensor], by: str) -> tuple[Tensor, Tensor]:
    """Mean and population variance over all samples, float64.

    Batches are (n, *shape). by="feature": one value an element, (*shape).
    by="channel": one a channel, (channels, 1, ...), all other axes averaged over.
    Raises ValueError where there is no sample.
    """
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for x in batches:
        if not len(x):
            continue
        axes = [0, *range(2, x.ndim)] if by == "channel" else [0]
        n = x.numel() // (x.shape[1] if by == "channel" else x[0].numel())
        part = (x.cpu() if x.device.type == "mps" else x).to(torch.float64)  # MPS has no float64
        part_mean = part.mean(axes, keepdim=True)
        part_squares = (part - part_mean).square_().sum(axes, keepdim=True)
        if count == 0:
            count, mean, squares = n, part_mean, part_squares
            continue
        apart, total = part_mean - mean, count + n
        mean = mean + apart * (n / total)
        squares = squares + part_squares + apart.square() * (count * n / total)
        count = total
    if count == 0:
        raise ValueError("preprocessing has no training sample to be fitted on")
    return mean[0], squares[0] / count
