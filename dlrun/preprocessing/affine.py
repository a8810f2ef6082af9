"""Steps that act on each element by itself: x·scale + shift, learned from the training split."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.preprocessing.moments import extremes, moments
from dlrun.preprocessing.shapes import take_shapes
from dlrun.shell import counted

Learner = Callable[[Tensor, Iterable[Tensor]], tuple[Tensor, Tensor]]
"""(first batch, all batches) -> (origin, unit), float64: the output is (x − origin) / unit."""


class Affine(nn.Module):
    """(x − origin) / unit, folded into x·scale + shift; `learn` finds origin and unit.

    Reads uint8 itself, which saves a pass over every batch: fitted on uint8, it takes
    uint8 in 0..255 and floats in 0..1 for the same images.
    """

    takes_bytes = True
    scale: Tensor
    shift: Tensor
    byte_scale: Tensor

    def __init__(self, learn: Learner) -> None:
        super().__init__()
        self.learn = learn
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("shift", torch.zeros(()))
        self.register_buffer("byte_scale", torch.tensor(1 / 255))

    def fit(self, batches: Iterable[Tensor]) -> None:
        """Learn from (n, *shape) batches, uint8 or float."""
        rest = iter(batches)
        first = next(rest, torch.zeros(0))
        origin, unit = self.learn(first, chain([first], rest))
        whole = _one(first)
        device = self.scale.device
        self.scale = (whole / unit).float().to(device)
        self.byte_scale = (whole / 255 / unit).float().to(device)
        self.shift = (-origin / unit).float().to(device)

    def forward(self, x: Tensor) -> Tensor:
        """(n, *shape) uint8 (0..255) or float (0..1) -> (n, *shape) float32."""
        # A conversion and two kernels in place: one addcmul with its broadcasting takes three
        # times as long, and uint8 times float up to twice.
        if x.dtype == torch.uint8:
            return x.to(torch.float32).mul_(self.byte_scale).add_(self.shift)
        return (x.to(torch.float32) * self.scale).add_(self.shift)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        take_shapes(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)


def standardize(
    by: str = "channel", mean: list[float] | None = None, std: list[float] | None = None
) -> Affine:
    """Mean 0 and standard deviation 1: (x − mean) / std.

    by: "channel" takes one mean and std for each channel of an image, "feature" one
    for each pixel. Tables always go by feature. A constant feature is only centred. One of 0 and
    1, as of a class or a flag, is divided by 1/2, the largest std that it can have (Gelman 2008):
    by its own, a rare 1 would lie far from all other inputs.
    mean, std: given ones, of each channel of values in [0, 1], or of each feature of a table.
    """
    if by not in ("channel", "feature"):
        raise ValueError(f"by must be channel or feature, got {by}")
    if mean is None and std is None:
        return Affine(partial(_mean_and_std, by))
    if mean is None or std is None or len(mean) != len(std):
        raise ValueError(f"mean and std must be given together, one a channel, got {mean}, {std}")
    if min(std) <= 0:
        raise ValueError(f"std must be above 0, got {std}")
    return Affine(partial(_given, by, mean, std))


def center() -> Affine:
    """x − the mean sample: one mean for each element."""
    return Affine(partial(_mean, "feature"))


def center_channel() -> Affine:
    """x − the mean of its channel; for tables, of its feature."""
    return Affine(partial(_mean, "channel"))


def rescale(low: float = -1.0, high: float = 1.0) -> Affine:
    """From the smallest and largest possible value to [low, high].

    Images of bytes: from 0..255, whatever the training split holds. All others: from the
    minimum and maximum of the training split, in tables of each feature, in images of floats
    of all pixels together. A constant feature becomes `low`.
    """
    if low >= high:
        raise ValueError(f"low must be below high, got {low}")
    return Affine(partial(_range, low, high))


def _one(first: Tensor) -> int:
    """What is 1 in a float: 255 in bytes, so that both give the same output."""
    return 255 if first.dtype == torch.uint8 else 1


def _mean_and_std(by: str, first: Tensor, batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    if first.ndim > 2:
        mean, variance = moments(batches, by)
        std = variance.sqrt()
    else:
        flags = torch.ones(first.shape[1:], dtype=torch.bool, device=first.device)
        mean, variance = moments(_watched(batches, flags), "feature")
        std = torch.where(flags.to(variance.device) & (variance > 0), 0.5, variance.sqrt())
    # Rounding gives a constant feature a std of about 1e-16 of its size.
    return mean, torch.where(std > 1e-12 * mean.abs(), std, torch.full_like(std, _one(first)))


def _watched(batches: Iterable[Tensor], flags: Tensor) -> Iterator[Tensor]:
    """The batches; flags: (features,) turns false for what holds more than 0 and 1."""
    for x in batches:
        flags &= ((x == 0) | (x == 1)).all(0)
        yield x


def _given(
    by: str, mean: list[float], std: list[float], first: Tensor, batches: Iterable[Tensor]
) -> tuple[Tensor, Tensor]:
    image, many = first.ndim > 2, first.shape[1]
    if len(mean) != many:
        of = "for the grey images" if many == 1 else "one for each channel of the images"
        of = of if image else "one for each feature"
        raise ValueError(f"mean must be {counted(many, 'number')}, {of}, got {mean}")
    if by == "feature" and image:
        raise ValueError("by must be channel, which a given mean and std are for, got feature")
    unit = _one(first)
    shape = (-1, *(1 for _ in first.shape[2:]))
    origin, scale = (torch.tensor(each, dtype=torch.float64) * unit for each in (mean, std))
    return origin.reshape(shape), scale.reshape(shape)


def _mean(by: str, first: Tensor, batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    mean, _ = moments(batches, by if first.ndim > 2 else "feature")
    return mean, torch.full_like(mean, _one(first))


def _range(
    low: float, high: float, first: Tensor, batches: Iterable[Tensor]
) -> tuple[Tensor, Tensor]:
    if first.dtype == torch.uint8:
        least, most = torch.tensor([0, 255], dtype=torch.float64)
    else:
        least, most = extremes(batches, "all" if first.ndim > 2 else "feature")
    unit = torch.where(most > least, most - least, torch.ones_like(least)) / (high - low)
    return least - low * unit, unit
