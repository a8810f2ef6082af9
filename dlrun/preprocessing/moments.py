"""Mean, variance and covariance of a stream of batches, in one pass and in float64.

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
        part = in_float64(x)
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


def covariance(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean (d,) and population covariance (d, d) of the flattened samples, float64.

    Batches are (n, *shape) with d elements a sample. Raises ValueError where there is
    no sample.
    """
    count, mean, scatter = 0, torch.zeros(()), torch.zeros(())
    for x in batches:
        if not len(x):
            continue
        n, part = len(x), in_float64(x).flatten(1)
        part_mean = part.mean(0)
        part = part - part_mean
        if count == 0:
            count, mean, scatter = n, part_mean, part.T @ part
            continue
        apart, total = part_mean - mean, count + n
        mean = mean + apart * (n / total)
        scatter.addmm_(part.T, part).addr_(apart, apart, alpha=count * n / total)
        count = total
    if count == 0:
        raise ValueError("preprocessing has no training sample to be fitted on")
    return mean, scatter / count


def extremes(batches: Iterable[Tensor], by: str) -> tuple[Tensor, Tensor]:
    """Smallest and largest value over all samples, float64.

    Batches are (n, *shape). by="feature": one value an element, (*shape); by="all": scalars.
    Raises ValueError where there is no sample.
    """
    low = high = None
    for x in batches:
        if not len(x):
            continue
        part = in_float64(x)
        part_low, part_high = part.aminmax(dim=0) if by == "feature" else part.aminmax()
        low = part_low if low is None else torch.minimum(low, part_low)
        high = part_high if high is None else torch.maximum(high, part_high)
    if low is None or high is None:
        raise ValueError("preprocessing has no training sample to be fitted on")
    return low, high


def in_float64(x: Tensor) -> Tensor:
    """The same numbers in float64, on the CPU where the device has none."""
    return (x.cpu() if x.device.type == "mps" else x).to(torch.float64)
