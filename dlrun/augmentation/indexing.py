"""Augmentations that move whole pixels: exact on uint8, one or two passes over a batch."""

from typing import Any

import torch
from torch import Generator, Tensor

from dlrun.augmentation.batch import require_images


def flip(
    x: Tensor, y: Any, generator: Generator, *, horizontal: float = 0.5, vertical: float = 0.0
) -> tuple[Tensor, Any]:
    """Mirror each image left-right and upside down, each with its probability."""
    require_images(x, "flip")
    for name, p, axis in (("horizontal", horizontal, 3), ("vertical", vertical, 2)):
        if not 0 <= p <= 1:
            raise ValueError(f"{name} must be between 0 and 1, got {p}")
        if p > 0:
            drawn = torch.rand(len(x), 1, 1, 1, generator=generator, device=x.device) < p
            x = torch.where(drawn, x.flip(axis), x)
    return x, y


def crop(
    x: Tensor, y: Any, generator: Generator, *, padding: int = 4, mode: str = "zero"
) -> tuple[Tensor, Any]:
    """Pad each image on all sides, then cut out its original size at a random offset.

    The offsets are uniform over the (2·padding + 1)² possible ones.
    """
    require_images(x, "crop")
    if padding < 1:
        raise ValueError(f"padding must be at least 1, got {padding}")
    n, _, height, width = x.shape
    padded = pad(x, padding, mode)
    top, left = torch.randint(0, 2 * padding + 1, (2, n), generator=generator, device=x.device)
    # A view of every window of every image; one window of each is copied.
    windows = padded.unfold(2, height, 1).unfold(3, width, 1).permute(0, 2, 3, 1, 4, 5)
    return windows[torch.arange(n, device=x.device), top, left], y


def pad(x: Tensor, padding: int, mode: str) -> Tensor:
    """(n, c, h, w) -> (n, c, h + 2·padding, w + 2·padding).

    mode: "zero", "edge" (repeats the border pixels) or "reflect" (mirrors the image
    at its border pixels). Raises ValueError where the image is too small to reflect.
    """
    if mode == "zero":
        return torch.nn.functional.pad(x, (padding,) * 4)
    if mode not in ("edge", "reflect"):
        raise ValueError(f"mode must be zero, edge or reflect, got {mode}")
    for axis in (2, 3):
        size = x.shape[axis]
        at = torch.arange(-padding, size + padding, device=x.device)
        if mode == "reflect":
            if padding >= size:
                raise ValueError(
                    f"padding must be below the image's side {size} to reflect, got {padding}"
                )
            at = at.abs()
            at = torch.minimum(at, 2 * (size - 1) - at)
        x = x.index_select(axis, at.clamp(0, size - 1))
    return x
