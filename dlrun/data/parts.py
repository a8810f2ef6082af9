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

Array = NDArray[Any]


@dataclass(frozen=True)
class Part:
    """Samples of one split, in order: x (m, *shape) and y (m, ...), some at a time.

    classes: their names, where y are class numbers. notes: what is to be said, a sentence each.
    """

    samples: Iterator[tuple[Array, Array]]
    count: int
    classes: Sequence[str] = ()
    notes: tuple[str, ...] = ()


def write(parts: Mapping[str, Part], task: str, report: Report | None, writer: Writer) -> Labels:
    """Write all samples; parts: by the name of the split, "" for those of none.

    Raises Mistake for samples that are not alike, and for targets that do not fit the task.
    """
    total = sum(part.count for part in parts.values())
    targets, given, done = list[Array](), {}, 0
    for name, part in parts.items():
        begun = done
        for x, y in part.samples:
            x = as_samples(x, done)
            if writer.shape and (x.shape[1:], x.dtype.str) != (writer.shape, writer.dtype):
                raise Mistake(
                    f"sample {done} is {x.shape[1:]} {x.dtype}, and those before it are "
                    f"{writer.shape} {np.dtype(writer.dtype)}; make them alike"
                )
            writer.add(x)
            targets.append(y)
            done += len(x)
            if report:
                report(done, total)
        if name:
            given[name] = np.arange(begun, done)
    if not done:
        raise Mistake("it gives no samples")
    names = next((tuple(part.classes) for part in parts.values() if part.classes), ())
    y, classes = _encoded(targets, task, names)
    notes = [note for part in parts.values() for note in part.notes]
    return Labels(y, classes, given, notes=tuple(dict.fromkeys(notes)))


def _encoded(
    targets: Sequence[Array], task: str, names: tuple[str, ...]
) -> tuple[Array, tuple[str, ...]]:
    """As `encode`; class numbers with the names that the set has for them."""
    if len({y.shape[1:] for y in targets}) > 1:
        raise Mistake("y has another shape in some samples than in others")
    y = np.concatenate(targets)
    known = task in ("auto", "classification") and y.ndim == 1 and y.dtype.kind in "iu"
    if known and len(names) > 1 and y.min() >= 0 and y.max() < len(names):
        return y.astype(np.int64), names
    return encode(y, task)
