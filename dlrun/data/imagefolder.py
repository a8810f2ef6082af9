"""A folder of images with one folder per class."""

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlrun import shell
from dlrun.data import Report, Source, blame
from dlrun.data.cache import FORMAT, Labels, Writer, load
from dlrun.data.depth import choose_depth
from dlrun.data.fingerprint import hash_files
from dlrun.data.images.decode import decode
from dlrun.data.images.format import Wanted, choose_format, notes_on, values_of, widen
from dlrun.data.images.layout import lay_out
from dlrun.data.images.read import BACKGROUNDS, DEPTHS, Format, ImageInfo
from dlrun.data.images.resize import RESIZES
from dlrun.data.images.scan import Found, scan
from dlrun.errors import Mistake

CHANNELS = ("auto", "rgb", "grey")
_log = logging.getLogger("dlrun")


def imagefolder(
    root: str,
    size: int | list[int] | None = None,
    resize: str = "short",
    channels: str = "auto",
    depth: int | None = None,
    background: str = "white",
    skip_bad: bool = False,
    cache: str | None = None,
    report: Report | None = None,
) -> Source:
    """Read root/<class>/*.jpg, or root/<split>/<class>/*.jpg where root has a folder train.

    Where all class folders hold folders of splits, root/<class>/<split>/*.jpg is meant;
    `layout.SPLITS` has the names of splits. Classes are sorted by name; folders within a class
    belong to it. A file is an image where Pillow reads its suffix.

    size: of the samples, the side of a square or [height, width]; null: all images must have
        the same size.
    resize: to that size, antialiased and bicubic: short scales the short side to fit and keeps
        the middle, squash scales each side by itself, pad scales the long side to fit and
        repeats the edge.
    channels: rgb, grey, or auto: grey where every file is stored without colour.
    depth: bits of a value, 8 to 16, where files have more than 8: 2^depth − 1 is white. null:
        the smallest of 8, 10, 12 and 16 that holds all values of the training split. Above 8,
        samples are floats from 0 to 1. Floats, and whole numbers that no depth holds, are
        taken as they are.
    background: white or black, what shows through transparent pixels.
    skip_bad: leave out files that cannot be read, with a warning, instead of failing.
    cache: where decoded images are kept; see `cache.home`.
    Returns x (n, channels, height, width) uint8 or float32, y (n,) int64.
    Raises ValueError for an argument out of range, Mistake for what the folder lacks.
    """
    for key, value, words in (
        ("channels", channels, CHANNELS),
        ("resize", resize, RESIZES),
        ("background", background, BACKGROUNDS),
    ):
        if value not in words:
            raise ValueError(f"{key} must be one of {', '.join(words)}, got {value}")
    if depth is not None and not DEPTHS[0] <= depth <= DEPTHS[-1]:
        raise ValueError(f"depth must be null or from 8 to 16, got {depth}")
    if size is None and resize != RESIZES[0]:
        raise Mistake(f"data.resize={resize}: is about data.size, which is null; set data.size=64")
    wanted = Wanted(_read_size(size), resize, channels, depth, background)
    path = shell.path(root, "data.root").absolute()
    with blame(f"data.root={root}"):
        if not path.is_dir():
            raise Mistake("there is no such folder; name one with a folder per class")
        try:
            found = scan(str(path))
        except OSError as error:
            raise Mistake(f"{error.filename}: {error.strerror}") from error
        source, bad = _open(_Folder(root, path, found, cache, report), wanted)
        for note in found.notes:
            _log.warning(note)
        if bad:
            message = (
                f"{len(bad)} of {len(bad) + len(source.x)} images cannot be read: {_some(bad)}"
            )
            if not skip_bad:
                raise Mistake(f"{message}; data.skip_bad=true leaves them out")
            _log.warning(f"{message}; left out")
    return source


@dataclass(frozen=True)
class _Folder:
    """Where images are read from. root: as typed."""

    root: str
    path: Path
    found: Found
    cache: str | None
    report: Report | None


