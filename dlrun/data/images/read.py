"""Reads one image file: its size, colours, depth, transparency and orientation.

Imports no torch: the processes that decode import this.
"""

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from dlrun.data.images.resize import resized

BACKGROUNDS = ("white", "black")
DEPTHS = (8, 10, 12, 16)
"""How many bits a value of a set may have."""

_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)
_BITS_PER_SAMPLE = 258
_GREY = ("1", "L", "LA", "La", "I", "F")
_SIXTEEN = re.compile(r"(LA|RGBA|RGBX|RGB);16[BLN]")
_LUMA = (0.299, 0.587, 0.114)
_TAKES = {"scaled": ("bytes", "whole"), "wide": ("whole", "wide"), "float": ("float",)}

Array = NDArray[Any]


def bits(largest: int) -> int:
    """The smallest of `DEPTHS` that holds a value."""
    return next((depth for depth in DEPTHS if largest < 2**depth), DEPTHS[-1])


@dataclass(frozen=True)
class Format:
    """What decoded images are to look like.

    mode: L (grey) or RGB.
    size: (height, width). resize: how images are resized to it, as in `resized`; None: an image
        of another size does not fit.
    only_grey: an image with colour does not fit.
    kind: scaled, of whole numbers from 0 to 2^depth − 1: uint8 as they are where depth is 8,
        else float32 value/(2^depth − 1); images of 8 bits are of 255 in either case. wide
        and float: float32 as in the file. An image of other values does not fit.
    background: white or black, shown through transparent pixels.
    """

    mode: str
    size: tuple[int, int]
    resize: str | None = None
    only_grey: bool = False
    kind: str = "scaled"
    depth: int = 8
    background: str = "white"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return (3 if self.mode == "RGB" else 1, *self.size)

    @property
    def dtype(self) -> type:
        """Of the samples."""
        return np.uint8 if self.kind == "scaled" and self.depth == 8 else np.float32

    @property
    def white(self) -> int:
        """The largest value on the scale."""
        return int(2**self.depth) - 1


class ImageInfo(NamedTuple):
    """What a file holds.

    height, width: as shown. kind: bytes, whole (from 0 to 65,535), wide (whole numbers beyond)
    or float. bits: of a value in the file. least, largest: of the values that can be seen; 0 and
    −1 for bytes and in headers. clear: has transparent pixels. moving: has more pictures.
    """

    height: int
    width: int
    colour: bool
    kind: str = "bytes"
    bits: int = 8
    least: float = 0
    largest: float = -1
    clear: bool = False
    moving: bool = False

    def fits(self, form: Format, decisive: bool = True) -> bool:
        """Whether an image can be brought into the format.

        decisive: its values must fit the scale; if not, what is beyond is cut off.
        """
        cut = form.kind == "scaled" and not decisive
        return (
            (self.kind in _TAKES[form.kind] or (self.kind == "wide" and cut))
            and not (self.colour and form.only_grey)
            and (form.resize is not None or (self.height, self.width) == form.size)
            and (form.kind != "scaled" or cut or self.largest <= form.white)
        )


def read_header(path: str) -> ImageInfo:
    """What a file holds, without decoding the pixels where that can be avoided."""
    with warnings.catch_warnings(action="ignore"), _opened(path) as image:
        values = _values(image)
        turned = image.getexif().get(_ORIENTATION) in _TURNED
        if turned and image.format == "TIFF":  # the size is turned now, or when it is loaded
            image.load()
            turned = False
        width, height = reversed(image.size) if turned else image.size
        return ImageInfo(height, width, *values)


