"""Numbers of a few rows that lie far from all others, as mistyped ones do."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dlrun.data.sample import sample
from dlrun.engine.look import Seen
from dlrun.engine.sentinel import ROWS, number_columns
from dlrun.finding import WARN, Finding

FEWEST = 50
"""Rows without which nothing is said."""
SHARE = 0.01
"""Of the rows at most lie so far away; more of them are a part of the distribution."""
TIMES = 10.0
"""How many times as far from the median as any other: by chance in one column of a hundred, were
the tail the heaviest that has a variance (Pareto's with exponent 2), and the logarithm of a normal
number hardly ever is. A point or a thousand too much in a number moves it so far."""

_SOME = 1000  # rows that show whether most values of a column are equal


@dataclass(frozen=True)
class Far:
    """Numbers far from all others. rows: how many; value: one of them; nearest: how many times
    as far from the median, at least; variance: their share of the column's.
    """

    rows: int
    value: float
    nearest: float
    variance: float


def far(values: Tensor) -> Far | None:
    """What lies far away in a column (n,); None where nothing does, or most values are equal."""
    values = values.double()
    middle = values.median()
    away, order = (values - middle).abs().sort(descending=True)
    quartiles = values.quantile(torch.tensor([0.25, 0.75], dtype=torch.float64))
    most = int(SHARE * len(values))
    if len(values) < FEWEST or not quartiles[1] > quartiles[0] or not most:
        return None
    times = away[:most] / away[1 : most + 1]
    count = int((times >= TIMES).nonzero().amax()) + 1 if bool((times >= TIMES).any()) else 0
    if not count or away[count - 1] < TIMES * (quartiles[1] - quartiles[0]):
        return None
    squares = (values - values.mean()).square()
    share = float(squares[order[:count]].sum() / squares.sum())
    return Far(count, float(values[order[0]]), float(times[count - 1]), share)


def outlying_targets(seen: Seen) -> Iterator[Finding]:
    """Targets of a regression that few training rows have."""
    run, train = seen.run, seen.run.data.train
    if not run.regression or run.reconstructs or run.labels:
        return
    y = train.y[sample(train, ROWS, seed=0)].double().cpu()
    if scale := run.data.scale:
        y = y * scale.std.cpu() + scale.mean.cpu()
    for column in y.reshape(len(y), -1).T:
        if found := far(column):
            yield Finding(
                "label_noise",
                WARN,
                f"{_said(found, 'training target')}, with {found.variance:.0%} of the variance: "
                "where that is a slip, mend it in the file; absolute errors hardly heed it.",
                {"samples": float(found.rows), "variance": found.variance},
                changes={"loss": "mae"} if run.loss.name != "mae" else {},
            )
            return


def outlying_inputs(seen: Seen) -> Iterator[Finding]:
    """Numbers of a column of a table that few training rows have."""
    data, train = seen.run.data, seen.run.data.train
    if train.x.dim() != 2 or not train.x.is_floating_point():
        return
    x = train.x[sample(train, ROWS, seed=0)].cpu()
    named = number_columns(data, x.shape[1])
    found = {
        named[place]: each for place in _wide(x) if place in named and (each := far(x[:, place]))
    }
    if not found:
        return
    name, first = next(iter(found.items()))
    others = f", and so in {len(found) - 1} more columns" if len(found) > 1 else ""
    yield Finding(
        "input_scale",
        WARN,
        f"{_said(first, 'number')}, in the column {name}{others}: once these are standardized, "
        "all others are nearly one value; where that is a slip, mend it in the file.",
        {"samples": float(first.rows), "columns": float(len(found))},
        changes={"procedure": "show_data"},
    )


def _wide(x: Tensor) -> list[int]:
    """Places of columns (n, columns) that may hold what is so far away; cheap, as most do not.

    A share p of the rows at TIMES the distance of all others is √(1/(p + 1/TIMES²)) or more
    standard deviations away; a tenth less is asked for, as the median is not the mean.
    """
    if len(x) < FEWEST:
        return []
    spread, mean = torch.std_mean(x, 0)
    least = 0.9 / (SHARE + TIMES**-2) ** 0.5
    places = (torch.maximum(x.amax(0) - mean, mean - x.amin(0)) > least * spread).nonzero()[:, 0]
    some = x[:_SOME].double()
    return [n for n in places.tolist() if some[:, n].quantile(0.75) > some[:, n].quantile(0.25)]


def _said(found: Far, what: str) -> str:
    lie = "s lie" if found.rows > 1 else " lies"
    away = f"{found.nearest:,.0f} times as far from the median as all others"
    return f"{found.rows} {what}{lie} {away}, such as {found.value:.6g}"
