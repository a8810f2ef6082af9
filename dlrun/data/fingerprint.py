"""Short hashes: of each sample, of a whole data set, of the files behind a source."""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MIXED = np.uint64(0x9E3779B97F4A7C15)
_COMPARED = 50  # columns that are left out in turn
_OFTEN = 10  # as many times more pairs agree in a column of few values than in all
_BEYOND = 3  # as many times more than expected is no chance


def hash_samples(x: NDArray[np.generic]) -> NDArray[np.int64]:
    """Hash the bytes, the shape and the type of every x[i]; (n, *shape) gives (n,) int64.

    The same on every platform: the first 8 bytes of BLAKE2b (Aumasson et al., 2013).
    """
    kind = f"{x.dtype.newbyteorder('<').str}{x.shape[1:]}"
    begun = hashlib.blake2b(kind.encode(), digest_size=8)
    found = bytearray()
    for row in np.ascontiguousarray(x).reshape(len(x), math.prod(x.shape[1:])):
        one = begun.copy()
        one.update(row.data)
        found += one.digest()
    return np.frombuffer(found, dtype="<i8").astype(np.int64)


def with_targets(
    hashes: NDArray[np.int64], y: NDArray[np.int64] | NDArray[np.float32]
) -> NDArray[np.int64]:
    """Hashes that are equal where the targets are, too: y (n,) or (n, targets).

    Rows of a table that differ in their target alone are no copies: its columns say so little.
    """
    bits = y.reshape(len(y), -1).astype(np.float64).view(np.uint64)
    odd = np.arange(1, 2 * bits.shape[1], 2, dtype=np.uint64) * _MIXED
    mixed: NDArray[np.uint64] = hashes.view(np.uint64) + (bits * odd).sum(1, dtype=np.uint64)
    return mixed.view(np.int64)


def coincide(x: NDArray[np.float32]) -> bool:
    """Whether rows of a table are identical by chance, since its columns have few values.

    x: (n, columns), the target among them. Then rows that differ in one column of few values alone
    are as frequent as rows that differ in none, or rows agree in each column as often as others
    do; copies of rows differ in none, also where a column has many values.
    """
    words = np.ascontiguousarray(x).view(np.uint32).astype(np.uint64)
    draw = np.random.default_rng(0)
    keys = draw.integers(1, 2**63, (2, x.shape[1]), np.uint64) | np.uint64(1)
    mixed = (words * keys[0]) ^ keys[1]
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(32)
    whole = mixed.sum(1, dtype=np.uint64)
    same, near, expected = _pairs(whole), 0, float("inf")
    for place in draw.permutation(x.shape[1])[:_COMPARED] if same else ():
        without = _pairs(whole - mixed[:, place])
        agree = _pairs(mixed[:, place])
        expected = min(expected, without * agree / (len(x) * (len(x) - 1) / 2))
        if agree >= _OFTEN * same:
            near += without - same
        if near >= same:
            return True
    return 0 < same <= _BEYOND * expected


def _pairs(hashes: NDArray[np.uint64]) -> int:
    """How many pairs are equal."""
    many = np.unique(hashes, return_counts=True)[1]
    return int((many * (many - 1) // 2).sum())


def hash_content(
    hashes: NDArray[np.int64],
    y: NDArray[np.generic],
    classes: Sequence[str],
    given: dict[str, NDArray[np.int64]],
    groups: NDArray[np.int64] | None = None,
    reading: Mapping[str, Any] | None = None,
) -> str:
    """The digest of a data set: 16 hexadecimal digits that change when any of it does.

    reading: of a table; of this the texts, whose places the samples hold.
    """
    parts = {"samples": hashes, "y": y, **{f"given/{name}": given[name] for name in sorted(given)}}
    if groups is not None:
        parts["groups"] = groups
    whole = hashlib.blake2b(json.dumps(list(classes)).encode(), digest_size=8)
    if texts := (reading or {}).get("texts"):
        whole.update(json.dumps(texts).encode())
    for name, part in parts.items():
        whole.update(f"\n{name} {part.dtype.str} {part.shape}\n".encode())
        whole.update(np.ascontiguousarray(part).data)
    return whole.hexdigest()


def hash_rows(rows: NDArray[np.int64]) -> str:
    """Identify a set of row numbers, in any order: 16 hexadecimal digits."""
    return hashlib.blake2b(np.sort(rows).astype("<i8").tobytes(), digest_size=8).hexdigest()


def hash_files(files: Sequence[tuple[str, int, int]], *options: object) -> str:
    """Identify files by (path, size, time of change in ns) and the options of decoding."""
    whole = hashlib.blake2b(repr(options).encode("utf-8", "surrogateescape"), digest_size=12)
    for path, size, changed in files:  # of which there may be millions
        whole.update(f"\n{path}\0{size}\0{changed}".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def stat_files(paths: Sequence[Path]) -> list[tuple[str, int, int]]:
    """The (path, size, time of change in ns) of files, for `hash_files`."""
    stats = [(path, path.stat()) for path in paths]
    return [(str(path.absolute()), stat.st_size, stat.st_mtime_ns) for path, stat in stats]


def stat_below(path: Path) -> list[tuple[str, int, int]]:
    """The same of a file, or of all files in a folder, sorted."""
    if path.is_file():
        return stat_files([path])
    files = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    return sorted(stat_files([file for file in files if file.is_file()]))