def read_image(path: str, form: Format, decisive: bool) -> tuple[Array | None, ImageInfo]:
    """Decode one file to (c, h, w); None where it does not fit the format.

    It is turned as its EXIF orientation says; an animation gives its first picture. Resizing is
    PIL's antialiased bicubic filter; a large JPEG is first decoded at the smallest scale that
    has twice the size. decisive: see `ImageInfo.fits`.
    """
    with _opened(path) as image:
        colour, kind, depth = _values(image)
        moving, size = _is_moving(image), image.size
        if form.resize:
            side = 2 * max(form.size)
            image.draft(None, (side, side))
        drafted = image.size != size
        if kind == "bytes":
            shown = _turned(image)
            visible, clear = flatten(shown, form.background)
            info = ImageInfo(shown.height, shown.width, colour, clear=clear, moving=moving)
            pixels = (
                resized(converted(visible, form.mode), form.size, form.resize)
                if info.fits(form)
                else None
            )
        else:
            values, cover = _values_of(path, image)
            info = _describe(values, cover, colour, kind, depth)._replace(moving=moving)
            pixels = _scaled(values, cover, form) if info.fits(form, decisive) else None
        if drafted:
            width, height = size[::-1] if image.getexif().get(_ORIENTATION) in _TURNED else size
            info = info._replace(height=height, width=width)
    if pixels is None:
        return None, info
    if pixels.dtype != form.dtype:
        pixels = pixels.astype(np.float32) / np.float32(255)
    return channels_first(pixels), info


def channels_first(pixels: NDArray[Any]) -> NDArray[Any]:
    """Pixels (h, w) or (h, w, channels) as (channels, h, w)."""
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


@contextmanager
def _opened(path: str) -> Iterator[Image.Image]:
    """The image in a file.

    As a stream: Pillow maps a file that it knows by name, and scrambles a TIFF that is turned.
    """
    with open(path, "rb") as file, Image.open(file) as image:
        yield image


def _values(image: Image.Image) -> tuple[bool, str, int]:
    """Whether it has colour, the kind of its values, and their bits; call before loading it."""
    tags: Any = getattr(image, "tag_v2", {})
    if image.mode == "F":
        return False, "float", 32
    if image.mode.startswith("I"):
        usual = 32 if image.mode == "I" and image.format not in ("PNG", "PPM") else 16
        return False, "whole", int(tags.get(_BITS_PER_SAMPLE, (usual,))[0])
    if _SIXTEEN.fullmatch(_raw_mode(image)):
        return not _raw_mode(image).startswith("LA"), "whole", 16
    if _netpbm(image):
        return True, "whole", 16
    return image.mode not in _GREY, "bytes", 8


def _netpbm(image: Image.Image) -> int | None:
    """Where the colours of a binary PPM of 16 bits begin; Pillow itself reads 8 of them."""
    tiles: Any = getattr(image, "tile", None)
    if not tiles or tiles[0][0] != "ppm" or image.mode != "RGB" or tiles[0][3][1] <= 255:
        return None
    return int(tiles[0][2])


def _raw_mode(image: Image.Image) -> str:
    """How the file stores a pixel, in Pillow's terms; empty where unknown."""
    tiles: Any = getattr(image, "tile", None)
    form = tiles[0][3] if tiles else ""
    form = form[0] if isinstance(form, tuple | list) and form else form
    return form if isinstance(form, str) else ""


def _is_moving(image: Image.Image) -> bool:
    """Whether more pictures follow; in a photograph's file (MPO) the second is a preview."""
    with suppress(Exception):  # of a damaged second picture
        return image.format != "MPO" and bool(getattr(image, "is_animated", False))
    return False


def _turned(image: Image.Image) -> Image.Image:
    """The loaded image as its EXIF orientation says."""
    image.load()  # which turns a TIFF
    if image.format == "TIFF" or image.getexif().get(_ORIENTATION, 1) == 1:
        return image
    return ImageOps.exif_transpose(image)


def flatten(image: Image.Image, background: str) -> tuple[Image.Image, bool]:
    """The image on a background, and whether the background shows."""
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode not in ("LA", "PA", "RGBA", "RGBa") and "transparency" not in image.info:
        return image, False
    layer = image.convert("RGBA")
    if layer.getchannel("A").getextrema() == (255, 255):
        return image, False
    paper = Image.new("RGBA", layer.size, background)
    return Image.alpha_composite(paper, layer).convert("RGB"), True


