"""RandAugment: a few of fourteen operations, drawn for each image, all with one magnitude.

Cubuk, Zoph, Shlens, Le 2020, RandAugment: Practical Automated Data Augmentation with a
Reduced Search Space. Operations and their ranges are those of the paper; an image's
geometric operations are one resampling, before its others.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from dlrun.augmentation.batch import require, require_colours
from dlrun.augmentation.color import GREY
from dlrun.augmentation.geometric import affine
from dlrun.augmentation.warp import MODES, Geometric, Size, chained, warp

GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
STRONGEST = 30
"""The largest magnitude."""

Operation = Callable[[Tensor, Tensor, float], Tensor]
"""(x, sign, strength) -> x; x (m, c, h, w) in [0, 1], sign (m, 1, 1, 1), strength in [0, 1]."""


def randaugment(operations: int = 2, magnitude: int = 9, mode: str = "zero") -> Any:
    """(x, y, generator) -> (x, y), x (n, 1 or 3, h, w) float32 in [0, 1].

    operations: how many each image gets, with replacement. magnitude: 0 to 30.
    """
    require(1 <= operations <= 100, "operations", "between 1 and 100", operations)
    require(0 <= magnitude <= STRONGEST, "magnitude", f"between 0 and {STRONGEST}", magnitude)
    require(mode in MODES, "mode", "zero, reflect or edge", mode)
    return partial(augment, operations, magnitude / STRONGEST, mode)


def augment(
    operations: int, strength: float, mode: str, x: Tensor, y: Any, generator: Generator
) -> tuple[Tensor, Any]:
    """`randaugment` with its magnitude as a strength in [0, 1]."""
    require_colours(x, "randaugment")
    n, device = len(x), generator.device
    count = len(GEOMETRIC) + len(OTHERS)
    chosen = torch.randint(count, (operations, n), generator=generator, device=device)
    signs = 1.0 - 2 * torch.randint(2, (operations, n), generator=generator, device=device)

    def draw(n: int, size: Size, generator: Generator) -> Tensor:
        first, *later = (
            maps(operation, sign, strength, size)
            for operation, sign in zip(chosen, signs, strict=True)
        )
        for one in later:
            first = chained(first, one)
        return first

    x = warp([Geometric("randaugment", draw, mode)], x, generator)
    for operation, sign in zip(chosen, signs, strict=True):
        x = apply(operation, sign, strength, x)
    return x, y


def maps(chosen: Tensor, sign: Tensor, strength: float, size: Size) -> Tensor:
    """The affine map (n, 2, 3) of each image; the identity where its operation has none."""
    amount = [(chosen == k) * sign * strength for k in range(len(GEOMETRIC))]
    turn = amount[0] * math.radians(30)
    none, furthest = torch.zeros_like(turn), 150 / 331
    return affine(
        turn.cos(),
        -turn.sin() + 0.3 * amount[1],
        turn.sin() + 0.3 * amount[2],
        turn.cos(),
        none - furthest * size[1] * amount[3],
        none - furthest * size[0] * amount[4],
    )


def apply(chosen: Tensor, sign: Tensor, strength: float, x: Tensor) -> Tensor:
    """The operation on values of each image; x stays where it has none. float32 in [0, 1]."""
    order = chosen.argsort()
    counts = torch.bincount(chosen, minlength=len(GEOMETRIC) + len(OTHERS)).tolist()
    out = x.clone()
    for rows, operation in zip(order.split(counts)[len(GEOMETRIC) :], OTHERS.values(), strict=True):
        if len(rows):
            out[rows] = operation(x[rows], sign[rows].view(-1, 1, 1, 1), strength).clamp_(0, 1)
    return out


def grey(x: Tensor) -> Tensor:
    """(m, 1 or 3, h, w) -> (m, 1, h, w)."""
    if x.shape[1] == 1:
        return x
    return torch.einsum("mchw,c->mhw", x, x.new_tensor(GREY))[:, None]


def identity(x: Tensor, sign: Tensor, strength: float) -> Tensor:
    """x."""
    return x


def brightness(x: Tensor, sign: Tensor, strength: float) -> Tensor:
    """x·(1 ± 0.9·strength)."""
    return x * (1 + 0.9 * strength * sign)


def color(x: Tensor, sign: Tensor, strength: float) -> Tensor:
    """Away from grey, or towards it, by 0.9·strength."""
    return torch.lerp(grey(x), x, 1 + 0.9 * strength * sign)


def contrast(x: Tensor, sign: Tensor, strength: float) -> Tensor:
    """Away from the mean grey of the image, or towards it, by 0.9·strength."""
    return torch.lerp(grey(x).mean((2, 3), keepdim=True), x, 1 + 0.9 * strength * sign)


def sharpness(x: Tensor, sign: Tensor, strength: float) -> Tensor:
    """Away from the blurred image, or towards it, by 0.9·strength; the border stays."""
    channels = x.shape[1]
    kernel = x.new_tensor([[1, 1, 1], [1, 5, 1], [1, 1, 1]]).div_(13).expand(channels, 1, 3, 3)
    blurred = x.clone()
    if min(x.shape[2:]) > 2:
        blurred[:, :, 1:-1, 1:-1] = F.conv2d(x, kernel, groups=channels)
    return torch.lerp(blurred, x, 1 + 0.9 * strength * sign)


def posterize(x: Tensor, sign: Tensor, strength: float) -> Tensor:
    """Only the highest of 8 bits are kept: 8 at strength 0, 4 at strength 1."""
    step = 2 ** round(4 * strength)
    return _bytes(x).div_(step).floor_().mul_(step / 255)


def solarize(x: Tensor, sign: Tensor, strength: float) -> Tensor:
    """Values from 1 − strength on are inverted."""
    return torch.where(x >= 1 - strength, 1 - x, x)


def autocontrast(x: Tensor, sign: Tensor, strength: float) -> Tensor:
    """Each channel from its least and largest value to [0, 1]; a constant one stays."""
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    flat = high <= low
    return torch.where(flat, x, (x - low) / torch.where(flat, 1, high - low))


def equalize(x: Tensor, sign: Tensor, strength: float) -> Tensor:
    """Each channel so that its 256 values are about equally frequent, as PIL's equalize."""
    values = _bytes(x).long().flatten(2)
    counts = values.new_zeros(*values.shape[:2], 256).scatter_add_(
        2, values, torch.ones_like(values)
    )
    last = values.amax(2, keepdim=True)
    step = (values.shape[2] - counts.gather(2, last)) // 255
    before = counts.cumsum(2) - counts
    table = ((before + step // 2) // step.clamp(min=1)).clamp(0, 255)
    mapped = torch.where(step == 0, values, table.gather(2, values))
    return mapped.view(x.shape).to(x.dtype) / 255


def _bytes(x: Tensor) -> Tensor:
    return (x * 255).round_()


OTHERS: dict[str, Operation] = {
    "identity": identity,
    "brightness": brightness,
    "color": color,
    "contrast": contrast,
    "sharpness": sharpness,
    "posterize": posterize,
    "solarize": solarize,
    "autocontrast": autocontrast,
    "equalize": equalize,
}