def _read_size(size: int | list[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"size must be a number of pixels above 0 or [height, width], got {size}")
    return sides[0], sides[1]


def _open(
    folder: _Folder, wanted: Wanted, quiet: bool = False
) -> tuple[Source, tuple[tuple[str, str], ...]]:
    """The images as wanted, decoded unless the cache has them, and the bad files."""
    files = [*folder.found.files, *((path, 0, -1) for path in folder.found.folders)]
    key = hash_files(files, FORMAT, str(folder.path), wanted)
    build = partial(_decode_all, folder, wanted)
    with blame(f"data.root={folder.root}"):
        source, bad = load("imagefolder", key, build, folder.cache, quiet)
    reading: dict[str, Any] = {"size": list(source.x.shape[2:]), "background": wanted.background}
    reading["channels"] = "rgb" if source.x.shape[1] == 3 else "grey"
    if wanted.size:
        reading["resize"] = wanted.resize
    if source.values:
        reading["depth"] = source.values.depth
    source = replace(source, name=folder.path.name, reading=reading)
    if source.values is not None:
        source = replace(source, settle=partial(_settle, folder, wanted, source))
    return source, bad


def _settle(
    folder: _Folder,
    wanted: Wanted,
    source: Source,
    rows: Mapping[str, NDArray[Any]],
    fitted: Mapping[str, Any] | None = None,
) -> Source:
    """The images on the scale of the training split, decoded again where it is another."""
    assert source.values is not None
    depth = choose_depth(source.values, rows, wanted.depth)
    if depth != source.values.depth:
        source, _ = _open(folder, replace(wanted, depth=depth), quiet=True)
    return replace(source, settle=None)


def _decode_all(folder: _Folder, wanted: Wanted, writer: Writer) -> Labels:
    files = [path for path, _, _ in folder.found.files]
    layout = lay_out(folder.root, files, folder.found.folders, folder.found.left_out)
    paths = [os.path.join(folder.path, path) for path in layout.paths]
    # What is in test must not decide how train is read.
    decisive = [wanted.depth is None and split in ("", "train") for split in layout.splits]
    form = choose_format(paths, wanted)
    while True:
        faults, infos, misfit = _decode_as(form, paths, decisive, writer, folder.report)
        if misfit is None:
            break
        path = layout.paths[len(faults)]
        form = widen(form, wanted, path, misfit, len(infos) > 0)
        writer.clear()
    bad = [(i, layout.paths[i], fault) for i, fault in enumerate(faults) if fault]
    kept = [i for i, fault in enumerate(faults) if not fault]
    labels = np.array(layout.labels, np.int64)[kept]
    lost = set(range(len(layout.classes))) - set(labels.tolist())
    if lost:
        of_class = [(path, fault) for i, path, fault in bad if layout.labels[i] == min(lost)]
        name = layout.classes[min(lost)]
        raise Mistake(f"no image of the class {name} can be read: {_some(of_class)}")
    splits = np.array(layout.splits)[kept]
    given = {name: np.flatnonzero(splits == name) for name in sorted(set(layout.splits)) if name}
    notes = [*layout.notes, *notes_on(form, wanted, infos)]
    if infos["clear"].any() and 2 * writer.constant > len(infos):
        other = next(each for each in BACKGROUNDS if each != wanted.background)
        notes.append(f"what is drawn in transparency alone may show on data.background={other}")
    values = values_of(form, wanted, infos)
    named = tuple((path, fault) for _, path, fault in bad)
    return Labels(labels, layout.classes, given, named, tuple(notes), values)


def _decode_as(
    form: Format,
    paths: Sequence[str],
    decisive: Sequence[bool],
    writer: Writer,
    report: Report | None,
) -> tuple[list[str], NDArray[Any], ImageInfo | None]:
    """Decode until all is done or an image does not fit: (faults, infos, misfit), as in `Chunk`."""
    faults: list[str] = []
    infos = []
    misfit = None
    with closing(decode(paths, form, decisive=decisive)) as chunks:
        for chunk in chunks:
            writer.add(chunk.x, chunk.hashes)
            infos.append(chunk.infos)
            faults += chunk.faults
            misfit = chunk.misfit
            if misfit is not None:
                break
            if report:
                report(len(faults), len(paths))
    return faults, np.concatenate(infos), misfit


def _some(bad: Sequence[tuple[str, str]]) -> str:
    """Three files that cannot be read, each with the reason."""
    more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
    return ", ".join(f"{shell.name(path)} ({reason})" for path, reason in bad[:3]) + more
