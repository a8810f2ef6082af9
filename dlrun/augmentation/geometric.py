"""Geometric steps that are affine: each draws a map (n, 2, 3) for the images of a batch.

The maps lead backwards, from the result to the input (see warp.py): an image enlarged by s
shows at a point p what was at p/s.
"""

import math

import torch
from torch import Generator, Tensor

from dlrun.augmentation.batch import require, uniform
from dlrun.augmentation.warp import Geometric, Size


def flip(horizontal: float = 0.5, vertical: float = 0.0) -> Geometric:
    """Mirror left-right and upside down, each with its probability."""
    require(0 <= horizontal <= 1, "horizontal", "between 0 and 1", horizontal)
    require(0 <= vertical <= 1, "vertical", "between 0 and 1", vertical)

    def draw(n: int, size: Size, generator: Generator) -> Tensor:
        drawn = torch.rand(2, n, generator=generator, device=generator.device)
        x, y = (1 - 2 * (u < p) for u, p in zip(drawn, (horizontal, vertical), strict=True))
        return affine(x, 0 * x, 0 * x, y)

    return Geometric("flip", draw, None)


def crop(padding: int = 4, mode: str = "zero") -> Geometric:
    """Move by whole pixels, uniform over the (2·padding + 1)² offsets."""
    require(padding >= 1, "padding", "at least 1", padding)

    def draw(n: int, size: Size, generator: Generator) -> Tensor:
        shift = torch.randint(
            -padding, padding + 1, (2, n), generator=generator, device=generator.device
        )
        return moved(shift[0].float(), shift[1].float())

    return Geometric("crop", draw, mode)


def translate(horizontal: float = 0.1, vertical: float = 0.1, mode: str = "zero") -> Geometric:
    """Move by up to the given shares of width and height, to either side."""
    require(horizontal >= 0, "horizontal", "0 or more", horizontal)
    require(vertical >= 0, "vertical", "0 or more", vertical)

    def draw(n: int, size: Size, generator: Generator) -> Tensor:
        share = uniform(-1, 1, (2, n), generator)
        return moved(share[0] * -horizontal * size[1], share[1] * -vertical * size[0])

    return Geometric("translate", draw, mode)


def rescale(low: float = 0.8, high: float = 1.25, mode: str = "zero") -> Geometric:
    """Enlarge by s about the middle, log s uniform between log low and log high."""
    require(0.01 <= low <= high, "low", "at least 0.01 and at most high", low)

    def draw(n: int, size: Size, generator: Generator) -> Tensor:
        smaller = uniform(math.log(low), math.log(high), (n,), generator).neg_().exp_()
        return affine(smaller, 0 * smaller, 0 * smaller, smaller)

    return Geometric("rescale", draw, mode, shrink=lambda size: max(1.0, 1 / low))


def rotate(degrees: float = 15.0, mode: str = "zero") -> Geometric:
    """Turn about the middle by an angle from U(−degrees, degrees)."""
    require(degrees >= 0, "degrees", "0 or more", degrees)

    def draw(n: int, size: Size, generator: Generator) -> Tensor:
        angle = uniform(-degrees, degrees, (n,), generator).mul_(math.pi / 180)
        cos, sin = angle.cos(), angle.sin()
        return affine(cos, -sin, sin, cos)

    return Geometric("rotate", draw, mode)


def stretch(ratio: float = 4 / 3, mode: str = "zero") -> Geometric:
    """Change width to height by a, log a uniform between ∓log ratio; the area stays."""
    require(ratio >= 1, "ratio", "at least 1", ratio)

    def draw(n: int, size: Size, generator: Generator) -> Tensor:
        wider = uniform(-0.5, 0.5, (n,), generator).mul_(math.log(ratio)).exp_()
        return affine(1 / wider, 0 * wider, 0 * wider, wider)

    return Geometric("stretch", draw, mode)


def shear(horizontal: float = 10.0, vertical: float = 0.0, mode: str = "zero") -> Geometric:
    """Slant: columns lean by up to `horizontal` degrees, rows by up to `vertical`.

    x' = x + tan(φ)·y, y' = y + tan(ψ)·x of the result lie at x', y' of the input.
    """
    require(0 <= horizontal < 90, "horizontal", "at least 0 and below 90", horizontal)
    require(0 <= vertical < 45, "vertical", "at least 0 and below 45", vertical)

    def draw(n: int, size: Size, generator: Generator) -> Tensor:
        angle = uniform(-math.pi / 180, math.pi / 180, (2, n), generator)
        one = torch.ones_like(angle[0])
        return affine(one, (angle[0] * horizontal).tan(), (angle[1] * vertical).tan(), one)

    return Geometric("shear", draw, mode)


def scale_crop(size: int | None = None, short: tuple[int, int] | None = None) -> Geometric:
    """Resize so that the short side is L, uniform over `short`; cut a random square out.

    The offset is uniform over the whole pixels of the resized image. Where L makes the image
    smaller, pixels are averaged. Beyond its border the image repeats its outermost pixels, as
    in any resizing. The result is (n, c, size, size).

    size: by default the short side of the images; short: by default 8/7 to 15/7 of size.
    """
    require(size is None or size >= 1, "size", "at least 1", size)
    _require_sides(size or 1, short)

    def sides(came: Size) -> tuple[int, int, int]:
        square = size or min(came)
        _require_sides(square, short)
        return square, *(short or (round(square * 8 / 7), round(square * 15 / 7)))

    def draw(n: int, came: Size, generator: Generator) -> Tensor:
        square, low, high = sides(came)
        device = generator.device
        side = torch.randint(low, high + 1, (n,), generator=generator, device=device)
        share = torch.rand(2, n, generator=generator, device=device)
        parts = []
        for place, whole in zip(share, (came[1], came[0]), strict=True):
            resized = (side * (whole / min(came))).round()
            offset = (place * (resized - square + 1)).floor() - (resized - square) / 2
            parts.append((whole / resized, offset * whole / resized))
        (across, left), (down, top) = parts
        return affine(across, 0 * across, 0 * down, down, left, top)

    return Geometric(
        "scale_crop",
        draw,
        "edge",
        size=lambda came: (sides(came)[0],) * 2,
        shrink=lambda came: max(1.0, min(came) / sides(came)[1]),
    )


def _require_sides(size: int, short: tuple[int, int] | None) -> None:
    right = short is None or size <= short[0] <= short[1]
    require(right, "short", f"two sides, rising, of at least size={size}", list(short or ()))


def affine(
    xx: Tensor, xy: Tensor, yx: Tensor, yy: Tensor, x: Tensor | None = None, y: Tensor | None = None
) -> Tensor:
    """The maps (x, y) -> (xx·x + xy·y + x₀, yx·x + yy·y + y₀); numbers (n,), maps (n, 2, 3)."""
    none = torch.zeros_like(xx)
    rows = [xx, xy, none if x is None else x, yx, yy, none if y is None else y]
    return torch.stack(rows, -1).float().view(-1, 2, 3)


def moved(x: Tensor, y: Tensor) -> Tensor:
    """The maps (x, y) -> (x + x₀, y + y₀); numbers (n,), maps (n, 2, 3)."""
    one, none = torch.ones_like(x), torch.zeros_like(x)
    return affine(one, none, none, one, x, y)
