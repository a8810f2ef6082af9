"""Steps that mix each sample with another of its batch, and their targets too.

Class indices y (n,) become class probabilities (n, classes) float32; targets that are
numbers or probabilities already, (n, k), are mixed as they are. Each sample has its own share
λ; a random permutation of the batch gives it a partner.
"""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from dlrun.augmentation.batch import require, require_images
from dlrun.augmentation.pixels import inside
from dlrun.preprocessing import to_float

_POINTS = 4097  # of a table of quantiles


def mixup(
    x: Tensor, y: Tensor, generator: Generator, *, alpha: float = 0.2, classes: int | None = None
) -> tuple[Tensor, Tensor]:
    """x ← λ·x + (1 − λ)·x', y ← λ·y + (1 − λ)·y', λ from Beta(alpha, alpha).

    x: (n, *shape), images or tables; float32 comes out. classes: needed for class indices.
    """
    require(0.01 <= alpha <= 100, "alpha", "between 0.01 and 100", alpha)
    share = beta(alpha, len(x), generator)
    partner = torch.randperm(len(x), generator=generator, device=generator.device)
    x = to_float(x)
    mixed = torch.lerp(x[partner], x, share.view(-1, *[1] * (x.ndim - 1)))
    return mixed, mixed_targets(y, partner, share, classes)


def cutmix(
    x: Tensor, y: Tensor, generator: Generator, *, alpha: float = 1.0, classes: int | None = None
) -> tuple[Tensor, Tensor]:
    """A rectangle of each image comes from another image, and that share of the target too.

    Its sides are √(1 − λ) of the image's, λ from Beta(alpha, alpha), about a random pixel; what
    sticks out is cut off, and the targets are mixed by the area that remains. The dtype stays.
    """
    require_images(x, "cutmix")
    require(0.01 <= alpha <= 100, "alpha", "between 0.01 and 100", alpha)
    n, _, height, width = x.shape
    part = (1 - beta(alpha, n, generator)).sqrt()
    partner = torch.randperm(n, generator=generator, device=generator.device)
    centre = torch.rand(2, n, generator=generator, device=generator.device)
    spans = []
    for at, side in zip(centre, (height, width), strict=True):
        length = (part * side).floor()
        start = (at * side).floor() - (length / 2).floor()
        spans.append(inside(start, start + length, side))
    down, across = spans
    theirs = down[:, None, :, None] & across[:, None, None, :]
    kept = 1 - down.sum(1) * across.sum(1) / (height * width)
    return torch.where(theirs, x[partner], x), mixed_targets(y, partner, kept, classes)


def mixed_targets(y: Tensor, partner: Tensor, share: Tensor, classes: int | None) -> Tensor:
    """share·y + (1 − share)·y[partner]; (n,) indices or (n, k) floats -> (n, k) float32."""
    if not y.is_floating_point():
        require(classes is not None, "classes", "given for class indices", classes)
        y = F.one_hot(y, classes or -1)
    y = y.to(torch.float32)
    return torch.lerp(y[partner], y, share[:, None])


def beta(alpha: float, n: int, generator: Generator) -> Tensor:
    """n draws from Beta(alpha, alpha), float32, by the inverse of its distribution function.

    torch's own sampler takes no generator, and this one takes the same time on any device.
    """
    u = torch.rand(n, generator=generator, device=generator.device)
    table = _quantiles(alpha).to(u.device)
    # Symmetric about 1/2: the table holds the lower half.
    at = (2 * torch.minimum(u, 1 - u)) ** (1 / alpha) * (len(table) - 1)
    low = at.floor().clamp(max=len(table) - 2).long()
    drawn = torch.lerp(table[low], table[low + 1], at - low)
    return torch.where(u < 0.5, drawn, 1 - drawn)


@lru_cache(maxsize=8)
def _quantiles(alpha: float) -> Tensor:
    """Quantiles v^alpha / 2 of Beta(alpha, alpha), v = 0 … 1 evenly spaced: nearly linear."""
    # Over t = x^power the density has no pole at 0.
    power = min(alpha, 1.0)
    t = np.linspace(0, 0.5**power, 16 * _POINTS)
    x = t ** (1 / power)
    density = x ** (alpha - power) * (1 - x) ** (alpha - 1)
    area = np.cumsum((density[1:] + density[:-1]) / 2)
    share = np.concatenate([[0], area / area[-1]])
    found = np.interp(np.linspace(0, 1, _POINTS), share ** (1 / alpha), x)
    return torch.from_numpy(found).float()
