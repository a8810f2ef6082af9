"""Steps that are affine in the colours of a pixel; any number of them becomes one matrix.

    matrices(mean, generator) -> (n, 3, 4): colour' = A·(red, green, blue, 1)

mean (n, 3) is the mean colour of each image before the step. Values are clamped to [0, 1] once,
after all steps. An image of one channel counts as grey.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Generator, Tensor

from dlrun.augmentation.batch import pieces, require, require_colours, uniform
from dlrun.augmentation.warp import chained
from dlrun.preprocessing import to_float

GREY = (0.299, 0.587, 0.114)
"""The share of each colour in the brightness of a pixel (ITU-R BT.601)."""

# Red, green, blue to brightness and two differences of colour (NTSC's YIQ).
_TO_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))

# Covariance of ImageNet's colours: eigenvalues, and an eigenvector in each column.
_IMAGENET_VARIANCES = (0.2175, 0.0188, 0.0045)
_IMAGENET_AXES = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)

_PIXELS = 256
"""How many pixels of each image, evenly spread, the covariance of colours is computed from."""


@runtime_checkable
class Recolors(Protocol):
    """A step that draws a colour matrix for each image."""

    name: str

    def matrices(self, mean: Tensor, generator: Generator) -> Tensor:
        """(n, 3) mean colours -> (n, 3, 4)."""


def recolor(steps: Sequence[Recolors], x: Tensor, generator: Generator) -> Tensor:
    """Apply colour steps in order, as one matrix for each image; float32 in [0, 1]."""
    require_colours(x, steps[0].name)
    n, channels = x.shape[:2]
    mean = x.mean((2, 3), dtype=torch.float32).expand(n, 3)
    if x.dtype == torch.uint8:
        mean = mean / 255
    whole: Tensor | None = None
    for step in steps:
        own = step.matrices(mean, generator)
        mean = torch.baddbmm(own[..., 3:], own[..., :3], mean[..., None])[..., 0]
        whole = own if whole is None else chained(own, whole)
    assert whole is not None
    if channels == 1:
        grey = mean.new_tensor(GREY)
        whole = torch.stack([grey @ whole[..., :3].sum(-1).T, grey @ whole[..., 3].T], -1)[:, None]
    linear, shift = whole[..., :channels], whole[..., channels:]
    out = torch.empty(x.shape, device=x.device)
    for rows in pieces(n, channels * x.shape[2] * x.shape[3], x.device):
        seen = torch.baddbmm(shift[rows], linear[rows], to_float(x[rows]).flatten(2))
        out[rows] = seen.clamp_(0, 1).view(-1, *x.shape[1:])
    return out


class ColorJitter:
    """Brightness, contrast, saturation and hue, in this order, each drawn for itself.

    With b, c, s from U(1 − strength, 1 + strength), not below 0, θ from 2π·U(−hue, hue),
    and g(x) the grey of a pixel: x ← b·x, x ← c·x + (1 − c)·mean g(x),
    x ← s·x + (1 − s)·g(x), x ← x with its colour turned by θ about the grey axis of YIQ.
    """

    name = "color_jitter"

    def __init__(
        self,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.4,
        hue: float = 0.0,
    ) -> None:
        for name, strength in (
            ("brightness", brightness),
            ("contrast", contrast),
            ("saturation", saturation),
        ):
            require(strength >= 0, name, "0 or more", strength)
        require(0 <= hue <= 0.5, "hue", "between 0 and 0.5", hue)
        self.strengths, self.hue = (brightness, contrast, saturation), hue
        to_yiq = torch.tensor(_TO_YIQ, dtype=torch.float64)
        quarter = torch.zeros(3, 3, dtype=torch.float64)
        quarter[1, 2], quarter[2, 1] = -1, 1
        grey = to_yiq[:1].expand(3, 3)
        turned = to_yiq.inverse() @ quarter @ to_yiq
        # Matrices that give a pixel's grey, its colour, and its colour turned by 90°.
        self.basis = torch.stack([grey, torch.eye(3) - grey, turned]).float().view(3, 9)

    def matrices(self, mean: Tensor, generator: Generator) -> Tensor:
        """(n, 3) mean colours -> (n, 3, 4)."""
        n = len(mean)
        drawn = uniform(-1, 1, (4, n), generator)
        b, c, s = (
            (1 + strength * u).clamp_(min=0)
            for strength, u in zip(self.strengths, drawn, strict=False)
        )
        angle = drawn[3] * (2 * torch.pi * self.hue)
        self.basis = self.basis.to(mean.device)
        parts = torch.stack([torch.ones_like(s), s * angle.cos(), s * angle.sin()], 1)
        linear = ((b * c)[:, None] * parts @ self.basis).view(n, 3, 3)
        # Saturation and hue leave grey as it is.
        level = (1 - c) * b * (mean @ mean.new_tensor(GREY))
        return torch.cat([linear, level.view(n, 1, 1).expand(n, 3, 1)], 2)

    def __call__(self, x: Tensor, y: Any, generator: Generator) -> tuple[Tensor, Any]:
        """(n, 1 or 3, h, w) -> the same shape, float32 in [0, 1]."""
        return recolor([self], x, generator), y


class Photometric:
    """Light of another colour: x ← x + P·(λ∘a), a from N(0, strength²), three for each image.

    P and λ are eigenvectors and eigenvalues of the covariance of red, green and blue.
    axes: "data" takes those of the training split, "imagenet" the published ones.
    """

    name = "photometric"

    def __init__(self, strength: float = 0.1, axes: str = "data") -> None:
        require(strength >= 0, "strength", "0 or more", strength)
        require(axes in ("data", "imagenet"), "axes", "data or imagenet", axes)
        self.strength = strength
        self.axes: Tensor | None = None
        if axes == "imagenet":
            self.axes = torch.tensor(_IMAGENET_AXES) * torch.tensor(_IMAGENET_VARIANCES)

    def fit(self, batches: Iterable[Tensor]) -> None:
        """Learn the covariance of colours from raw (n, 1 or 3, h, w) batches."""
        if self.axes is not None:
            return
        count, total, squares = 0, torch.zeros(3).double(), torch.zeros(3, 3).double()
        for x in batches:
            require_colours(x, "photometric")
            every = max(1, round((x.shape[2] * x.shape[3] / _PIXELS) ** 0.5))
            some = to_float(x[:, :, ::every, ::every]).cpu().double()
            colours = some.transpose(0, 1).flatten(1).expand(3, -1)
            count += colours.shape[1]
            total += colours.sum(1)
            squares += colours @ colours.T
        # In [0, 1] and float64 the difference keeps its digits.
        mean = total / max(count, 1)
        variances, axes = torch.linalg.eigh(squares / max(count, 1) - mean.outer(mean))
        self.axes = (axes * variances.clamp(min=0)).float()

    def matrices(self, mean: Tensor, generator: Generator) -> Tensor:
        """(n, 3) mean colours -> (n, 3, 4). Raises ValueError before `fit`."""
        if self.axes is None:
            raise ValueError("axes must be learned from the training split before they are used")
        self.axes = self.axes.to(mean.device)
        drawn = torch.randn(len(mean), 3, generator=generator, device=generator.device)
        light = (drawn * self.strength) @ self.axes.T
        same = torch.eye(3, device=mean.device).expand(len(mean), 3, 3)
        return torch.cat([same, light[..., None]], 2)

    def __call__(self, x: Tensor, y: Any, generator: Generator) -> tuple[Tensor, Any]:
        """(n, 1 or 3, h, w) -> the same shape, float32 in [0, 1]."""
        return recolor([self], x, generator), y
