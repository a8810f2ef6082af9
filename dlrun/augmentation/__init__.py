"""The group `augmentation`: random changes of training samples, drawn anew each time.

    (x, y, generator, **options) -> (x, y)

x: (n, channels, height, width) on the device, before preprocessing, uint8 in 0..255
or float in [0, 1]; y: its labels. Every image has its own draw, and every draw comes
from the generator, so that the same state of it gives the same batch.

`flip` and `crop` move whole pixels, so they index and stay exact. Changes that fall
between pixels (rotation, scaling, lens) belong together in one coordinate map: each
gives its part of the map, `compose` multiplies the parts of neighbours, a flip or
crop among them included, and the image is resampled once.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Generator, Tensor

from dlrun.errors import Mistake

Augmentation = Callable[[Tensor, Any, Generator], tuple[Tensor, Any]]


def compose(steps: Sequence[Augmentation]) -> Augmentation:
    """One augmentation that applies the steps in order."""
    if len(steps) == 1:
        return steps[0]

    def augment(x: Tensor, y: Any, generator: Generator) -> tuple[Tensor, Any]:
        for step in steps:
            x, y = step(x, y, generator)
        return x, y

    return augment


def require_images(x: Tensor, name: str) -> None:
    """Raise Mistake unless x is a batch of images."""
    if x.ndim != 4:
        raise Mistake(
            f"augmentation={name} needs images (channels, height, width), "
            f"and a sample here has shape {tuple(x.shape[1:])}; use augmentation=none"
        )