def converted(image: Image.Image, mode: str) -> Image.Image:
    """The image in the mode L or RGB."""
    if image.mode == "LAB" and mode == "L":
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _values_of(path: str, image: Image.Image) -> tuple[Array, Array | None]:
    """The values of the file, (h, w, 1 or 3) float64, and the opacity of each pixel, (h, w, 1).

    The second is in 0..1, and None where there is no transparency.
    """
    raw, key = _raw_mode(image), image.info.get("transparency")
    cover = None
    if _SIXTEEN.fullmatch(raw):
        values = _sixteen_bits(path, image, raw)
        if raw.startswith(("LA", "RGBA")):
            cover = values[..., -1:] / 65535
        values = values[..., : 1 if raw.startswith("LA") else 3]
    elif start := _netpbm(image):
        content = np.fromfile(path, ">u2", image.width * image.height * 3, offset=start)
        values = content.reshape(image.height, image.width, 3).astype(np.float64)
    else:
        values = np.asarray(_turned(image))[..., None].astype(np.float64)
    if cover is None and key is not None:
        cover = (values != np.asarray(key)).any(-1, keepdims=True).astype(np.float64)
    return values, cover


def _sixteen_bits(path: str, image: Image.Image, raw: str) -> Array:
    """Colours of 16 bits, (h, w, channels) float64; Pillow itself gives the upper 8 only.

    Told the other byte order, it gives the lower 8 instead.
    """
    native = "L" if sys.byteorder == "little" else "B"
    order = raw[-1].replace("N", native)
    with _opened(path) as again:
        other = "RGBA" if raw.startswith("LA") else raw[:-1] + ("L" if order == "B" else "B")
        if raw.startswith("LA"):  # there is no other order, but RGBA has as many bytes
            setattr(again, "_mode" if hasattr(again, "_mode") else "mode", "RGBA")
        tiles: list[Any] = again.tile  # type: ignore[attr-defined]
        tiles[:] = [_renamed(tile, other) for tile in tiles]
        bytes_ = np.asarray(_turned(again)).astype(np.float64)
    if raw.startswith("LA"):
        return bytes_[..., 0::2] * 256 + bytes_[..., 1::2]
    return np.asarray(_turned(image)).astype(np.float64) * 256 + bytes_


def _renamed(tile: Any, raw: str) -> Any:
    """A decoder's description of a part of the image, with another raw mode."""
    form = raw if isinstance(tile[3], str) else (raw, *tile[3][1:])
    return tile._replace(args=form) if hasattr(tile, "_replace") else (*tile[:3], form)


def _describe(values: Array, cover: Array | None, colour: bool, kind: str, depth: int) -> ImageInfo:
    if not np.isfinite(values).all():
        raise ValueError("has pixels that are not finite numbers")
    seen = values if cover is None else values[cover[..., 0] > 0]
    least, largest = (float(seen.min()), float(seen.max())) if seen.size else (0.0, 0.0)
    if kind == "whole" and (least < 0 or largest > 2**16 - 1):
        kind = "wide"
    height, width = values.shape[:2]
    clear = cover is not None and bool((cover < 1).any())
    return ImageInfo(height, width, colour, kind, depth, least, largest, clear)


def _scaled(values: Array, cover: Array | None, form: Format) -> Array:
    """The values of a file in the format: (h, w) or (h, w, 3), uint8 or float32."""
    white = form.white if form.kind == "scaled" else 2**16 - 1
    if form.kind == "scaled":
        values = values.clip(0, white)
    if cover is not None:
        paper = white if form.background == "white" else 0
        values = paper + (values - paper) * cover
    if form.mode == "L" and values.shape[2] == 3:
        values = values @ np.array(_LUMA)[:, None]
    planes = []
    for plane in np.moveaxis(values.astype(np.float32), 2, 0):
        whole = Image.fromarray(np.ascontiguousarray(plane))
        fitted = resized(whole, form.size, form.resize)
        planes.append(fitted.clip(plane.min(), plane.max()))  # bicubic curves go beyond
    planes *= 3 if form.mode == "RGB" and len(planes) == 1 else 1
    pixels: Array = planes[0] if len(planes) == 1 else np.stack(planes, 2)
    if form.dtype == np.uint8:
        return np.rint(pixels).astype(np.uint8)
    if form.kind == "scaled":
        pixels /= np.float32(white)
    return pixels
