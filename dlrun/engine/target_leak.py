"""An input that gives the answer away: target leakage (Kaufman et al. 2012).

Whoever makes a table easily leaves in it what is only known once the answer is: the result, the
date of it, or a code made from it. The network is then excellent, and worthless in use.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dlrun.data import Data
from dlrun.data.sample import sample
from dlrun.data.tables.shown import origins
from dlrun.engine.look import Seen
from dlrun.finding import WARN, Finding

ROWS = 1000
"""Training rows that are looked at, at most."""
FEWEST = 50
"""Rows without which nothing is said."""
LEFT = 0.05
"""The part of the target's variance, at most, that an input which gives it away leaves open.

The best measures of a thing leave more, such as a tenth of what kind an iris is (Fisher 1936).
"""
ERRORS = 2
"""Standard errors by which it must leave less than that."""
APART = 5
"""How many times as much all other inputs together leave open, at least.

Of a series, which its last values tell, those before them tell nearly as much.
"""
FLOOR = 0.01
"""What counts as left open at least, so that a small error of the others is none."""
_MOST = 2**19  # numbers, of rows by inputs by outputs, that are looked at


def target_leak(seen: Seen) -> Iterator[Finding]:
    """Inputs of a table of which each alone gives the target, and all others together do not."""
    data = seen.run.data
    rows = sample(data.train, ROWS, seed=0)
    x, y = data.train.x[rows], data.train.y[rows].cpu()
    many = y.dim() > 1 and y.shape[1] > 1
    if seen.run.reconstructs or x.dim() != 2 or many or len(rows) < FEWEST:
        return
    x, target = x.double().cpu(), _one_hot_or_centred(y)
    if not 2 <= x.shape[1] <= _MOST // target.numel():
        return
    columns = _columns(x, data)
    left, most = _left_alone(torch.stack([column.values for column in columns], 1), target)
    telling = [place for place, bound in enumerate(most) if bound <= LEFT]
    if not telling:
        return
    names = {columns[place].name for place in telling}
    inputs = {place for column in columns if column.name in names for place in column.inputs}
    others = [each for column, each in zip(columns, left, strict=True) if column.name not in names]
    rest = [place for place in range(x.shape[1]) if place not in inputs]
    if not rest:  # a series of a few last values, or one cause
        return
    together = min([_left_together(x[:, rest], target), *others])
    alone = max(left[place] for place in telling)
    if together < APART * max(alone, FLOOR):
        return
    told, some = ", ".join(sorted(names)), len(names) > 1
    yield Finding(
        "leak",
        WARN,
        f"{told}{', each' if some else ''} alone {'leave' if some else 'leaves'} "
        f"{max(alone, 0.0):.1%} of the target's variance open, all other inputs together "
        f"{min(together, 1.0):.0%}: where it is known only once the answer is, the result will not "
        "hold in use.",
        {"alone": alone, "others": together},
        changes={"data.columns": dict.fromkeys(sorted(names), "out")}
        if data.reading.get("columns")
        else {"procedure": "show_data"},
    )


@dataclass(frozen=True)
class _Column:
    """A column of a table as one number a row. inputs: the places of what it has become."""

    name: str
    values: Tensor
    inputs: tuple[int, ...]


def _columns(x: Tensor, data: Data) -> list[_Column]:
    """Each input by itself, and each text, which has several, as the number of its word."""
    table = data.reading.get("columns", ())
    names = [column["name"] for column in origins(table)] or data.columns
    names = names or [f"column {place + 1}" for place in range(x.shape[1])]
    found = []
    for text in (column["name"] for column in table if column["kind"] == "text"):
        if places := [place for place, name in enumerate(names) if name == text]:
            found.append(_Column(text, x[:, places].argmax(1).double(), tuple(places)))
    taken = {column.name for column in found}
    single = ((place, name) for place, name in enumerate(names) if name not in taken)
    return found + [_Column(name, x[:, place], (place,)) for place, name in single]


def _one_hot_or_centred(y: Tensor) -> Tensor:
    """(n, outputs) targets without their mean; of classes one-hot."""
    if not y.is_floating_point():
        y = torch.nn.functional.one_hot(y - y.min())
    wide = y.reshape(len(y), -1).double()
    return wide - wide.mean(0)


def _left_alone(columns: Tensor, target: Tensor) -> tuple[list[float], list[float]]:
    """What each column leaves open of the target's variance, and some standard errors more.

    Neighbours in the order of a column differ by twice the variance that is left (Rice 1984).
    columns: (n, columns), in an order of rows that does not depend on the target, so that equal
    values are neighbours by chance. target: (n, outputs).
    """
    steps = target[columns.argsort(dim=0, stable=True)].diff(dim=0).square().sum(2)
    steps /= 2 * target.square().sum() / (len(target) - 1)
    left, errors = steps.mean(0), steps.std(0) / len(steps) ** 0.5
    return left.tolist(), (left + ERRORS * errors).tolist()


def _left_together(x: Tensor, target: Tensor) -> float:
    """What a linear function leaves open, fitted to one half and measured on the other."""
    half = len(x) // 2
    spread = x.std(0)
    x = (x - x.mean(0)) / torch.where(spread > 0, spread, 1.0)
    x = torch.cat((x, torch.ones_like(x[:, :1])), 1)
    damped = 1e-3 * half * torch.eye(x.shape[1], dtype=x.dtype)
    weights = torch.linalg.solve(x[:half].T @ x[:half] + damped, x[:half].T @ target[:half])
    missed = (x[half:] @ weights - target[half:]).square().sum()
    return float(missed / target[half:].square().sum())
