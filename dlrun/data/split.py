"""From a Source to its train, val and test splits, without leaks between them."""

import logging
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dlrun import shell
from dlrun.data import Data, Source, Split
from dlrun.data import classes as some_classes
from dlrun.data.sample import make_generator
from dlrun.data.scale import standardize
from dlrun.data.shares import by_class, by_group, in_turn
from dlrun.errors import Mistake

NAMES = ("train", "val", "test")
TRAIN_DEV = "train_dev"
_KEPT = ("name", "classes", "digest", "labels", "reading", "columns", "unfilled", "targets")
"""Of a source, what its splits keep."""
LEAKS = ("warn", "error", "drop", "together")
_HOLD_BACK, _THIN, _FOLDS, _BOOTSTRAP, _PART = 5, 6, 7, 8, 9  # uses of a seed; others are elsewhere
_VAL = 0.1  # what of train becomes val unless said otherwise
_log = logging.getLogger("dlrun")

# numpy, not torch: the first parallel work of torch can wait a second for a busy processor.
Rows = NDArray[np.int64]


def make(
    source: Source,
    split: str | float | list[float] = "source",
    val: float = _VAL,
    split_seed: int = 0,
    leaks: str = "warn",
    samples: float | str | None = None,
    train_dev: float | str | None = None,
    classes: list[str | int] | None = None,
    rows: Mapping[str, Sequence[int]] | None = None,
    fitted: Mapping[str, Any] | None = None,
) -> Data:
    """Split a source; the same arguments give the same splits.

    rows: of each split, by "train", "val", "test" and any other name, instead of all that
        follows; of these three, one that is not named is empty.
    fitted: the reading of another run; a table is encoded by what that has learned.

    split: fractions for train, val and test such as '60/20/20', [60, 20, 20] or
        [0.6, 0.2, 0.2], for which all samples are pooled; or 'source': as the source
        gives them. Where it gives no val, the fraction `val` of its train becomes val;
        where it gives no splits, the fraction `val` of all becomes val and as much becomes
        test (0.1: 80/10/10). Whole numbers that sum to the size of the set are sizes; a split
        that the source gives in that size is kept, the others are drawn from the rest.
    leaks: what to do with samples of val that are identical to one of train, and samples of
        test that are identical to one of train or val: warn, error, or drop them from val
        and test. Train never loses a sample. Samples that are identical by chance are none to
        be warned of. together: identical samples are a group, which stays in one of the splits
        that are made here; of those that the source gives, it warns.
    train_dev: how many samples of train, or what share of it, become a split of this name: of
        the distribution of train, but not trained on. For leaks it comes after train.
    samples: how many samples of train, or what share of what is left of it, are trained on.
        All else stays as it is, and so does the scale of the targets: losses can be compared.
        Of the same seed, the fewer are among the more.
    classes: those that all this is about, as `classes.among` takes them; None for all.

    In each class the size of a split is within one of its exact fraction. A class with fewer
    samples than there are splits goes to train first. The groups of a source stay whole: then
    splits are as near to their fractions as that allows, and the classes as near as that leaves.
    Raises ValueError for an argument out of range, Mistake for leaks under 'error', for a
    split that 'drop' would leave empty, where the classes are so small that a split
    which should have samples gets none, and where all samples are of one class.
    """
    check(split, val, split_seed, leaks, samples, train_dev, classes)
    _refuse_single(source)
    if classes is not None:
        source = some_classes.among(source, classes)
    if leaks == "together":
        source = replace(source, groups=_together(source))
    groups = source.groups
    if rows is None:
        generator = torch.Generator().manual_seed(split_seed)
        chosen = _choose_rows(source, split, val, generator)
        if train_dev is not None:
            chosen = _hold_back(chosen, source, train_dev, split_seed)
        drawn = _drawn(source, chosen)
        if leaks in ("error", "drop") or not source.chance:
            chosen = _treat_leaks(chosen, source.hashes.numpy(), leaks, drawn)
    else:
        given = dict.fromkeys(NAMES, ()) | dict(rows)
        chosen = {name: np.asarray(some, np.int64) for name, some in given.items()}
        drawn = _drawn(source, chosen)
    y, scale, whole = source.y, None, chosen["train"]
    if source.scale_targets:
        y, scale = standardize(y, torch.from_numpy(whole))
    if samples is not None and rows is None:
        chosen["train"] = _thin(whole, source, samples, split_seed)
    if source.settle is not None:
        like_train = np.concatenate([whole, chosen.get(TRAIN_DEV, whole[:0])])
        told = chosen | {"train": like_train, "fit": chosen["train"]}
        source = source.settle(told, fitted)
        source = some_classes.among(source, classes) if classes else source
    parts = {name: Split(source.x, y, torch.from_numpy(some)) for name, some in chosen.items()}
    kept: dict[str, Any] = {name: getattr(source, name) for name in _KEPT}
    return Data(
        **kept | {name: parts.pop(name) for name in NAMES},
        extra=parts,
        drawn=drawn,
        hashes=None if source.chance else source.hashes,
        shape=tuple(source.x.shape[1:]),
        outputs=len(source.classes) or source.y.shape[1],
        scale=scale,
        groups=groups,
        depth=source.values.depth or None if source.values else None,
    )


