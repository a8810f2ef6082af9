"""Steps that act on pixels where they are: noise, and pieces cut out."""

from typing import Any

import torch
from torch import Generator, Tensor

from dlrun.augmentation.batch import require, require_images
from dlrun.preprocessing import to_float


def noise(x: Tensor, y: Any, generator: Generator, *, std: float = 0.05) -> tuple[Tensor, Any]:
    """Add N(0, std²) to each pixel and channel; clamped to [0, 1]. (n, c, h, w) float32."""
    require_images(x, "noise")
    require(std >= 0, "std", "0 or more", std)
    drawn = torch.randn(x.shape, generator=generator, device=x.device)
    return drawn.mul_(std).add_(to_float(x)).clamp_(0, 1), y


def cutout(
    x: Tensor,
    y: Any,
    generator: Generator,
    *,
    size: int = 16,
    probability: float = 1.0,
    fill: float | None = None,
) -> tuple[Tensor, Any]:
    """Cover a square of side `size` about a random pixel; what sticks out is cut off.

    fill: its value in [0, 1]; None takes the mean colour of the image. The dtype stays.
    """
    require_images(x, "cutout")
    require(size >= 1, "size", "at least 1", size)
    require(0 <= probability <= 1, "probability", "between 0 and 1", probability)
    require(fill is None or 0 <= fill <= 1, "fill", "null or between 0 and 1", fill)
    n, _, height, width = x.shape
    drawn = torch.rand(3, n, generator=generator, device=x.device)
    top, left = (
        (u * side).floor().clamp(max=side - 1) - size // 2
        for u, side in zip(drawn, (height, width), strict=False)
    )
    down = inside(top, top + size, height) & (drawn[2] < probability)[:, None]
    covered = down[:, None, :, None] & inside(left, left + size, width)[:, None, None, :]
    unit = 255 if x.dtype == torch.uint8 else 1
    if fill is None:
        value = x.mean((2, 3), keepdim=True, dtype=torch.float32)
    else:
        value = torch.full((1, 1, 1, 1), fill * unit, device=x.device)
    return torch.where(covered, value.round() if unit == 255 else value, x).to(x.dtype), y


def inside(start: Tensor, end: Tensor, side: int) -> Tensor:
    """(n,) and (n,) -> (n, side) bool: the places from start on and before end."""
    place = torch.arange(side, device=start.device)
    return (place >= start[:, None]) & (place < end[:, None])
