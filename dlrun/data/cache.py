"""Decode once: a data set as files that later starts map into memory.

An entry is a folder of two files: `x.bin`, the samples one after another, and `rest.npz`,
everything else. It is written beside its place and moved there whole, under a lock, so that no
other process sees half of one; nothing is changed in place.
"""

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedWriter
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch
from numpy.typing import NDArray

from dlrun import shell
from dlrun.data import Source, Values
from dlrun.data.fingerprint import hash_content, hash_samples
from dlrun.errors import Mistake

FORMAT = 11
"""Part of every key: raise it when what is stored, or how it is decoded, changes."""

_PROBES = 2048
_PROBED = 32 * 2**20  # bytes of samples that are looked at, at most
_log = logging.getLogger("dlrun")


@dataclass(frozen=True)
class Labels:
    """What a builder returns after it has written the samples, in their order.

    y, classes, given: as in `Source`.
    bad: (file, why) of all that was left out.
    notes: what was guessed, a sentence each, logged at every start.
    values, groups, columns, targets, reading, chance: as in `Source`; reading is part of the
        content.
    """

    y: NDArray[Any]
    classes: tuple[str, ...] = ()
    given: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    bad: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    values: Values | None = None
    groups: NDArray[np.int64] | None = None
    columns: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    reading: Mapping[str, Any] = field(default_factory=dict)
    chance: bool = False


class Writer:
    """Appends samples to an open file; all have the same shape and type.

    constant: how many images have one colour throughout.
    """

    def __init__(self, file: BufferedWriter) -> None:
        self.hashes: list[NDArray[np.int64]] = []
        self.shape: tuple[int, ...] = ()
        self.dtype = ""
        self.constant = 0
        self._file = file

    def add(self, x: NDArray[Any], hashes: NDArray[np.int64] | None = None) -> None:
        """Append x, (m, *shape); `hashes` where they are known."""
        if len(x) == 0:
            return
        self.shape, self.dtype = x.shape[1:], x.dtype.str
        with _writing(Path(self._file.name).parent.parent):
            self._file.write(np.ascontiguousarray(x).data)
        self.hashes.append(hash_samples(x) if hashes is None else hashes)
        if x.ndim == 4:
            planes = x.reshape(*x.shape[:2], -1)
            self.constant += int((planes == planes[..., :1]).all((1, 2)).sum())

    def clear(self) -> None:
        """Forget all samples."""
        self.hashes.clear()
        self.shape, self.dtype, self.constant = (), "", 0
        self._file.truncate(self._file.seek(0))


Build = Callable[[Writer], Labels]


def home(cache: str | None = None) -> Path:
    """Where caches live: `cache`, or $DLRUN_CACHE, or dlrun in $XDG_CACHE_HOME or ~/.cache."""
    chosen = cache or os.environ.get("DLRUN_CACHE")
    if chosen:
        return shell.path(chosen, "data.cache" if cache else "DLRUN_CACHE")
    kept = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return shell.path(kept, "XDG_CACHE_HOME") / "dlrun"


def load(
    name: str, key: str, build: Build, cache: str | None = None, quiet: bool = False
) -> tuple[Source, tuple[tuple[str, str], ...]]:
    """Open the entry `name-key`, built first where it is absent or damaged.

    build: called as build(writer) -> Labels.
    quiet: don't log its notes again.
    Returns the source, its x mapped into memory, and the list of bad files.
    Of two processes that need the same entry, one builds it and the other waits.
    Raises Mistake where the cache cannot be written.
    """
    source, facts = _open(name, home(cache) / f"{name}-{key}", build)
    for note in () if quiet else facts["notes"]:
        _log.warning(note)
    return source, tuple((file, reason) for file, reason in facts["bad"])


def _open(name: str, entry: Path, build: Build) -> tuple[Source, dict[str, Any]]:
    try:
        return _read(name, entry)
    except (FileNotFoundError, _DamagedError):
        pass
    with _writing(entry.parent):
        entry.parent.mkdir(parents=True, exist_ok=True)
        _beside(entry, ".lock").touch()  # where that cannot be, the lock would be tried for ever
        lock = filelock.FileLock(_beside(entry, ".lock"))
        lock.acquire()
    try:
        try:
            return _read(name, entry)
        except FileNotFoundError:
            pass
        except _DamagedError as damage:
            _log.warning(f"The cache {entry} is damaged ({damage}) and is built again")
        _remove_leftovers(entry.parent)
        _write(entry, build)
    finally:
        lock.release()
    return _read(name, entry)


class _DamagedError(Exception):
    """An entry is not what was written."""