def _refuse_single(source: Source) -> None:
    """Raise Mistake where all samples are of one class, or a table's target has one value.

    Here rather than where samples are read: a trained network may be measured on such.
    """
    y, column = source.y, source.reading.get("target")
    if not (len(y) and (source.classes or column) and bool((y == y[0]).all())):
        return
    value = source.classes[int(y[0])] if source.classes else f"{y[0].item():g}"
    said = f"data: {source.name} has the single class {value}; at least 2 are needed"
    if column:
        where = f"all {len(y):,} rows" if y[1:].numel() else "the only row"
        said = f"data.target={column}: has one value, {value!r}, in {where}"
    raise Mistake(said, "class_missing")


def _drawn(source: Source, chosen: Mapping[str, Rows]) -> frozenset[str]:
    """Of the splits that have samples, those that are not as the source gives them."""
    given = {name: rows.numpy() for name, rows in source.given.items()}
    return frozenset(
        name
        for name, rows in chosen.items()
        if len(rows) and not (name in given and np.array_equal(given[name], rows))
    )


def check(
    split: str | float | list[float] = "source",
    val: float = _VAL,
    split_seed: int = 0,
    leaks: str = "warn",
    samples: float | str | None = None,
    train_dev: float | str | None = None,
    classes: list[str | int] | None = None,
) -> None:
    """Raise ValueError for an argument of `make` that is out of range whatever the set."""
    if classes is not None:
        some_classes.check(classes)
    if leaks not in LEAKS:
        raise ValueError(f"leaks must be one of {', '.join(LEAKS)}, got {leaks}")
    if not 0 <= val < 1:
        raise ValueError(f"val must be at least 0 and below 1, got {val}")
    if split_seed < 0:
        raise ValueError(f"split_seed must not be negative, got {split_seed}")
    if split != "source":
        read_split(split)
    for name, amount in (("samples", samples), ("train_dev", train_dev)):
        if amount is not None:
            read_amount(name, amount)


def read_split(
    split: str | float | list[float], count: int | None = None
) -> tuple[tuple[Fraction, ...], bool]:
    """The shares of train, val and test, which sum to 1, exactly; whether sizes were given.

    count: of samples in the set; None while it is not known: any whole numbers may be sizes.
    Raises ValueError unless there are three, none negative, the first above 0, and they sum to
    1, to 100, or as whole numbers to the size of the set.
    """
    whole = "the set's size" if count is None else f"the set's {count:,} samples"
    given = str(split) if isinstance(split, str | int | float) else list(split)
    wrong = (
        "split must be source, three fractions that sum to 1 or 100, such as 60/20/20, or three "
        f"whole numbers that sum to {whole}, got {given}"
    )
    try:
        parts = given.split("/") if isinstance(given, str) else given
        exact = [Fraction(str(part).strip()).limit_denominator(10**6) for part in parts]
    except (ValueError, ZeroDivisionError, TypeError):
        raise ValueError(wrong) from None
    total = sum(exact, Fraction(0))
    # Three thirds typed with six digits are near enough.
    shares = any(abs(total - unit) <= Fraction(unit, 10**4) for unit in (1, 100))
    sizes = count in (None, total) and all(part.denominator == 1 for part in exact)
    if len(exact) != 3 or min(exact) < 0 or exact[0] == 0:
        raise ValueError(wrong)
    if not shares and not sizes:
        raise ValueError(f"{wrong}, which sum to {float(total):.12g}")
    return tuple(part / total for part in exact), not shares


