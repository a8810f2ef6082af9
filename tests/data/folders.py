"""Folders of small images, for tests."""

import struct
import zlib

import numpy as np
from PIL import Image


def pixels(seed, height=6, width=8, channels=3):
    """Random ones, (height, width, channels) uint8, or (height, width) for one channel."""
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path, image, **options):
    """Save an array, or an image, in the format that the path's suffix names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = image if isinstance(image, Image.Image) else Image.fromarray(image)
    made.save(path, **options)


def make_folder(root, layout, **form):
    """layout: {"train/cat": 3, ...}; returns the pixels by relative path."""
    made = {}
    for folder, count in layout.items():
        for i in range(count):
            path = f"{folder}/{i}.png"
            made[path] = pixels(len(made), **form)
            save(root / path, made[path])
    return made


def channels_first(image):
    """(h, w) or (h, w, c) -> (c, h, w)."""
    return image[None] if image.ndim == 2 else image.transpose(2, 0, 1)


def save_png(path, values, bits=16, key=None):
    """A PNG of (h, w) or (h, w, 2 to 4) whole numbers; Pillow writes no colours of 16 bits.

    key: the value, or the values of a colour, that is transparent.
    """
    height, width = values.shape[:2]
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[1 if values.ndim == 2 else values.shape[2]]
    rows = values.astype(">u2" if bits == 16 else np.uint8)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))]
    if key is not None:
        parts.append((b"tRNS", np.array(key, ">u2").tobytes()))
    parts.append((b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, content in (*parts, (b"IEND", b"")):
            check = struct.pack(">I", zlib.crc32(name + content))
            file.write(struct.pack(">I", len(content)) + name + content + check)
