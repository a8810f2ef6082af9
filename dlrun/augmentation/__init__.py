"""The group `augmentation`: random changes of training samples, drawn afresh each time.

    (x, y, generator, **options) -> (x, y)

x: (n, channels, height, width) on the device, before preprocessing, uint8 in 0..255
or float in [0, 1]; y: its labels. Each image has its own draw, and all draws come from the
generator: the same state of it gives the same batch. The result is uint8 where only whole
pixels moved, else float32 in [0, 1].

`compose` makes one augmentation of a list. Neighbours that say where a pixel comes from
(`Geometric` of warp.py; rotation, scaling, lens, and beside them flip and crop too) become one
coordinate map and one resampling; neighbours that are linear in the colours of a pixel
(`Recolors` of color.py) become one 3×4 matrix for each image. Geometry and colour commute, so
they may be mixed. All others are applied in their place in the list.

A step with a parameter `classes` is given their number, and one with a method
`fit(batches)` sees the raw training split once, before it is used.
"""

from dlrun.augmentation.batch import Augmentation
from dlrun.augmentation.merge import clamps, compose

__all__ = ["Augmentation", "clamps", "compose"]
