"""Image files and what belongs to each of them, decoded into the cache as samples."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
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
from dlrun.data.images.read import BACKGROUNDS, DEPTHS, Format, ImageInfo
from dlrun.data.images.resize import RESIZES
from dlrun.errors import Mistake

CHANNELS = ("auto", "rgb", "grey")
_log = logging.getLogger("dlrun")


@dataclass(frozen=True)
class Listed:
    """Images, and what is known of each.

    paths: of the files, from `root`. y, classes, groups: as in `Source`. splits: of each image,
    "" where it is of none. notes: what was guessed or left out, a sentence each.
    """

    root: str
    paths: Sequence[str]
    y: NDArray[Any]
    classes: tuple[str, ...] = ()
    splits: Sequence[str] = ()
    groups: NDArray[np.int64] | None = None
    notes: Sequence[str] = field(default_factory=list)


@dataclass(frozen=True)
class Place:
    """Where images are read from.

    kind: of set; name: of this one. setting: that names it, as typed. files: (path, size, time of
    change in ns), and options, by which the cache knows it. listed: lists them, which is done
    where the cache has nothing. notes: what was left out, said once the images are there.
    """

    kind: str
    name: str
    setting: str
    files: Sequence[tuple[str, int, int]]
    options: tuple[Any, ...]
    listed: Callable[[], Listed]
    cache: str | None
    report: Report | None
    notes: Sequence[str] = ()


def read_wanted(
    size: int | list[int] | None, resize: str, channels: str, depth: int | None, background: str
) -> Wanted:
    """What samples are to look like. Raises ValueError for a setting out of range, Mistake."""
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
    return Wanted(_read_size(size), resize, channels, depth, background)


def _read_size(size: int | list[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"size must be a number of pixels above 0 or [height, width], got {size}")
    return sides[0], sides[1]


def read_images(place: Place, wanted: Wanted, skip_bad: bool) -> Source:
    """The images as wanted, decoded unless the cache has them.

    skip_bad: leave out files that cannot be read, with a warning; else they are a Mistake.
    """
    source, bad = _open(place, wanted)
    for note in place.notes:
        _log.warning(note)
    if bad:
        message = f"{len(bad)} of {len(bad) + len(source.x)} images cannot be read: {some(bad)}"
        if not skip_bad:
            raise Mistake(f"{message}; data.skip_bad=true leaves them out")
        _log.warning(f"{message}; left out")
    return source


def _open(
    place: Place, wanted: Wanted, quiet: bool = False
) -> tuple[Source, tuple[tuple[str, str], ...]]:
    """The images as wanted, and the bad files."""
    key = hash_files(place.files, FORMAT, *place.options, wanted)
    with blame(place.setting):
        build = partial(_decode_all, place, wanted)
        source, bad = load(place.kind, key, build, place.cache, quiet)
    source = replace(source, name=place.name, reading=reading_of(source, wanted))
    if source.values is not None:
        source = replace(source, settle=partial(_settle, place, wanted, source))
    return source, bad


def reading_of(source: Source, wanted: Wanted) -> dict[str, Any]:
    """How other images must be read to become like those of a set."""
    reading: dict[str, Any] = {"size": list(source.x.shape[2:]), "background": wanted.background}
    reading["channels"] = "rgb" if source.x.shape[1] == 3 else "grey"
    if wanted.size:
        reading["resize"] = wanted.resize
    if source.values:
        reading["depth"] = source.values.depth
    return reading


def _settle(
    place: Place,
    wanted: Wanted,
    source: Source,
    rows: Mapping[str, NDArray[Any]],
    fitted: Mapping[str, Any] | None = None,
) -> Source:
    """The images on the scale of the training split, decoded again where it is another.

    fitted: without effect; `wanted` has the depth of another run.
    """
    assert source.values is not None
    depth = choose_depth(source.values, rows, wanted.depth)
    if depth != source.values.depth:
        source, _ = _open(place, replace(wanted, depth=depth), quiet=True)
    return replace(source, settle=None)


def _decode_all(place: Place, wanted: Wanted, writer: Writer) -> Labels:
    listed = place.listed()
    paths = [os.path.join(listed.root, path) for path in listed.paths]
    splits = list(listed.splits) or [""] * len(paths)
    # What is in test must not decide how train is read.
    decisive = [wanted.depth is None and split in ("", "train") for split in splits]
    form = choose_format(paths, wanted)
    while True:
        faults, infos, misfit = _decode_as(form, paths, decisive, writer, place.report)
        if misfit is None:
            break
        form = widen(form, wanted, listed.paths[len(faults)], misfit, len(infos) > 0)
        writer.clear()
    bad = [(i, listed.paths[i], fault) for i, fault in enumerate(faults) if fault]
    kept = np.array([i for i, fault in enumerate(faults) if not fault], np.int64)
    _require_each(listed, kept, bad)
    of_split = np.array(splits)[kept]
    given = {name: np.flatnonzero(of_split == name) for name in sorted(set(splits)) if name}
    notes = [*listed.notes, *notes_on(form, wanted, infos)]
    if infos["clear"].any() and 2 * writer.constant > len(infos):
        other = next(each for each in BACKGROUNDS if each != wanted.background)
        notes.append(f"what is drawn only in transparency may show on data.background={other}")
    return Labels(
        listed.y[kept],
        listed.classes,
        given,
        tuple((path, fault) for _, path, fault in bad),
        tuple(notes),
        values_of(form, wanted, infos),
        None if listed.groups is None else listed.groups[kept],
    )


def _require_each(
    listed: Listed, kept: NDArray[np.int64], bad: Sequence[tuple[int, str, str]]
) -> None:
    """Raise Mistake where a class has images and none of them can be read."""
    if not listed.classes:
        return
    lost = set(listed.y.tolist()) - set(listed.y[kept].tolist())
    if lost:
        of_class = [(path, fault) for i, path, fault in bad if listed.y[i] == min(lost)]
        name = listed.classes[min(lost)]
        raise Mistake(f"no image of the class {name} can be read: {some(of_class)}")


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


def some(bad: Sequence[tuple[str, str]]) -> str:
    """Three files that cannot be read, each with the reason."""
    named = ", ".join(f"{shell.name(path)} ({reason})" for path, reason in bad[:3])
    return named + shell.more(len(bad) - 3)
