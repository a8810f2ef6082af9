"""Geometric steps as maps of coordinates; any number of them is one resampling.

Coordinates are pixels from the middle of an image, x to the right and y down, so that a
map does not depend on the size of the image. A map leads backwards: from a point of the
result to the point of the input that it shows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from dlrun.augmentation.batch import as_floats, require, require_images

Size = tuple[int, int]
"""Height and width."""

Distortion = Callable[[Tensor, Tensor], Tensor]
"""(points, rows) -> points: (m, h, w, 2), x before y, of the images `rows` (m,) of the batch."""

Map = Tensor | Distortion
"""(n, 2, 3), an affine map A·(x, y, 1) for each image; or any other, as a function."""

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "area")
MODES = {"zero": "zeros", "edge": "border", "reflect": "reflection"}


@dataclass(frozen=True)
class Geometric:
    """A geometric augmentation: draws a map for each image; alone it also applies it.

    draw: (n, size, generator) -> Map; size is that of the images that come in.
    mode: what lies beyond the image: zero, edge (its border) or reflect (its mirror image).
    interpolation: one of INTERPOLATIONS, or random for one by chance for each image.
    size: the size of the result.
    shrink: by how much it makes images smaller at most; pixels are averaged accordingly.
    """

    name: str
    draw: Callable[[int, Size, Generator], Map]
    mode: str = "zero"
    interpolation: str = "bilinear"
    size: Callable[[Size], Size] = lambda size: size
    shrink: Callable[[Size], float] = lambda size: 1.0

    def __post_init__(self) -> None:
        require(self.mode in MODES, "mode", "zero, reflect or edge", self.mode)

    def __call__(self, x: Tensor, y: Any, generator: Generator) -> tuple[Tensor, Any]:
        """(n, c, h, w) -> (n, c, *size), float32 in [0, 1]."""
        require_images(x, self.name)
        return warp([self], x, generator), y


def warp(steps: Sequence[Geometric], x: Tensor, generator: Generator) -> Tensor:
    """Apply geometric steps in order by one resampling; float32 in [0, 1].

    Steps with the same mode see what the ones before them moved out of the image; where the
    mode changes, the image of the steps before ends at its borders.
    """
    sizes, maps, shrink = [(x.shape[2], x.shape[3])], [], 1.0
    for step in steps:
        maps.append(step.draw(len(x), sizes[-1], generator))
        shrink *= step.shrink(sizes[-1])
        sizes.append(step.size(sizes[-1]))
    modes, fine = [step.mode for step in steps], max(1, round(shrink))
    x = as_floats(x)

    def sampled(rows: Tensor | None, interpolation: str) -> Tensor:
        # An area is the mean over points that lie closer than pixels.
        closer = fine * 2 if interpolation == "area" else fine
        points, outside = _trace(maps, sizes, modes, closer, rows, x)
        out = F.grid_sample(
            x if rows is None else x[rows],
            points,
            mode="bilinear" if interpolation == "area" else interpolation,
            padding_mode=MODES[modes[0]],
            align_corners=modes[0] == "reflect",
        )
        if outside is not None:
            out.masked_fill_(outside[:, None], 0)
        if closer > 1:
            out = F.avg_pool2d(out, closer)
        return out.clamp_(0, 1) if interpolation == "bicubic" else out

    other = [step.interpolation for step in steps if step.interpolation != "bilinear"]
    if not other:
        return sampled(None, "bilinear")
    if other[0] != "random":
        return sampled(None, other[0])
    drawn = torch.randint(
        len(INTERPOLATIONS), (len(x),), generator=generator, device=generator.device
    )
    # One read-out of the device: how many images each kind has.
    counts = torch.bincount(drawn, minlength=len(INTERPOLATIONS)).tolist()
    out = x.new_empty(len(x), x.shape[1], *sizes[-1])
    for rows, kind in zip(drawn.argsort().split(counts), INTERPOLATIONS, strict=True):
        if len(rows):
            out[rows] = sampled(rows, kind)
    return out


def chained(outer: Tensor, inner: Tensor) -> Tensor:
    """The affine map outer∘inner; both (n, k, k + 1)."""
    k = outer.shape[1]
    return torch.baddbmm(F.pad(outer[..., k:], (k, 0)), outer[..., :k], inner)


def mapped(affine: Tensor, points: Tensor) -> Tensor:
    """The points (n, h, w, 2) under affine maps (n, 2, 3)."""
    flat = torch.baddbmm(affine[:, None, :, 2], points.flatten(1, 2), affine[..., :2].mT)
    return flat.view(points.shape)


def _trace(
    maps: Sequence[Map],
    sizes: Sequence[Size],
    modes: Sequence[str],
    closer: int,
    rows: Tensor | None,
    x: Tensor,
) -> tuple[Tensor, Tensor | None]:
    """Where each point of the result lies in the input, in the units of grid_sample.

    Also which points have left an image on the way, if any can have: (m, h, w) bool.
    """
    across, down = _axes(sizes[-1], closer, x)
    points: Tensor | None = None  # still the pixels of the result, on which `affine` acts
    affine: Tensor | None = None
    outside: Tensor | None = None

    def settled() -> Tensor:
        if points is None and affine is None:
            return torch.stack(torch.meshgrid(across, down, indexing="xy"), -1)[None]
        if points is None:
            assert affine is not None
            # Both rows of all maps times all pixels, interleaved: one product of matrices.
            flat = affine.flatten(1) @ _grid(across, down)
            return flat.view(len(affine), len(down), len(across), 2)
        return points if affine is None else mapped(affine, points)

    places = torch.arange(len(x), device=x.device) if rows is None else rows
    later = modes[-1]
    for one, mode, size in zip(reversed(maps), reversed(modes), reversed(sizes[1:]), strict=True):
        if mode != later:
            points, affine = settled(), None
            points, left = _folded(points, size, later)
            if left is not None:
                outside = left if outside is None else outside | left
        later = mode
        if isinstance(one, Tensor):
            own = one if rows is None else one[rows]
            affine = own if affine is None else chained(own, affine)
        else:
            points, affine = settled().expand(len(places), -1, -1, -1), None
            points = one(points, places)
    # grid_sample counts from −1 to 1: between outer pixels to reflect, else between edges.
    height, width = (side - 1 if modes[0] == "reflect" else side for side in sizes[0])
    unit = x.new_tensor([2 / max(width, 1), 2 / max(height, 1)])
    if affine is None:
        return settled() * unit, outside
    affine = affine * unit[:, None]
    return settled(), outside


def _axes(size: Size, closer: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """The coordinates of columns and of rows, each pixel as `closer` points a side."""

    def axis(side: int) -> Tensor:
        count = side * closer
        steps = torch.arange(count, device=like.device, dtype=like.dtype)
        return (steps - (count - 1) / 2) / closer

    return axis(size[1]), axis(size[0])


def _grid(across: Tensor, down: Tensor) -> Tensor:
    """(6, 2·h·w): times a flattened map (2, 3), x and y of all pixels by turns."""
    x, y = torch.meshgrid(across, down, indexing="xy")
    grid = across.new_zeros(2, 3, len(down), len(across), 2)
    for row in (0, 1):
        grid[row, 0, ..., row], grid[row, 1, ..., row], grid[row, 2, ..., row] = x, y, 1
    return grid.view(6, -1)


def _folded(points: Tensor, size: Size, mode: str) -> tuple[Tensor, Tensor | None]:
    """Points beyond an image of this size brought to where its mode shows them.

    In the mode zero they stay, and are those of the mask that comes second.
    """
    limit = points.new_tensor([(size[1] - 1) / 2, (size[0] - 1) / 2])
    if mode == "zero":
        return points, (points.abs() > limit + 0.5).any(-1)
    if mode == "edge":
        return torch.minimum(torch.maximum(points, -limit), limit), None
    period = (4 * limit).clamp(min=1e-6)
    return ((points - limit).remainder(period) - period / 2).abs() - limit, None
