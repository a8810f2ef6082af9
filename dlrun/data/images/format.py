"""One format for all images of a folder, chosen by looking at them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlrun import shell
from dlrun.data import Values
from dlrun.data.images.read import DEPTHS, Format, ImageInfo, bits, read_header
from dlrun.errors import Mistake


@dataclass(frozen=True)
class Wanted:
    """What samples are to look like, as the settings say; depth 0: values as they are."""

    size: tuple[int, int] | None
    resize: str
    channels: str
    depth: int | None
    background: str


def choose_format(paths: Sequence[str], wanted: Wanted) -> Format:
    """Look at the headers of files from all over; what does not fit later starts decoding again."""
    headers: list[ImageInfo] = []
    spread = range(0, len(paths), -(-len(paths) // 64))
    for i in (*spread, *range(len(paths))):
        if headers and i not in spread:
            break
        try:
            headers.append(read_header(paths[i]))
        except Exception as error:  # a decoder may raise anything; decode() counts these
            last = error
    if not headers:
        raise Mistake(f"none of its {len(paths)} images can be read ({last})")
    sizes = sorted({(info.height, info.width) for info in headers})
    if wanted.size is None and len(sizes) > 1:
        raise _differing(sizes)
    grey = wanted.channels == "grey"
    grey = grey or (wanted.channels == "auto" and not any(info.colour for info in headers))
    floats = wanted.depth is None and all(info.kind == "float" for info in headers)
    return Format(
        mode="L" if grey else "RGB",
        size=wanted.size or sizes[0],
        resize=wanted.resize if wanted.size else None,
        only_grey=grey and wanted.channels == "auto",
        kind="float" if floats else "wide" if wanted.depth == 0 else "scaled",
        depth=wanted.depth or DEPTHS[0],
        background=wanted.background,
    )


def widen(form: Format, wanted: Wanted, path: str, info: ImageInfo, after: bool) -> Format:
    """A format that also takes an image that does not fit this one.

    after: whether other images were decoded before it.
    """
    size = (info.height, info.width)
    if form.resize is None and size != form.size:
        raise _differing([form.size, size])
    if info.colour and form.only_grey:
        return replace(form, mode="RGB", only_grey=False)
    if wanted.depth and info.kind == "float":
        raise Mistake(
            f"data.depth={wanted.depth}: is for whole numbers, and {path} holds floats, which "
            "are taken as they are; leave it out"
        )
    mixed = form.kind != "scaled" or (after and info.kind == "float")
    if info.kind in ("wide", "float") and not mixed:
        return replace(form, kind=info.kind)
    if mixed:
        kinds = {
            "bytes": "values of 8 bits",
            "scaled": "whole numbers",
            "whole": "whole numbers",
            "wide": "whole numbers below 0 or above 65,535",
            "float": "floats",
        }
        raise Mistake(
            f"{path} holds {kinds[info.kind]} and other images hold "
            f"{kinds[form.kind]}, which have no scale in common; convert one of them"
        )
    return replace(form, depth=bits(int(info.largest)))


def values_of(form: Format, wanted: Wanted, infos: NDArray[Any]) -> Values | None:
    """The `Values` of images of more than 8 bits; None where all have 8."""
    extents = np.stack([infos["least"], infos["largest"]], 1)
    extents[infos["largest"] < infos["least"]] = np.nan  # bytes
    if form.kind == "float":
        return None
    if not np.isfinite(extents).any():
        if wanted.depth not in (None, 8):
            raise Mistake(
                f"data.depth={wanted.depth}: the images have 8 bits a value; leave it out"
            )
        return None
    return Values(0 if form.kind == "wide" else form.depth, int(infos["bits"].max()), extents)


def notes_on(form: Format, wanted: Wanted, infos: NDArray[Any]) -> list[str]:
    """What is not obvious about how these images were read, a sentence each."""
    notes = []
    height, width = form.size
    tall, wide = infos["height"], infos["width"]
    if form.resize and ((tall * width != wide * height).any() or np.ptp(tall) or np.ptp(wide)):
        spans = [f"{side.min():.0f} to {side.max():.0f}" for side in (tall, wide)]
        sizes = f"differ in size (heights {spans[0]}, widths {spans[1]})"
        if not np.ptp(tall) and not np.ptp(wide):
            sizes = f"are {tall[0]:.0f}x{wide[0]:.0f}"
        done = {
            "short": f"scaled by the short side, the middle {height}x{width} of each is kept "
            "(data.resize=squash or pad keeps all)",
            "squash": f"squashed to {height}x{width} (data.resize=short or pad keeps the shapes)",
            "pad": f"scaled by the long side and padded to {height}x{width} with the edge",
        }[form.resize]
        notes.append(f"the images {sizes}: {done}")
    if form.kind == "float":
        low, high = infos["least"].min(), infos["largest"].max()
        notes.append(f"the images hold floats from {low:g} to {high:g}, taken as they are")
    eight = int((infos["bits"] == 8).sum())
    if form.kind == "scaled" and 0 < eight < len(infos):
        have = "has" if eight == 1 else "have"
        notes.append(
            f"{eight:,} of {len(infos):,} images {have} 8 bits a value and the others more: "
            "white is 255 there"
        )
    if clear := int(infos["clear"].sum()):
        are = "image is" if clear == 1 else "images are"
        notes.append(f"{clear:,} {are} transparent in parts, set on {wanted.background}")
    if moving := int(infos["moving"].sum()):
        hold = "file holds" if moving == 1 else "files hold"
        notes.append(f"{moving:,} {hold} several pictures; the first of each is read")
    return notes


def _differing(sizes: Sequence[tuple[int, int]]) -> Mistake:
    some = shell.some((f"{height}x{width}" for height, width in sizes), 4)
    return Mistake(
        f"the images differ in size ({some}, height x width); data.size=32 makes them all 32x32"
    )