def _read(name: str, entry: Path) -> tuple[Source, dict[str, Any]]:
    """Open an entry and look for damage: file sizes, checksums, and samples throughout x."""
    if not os.path.exists(entry):
        raise FileNotFoundError(entry)
    try:
        # numpy verifies the checksum that a zip file keeps of each member.
        with (entry / "rest.npz").open("rb") as file, np.load(file, allow_pickle=False) as stored:
            rest = {key: stored[key] for key in stored.files}
        facts = json.loads(str(rest.pop("facts")))
        hashes, y, groups = rest.pop("hashes"), rest.pop("y"), rest.pop("groups", None)
        values = None
        if facts["values"]:
            depth, bits = facts["values"]
            values = Values(depth, bits, rest.pop("extents"))
        x = np.memmap(entry / "x.bin", np.dtype(facts["dtype"]), "r").reshape(-1, *facts["shape"])
        if len(x) != len(hashes):
            raise ValueError(f"{len(x)} samples instead of {len(hashes)}")
        probes = max(min(_PROBES, _PROBED // max(x[:1].nbytes, 1)), 1)
        step = -(-len(x) // probes)
        if (hash_samples(x[::step]) != hashes[::step]).any():
            raise ValueError("samples have changed")
        # Copy-on-write: torch wants memory that may be written, the file must not change.
        x = np.memmap(entry / "x.bin", x.dtype, "c", shape=x.shape)
    except Exception as error:  # whatever a damaged file makes the readers raise
        raise _DamagedError(error) from error
    source = Source(
        name=name,
        x=torch.from_numpy(x),
        y=torch.from_numpy(y),
        hashes=torch.from_numpy(hashes),
        digest=facts["digest"],
        classes=tuple(facts["classes"]),
        columns=tuple(facts["columns"]),
        targets=tuple(facts["targets"]),
        reading=facts["reading"],
        chance=facts["chance"],
        given={key: torch.from_numpy(rows) for key, rows in rest.items()},
        groups=None if groups is None else torch.from_numpy(groups),
        values=values,
    )
    return source, facts


def _write(entry: Path, build: Build) -> None:
    """Build an entry beside its place and move it there; the caller holds the lock."""
    partial = _beside(entry, ".partial")
    with _writing(entry.parent):
        shutil.rmtree(partial, ignore_errors=True)  # of a killed build
        partial.mkdir()
    try:
        with (partial / "x.bin").open("wb") as file:
            writer = Writer(file)
            labels = build(writer)
            with _writing(entry.parent):
                _settle(file)
        hashes = np.concatenate(writer.hashes)
        facts = {
            "shape": writer.shape,
            "dtype": writer.dtype,
            "classes": labels.classes,
            "columns": labels.columns,
            "targets": labels.targets,
            "reading": dict(labels.reading),
            "chance": labels.chance,
            "bad": labels.bad,
            "notes": [*labels.notes, *_sameness(hashes, writer)],
            "values": labels.values and (labels.values.depth, labels.values.bits),
        }
        arrays: dict[str, Any] = {"y": labels.y, "hashes": hashes, **labels.given}
        if labels.groups is not None:
            arrays["groups"] = labels.groups
        facts["digest"] = hash_content(
            hashes, labels.y, labels.classes, labels.given, labels.groups, labels.reading
        )
        arrays["facts"] = np.array(json.dumps(facts))
        if labels.values is not None:
            arrays["extents"] = labels.values.extents
        with _writing(entry.parent):
            with (partial / "rest.npz").open("wb") as file:
                np.savez(file, **arrays)
                _settle(file)
            if entry.exists():  # damaged; who has it mapped keeps its pages
                shutil.rmtree(entry)
            partial.rename(entry)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sameness(hashes: NDArray[np.int64], writer: Writer) -> list[str]:
    """A sentence where many images are constant, or all are identical."""
    count = len(hashes)
    identical = len(writer.shape) == 3 and count > 1 and (hashes == hashes[0]).all()
    if 2 * writer.constant > count:
        some = "all" if writer.constant == count else f"{writer.constant:,} of"
        more = ", and all are identical" if identical else ""
        return [f"{some} {count:,} images are constant: each has one colour throughout{more}"]
    return [f"all {count:,} images are identical"] if identical else []


def _settle(file: BufferedWriter) -> None:
    """Wait until the disk has everything."""
    file.flush()
    os.fsync(file.fileno())


def _beside(entry: Path, suffix: str) -> Path:
    return entry.with_name(entry.name + suffix)


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed builds of other entries left, whose lock nobody holds."""
    for partial in folder.glob("*.partial"):
        lock = filelock.FileLock(partial.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            continue
        shutil.rmtree(partial, ignore_errors=True)
        lock.release()


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Mistake(
            f"data.cache={folder} cannot be written: {error.strerror or error}; "
            "name a folder with room in data.cache or in DLRUN_CACHE"
        ) from error
