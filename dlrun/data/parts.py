"""The samples of a set, split by split and some at a time, on their way into the cache."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlrun.data import Report
from dlrun.data.arrays import as_samples
from dlrun.data.cache import Labels, Writer
from dlrun.data.tables.targets import encode
from dlrun.errors import Mistake
from dlrun.shell import counted, some

Array = NDArray[Any]


@dataclass(frozen=True)
class Part:
    """Samples of one split, in order: x (m, *shape) and y (m, ...), some at a time.

    names: of the classes, where y are class numbers; of the targets, where y has a column for each.
    notes: what is to be said, a sentence each.
    """

    samples: Iterator[tuple[Array, Array]]
    count: int
    names: Sequence[str] = ()
    notes: tuple[str, ...] = ()


def write(
    parts: Mapping[str, Part],
    task: str,
    report: Report | None,
    writer: Writer,
    nothing: str = "it gives no samples",
) -> Labels:
    """Write all samples; parts: by the name of the split, "" for those of none.

    nothing: what to say where there are no samples.
    Classes and targets are those of all splits, by their names, in the order of first appearance.
    Raises Mistake for samples that are not alike, and for targets that do not fit the task.
    """
    total = sum(part.count for part in parts.values())
    targets, given, done = list[Array](), {}, 0
    names = tuple(dict.fromkeys(name for part in parts.values() for name in part.names))
    for name, part in parts.items():
        begun, own = done, tuple(part.names) or names
        _require_single(own)
        for x, y in part.samples:
            x = as_samples(x, done)
            if writer.shape and (x.shape[1:], x.dtype.str) != (writer.shape, writer.dtype):
                raise Mistake(
                    f"sample {done} is {x.shape[1:]} {x.dtype}, and those before it are "
                    f"{writer.shape} {np.dtype(writer.dtype)}; make them alike"
                )
            writer.add(x)
            y = _numbered(y, own, task) if names else y
            targets.append(y if own == names else _renumbered(y, own, names, task))
            done += len(x)
            if report:
                report(done, total)
        if name:
            given[name] = np.arange(begun, done)
    if not done:
        raise Mistake(nothing)
    y, classes = _encoded(targets, task, names)
    notes = [note for part in parts.values() for note in part.notes]
    of_columns = names if not classes and y.shape[1] == len(names) else ()
    return Labels(y, classes, given, notes=tuple(dict.fromkeys(notes)), targets=of_columns)


def _require_single(names: Sequence[str]) -> None:
    """Raise Mistake where two classes of a split have the same name: by names, they are matched."""
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise Mistake(f"two classes are called {twice[0]!r}; give each one a name of its own")


def _numbered(y: Array, own: Sequence[str], task: str) -> Array:
    """Class numbers (n,) int64 where classes with the names `own` are meant; others as they are.

    Booleans and one column are such numbers, but for a column that is the only one named; whole
    floats are where the task says so.
    Raises Mistake for a number without a name.
    """
    if task not in ("auto", "classification"):
        return y
    flat = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 < len(own) else y
    if flat.ndim != 1 or flat.dtype.kind not in ("iubf" if task == "classification" else "iub"):
        return y
    if flat.dtype.kind == "f" and not (flat == np.round(flat)).all():
        return y
    odd = [each for each in (flat.min(), flat.max()) if not 0 <= each < len(own)]
    if odd:
        raise Mistake(
            f"y has the class {odd[0]:g}, and `classes` has {counted(len(own), 'name')} "
            f"({some(own)}), counted from 0; with data.task=regression y holds numbers"
        )
    return flat.astype(np.int64)


def _renumbered(y: Array, own: Sequence[str], names: Sequence[str], task: str) -> Array:
    """Class numbers, or columns of targets, of a split by the names that all splits have.

    own: the names of this split. Raises Mistake for numbers to predict that another split does
    not have.
    """
    places = np.array([names.index(name) for name in own])
    if _are_classes(y, task):
        return places[y]
    if y.ndim != 2 or y.shape[1] != len(own):
        return y
    if len(own) < len(names) and ((y != 0) & (y != 1)).any():
        lacks = next(name for name in names if name not in own)
        raise Mistake(f"a split has no {lacks} to predict, which another one has; give it to both")
    found = np.zeros((len(y), len(names)), y.dtype)
    found[:, places] = y
    return found


def _are_classes(y: Array, task: str) -> bool:
    return task in ("auto", "classification") and y.ndim == 1 and y.dtype.kind in "iu"


def _encoded(
    targets: Sequence[Array], task: str, names: tuple[str, ...]
) -> tuple[Array, tuple[str, ...]]:
    """As `encode`; class numbers with the names that the set has for them."""
    if len({y.shape[1:] for y in targets}) > 1:
        raise Mistake("y has another shape in some samples than in others")
    y = np.concatenate(targets)
    if _are_classes(y, task) and len(names) > 1:
        return y, names
    return encode(y, task)
