"""The group `data`: where samples come from and how they are split.

A source is a function named by a YAML file of `conf/data/`. It returns a `Source`: all samples
of the set, decoded, as one tensor that may be memory-mapped.

    (**options, report=None) -> Source

It may call `report(done, total)` while it decodes. `split.py` turns a Source into `Data`, the
train, val and test splits: a source does not know how it will be split.

digits.py, toy.py, torchvision_sets.py, imagefolder.py, imagetable.py, arrays.py, huggingface.py,
custom.py   the sources
images/, tables/   how files of images and tables become samples
npz.py, place.py   what is wrong with a file of arrays; with the place that a setting names
split.py, shares.py, sample.py   the splits, folds; how they are dealt; a few samples of one
classes.py   some classes of a set alone
scale.py, depth.py    the scale of targets and of pixels
cache.py, parts.py, fingerprint.py   decoded samples on disk, how they get there, known by their
content
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dlrun.errors import Mistake

if TYPE_CHECKING:  # the processes that decode images import this package, and torch takes 2 s
    from numpy.typing import NDArray
    from torch import Tensor

Report = Callable[[int, int], None]
"""Called with (done, total) to show progress."""


@contextmanager
def blame(setting: str) -> Iterator[None]:
    """A mistake found inside is that of this setting, unless its message names another."""
    try:
        yield
    except Mistake as mistake:
        if str(mistake).startswith("data."):
            raise
        raise Mistake(f"{setting}: {mistake}") from mistake


@dataclass(frozen=True)
class Values:
    """What the files of images hold, where some have more than 8 bits a value.

    depth: x is value/(2^depth − 1); 8: x is the value as a byte; 0: as a float.
    bits: of a value in the files.
    extents: (n, 2), the lowest and the highest value of each file; nan for files of 8 bits.
    """

    depth: int
    bits: int
    extents: NDArray[Any]


@dataclass(frozen=True)
class Source:
    """All samples of a data set.

    x: (n, *shape), uint8 for images (channels first), float32 for tables and for images of
        more than 8 bits, these from 0 to 1.
    y: (n,) int64 class indices, or (n, targets) float32 in regression.
    classes: the class names in the order of their indices; empty in regression.
    given: the rows of the splits that the source comes with, by "train", "val" and "test";
        empty where it has none.
    hashes: (n,) int64, equal for identical samples; in a table their targets are part of them.
    digest: a short hash of the whole content, for the record.
    scale_targets: whether to standardize the targets of a regression.
    labels: whether targets that are no classes are several labels at once, each 0 or 1; None:
        as they look.
    groups: (n,) int64 numbers of groups that each stay in one split; None where there are none.
    values: of images of more than 8 bits.
    settle: where samples depend on the training split: takes the rows of each split, those to
        learn from as "fit", and of a table perhaps the reading of another run to use instead, which
        images pass over; returns the samples on that scale, or so encoded, and says which it is.
    reading: how files became samples, so that others can be read in the same way; of a table see
        `tables.encode`.
    columns: the names of a table's features; empty where they have none.
    unfilled: of a table whose columns had to be encoded these columns, in the order of the reading,
        (n, columns) with nan for each missing number.
    targets: the names of the columns of y; empty where they have none, or are classes.
    chance: whether samples are identical by chance, as rows of a table with few values are.
    rows: those that splits are made of; None for all.
    """

    name: str
    x: Tensor
    y: Tensor
    hashes: Tensor
    digest: str
    classes: tuple[str, ...] = ()
    given: dict[str, Tensor] = field(default_factory=dict)
    scale_targets: bool = False
    labels: bool | None = None
    groups: Tensor | None = None
    values: Values | None = None
    settle: Callable[[Mapping[str, NDArray[Any]], Mapping[str, Any] | None], Source] | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    unfilled: Tensor | None = None
    targets: tuple[str, ...] = ()
    chance: bool = False
    rows: Tensor | None = None


@dataclass(frozen=True)
class Scale:
    """The way back from standardized targets: y·std + mean.

    mean, std: (targets,) float32, of the training split.
    """

    mean: Tensor
    std: Tensor


@dataclass(frozen=True)
class Split:
    """Some rows of a set: `x[rows]`, `y[rows]`; x and y are shared between splits.

    rows: (m,) int64.
    """

    x: Tensor
    y: Tensor
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Data:
    """The splits and the facts that models and losses need.

    shape: of one sample, e.g. (3, 32, 32) or (13,).
    classes: class names; empty in regression.
    outputs: how many numbers a model returns for a sample.
    val and test may be empty (len 0).
    hashes: as in `Source`; None where they are not known, or equal by chance.
    extra: more splits by their names, such as train_dev: nothing trains on them or chooses by
        them; they are measured at the end, as `train_dev/…`.
    drawn: the splits that are drawn at random, rather than as the source gives them.
    scale: of the targets, where these are standardized.
    depth: for files of more than 8 bits: x is value/(2^depth − 1), or with depth 8 the value
        itself as uint8.
    groups: of all samples of the set, by their rows, as in `Source`; with leaks=together those
        that are identical are of one.
    labels, reading, columns, unfilled, targets: as in `Source`.
    made: what runs have made of just these data and share; see `dlrun.engine.shared` and `shift`.
    """

    name: str
    train: Split
    val: Split
    test: Split
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    outputs: int
    digest: str
    scale: Scale | None = None
    depth: int | None = None
    groups: Tensor | None = None
    extra: Mapping[str, Split] = field(default_factory=dict)
    drawn: frozenset[str] = frozenset()
    hashes: Tensor | None = None
    labels: bool | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    unfilled: Tensor | None = None
    targets: tuple[str, ...] = ()
    made: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def splits(self) -> dict[str, Split]:
        """All splits by their names."""
        return {"train": self.train, "val": self.val, "test": self.test, **self.extra}
