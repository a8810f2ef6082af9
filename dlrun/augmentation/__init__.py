"""The group `augmentation`: random changes of training samples, drawn anew each time.

    (x, y, generator, **options) -> (x, y)

x: (n, channels, height, width) on the device, before preprocessing, uint8 in 0..255
or float in [0, 1]; y: its labels. Every image has its own draw, and every draw comes
from the generator, so that the same state of it gives the same batch. What comes out is
uint8 where only whole pixels have moved, else float32 in [0, 1].

`compose` makes one augmentation of a list. Neighbours that say where a pixel comes from
(`Geometric` of warp.py; rotation, scaling, lens, and then flip and crop too) become one
coordinate map and one resampling; neighbours that are linear in the colours of a pixel
(`Recolors` of color.py) become one 3×4 matrix for each image. Geometry and colour
commute, so both may stand between each other. All else happens in its place in the list.

A step with a parameter `classes` is told their number, and one with a method
`fit(batches)` sees the raw training split once, before it is used.
"""

from dlrun.augmentation.batch import Augmentation
from dlrun.augmentation.merge import clamps, compose

__all__ = ["Augmentation", "clamps", "compose"]
