"""Finds the images and folders under a root, and follows links."""

import os
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cache

from PIL import EpsImagePlugin, Image, ImageFile, features

from dlrun import shell
from dlrun.data.images.layout import split_named

_CLUTTER = ("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin")
"""What operating systems leave in folders, beside hidden files."""
_LIBRARIES = {"JPEG": "jpg", "PNG": "zlib", "WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}
"""Formats that Pillow reads only if it was built with a library."""


@dataclass
class Found:
    """What is under a root, as paths relative to it.

    files: images as (path, size, time of change in ns); folders: all of them; both sorted.
    others: how many files are no images, by suffix.
    loops: links to a folder that they lie in. again: folders that lie, through links, a
        second time in one class. Neither is followed.
    """

    files: list[tuple[str, int, int]] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    loops: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)

    @property
    def left_out(self) -> str:
        """How many files are no images, in words; empty where there are none."""
        if not self.others:
            return ""
        most = [f"{n:,} {suffix}" for suffix, n in self.others.most_common(6)]
        more = len(self.others) - 6
        most += [f"{more} more suffix{'es' * (more > 1)}"] if more > 0 else []
        files = shell.counted(self.others.total(), "file")
        return f"{files} that Pillow does not read: {', '.join(most)}"

    @property
    def notes(self) -> list[str]:
        """What was not followed or not read, a sentence each."""
        said = [f"left out {self.left_out}"] if self.others else []
        for paths, what in (
            (self.loops, "links to a folder that it lies in, not followed"),
            (self.again, "lies in its class already, through another link; read once"),
        ):
            if paths:
                more = f" (and {len(paths) - 1:,} more)" if len(paths) > 1 else ""
                said.append(f"{paths[0]}{more}: {what}")
        return said


def scan(root: str) -> Found:
    """Search a folder; hidden files and what systems leave behind are ignored.

    Within a class each folder is read once, however many links lead to it; two classes may
    link to one folder. Raises OSError for a folder that cannot be listed.
    """
    found = Found()
    seen: dict[tuple[str, ...], set[tuple[int, int]]] = defaultdict(set)
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        with os.scandir(os.path.join(root, inside)) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        for entry in listed:
            if entry.name[0] == "." or entry.name.lower() in _CLUTTER:
                continue
            path = os.path.join(inside, entry.name)
            if not entry.is_dir():
                _take_file(found, path, entry)
                continue
            if entry.is_symlink() and _leads_back(root, path):
                found.loops.append(path)
                continue
            known, real = seen[_class_of(path)], os.stat(entry.path)
            if (real.st_dev, real.st_ino) in known:
                found.again.append(path)
                continue
            known.add((real.st_dev, real.st_ino))
            found.folders.append(path)
            waiting.append(path)
    for paths in (found.files, found.folders, found.loops, found.again):
        paths.sort()
    return found


@cache
def suffixes() -> frozenset[str]:
    """The suffixes of files, in lower case, that Pillow can read on this machine."""
    Image.init()
    registered = Image.registered_extensions()
    return frozenset(suffix for suffix, kind in registered.items() if _opens(kind))


def _opens(kind: str) -> bool:
    kind = "JPEG" if kind == "MPO" else kind  # several in one file
    if kind not in Image.OPEN or kind == "MPEG":  # which it recognizes but cannot read
        return False
    if kind == "EPS":
        return bool(EpsImagePlugin.has_ghostscript())
    if kind in _LIBRARIES:
        return bool(features.check(_LIBRARIES[kind]))
    factory = Image.OPEN[kind][0]
    if isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile):
        return getattr(sys.modules[factory.__module__], "_handler", None) is not None
    return True


def _take_file(found: Found, path: str, entry: os.DirEntry[str]) -> None:
    regular = entry.is_file()
    suffix = os.path.splitext(path)[1].lower()
    if suffix in suffixes():
        # A broken link is a bad file, reported when it is decoded.
        if regular or not os.path.exists(entry.path):
            stat = entry.stat(follow_symlinks=regular)
            found.files.append((path, stat.st_size, stat.st_mtime_ns))
    elif regular:
        found.others[suffix or "without a suffix"] += 1


def _class_of(path: str) -> tuple[str, ...]:
    """The folder of the class that a path belongs to, with its split where that comes first."""
    parts = path.split(os.sep)
    return tuple(parts[: 2 if split_named(parts[0]) else 1])


def _leads_back(root: str, path: str) -> bool:
    """Whether a link leads to a folder that contains it."""
    target = os.path.join(os.path.realpath(os.path.join(root, path)), "")
    parts = path.split(os.sep)
    way = (os.path.join(root, *parts[:depth]) for depth in range(len(parts)))
    return any(os.path.join(os.path.realpath(one), "").startswith(target) for one in way)
