"""Flip, crop, rotate and colour jitter: whole batches against torchvision, sample by sample.

The same images, 32×32 bytes in memory, become batches of floats in [0, 1], on two threads.
torchvision starts from PIL images that are made already, or from tensors.
"""

import statistics
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional

from dlrun.augmentation import compose
from dlrun.augmentation.color import ColorJitter
from dlrun.augmentation.geometric import rotate
from dlrun.augmentation.indexing import crop, flip

BATCH, THREADS = 512, 2
BATCHES = 20  # of ours in one timing; torchvision is given one


def compare(repeats: int) -> list[dict[str, Any]]:
    """Median images a second, and how many times faster than torchvision, turn by turn."""
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        return _compare(repeats)
    finally:
        torch.set_num_threads(threads)


def _compare(repeats: int) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (BATCH, 3, 32, 32), generator=generator, dtype=torch.uint8)
    pictures = [functional.to_pil_image(image) for image in x]
    steps = compose([flip, partial(crop, padding=4), rotate(15), ColorJitter(0.4, 0.4, 0.4)])
    sample = v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomCrop(32, padding=4),
            v2.RandomRotation(15, InterpolationMode.BILINEAR),
            v2.ColorJitter(0.4, 0.4, 0.4),
        ]
    )

    def ours() -> Tensor:
        for _ in range(BATCHES):
            out = steps(x, None, generator)[0]
        return out

    def with_pil() -> Tensor:
        return torch.stack([functional.to_image(sample(one)) for one in pictures]) / 255

    def with_tensors() -> Tensor:
        return torch.stack([sample(one) for one in x]) / 255

    ways: dict[str, tuple[Callable[[], Tensor], int]] = {
        "dlrun, whole batches": (ours, BATCHES * BATCH),
        "torchvision, PIL": (with_pil, BATCH),
        "torchvision v2, tensors": (with_tensors, BATCH),
    }
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    for way, _ in ways.values():
        way()  # warm
    for _ in range(repeats):
        for name, (way, images) in ways.items():
            begun = perf_counter()
            way()
            speeds[name].append(images / (perf_counter() - begun))
    first = speeds["dlrun, whole batches"]
    return [
        {
            "case": f"flip, crop, rotate, colour on 32×32: {name}",
            "images/s": statistics.median(found),
            "dlrun times faster": statistics.median(
                a / b for a, b in zip(first, found, strict=True)
            ),
        }
        for name, found in speeds.items()
    ]
