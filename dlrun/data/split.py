"""From a Source to its train, val and test splits, without leaks between them."""

import logging
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray

from dlrun.data import Data, Source, Split
from dlrun.data.scale import standardize
from dlrun.errors import Mistake

NAMES = ("train", "val", "test")
HELD_OUT = "held_out"
LEAKS = ("warn", "error", "drop")
_log = logging.getLogger("dlrun")

# numpy, not torch: the first parallel work of torch can wait a second for a busy processor.
Rows = NDArray[np.int64]


def make(
    source: Source,
    split: str | list[float] = "source",
    val: float = 0.1,
    split_seed: int = 0,
    leaks: str = "warn",
    rows: Mapping[str, Sequence[int]] | None = None,
) -> Data:
    """Split a source; the same arguments give the same splits.

    rows: of each split, by "train", "val", "test" and "held_out", instead of all that follows;
        one that is not named is empty.

    split: fractions for train, val and test such as '60/20/20', [60, 20, 20] or
        [0.6, 0.2, 0.2], for which all samples are pooled; or 'source': as the source
        gives them. Where it gives no val, the fraction `val` of its train becomes val;
        where it gives no splits, the fraction `val` of all becomes val and as much becomes
        test (0.1: 80/10/10).
    leaks: what to do with samples of val that are identical to one of train, and samples of
        test that are identical to one of train or val: warn, error, or drop them from val
        and test. Train never loses a sample.

    In each class the size of a split is within one of its exact fraction. A class with fewer
    samples than there are splits goes to train first.
    Raises ValueError for an argument out of range, Mistake for leaks under 'error', for a
    split that 'drop' would leave empty, and where the classes are so small that a split
    which should have samples gets none.
    """
    if leaks not in LEAKS:
        raise ValueError(f"leaks must be one of {', '.join(LEAKS)}, got {leaks}")
    if not 0 <= val < 1:
        raise ValueError(f"val must be at least 0 and below 1, got {val}")
    if split_seed < 0:
        raise ValueError(f"split_seed must not be negative, got {split_seed}")
    if rows is None:
        generator = torch.Generator().manual_seed(split_seed)
        chosen = _choose_rows(source, split, val, generator)
        chosen = _treat_leaks(chosen, source.hashes.numpy(), leaks)
    else:
        chosen = {name: np.asarray(rows.get(name, ()), np.int64) for name in (*NAMES, HELD_OUT)}
    if source.settle is not None:
        source = source.settle(chosen)
    y, scale = source.y, None
    if source.scale_targets:
        y, scale = standardize(y, torch.from_numpy(chosen["train"]))
    parts = {name: Split(source.x, y, torch.from_numpy(some)) for name, some in chosen.items()}
    return Data(
        name=source.name,
        **parts,
        shape=tuple(source.x.shape[1:]),
        classes=source.classes,
        outputs=len(source.classes) or source.y.shape[1],
        digest=source.digest,
        scale=scale,
        depth=source.values.depth or None if source.values else None,
        reading=source.reading,
    )


def read_fractions(split: str | list[float]) -> tuple[Fraction, ...]:
    """The fractions of train, val and test, which sum to 1, exactly.

    Raises ValueError unless there are three, none negative, the first above 0, and they
    sum to 1 or 100.
    """
    wrong = ValueError(
        "split must be source or three fractions that sum to 1 or 100, such as 60/20/20, "
        f"got {split if isinstance(split, str) else list(split)}"
    )
    try:
        parts = split.split("/") if isinstance(split, str) else split
        exact = [Fraction(str(part).strip()).limit_denominator(10**6) for part in parts]
    except (ValueError, ZeroDivisionError, TypeError):
        raise wrong from None
    total = sum(exact, Fraction(0))
    # Three thirds typed with six digits are near enough.
    whole = next((unit for unit in (1, 100) if abs(total - unit) <= Fraction(unit, 10**4)), None)
    if len(exact) != 3 or whole is None or min(exact) < 0 or exact[0] == 0:
        raise wrong
    return tuple(part / total for part in exact)


def _choose_rows(
    source: Source, split: str | list[float], val: float, generator: torch.Generator
) -> dict[str, Rows]:
    everything = np.arange(len(source.x))
    if split != "source":
        fractions = read_fractions(split)
        return dict(zip(NAMES, _stratify(everything, source, fractions, generator), strict=True))
    carved = Fraction(str(val)).limit_denominator(10**6)
    if not source.given:
        if val >= 0.5:
            raise ValueError(
                f"val must be below 0.5 where the source gives no splits, so that as much "
                f"goes to test, got {val}"
            )
        fractions = (1 - 2 * carved, carved, carved)
        return dict(zip(NAMES, _stratify(everything, source, fractions, generator), strict=True))
    rows = dict.fromkeys(NAMES, everything[:0])
    rows |= {name: given.numpy() for name, given in source.given.items()}
    if "val" not in source.given and carved:
        rows["train"], rows["val"] = _stratify(
            rows["train"], source, (1 - carved, carved), generator
        )
    return rows