def read_amount(
    name: str, amount: float | str, available: int | None = None, of: str = "for training"
) -> int:
    """How many samples `100` or `5%` is, at least one; 0 where nothing says of how many.

    name: of the setting. available: how many there are. of: what they are.
    Raises ValueError for another form, and for less than one or more than there are.
    """
    form = "a whole number above 0, such as 100, or a share of at most 100%, such as 5%"
    text, percent = str(amount).strip().removesuffix("%"), str(amount).strip().endswith("%")
    try:
        exact = Fraction(text)
    except (ValueError, ZeroDivisionError):
        exact = Fraction(0)
    if exact <= 0 or not (percent or exact.denominator == 1) or (percent and exact > 100):
        meant = f"; did you mean {float(100 * exact):g}%?" if 0 < exact < 1 and not percent else ""
        raise ValueError(f"{name} must be {form}, got {amount}{meant}")
    if available is None:
        return 0
    if percent:
        exact *= Fraction(available, 100)
    if exact < 1:
        raise ValueError(f"{name} must be at least one: {amount} of the {available:,} {of} is less")
    if exact > available:
        raise ValueError(
            f"{name} must be at most {available:,}, as many as there are {of}, got {amount}"
        )
    return round(exact)


def folds(
    labels: NDArray[Any] | Tensor,
    count: int,
    seed: int,
    groups: NDArray[Any] | Tensor | None = None,
) -> list[Rows]:
    """Deal the places of labels, 0 to n−1, into so many folds, each place into one.

    labels: (n,) classes, which each fold has in the same shares, within one sample; numbers
        with fractions are dealt at random. The sizes of the folds differ by at most one.
    groups: (n,) of each place; a group stays in one fold, the sizes are as near as that allows,
        and the shares of the classes as near as that leaves.
    Raises ValueError for fewer than 2 folds, or fewer places or groups than folds.
    """
    found = np.asarray(labels)
    generator = make_generator(_FOLDS, seed, 0)
    names, of = np.unique(
        np.arange(len(found)) if groups is None else np.asarray(groups), return_inverse=True
    )
    if not 2 <= count <= len(names):
        what = "samples" if groups is None else "groups"
        raise ValueError(f"folds must be from 2 to {len(names):,}, as many as {what}, got {count}")
    if groups is not None:
        part = by_group(_members(of, found), [len(found) / count] * count, generator)[of]
        return [np.flatnonzero(part == fold) for fold in range(count)]
    order = _grouped_by_label(found, generator)
    return [np.sort(order[fold::count]) for fold in range(count)]


