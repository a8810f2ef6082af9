"""A folder of images with one folder per class."""

import logging
import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dlrun import places
from dlrun.data import Report, Source
from dlrun.data.cache import FORMAT, Labels, Writer, load
from dlrun.data.decode import Form, decode, read_header
from dlrun.data.fingerprint import hash_files
from dlrun.data.layout import Layout, lay_out
from dlrun.data.scan import scan
from dlrun.errors import Mistake

CHANNELS = ("auto", "rgb", "grey")
_log = logging.getLogger("dlrun")


def imagefolder(
    root: str,
    size: int | list[int] | None = None,
    channels: str = "auto",
    skip_bad: bool = False,
    cache: str | None = None,
    report: Report | None = None,
) -> Source:
    """Read root/<class>/*.jpg, or root/<split>/<class>/*.jpg where root has a folder train.

    Folders of splits are named as `layout.SPLITS` says. Where all class folders hold folders
    of splits, root/<class>/<split>/*.jpg is meant. Classes are in the order of their names;
    folders within a class belong to it. What Pillow reads is an image, by its suffix.

    size: the side of a square or [height, width]: resizes every image to exactly that,
        antialiased, bicubic; null: all images must have one size.
    channels: rgb, grey, or auto: grey where every file is stored without colour.
    skip_bad: leave out files that cannot be read, with a warning, instead of failing.
    cache: where decoded images are kept; see `cache.home`.
    Returns x (n, channels, height, width) uint8, y (n,) int64.
    Raises ValueError for an argument out of range, Mistake for what the folder lacks.
    """
    if channels not in CHANNELS:
        raise ValueError(f"channels must be one of {', '.join(CHANNELS)}, got {channels}")
    sides = _read_size(size)
    folder = places.path(root).absolute()
    if not folder.is_dir():
        raise Mistake(
            f"data.root={root}: there is no such folder; name one with a folder per class"
        )
    try:
        found = scan(str(folder))
    except OSError as error:
        raise Mistake(f"data.root={root}: {error.filename}: {error.strerror}") from error
    key = hash_files(
        [*found.files, *((path, 0, -1) for path in found.folders)],
        *(FORMAT, str(folder), sides, channels),
    )

    def build(writer: Writer) -> Labels:
        files = [path for path, _, _ in found.files]
        layout = lay_out(root, files, found.folders, found.left_out)
        paths = [os.path.join(folder, path) for path in layout.paths]
        return _decode_all(root, layout, paths, sides, channels, writer, report)

    source, bad = load("imagefolder", key, build, cache)
    for note in found.notes:
        _log.warning(note)
    if bad:
        some = ", ".join(f"{path} ({reason})" for path, reason in bad[:3])
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        message = f"{len(bad)} of {len(bad) + len(source.x)} images cannot be read: {some}{more}"
        if not skip_bad:
            raise Mistake(f"data.root={root}: {message}; data.skip_bad=true leaves them out")
        _log.warning(f"{message}; left out")
    return replace(source, name=folder.name)


def _read_size(size: int | list[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"size must be a number of pixels above 0 or [height, width], got {size}")
    return sides[0], sides[1]


def _decode_all(
    root: str,
    layout: Layout,
    paths: Sequence[str],
    sides: tuple[int, int] | None,
    channels: str,
    writer: Writer,
    report: Report | None,
) -> Labels:
    form = _choose_form(root, paths, sides, channels)
    kept: list[int] = []
    bad: list[tuple[str, str]] = []
    done = 0
    chunks = decode(paths, form)
    for chunk in chunks:
        writer.add(chunk.x, chunk.hashes)
        kept += [done + i for i in chunk.kept]
        bad += [(layout.paths[done + i], reason) for i, reason in chunk.bad]
        done += len(chunk.kept) + len(chunk.bad)
        if chunk.misfit:
            height, width, colour = chunk.misfit
            if not form.resize and (height, width) != form.size:
                raise _differing(root, [form.size, (height, width)])
            assert colour
            chunks.close()
            writer.clear()
            return _decode_all(root, layout, paths, sides, "rgb", writer, report)
        if report:
            report(done, len(paths))
    labels = np.array(layout.labels, np.int64)[kept]
    lost = set(range(len(layout.classes))) - set(labels.tolist())
    if lost:
        raise Mistake(
            f"data.root={root}: no image of the class {layout.classes[min(lost)]} can be read"
        )
    splits = np.array(layout.splits)[kept]
    given = {name: np.flatnonzero(splits == name) for name in sorted(set(layout.splits)) if name}
    return Labels(labels, layout.classes, given, tuple(bad), tuple(layout.notes))


def _choose_form(
    root: str, paths: Sequence[str], sides: tuple[int, int] | None, channels: str
) -> Form:
    """Look at the headers of files from all over; colour found later only starts it again."""
    headers: list[tuple[int, int, bool]] = []
    spread = range(0, len(paths), -(-len(paths) // 64))
    for i in (*spread, *range(len(paths))):
        if headers and i not in spread:
            break
        try:
            headers.append(read_header(paths[i]))
        except Exception as error:  # a decoder may raise anything; decode() counts these
            last = error
    if not headers:
        raise Mistake(f"data.root={root}: none of its {len(paths)} images can be read ({last})")
    sizes = sorted({(height, width) for height, width, _ in headers})
    if sides is None and len(sizes) > 1:
        raise _differing(root, sizes)
    colour = any(colour for _, _, colour in headers)
    grey = channels == "grey" or (channels == "auto" and not colour)
    return Form(
        mode="L" if grey else "RGB",
        size=sides or sizes[0],
        resize=sides is not None,
        only_grey=grey and channels == "auto",
    )


def _differing(root: str, sizes: Sequence[tuple[int, int]]) -> Mistake:
    some = ", ".join(f"{height}x{width}" for height, width in sizes[:4])
    more = ", ..." if len(sizes) > 4 else ""
    return Mistake(
        f"data.root={root}: the images differ in size ({some}{more}, height x width); "
        "data.size=32 resizes them all to 32x32"
    )
