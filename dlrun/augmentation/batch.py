"""What all augmentations share: their signature, and checks of a batch."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from dlrun.errors import Mistake

Augmentation = Callable[[Tensor, Any, Generator], tuple[Tensor, Any]]

_PIECE = 2**18  # elements of a batch that a CPU works on at once


def pieces(n: int, elements: int, device: torch.device) -> list[slice]:
    """Slices of a batch of n images of `elements` each; on a GPU one slice.

    Intermediate results then fit the cache and reuse memory: whole batches take three times as
    long, mostly for fresh pages.
    """
    size = n if device.type != "cpu" else max(1, _PIECE // max(elements, 1))
    return [slice(start, start + size) for start in range(0, n, max(size, 1))]


def require_images(x: Tensor, name: str) -> None:
    """Raise Mistake unless x is a batch of images."""
    if x.ndim != 4:
        raise Mistake(
            f"augmentation={name} needs images (channels, height, width), "
            f"and a sample here has shape {tuple(x.shape[1:])}; use augmentation=none"
        )


def require_colours(x: Tensor, name: str) -> None:
    """Raise Mistake unless x is a batch of images that are grey or of red, green and blue."""
    require_images(x, name)
    if x.shape[1] not in (1, 3):
        raise Mistake(
            f"augmentation={name} needs images of 1 or 3 channels, and these have {x.shape[1]}; "
            "use augmentation=none"
        )


def require(holds: bool, name: str, right: str, value: object) -> None:
    """Raise ValueError that says what `name` must be unless `holds`."""
    if not holds:
        raise ValueError(f"{name} must be {right}, got {value}")


def uniform(low: float, high: float, shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Float32 numbers from U(low, high), on the generator's device."""
    drawn = torch.rand(shape, generator=generator, device=generator.device)
    return drawn.mul_(high - low).add_(low)
