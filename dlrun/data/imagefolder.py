"""A folder of images with one folder per class."""

import errno
import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dlrun.data import Report, Source
from dlrun.data.cache import FORMAT, Labels, Writer, load
from dlrun.data.decode import Form, decode, read_header
from dlrun.data.fingerprint import hash_files
from dlrun.errors import Mistake

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
"""Names of images end so, in upper or lower case."""
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

    The splits are train, val (or valid, validation) and test. Classes are in the order of
    their names; folders within a class belong to it. Hidden files, pipes and other files
    that are not images by their names are passed over.

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
    folder = Path(root).expanduser().absolute()
    if not folder.is_dir():
        raise Mistake(
            f"data.root={root}: there is no such folder; name one with a folder per class"
        )
    try:
        files, folders = scan(str(folder))
    except OSError as error:
        raise Mistake(f"data.root={root}: {error.filename}: {error.strerror}") from error
    key = hash_files(
        [*files, *((path, 0, -1) for path in folders)], FORMAT, str(folder), sides, channels
    )

    def build(writer: Writer) -> Labels:
        layout = _lay_out(root, [path for path, _, _ in files], folders)
        paths = [os.path.join(folder, path) for path in layout.paths]
        return _decode_all(root, layout, paths, sides, channels, writer, report)

    source, bad = load("imagefolder", key, build, cache)
    if bad:
        some = ", ".join(f"{path} ({reason})" for path, reason in bad[:3])
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        message = f"{len(bad)} of {len(bad) + len(source.x)} images cannot be read: {some}{more}"
        if not skip_bad:
            raise Mistake(f"data.root={root}: {message}; data.skip_bad=true leaves them out")
        _log.warning(f"{message}; left out")
    return replace(source, name=folder.name)


def scan(root: str) -> tuple[list[tuple[str, int, int]], list[str]]:
    """Image files as (path from root, size, time of change in ns), and all folders; sorted."""
    files: list[tuple[str, int, int]] = []
    folders: list[str] = []
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        with os.scandir(os.path.join(root, inside)) as entries:
            for entry in entries:
                name = entry.name
                if name[0] == ".":
                    continue
                path = f"{inside}{os.sep}{name}" if inside else name
                if entry.is_dir():
                    if entry.is_symlink() and _leads_back(root, path):
                        why = "is a link to a folder that it lies in"
                        raise OSError(errno.ELOOP, why, entry.path)
                    folders.append(path)
                    waiting.append(path)
                elif os.path.splitext(name)[1].lower() in SUFFIXES:
                    # A link that leads nowhere is a bad file, said when it is decoded.
                    stat = entry.stat(follow_symlinks=entry.is_file())
                    if entry.is_file() or not os.path.exists(entry.path):
                        files.append((path, stat.st_size, stat.st_mtime_ns))
    return sorted(files), sorted(folders)


def _leads_back(root: str, path: str) -> bool:
    """Whether a link leads to a folder on the way to it, or above."""
    target = os.path.join(os.path.realpath(os.path.join(root, path)), "")
    parts = path.split(os.sep)
    way = (os.path.join(root, *parts[:depth]) for depth in range(len(parts)))
    return any(os.path.join(os.path.realpath(one), "").startswith(target) for one in way)


@dataclass(frozen=True)
class _Layout:
    """Which files are samples, and of which class and split ('' where there are none)."""

    classes: tuple[str, ...]
    paths: list[str]
    labels: list[int]
    splits: list[str]


def _read_size(size: int | list[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"size must be a number of pixels above 0 or [height, width], got {size}")
    return sides[0], sides[1]


def _lay_out(root: str, files: Sequence[str], folders: Sequence[str]) -> _Layout:
    tops = [folder for folder in folders if os.sep not in folder]
    split_of = {top: SPLITS[top.lower()] for top in tops if top.lower() in SPLITS}
    if "train" not in split_of.values():
        split_of = {}  # then a folder `test` is a class like any other
    doubled = [name for name, n in Counter(split_of.values()).items() if n > 1]
    if doubled:
        named = " and ".join(top for top in tops if split_of.get(top) == doubled[0])
        raise Mistake(f"data.root={root}: {named} both mean {doubled[0]}; keep one of them")
    depth = 1 if split_of else 0
    counts: Counter[tuple[str, str]] = Counter()
    for folder in folders:
        parts = folder.split(os.sep)
        if len(parts) == depth + 1 and (not depth or parts[0] in split_of):
            counts[split_of.get(parts[0], ""), parts[depth]] = 0
    classes = tuple(sorted(name for split, name in counts if split in ("", "train")))
    index = {name: i for i, name in enumerate(classes)}
    strange = sorted({name for _, name in counts if name not in index})
    if strange:
        raise Mistake(
            f"data.root={root}: there is no folder train{os.sep}{strange[0]}, "
            "but val or test has one of that name"
        )
    paths, labels, splits, outside = [], [], [], 0
    for path in files:
        parts = path.split(os.sep)
        if len(parts) < depth + 2 or (depth and parts[0] not in split_of):
            outside += 1
            continue
        split = split_of.get(parts[0], "")
        counts[split, parts[depth]] += 1
        paths.append(path)
        labels.append(index[parts[depth]])
        splits.append(split)
    if not paths:
        raise Mistake(
            f"data.root={root} has no images in class folders; expected <class>{os.sep}*.jpg "
            f"or train{os.sep}<class>{os.sep}*.jpg"
        )
    empty = [name for name in classes if not counts["train" if depth else "", name]]
    if empty:
        raise Mistake(f"data.root={root}: class folders without images: {', '.join(empty[:5])}")
    if len(classes) < 2:
        raise Mistake(f"data.root={root} has the single class {classes[0]}; at least 2 are needed")
    if outside:
        _log.warning(f"{outside} images of {root} lie outside of the class folders; left out")
    for top, split in split_of.items():
        if split not in splits:
            _log.warning(f"{os.path.join(root, top)} has no images in class folders; left out")
    return _Layout(classes, paths, labels, splits)


def _decode_all(
    root: str,
    layout: _Layout,
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
    return Labels(labels, layout.classes, given, tuple(bad))


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
