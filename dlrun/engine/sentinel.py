"""Numbers of a table that stand for a missing value, such as -999 or 9999."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from dlrun.data import Data
from dlrun.data.sample import sample
from dlrun.data.tables.cells import MISSING
from dlrun.data.tables.shown import origins
from dlrun.engine.look import Seen
from dlrun.finding import WARN, Finding

ROWS = 10_000
"""Training rows that are looked at, at most."""
SHARE, FEWEST = 0.01, 5
"""A mark stands in this share of the rows, and in so many: an outlier does not come back exactly.
"""
APART = 10.0
"""Interquartile ranges between a mark and the nearest other value: 7 σ beyond 3 σ of a normal one.
"""
MARKS = 3
"""Marks at either end of a column at most: not asked, unknown, refused."""
FENCE = 3.0
"""Interquartile ranges from the lower quartile down to a 0 that is no value (Tukey 1977)."""
DIFFERENT, TIMES = 10, 5.0
"""Other values that a column with a 0 or -1 for a missing one has at least, and how many times as
often as half of them a -1 is there: elsewhere it is one value of several.
"""
_NAMED = 3  # columns beside the first


def sentinels(seen: Seen) -> Iterator[Finding]:
    """One exact value in many rows of a column of numbers, apart from all others.

    A column whose other values have no interquartile range, as a flag or rare counts, has none.
    """
    data = seen.run.data
    split = data.train
    if split.x.dim() != 2 or not split.x.is_floating_point():
        return
    rows = sample(split, ROWS, seed=0)
    x = split.x[rows].cpu()
    # A mark is at an end of its column; most columns have no such value more than a few times.
    ends = torch.stack([(x == x.amin(0)).sum(0), (x == x.amax(0)).sum(0)]).amax(0)
    least = max(FEWEST, SHARE * len(x))
    numbers = number_columns(data, x.shape[1])
    found = {
        place: marks
        for place in numbers
        if ends[place] >= least and (marks := marked(x[:, place], least))
    }
    if not found:
        return
    shares = {
        place: float((x[:, place].double() == mark).double().mean())
        for place, (mark, *_) in found.items()
    }
    (first, share), *more = shares.items()
    others = "".join(
        f", {numbers[each]} is {found[each][0]:.7g} in {shares[each]:.1%}"
        for each, _ in more[:_NAMED]
    ) + (f", and so in {len(more) - _NAMED} more" if len(more) > _NAMED else "")
    alone = _alone(x, found)
    yield Finding(
        "input_scale",
        WARN,
        f"The column {numbers[first]} is {found[first][0]:.7g} in {share:.1%} of the rows{others}, "
        "apart from all other values: where that stands for a missing value, say so"
        f"{'' if alone else ', or leave it empty in the file'}.",
        {"share": share, "columns": float(len(found))},
        changes={"data.missing": _missing(data, alone)}
        if alone and data.reading.get("columns")
        else {"procedure": "show_data"},
    )


def _alone(x: Tensor, found: Mapping[int, Sequence[float]]) -> list[float]:
    """The marks that no other column has as a value, which data.missing would take, too."""
    return [
        mark
        for mark in sorted({each for marks in found.values() for each in marks})
        if not any(
            mark not in found.get(place, ()) and bool((column == mark).any())
            for place, column in enumerate(x.T)
        )
    ]


def marked(values: Tensor, least: float) -> list[float]:
    """The values of a column (n,) that stand apart at its ends, each at least so many times.

    They are far from all others, or 0 and -1 below numbers that are never so low.
    Half of the rows have another: of fewer, the few values of a rare count would be a range.
    """
    unique, counts = values.double().unique(return_counts=True)
    found: list[float] = []
    for flip in (False, True):
        ends, many = (unique.flip(0), counts.flip(0)) if flip else (unique, counts)
        for taken in range(min(MARKS, len(ends) - 2), 0, -1):
            rest, times = ends[taken:], many[taken:]
            rest, times = (rest.flip(0), times.flip(0)) if flip else (rest, times)
            often = bool((many[:taken] >= least).all()) and 2 * int(times.sum()) >= len(values)
            gap = float((ends[taken] - ends[taken - 1]).abs())
            if often and gap > APART * _range(rest, times) > 0:
                found += ends[:taken].tolist()
                break
    if _is_below(unique, counts, least) and float(unique[0]) not in found:
        found.append(float(unique[0]))
    return found


def _is_below(unique: Tensor, counts: Tensor, least: float) -> bool:
    """Whether the lowest value is a whole negative one below none, or 0 far below all others."""
    mark, rest, times = float(unique[0]), unique[1:], counts[1:]
    if len(rest) < DIFFERENT or 2 * int(times.sum()) < int(counts.sum()):
        return False
    if counts[0] < least:
        return False
    if mark < 0:
        often = float(counts[0]) >= TIMES * float(times.median())
        return often and mark == round(mark) and float(rest[0]) >= 0
    wide = _range(rest, times)
    lower = float(rest[torch.searchsorted(times.cumsum(0), 0.25 * times.sum())])
    return mark == 0 and min(lower - FENCE * wide, float(rest[0]) - wide) > 0


def _range(unique: Tensor, counts: Tensor) -> float:
    """The interquartile range of values, in order, that are there so many times."""
    below = counts.cumsum(0)
    places = torch.searchsorted(below, below[-1] * torch.tensor([0.25, 0.75]))
    low, high = unique[places].tolist()
    return float(high - low)


def number_columns(data: Data, inputs: int) -> dict[int, str]:
    """The columns of numbers, by the places of their inputs."""
    columns = data.reading.get("columns")
    if not columns:
        return {place: str(place + 1) for place in range(inputs)}
    return {
        place: name
        for place, (name, column) in enumerate(zip(data.columns, origins(columns), strict=True))
        if column["kind"] == "number" and name == column["name"]  # no flag
    }


def _missing(data: Data, marks: Sequence[float]) -> list[str | float]:
    """What means a missing value, and marks: the setting takes the place of the usual words."""
    known = data.reading.get("missing")
    if known is None:
        absent = any(column.get("absent") for column in data.reading["columns"])
        known = [*MISSING, "NA", "N/A", "None", "NONE"] if absent else ()
    return [*known, *(int(mark) if mark == int(mark) else float(f"{mark:.7g}") for mark in marks)]