def _stratify(
    rows: Rows, source: Source, fractions: Sequence[Fraction], generator: torch.Generator
) -> list[Rows]:
    """Deal rows out, class by class in classification; every row goes to one part."""
    counts, members = [len(rows)], [rows]
    if source.classes:
        labels = source.y.numpy()[rows]
        counts = np.bincount(labels, minlength=len(source.classes)).tolist()
        members = np.split(rows[labels.argsort(kind="stable")], np.cumsum(counts)[:-1])
    dealt: list[list[Rows]] = [[] for _ in fractions]
    for group, sizes in zip(members, _share_out(counts, fractions), strict=True):
        shuffled = group[torch.randperm(len(group), generator=generator).numpy()]
        for part, piece in zip(dealt, np.split(shuffled, np.cumsum(sizes)[:-1]), strict=True):
            part.append(piece)
    for name, fraction, part in zip(NAMES, fractions, dealt, strict=False):
        if fraction * len(rows) >= 1 and not any(map(len, part)):
            raise Mistake(
                f"data.split: {len(source.classes)} classes in {len(rows)} samples are too small "
                f"to leave any for {name}, which should have {int(fraction * len(rows))}; "
                "merge classes, or give it a larger fraction"
            )
    _warn_of_small(counts, source.classes, sum(fraction > 0 for fraction in fractions))
    return [np.sort(np.concatenate(part)) for part in dealt]


def _share_out(counts: Sequence[int], fractions: Sequence[Fraction]) -> list[list[int]]:
    """Sizes of the parts of each class, each the exact fraction rounded up or down.

    What rounding down leaves over goes to the parts whose sizes so far lag most behind, so that
    a thousand small classes don't all round the same way; but first to an empty train.
    """
    lag = [Fraction(0)] * len(fractions)
    shared = []
    for count in counts:
        exact = [count * fraction for fraction in fractions]
        sizes = [int(share) for share in exact]
        lag = [was + share - size for was, share, size in zip(lag, exact, sizes, strict=True)]
        uneven = [i for i, share in enumerate(exact) if share != sizes[i]]
        uneven.sort(key=lambda i: (i > 0 or sizes[0] > 0, -lag[i]))
        for i in uneven[: count - sum(sizes)]:
            sizes[i] += 1
            lag[i] -= 1
        shared.append(sizes)
    return shared


def _warn_of_small(counts: Sequence[int], classes: Sequence[str], parts: int) -> None:
    small = [f"{name}: {n}" for name, n in zip(classes, counts, strict=False) if 0 < n < parts]
    if small:
        listed = ", ".join(small[:5]) + (", ..." if len(small) > 5 else "")
        _log.warning(
            f"{len(small)} of {len(classes)} classes have too few samples to be in each of "
            f"{parts} splits ({listed})"
        )


def _treat_leaks(rows: dict[str, Rows], hashes: NDArray[np.int64], leaks: str) -> dict[str, Rows]:
    kept = dict(rows)
    found = []
    for later, earlier in (("val", ("train",)), ("test", ("train", "val"))):
        seen = np.zeros(len(rows[later]), bool)
        for name in earlier:
            same = np.isin(hashes[rows[later]], hashes[rows[name]])
            if count := int(same.sum()):
                found.append(f"{count} samples of {later} are identical to samples of {name}")
            seen |= same
        kept[later] = rows[later][~seen]
    if not found:
        return rows
    message = ", ".join(found)
    if leaks == "error":
        raise Mistake(f"data.leaks=error: {message}; data.leaks=drop removes them")
    if leaks == "warn":
        _log.warning(f"{message}; data.leaks=drop removes them")
        return rows
    emptied = [name for name in NAMES if len(rows[name]) and not len(kept[name])]
    if emptied:
        raise Mistake(f"data.leaks=drop: {message}, which leaves {emptied[0]} empty")
    lost = [f"{len(rows[name]) - len(kept[name])} from {name}" for name in ("val", "test")]
    _log.warning(f"{message}; data.leaks=drop removed {' and '.join(lost)}")
    return kept
