"""Resizes images of any shape to one size."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dlrun.data import Data, Split
from dlrun.errors import Mistake

RESIZES = ("short", "squash", "pad")

_LONG = 8  # times as long as it is wide


def resized(image: Image.Image, size: tuple[int, int], how: str | None) -> NDArray[Any]:
    """The pixels of an image at size (height, width): (h, w) or (h, w, 3); bicubic, antialiased.

    how: short scales it to the smallest size that covers `size` and keeps the middle; squash
    scales each side by itself; pad scales it to the largest size that fits in and repeats the
    edge around it. None: it has that size.
    """
    (height, width), (tall, wide) = size, (image.height, image.width)
    bicubic = Image.Resampling.BICUBIC
    if (tall, wide) == size:
        return np.asarray(image)
    if how == "squash":
        return np.asarray(image.resize((width, height), bicubic))
    narrower = height * wide <= width * tall  # than the size
    if how == "short":
        right = width if narrower else int(height * wide / tall)
        low = int(width * tall / wide) if narrower else height
        left, top = round((right - width) / 2), round((low - height) / 2)
        if right * low <= _LONG * width * height:
            whole = np.asarray(image.resize((right, low), bicubic))
            return whole[top : top + height, left : left + width]
        along, down = wide / right, tall / low  # of a panorama only what is kept is computed
        box = (left * along, top * down, (left + width) * along, (top + height) * down)
        box = (*box[:2], min(box[2], wide), min(box[3], tall))
        return np.asarray(image.resize((width, height), bicubic, box))
    right = max(1, round(height * wide / tall)) if narrower else width
    low = height if narrower else max(1, round(width * tall / wide))
    pixels = np.asarray(image.resize((right, low), bicubic))
    above, before = (height - low) // 2, (width - right) // 2
    around = [(above, height - low - above), (before, width - right - before), (0, 0)]
    return np.pad(pixels, around[: pixels.ndim], mode="edge")


def halved(data: Data) -> Data:
    """The same images with half the width and height, each pixel the mean of four; for a trial.

    Raises Mistake where the samples are no images of at least two pixels by two.
    """
    import torch  # not where images are decoded
    from torch.nn.functional import avg_pool2d

    if len(data.shape) != 3 or min(data.shape[1:]) < 2:
        raise Mistake("the samples are not images that could be smaller")

    def half(split: Split) -> Split:
        x = avg_pool2d(split.x[split.rows].float(), 2)
        x = x if split.x.is_floating_point() else x.round()
        return Split(x.to(split.x.dtype), split.y[split.rows], torch.arange(len(split)))

    train, val, test = (half(each) for each in (data.train, data.val, data.test))
    extra = {name: half(each) for name, each in data.extra.items()}
    shape = tuple(train.x.shape[1:])
    return replace(data, train=train, val=val, test=test, extra=extra, shape=shape)
