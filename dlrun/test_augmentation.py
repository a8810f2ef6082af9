"""The group `test_augmentation`: several views of each test sample, whose predictions are averaged.

    (x, **options) -> list of views

x: (n, channels, height, width) raw, uint8 in 0..255 or float in [0, 1]. Each view is such a
batch; resized ones are float. Nothing here is random.

`size` is the crop: a side, [height, width], or [channels, height, width] as in `facts.shape`;
None means that of x itself. Its views go to the model as
they are. The views of a function without `size` are treated as any image: where the model is
trained on smaller ones, it sees their middle.
"""

import inspect
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from dlrun.errors import Mistake

ENLARGED = 8 / 7
"""Short side to side of the crop where an image is no larger than it: 256 to 224."""


def has_size(views: Callable[..., list[Tensor]]) -> bool:
    """Whether a function of this group says itself how large its views are."""
    return "size" in inspect.signature(views).parameters


def left_out(views: Callable[..., list[Tensor]] | None, evaluation: nn.Module, raw: Tensor) -> str:
    """What a saved network says of the views it does without: it answers each sample once.

    "" where there are none, as of a center_crop of the size that such a network sees.
    evaluation: what comes before the network. raw: some samples.
    """
    if views is None:
        return ""
    function = getattr(views, "func", views)
    name = getattr(function, "__name__", "")
    if function is not center_crop:
        return f"{name} is left out; evaluate, predict and test/... take the mean over its views"
    raw, first = raw[:1].float(), next(iter(evaluation.children()), None)
    seen = (first(raw) if isinstance(first, CenterCrop) else raw).shape[2:]
    view = views(raw)[0].shape[2:]
    if view == seen:
        return ""
    sizes = ["×".join(map(str, shape)) for shape in (view, seen)]
    said = f"{name} of {sizes[0]} is left out, {sizes[1]} are seen"
    return f"{said}; evaluate, predict and test/... take {sizes[0]}"


def flip(x: Tensor) -> list[Tensor]:
    """Each image, and its mirror image left-right."""
    _require_images(x, "flip")
    return [x, x.flip(3)]


def center_crop(x: Tensor, size: int | list[int] | None = None) -> list[Tensor]:
    """The middle of each image, as it is; for models trained on crops of larger images."""
    _require_images(x, "center_crop")
    height, width = _sides(size, x)
    if height > x.shape[2] or width > x.shape[3]:
        x = _resized(x, max(height / x.shape[2], width / x.shape[3]))
    return [_cut(x, height, width, 0.5, 0.5)]


class CenterCrop(nn.Module):
    """`center_crop` as a first step of preprocessing, for a model trained on smaller images."""

    def __init__(self, size: list[int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, height, width) raw -> (n, channels, *size)."""
        return center_crop(x, self.size)[0]


def five_crop(
    x: Tensor, size: int | list[int] | None = None, resize: int | None = None
) -> list[Tensor]:
    """Top left, top right, bottom left, bottom right and the middle of each image.

    resize: the short side before cropping; None keeps images that are larger than the crop, and
    enlarges others to 8/7 of it.
    """
    _require_images(x, "five_crop")
    return _five(x, size, resize)


def ten_crop(
    x: Tensor, size: int | list[int] | None = None, resize: int | None = None
) -> list[Tensor]:
    """The views of `five_crop` and the mirror image of each."""
    _require_images(x, "ten_crop")
    return _and_mirrors(_five(x, size, resize))


def multi_scale(
    x: Tensor,
    size: int | list[int] | None = None,
    scales: tuple[float, ...] = (8 / 7, 1.5, 2.0),
    sides: tuple[int, ...] | None = None,
) -> list[Tensor]:
    """Ten crops of each image at each scale, in units of the smallest size that holds the crop.

    sides: short sides in pixels, in place of scales.
    """
    _require_images(x, "multi_scale")
    if not scales or min(scales) < 1:
        raise ValueError(f"scales must be at least 1, got {list(scales)}")
    height, width = crop = _sides(size, x)
    least = max(height / x.shape[2], width / x.shape[3])
    factors = [scale * least for scale in scales]
    if sides:
        factors = [_to_short_side("sides", side, x, crop) for side in sides]
    fives = (_corners(_resized(x, factor), crop) for factor in factors)
    return [view for five in fives for view in _and_mirrors(five)]


def _five(x: Tensor, size: int | list[int] | None, resize: int | None) -> list[Tensor]:
    height, width = crop = _sides(size, x)
    if resize is not None:
        x = _resized(x, _to_short_side("resize", resize, x, crop))
    elif height >= x.shape[2] or width >= x.shape[3]:
        x = _resized(x, ENLARGED * max(height / x.shape[2], width / x.shape[3]))
    return _corners(x, crop)


def _and_mirrors(views: list[Tensor]) -> list[Tensor]:
    return views + [view.flip(3) for view in views]


def _corners(x: Tensor, crop: tuple[int, int]) -> list[Tensor]:
    """The crops in the four corners and in the middle."""
    places = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.5))
    return [_cut(x, *crop, down, right) for down, right in places]


def _to_short_side(key: str, side: int, x: Tensor, crop: tuple[int, int]) -> float:
    """What gives the images this short side. Raises ValueError where they don't hold the crop."""
    (height, width), (high, wide) = crop, x.shape[2:]
    # In whole numbers: the least side with side·high/short >= height, and so for the width.
    least = max(-(-height * min(high, wide) // high), -(-width * min(high, wide) // wide))
    if side < least:
        raise ValueError(
            f"{key} must be at least {least}, the short side at which images of {high}×{wide} "
            f"hold a crop of {height}×{width}, got {side}"
        )
    return side / min(high, wide)


def _cut(x: Tensor, height: int, width: int, down: float, right: float) -> Tensor:
    """The crop at this share of the room, down and right: 0 at one side, 1 at the other."""
    top, left = int(down * (x.shape[2] - height)), int(right * (x.shape[3] - width))
    return x[:, :, top : top + height, left : left + width]


def _resized(x: Tensor, factor: float) -> Tensor:
    """x with both sides times `factor`, rounded, as floats in [0, 1]; x itself at 1."""
    height, width = (max(1, round(side * factor)) for side in x.shape[2:])
    if (height, width) == tuple(x.shape[2:]):
        return x
    unit = 1 if x.is_floating_point() else 255
    return F.interpolate(
        x.float() / unit, (height, width), mode="bilinear", align_corners=False, antialias=True
    )


def _sides(size: int | list[int] | None, x: Tensor) -> tuple[int, int]:
    if size is None:
        return x.shape[2], x.shape[3]
    sides = [size] if isinstance(size, int) else size
    if not 1 <= len(sides) <= 3:
        raise ValueError(f"size must be a side, [height, width] or a sample's shape, got {size}")
    height, width = sides[-2:] if len(sides) > 1 else sides * 2
    if min(height, width) < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    return height, width


def _require_images(x: Tensor, name: str) -> None:
    if x.ndim != 4:
        raise Mistake(
            f"test_augmentation={name} needs images (channels, height, width), "
            f"and a sample here has shape {tuple(x.shape[1:])}; use test_augmentation=none"
        )
