"""Geometric steps as maps of coordinates; any number of them becomes one resampling.

Coordinates are pixels from the middle of an image, x to the right and y down, so that a
map does not depend on the size of the image. A map leads backwards, from a point of the result
to the point of the input that it shows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Union

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from dlrun.augmentation.batch import pieces, require, require_images
from dlrun.preprocessing import to_float

Size = tuple[int, int]
"""Height and width."""

Rows = Tensor | slice
"""Some images of a batch: their indices (m,), or a slice."""

Distortion = Callable[[Tensor, Rows], Tensor]
"""(points, rows) -> points: (m, h, w, 2), x before y, of the m images `rows` of the batch."""

Map = Tensor | Distortion
"""(n, 2, 3), an affine map A·(x, y, 1) for each image; or any other, as a function."""

Stage = Union[Map, "Border"]

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "area")
MODES = {"zero": "zeros", "edge": "border", "reflect": "reflection"}


@dataclass(frozen=True)
class Geometric:
    """A geometric augmentation: draws a map for each image; alone it also applies it.

    draw: (n, size, generator) -> Map; size is that of the input.
    mode: what lies beyond the image: zero, edge (its border) or reflect (its mirror image);
        None for a step that shows nothing from there and takes the mode of its neighbours.
    interpolation: one of INTERPOLATIONS, or random: drawn for each image.
    size: of the result.
    shrink: the most by which it makes images smaller; pixels are averaged accordingly.
    """

    name: str
    draw: Callable[[int, Size, Generator], Map]
    mode: str | None = "zero"
    interpolation: str = "bilinear"
    size: Callable[[Size], Size] = lambda size: size
    shrink: Callable[[Size], float] = lambda size: 1.0

    def __post_init__(self) -> None:
        right = self.mode is None or self.mode in MODES
        require(right, "mode", "zero, reflect or edge", self.mode)

    def __call__(self, x: Tensor, y: Any, generator: Generator) -> tuple[Tensor, Any]:
        """(n, c, h, w) -> (n, c, *size), float32 in [0, 1]."""
        require_images(x, self.name)
        return warp([self], x, generator), y


@dataclass(frozen=True)
class Border:
    """A stage on the way of a point: an image of this size ends; `mode` says what lies beyond."""

    size: Size
    mode: str


def warp(steps: Sequence[Geometric], x: Tensor, generator: Generator) -> Tensor:
    """Apply geometric steps in order, as one resampling; float32 in [0, 1].

    Steps with the same mode see what earlier ones moved out of the image; where the mode
    changes, the image so far ends at its borders.
    """
    sizes, maps, shrink = [(x.shape[2], x.shape[3])], [], 1.0
    for step in steps:
        maps.append(step.draw(len(x), sizes[-1], generator))
        shrink *= step.shrink(sizes[-1])
        sizes.append(step.size(sizes[-1]))
    modes, fine = _modes(steps), max(1, round(shrink))
    same = torch.eye(2, 3, device=x.device).expand(len(x), 2, 3)
    stages = _backwards(maps, modes, sizes, same)
    out = torch.empty(len(x), x.shape[1], *sizes[-1], device=x.device)

    def sample(rows: Rows, interpolation: str) -> None:
        # area: the mean over points closer together than pixels.
        closer = fine * 2 if interpolation == "area" else fine
        points, outside = _trace(stages, sizes[-1], closer, rows)
        padding = MODES[modes[0]]
        if closer > 1 and modes[0] == "zero":
            # The mean over a pixel of the image leaves out the black beyond.
            beyond, padding = (points.abs() > 1).any(-1), "border"
            outside = beyond if outside is None else outside | beyond
        seen = F.grid_sample(
            to_float(x[rows]),
            points,
            mode="bilinear" if interpolation == "area" else interpolation,
            padding_mode=padding,
            align_corners=modes[0] == "reflect",
        )
        if outside is not None:
            seen.masked_fill_(outside[:, None], 0)
        if closer > 1:
            seen = F.avg_pool2d(seen, closer)
        out[rows] = seen.clamp_(0, 1) if interpolation == "bicubic" else seen

    elements = max(x[0].numel(), out[0].numel() * fine**2) if len(x) else 1
    other = [step.interpolation for step in steps if step.interpolation != "bilinear"]
    kind = other[0] if other else "bilinear"
    if kind != "random":
        for rows in pieces(len(x), elements, x.device):
            sample(rows, kind)
        return out
    drawn = torch.randint(
        len(INTERPOLATIONS), (len(x),), generator=generator, device=generator.device
    )
    # The device is read once: how many images each interpolation has.
    counts = torch.bincount(drawn, minlength=len(INTERPOLATIONS)).tolist()
    for chosen, kind in zip(drawn.argsort().split(counts), INTERPOLATIONS, strict=True):
        for rows in pieces(len(chosen), elements, x.device):
            sample(chosen[rows], kind)
    return out


def _modes(steps: Sequence[Geometric]) -> list[str]:
    """The mode of each step; a step without one takes that of the step before, or the first."""
    modes = [next((step.mode for step in steps if step.mode), "zero")]
    for step in steps:
        modes.append(step.mode or modes[-1])
    return modes[1:]


def chained(outer: Tensor, inner: Tensor) -> Tensor:
    """The affine map outer∘inner; both (n, k, k + 1)."""
    k = outer.shape[1]
    return torch.baddbmm(F.pad(outer[..., k:], (k, 0)), outer[..., :k], inner)


def mapped(affine: Tensor, points: Tensor) -> Tensor:
    """The points (n, h, w, 2) under affine maps (n, 2, 3)."""
    flat = torch.baddbmm(affine[:, None, :, 2], points.flatten(1, 2), affine[..., :2].mT)
    return flat.view(points.shape)


def _backwards(
    maps: Sequence[Map], modes: Sequence[str], sizes: Sequence[Size], same: Tensor
) -> list[Stage]:
    """The stages of a point on its way from the result to the input; the first is an affine map.

    Affine neighbours are one map. The last gives the units of grid_sample. same: the identity
    of each image, (n, 2, 3).
    """
    stages: list[Stage] = [same]

    def then(stage: Stage) -> None:
        last = stages[-1]
        if isinstance(stage, Tensor) and isinstance(last, Tensor):
            stages[-1] = stage if last is same else chained(stage, last)
        else:
            stages.append(stage)

    later = modes[-1]
    for one, mode, size in zip(reversed(maps), reversed(modes), reversed(sizes[1:]), strict=True):
        if mode != later:
            then(Border(size, later))
        later = mode
        then(one)
    # grid_sample counts from −1 to 1: between the outer pixels to reflect, else between edges.
    height, width = (side - 1 if modes[0] == "reflect" else side for side in sizes[0])
    then(same * same.new_tensor([[2 / max(width, 1)], [2 / max(height, 1)]]))
    return stages


def _trace(
    stages: Sequence[Stage], size: Size, closer: int, rows: Rows
) -> tuple[Tensor, Tensor | None]:
    """Where each pixel of the result lies in the input, with `closer`² points each: (m, h, w, 2).

    Also which points left an image on the way, (m, h, w) bool; None where none can.
    """
    first, outside = stages[0], None
    assert isinstance(first, Tensor)
    # Both rows of all maps times all pixels, interleaved, as one matrix product.
    flat = first[rows].flatten(1) @ _grid(size, closer, first.device)
    points = flat.view(-1, size[0] * closer, size[1] * closer, 2)
    for stage in stages[1:]:
        if isinstance(stage, Tensor):
            points = mapped(stage[rows], points)
        elif isinstance(stage, Border):
            points, left = _folded(points, stage.size, stage.mode)
            if left is not None:
                outside = left if outside is None else outside | left
        else:
            points = stage(points, rows)
    return points, outside


@lru_cache(maxsize=8)
def _grid(size: Size, closer: int, device: torch.device) -> Tensor:
    """(6, 2·h·w): times a flattened map (2, 3), x and y of all points of an image by turns."""

    def axis(side: int) -> Tensor:
        count = side * closer
        return (torch.arange(count, device=device) - (count - 1) / 2) / closer

    x, y = torch.meshgrid(axis(size[1]), axis(size[0]), indexing="xy")
    grid = torch.zeros(2, 3, *x.shape, 2, device=device)
    for row in (0, 1):
        grid[row, 0, ..., row], grid[row, 1, ..., row], grid[row, 2, ..., row] = x, y, 1
    return grid.view(6, -1)


def _folded(points: Tensor, size: Size, mode: str) -> tuple[Tensor, Tensor | None]:
    """Points beyond an image of this size, moved to where its mode shows them.

    With mode zero they stay, and the mask marks them.
    """
    limit = points.new_tensor([(size[1] - 1) / 2, (size[0] - 1) / 2])
    if mode == "zero":
        return points, (points.abs() > limit + 0.5).any(-1)
    if mode == "edge":
        return torch.minimum(torch.maximum(points, -limit), limit), None
    period = (4 * limit).clamp(min=1e-6)
    return ((points - limit).remainder(period) - period / 2).abs() - limit, None