def part(
    labels: NDArray[Any] | Tensor,
    count: int,
    seed: int,
    groups: NDArray[Any] | Tensor | None = None,
) -> Rows:
    """So many places of labels, 0 to n−1, of each class its share, within one sample.

    groups: (n,) of each place; whole groups are taken, about so many places in all, which have
        the classes about in their shares.
    """
    found, generator = np.asarray(labels), make_generator(_PART, seed, 0)
    if groups is not None:
        of = np.unique(np.asarray(groups), return_inverse=True)[1]
        taken = by_group(_members(of, found), [len(found) - count, count], generator)
        return np.flatnonzero(taken[of] == 1)
    order = _grouped_by_label(found, generator)
    return np.sort(order[np.arange(count) * len(order) // count])


def _grouped_by_label(labels: NDArray[Any], generator: torch.Generator) -> Rows:
    """All places, class by class, shuffled in each: every k-th has the shares of the whole."""
    order = _shuffled(np.arange(len(labels)), generator)
    if _are_classes(labels):
        order = order[labels[order].argsort(kind="stable")]
    return order


def bootstrap(
    count: int, seed: int, groups: NDArray[Any] | Tensor | None = None
) -> tuple[Rows, Rows]:
    """Places 0 to count−1 drawn with replacement, as many as there are, and those never drawn.

    groups: (count,) of each place; groups are then drawn whole, as many as there are, so that
    those never drawn have no group with the others in common. Efron, Bootstrap methods, 1979.
    """
    names, of = np.unique(
        np.arange(count) if groups is None else np.asarray(groups), return_inverse=True
    )
    generator = make_generator(_BOOTSTRAP, seed, 0)
    drawn = torch.randint(len(names), (len(names),), generator=generator).numpy()
    times = np.bincount(drawn, minlength=len(names))[of]
    return np.repeat(np.arange(count), times), np.flatnonzero(times == 0)


def _choose_rows(
    source: Source, split: str | float | list[float], val: float, generator: torch.Generator
) -> dict[str, Rows]:
    everything = _everything(source)
    given = {name: rows.numpy() for name, rows in source.given.items()}
    if val != _VAL and (split != "source" or "val" in given):
        why = "data.split says how large val is" if split != "source" else "the set has its own val"
        _log.warning(f"data.val={val}: changes nothing, because {why}")
    if split != "source":
        return _choose_by_shares(source, split, given, generator)
    carved = Fraction(str(val)).limit_denominator(10**6)
    if not given:
        if val >= 0.5:
            raise ValueError(
                f"val must be below 0.5 where the source gives no splits, so that as much "
                f"goes to test, got {val}"
            )
        shares = {"train": 1 - 2 * carved, "val": carved, "test": carved}
        return _deal("data.split", everything, source, shares, generator)
    rows = dict.fromkeys(NAMES, everything[:0]) | given
    if "val" not in given and carved:
        shares = {"train": 1 - carved, "val": carved}
        rows |= _deal("data.split", rows["train"], source, shares, generator)
    return rows


def _everything(source: Source) -> Rows:
    """The rows that splits are made of."""
    return np.arange(len(source.x)) if source.rows is None else source.rows.numpy()


def _choose_by_shares(
    source: Source,
    split: str | float | list[float],
    given: Mapping[str, Rows],
    generator: torch.Generator,
) -> dict[str, Rows]:
    """Shares of all samples, or sizes; a split that the source gives in that size is kept."""
    rest = _everything(source)
    fractions, sized = read_split(split, len(rest))
    shares = dict(zip(NAMES, fractions, strict=True))
    if not sized:
        return _deal("data.split", rest, source, shares, generator)
    sizes = {name: int(share * len(rest)) for name, share in shares.items()}
    kept = {name: rows for name, rows in given.items() if len(rows) == sizes[name]}
    for rows in kept.values():
        rest = np.setdiff1d(rest, rows)
    if not len(rest):
        _log.warning(f"data.split: the splits are those that {source.name} comes with")
        return dict.fromkeys(NAMES, rest) | kept
    for name, rows in kept.items():
        _log.warning(
            f"data.split: {name} is the {len(rows):,} samples that {source.name} comes with as "
            f"{name}; the other splits are drawn from the rest"
        )
    shares = {name: Fraction(sizes[name], len(rest)) for name in NAMES if name not in kept}
    found = kept | _deal("data.split", rest, source, shares, generator, exact=True)
    return {name: found[name] for name in NAMES}


def _hold_back(
    rows: dict[str, Rows], source: Source, train_dev: float | str, seed: int
) -> dict[str, Rows]:
    """Take rows away from train, as the split train_dev."""
    train = rows["train"]
    count = read_amount(TRAIN_DEV, train_dev, len(train))
    if count == len(train):
        raise ValueError(f"{TRAIN_DEV} must leave samples for training, got {train_dev}")
    held = Fraction(count, len(train))
    key = f"data.{TRAIN_DEV}"
    shares = {"train": 1 - held, TRAIN_DEV: held}
    return rows | _deal(key, train, source, shares, make_generator(_HOLD_BACK, seed, 0), exact=True)


def _thin(rows: Rows, source: Source, samples: float | str, seed: int) -> Rows:
    """Some rows of train; of the same seed, the fewer are among the more.

    Each class has its share, within one sample, of however many.
    """
    count = read_amount("samples", samples, len(rows))
    generator = make_generator(_THIN, seed, 0)
    members = _by_label(_shuffled(rows, generator), source)
    members = [members[kind] for kind in torch.randperm(len(members), generator=generator)]
    taken = in_turn([len(some) for some in members], count)
    thinned = np.concatenate([some[:n] for some, n in zip(members, taken, strict=True)])
    _warn_of_absent(f"data.samples={samples}", source, rows, thinned)
    return np.sort(thinned)


def _deal(
    key: str,
    rows: Rows,
    source: Source,
    shares: Mapping[str, Fraction],
    generator: torch.Generator,
    exact: bool = False,
) -> dict[str, Rows]:
    """Deal rows out to parts, every row to one: class by class, or whole groups.

    key: the setting to name. exact: whether to say how far a part is from its share.
    """
    if source.groups is None:
        parts = _deal_classes(rows, source, list(shares.values()), generator)
        what = f"{len(source.classes)} classes in {len(rows)} samples"
        why, right, are = "small", "merge classes, or give it a larger fraction", "are"
        far = 0 if exact else len(rows)
    else:
        groups = source.groups.numpy()[rows]
        labels = source.y.numpy()[rows]
        parts = _deal_groups(rows, groups, labels, list(shares.values()), generator)
        found = len(np.unique(groups))
        what = f"{shell.counted(found, 'group')} in {len(rows)} samples"
        why, right = "large", "give it a larger fraction, or make the groups smaller"
        are = "is" if found == 1 else "are"
        far = 0 if exact else max(1, len(rows) // 50)
    dealt = dict(zip(shares, parts, strict=True))
    wanted = {name: share * len(rows) for name, share in shares.items()}
    for name, part in dealt.items():
        if wanted[name] >= 1 and not len(part):
            raise Mistake(
                f"{key}: {what} {are} too {why} to leave any for {name}, which should have "
                f"{int(wanted[name])}; {right}"
            )
    if any(abs(len(part) - wanted[name]) > far for name, part in dealt.items()):
        sizes = ", ".join(f"{len(part):,} for {name}" for name, part in dealt.items())
        _log.warning(f"{key}: {what} leave {sizes}")
    if source.groups is not None and "train" in dealt:
        _warn_of_absent(key, source, rows, dealt["train"])
    return dealt


def _deal_classes(
    rows: Rows, source: Source, shares: Sequence[Fraction], generator: torch.Generator
) -> list[Rows]:
    members = _by_label(rows, source)
    counts = [len(some) for some in members]
    dealt: list[list[Rows]] = [[] for _ in shares]
    for some, sizes in zip(members, by_class(counts, shares), strict=True):
        pieces = np.split(_shuffled(some, generator), np.cumsum(sizes)[:-1])
        for part, piece in zip(dealt, pieces, strict=True):
            part.append(piece)
    _warn_of_small(counts, source.classes, sum(share > 0 for share in shares))
    return [np.sort(np.concatenate(part)) for part in dealt]


def _deal_groups(
    rows: Rows,
    groups: Rows,
    labels: NDArray[Any],
    shares: Sequence[Fraction],
    generator: torch.Generator,
) -> list[Rows]:
    of = np.unique(groups, return_inverse=True)[1]
    wanted = [float(share * len(rows)) for share in shares]
    part = by_group(_members(of, labels), wanted, generator)[of]
    return [np.sort(rows[part == number]) for number in range(len(shares))]


def _members(of: Rows, labels: NDArray[Any]) -> Rows:
    """How many of each class are in each group, (groups, classes); numbers are one class.

    of: (n,) the group of each sample, 0, 1, ...; labels: (n,) or (n, targets).
    """
    if not _are_classes(labels):
        return np.bincount(of)[:, None]
    names, kinds = np.unique(labels, return_inverse=True)
    count = int(of.max()) + 1
    flat = np.bincount(of * len(names) + kinds, minlength=count * len(names))
    return flat.reshape(count, len(names))


def _are_classes(labels: NDArray[Any]) -> bool:
    return labels.ndim == 1 and labels.dtype.kind in "iub"


def _by_label(rows: Rows, source: Source) -> list[Rows]:
    """The rows of each class, in their order; in regression all of them."""
    if not source.classes:
        return [rows]
    labels = source.y.numpy()[rows]
    counts = np.bincount(labels, minlength=len(source.classes))
    return np.split(rows[labels.argsort(kind="stable")], np.cumsum(counts)[:-1])


def _shuffled(rows: Rows, generator: torch.Generator) -> Rows:
    shuffled: Rows = rows[torch.randperm(len(rows), generator=generator).numpy()]
    return shuffled


def _warn_of_absent(said: str, source: Source, before: Rows, after: Rows) -> None:
    """Say which classes have samples in `before` and none in `after`, which is trained on."""
    labels = source.y.numpy()
    lost = np.setdiff1d(labels[before], labels[after]).tolist() if source.classes else []
    if lost:
        listed = shell.some((source.classes[label] for label in lost), 5)
        _log.warning(
            f"{said}: {_have(lost, source.classes)} no sample among the "
            f"{len(after):,} to train on ({listed})"
        )


def _have(some: Sequence[Any], classes: Sequence[str]) -> str:
    return f"{len(some)} of {len(classes)} classes {'has' if len(some) == 1 else 'have'}"


def _warn_of_small(counts: Sequence[int], classes: Sequence[str], parts: int) -> None:
    small = [f"{name}: {n}" for name, n in zip(classes, counts, strict=False) if 0 < n < parts]
    if small:
        _log.warning(
            f"{_have(small, classes)} too few samples to be in each of {parts} splits "
            f"({shell.some(small, 5)})"
        )


def _together(source: Source) -> Tensor | None:
    """The groups of a source, of which those with identical samples are one; None for none."""
    same = np.unique(source.hashes.numpy(), return_inverse=True)[1]
    if len(same) == 0 or same.max() + 1 == len(same):
        return source.groups
    if source.groups is None:
        return torch.from_numpy(same)
    from scipy.sparse import coo_array  # which takes long to import
    from scipy.sparse.csgraph import connected_components

    own = np.unique(source.groups.numpy(), return_inverse=True)[1] + same.max() + 1
    size = int(own.max()) + 1
    met = coo_array((np.ones(len(own), bool), (same, own)), (size, size))
    return torch.from_numpy(connected_components(met, directed=False)[1][same].astype(np.int64))


def _treat_leaks(
    rows: dict[str, Rows], hashes: NDArray[np.int64], leaks: str, drawn: Container[str]
) -> dict[str, Rows]:
    """drawn: the splits that are made here, between which there need be no leak."""
    kept = dict(rows)
    found, cure = [], "data.leaks=drop removes them"
    order = [name for name in ("train", TRAIN_DEV, "val", "test") if name in rows]
    for place, later in enumerate(order):
        seen = np.zeros(len(rows[later]), bool)
        for name in order[:place]:
            same = np.isin(hashes[rows[later]], hashes[rows[name]])
            if count := int(same.sum()):
                are = "sample of {} is" if count == 1 else "samples of {} are"
                found.append(f"{count} {are.format(later)} identical to samples of {name}")
                if name in drawn and later in drawn:
                    cure = "data.leaks=together keeps them in one split"
            seen |= same
        kept[later] = rows[later][~seen]
    if not found:
        return rows
    message = ", ".join(found)
    if leaks == "error":
        raise Mistake(f"data.leaks=error: {message}; {cure}", "leak")
    if leaks in ("warn", "together"):
        _log.warning(f"{message}; {cure}")
        return rows
    emptied = [name for name in order if len(rows[name]) and not len(kept[name])]
    if emptied:
        right = "; data.leaks=together keeps them in one split" if emptied[0] in drawn else ""
        raise Mistake(f"data.leaks=drop: {message}, which leaves {emptied[0]} empty{right}", "leak")
    lost = [f"{len(rows[name]) - len(kept[name])} from {name}" for name in order[1:]]
    _log.warning(f"{message}; data.leaks=drop removed {' and '.join(lost)}")
    return kept
