"""A list of augmentations as one, with as few passes over the batch as possible."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Generator, Tensor

from dlrun.augmentation import geometric, indexing, pixels, randaugment
from dlrun.augmentation.batch import Augmentation, require_images
from dlrun.augmentation.color import Recolors, recolor
from dlrun.augmentation.warp import Geometric, warp

# Alone these move whole pixels by indexing; beside other geometry they join its map.
_AS_MAPS: tuple[tuple[Augmentation, Callable[..., Geometric]], ...] = (
    (indexing.flip, geometric.flip),
    (indexing.crop, geometric.crop),
)


def compose(steps: Sequence[Augmentation]) -> Augmentation:
    """One augmentation that applies the steps in order.

    Geometric steps with only colour steps between them are one resampling. These colour steps
    are one matrix, applied after it, also to what lies beyond the image.
    """
    made: list[Augmentation] = []
    group: list[Any] = []
    for step in steps:
        if _as_map(step) is not None or isinstance(step, Recolors):
            group.append(step)
            continue
        made += _merged(group)
        made.append(step)
        group = []
    made += _merged(group)
    return made[0] if len(made) == 1 else partial(_in_order, made)


def clamps(step: Any) -> bool:
    """Whether a step clamps values to [0, 1], as those do that compute new ones."""
    if isinstance(step, Geometric):
        return step.interpolation in ("bicubic", "random")
    function = step.func if isinstance(step, partial) else step
    return isinstance(step, Recolors) or function in (pixels.noise, randaugment.augment)


def _in_order(
    steps: Sequence[Augmentation], x: Tensor, y: Any, generator: Generator
) -> tuple[Tensor, Any]:
    for step in steps:
        x, y = step(x, y, generator)
    return x, y


def _merged(group: Sequence[Any]) -> Sequence[Augmentation]:
    """The steps themselves where there is one or all move whole pixels, else one for all."""
    colours = [step for step in group if isinstance(step, Recolors)]
    maps = [found for step in group if (found := _as_map(step)) is not None]
    exact = not colours and not any(isinstance(step, Geometric) for step in group)
    if len(group) < 2 or exact:
        return group
    return [partial(_warp_and_recolor, maps, colours)]


def _warp_and_recolor(
    maps: Sequence[Geometric], colours: Sequence[Recolors], x: Tensor, y: Any, generator: Generator
) -> tuple[Tensor, Any]:
    require_images(x, (maps[0] if maps else colours[0]).name)
    if maps:
        x = warp(maps, x, generator)
    if colours:
        x = recolor(colours, x, generator)
    return x, y


def _as_map(step: Any) -> Geometric | None:
    if isinstance(step, Geometric):
        return step
    function, options = (step.func, step.keywords) if isinstance(step, partial) else (step, {})
    for exact, make in _AS_MAPS:
        if function is exact:
            return make(**options)
    return None
