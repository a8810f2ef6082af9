"""Geometric steps that are not affine: a lens, and elastic cloth."""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from dlrun.augmentation.batch import require, uniform
from dlrun.augmentation.warp import INTERPOLATIONS, Distortion, Geometric, Rows, Size


def lens(strength: float = 0.2, mode: str = "zero") -> Geometric:
    """Radial distortion: p' = p·(1 + k·|p|²/R²), k from U(−strength, strength).

    R is half the diagonal: corners move by k times their distance from the middle. Positive k
    is a barrel, negative k a pincushion. strength is below 1/3, or the image would fold over.
    """
    require(0 <= strength < 1 / 3, "strength", "at least 0 and below 1/3", strength)

    def draw(n: int, size: Size, generator: Generator) -> Distortion:
        bend = uniform(-strength, strength, (n,), generator) / (math.hypot(*size) / 2) ** 2

        def distorted(points: Tensor, rows: Rows) -> Tensor:
            squared = points.square().sum(-1, keepdim=True)
            return points * (squared * bend[rows, None, None, None] + 1)

        return distorted

    return Geometric("lens", draw, mode)


def elastic(
    alpha: float = 34.0, sigma: float = 4.0, interpolation: str = "random", mode: str = "zero"
) -> Geometric:
    """Move each pixel by alpha·G_sigma∗U, U from U(−1, 1) for every pixel and axis.

    G_sigma is a Gaussian, sigma in pixels; beyond the image U is 0. interpolation: nearest,
    bilinear, bicubic, area, or random: one of the four, drawn for each image.
    """
    require(alpha >= 0, "alpha", "0 or more", alpha)
    require(0 < sigma <= 1000, "sigma", "above 0 and at most 1000", sigma)
    known = (*INTERPOLATIONS, "random")
    require(interpolation in known, "interpolation", "one of " + ", ".join(known), interpolation)

    def draw(n: int, size: Size, generator: Generator) -> Distortion:
        noise = uniform(-alpha, alpha, (n, 2, *size), generator)
        field = smooth(size[0], sigma, noise) @ noise @ smooth(size[1], sigma, noise)
        unit = noise.new_tensor([2 / size[1], 2 / size[0]])

        def distorted(points: Tensor, rows: Rows) -> Tensor:
            found = F.grid_sample(
                field[rows], points * unit, padding_mode="border", align_corners=False
            )
            return points + found.permute(0, 2, 3, 1)

        return distorted

    return Geometric("elastic", draw, mode, interpolation)


def smooth(side: int, sigma: float, like: Tensor) -> Tensor:
    """The matrix (side, side), symmetric, that convolves a column with a Gaussian.

    Its weights sum to 1 where the column does not end.
    """
    reach = max(side, math.ceil(6 * sigma))
    places = torch.arange(-reach, reach + 1, device=like.device, dtype=torch.float32)
    total = torch.exp(-places.square() / (2 * sigma**2)).sum()
    at = torch.arange(side, device=like.device, dtype=torch.float32)
    return torch.exp(-(at[:, None] - at).square() / (2 * sigma**2)) / total
