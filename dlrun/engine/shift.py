"""How the inputs of two splits lie: whether they look like draws from one distribution."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import takewhile
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from dlrun.data import Split
from dlrun.data.sample import in_order
from dlrun.engine.batches import gather
from dlrun.engine.distance import distances
from dlrun.engine.run import Run
from dlrun.preprocessing import Learns, ToFloat, to_float

SAMPLES = 2000
"""Samples of a split that are looked at, at most."""
PROBED, REFERENCES, NEIGHBOURS = 500, 1500, 10
"""Of many inputs: samples whose neighbours are sought, and those among which, at most."""
INPUTS, ROWS = 256, 1000
"""Inputs up to which they are few, and samples whose neighbours are sought then, at most."""
_AT_ONCE = 64  # samples whose distances are found at once: so few fit into a processor's cache
DIRECTIONS = 20
"""In which splits are compared, at most: columns; of more of them their principal components."""
Found = TypeVar("Found")


class Near(NamedTuple):
    """The nearest training samples of some samples of a split, by their places in what is seen.

    rows: (n,). neighbours: (n, NEIGHBOURS), among the training samples. away: (groups,) the
    distance of the nearest one, of one sample of each group.
    """

    rows: Tensor
    neighbours: Tensor
    away: Tensor


def neighbours(run: Run) -> dict[str, Near]:
    """The nearest training samples of those of train and val; {} where there are too few.

    Of a few inputs all samples are probes; of many, where distances are dear, PROBED are, and the
    others are their neighbours. None is a neighbour of its own group, or of itself; a group gives
    one distance, as its samples are not independent of each other.
    """
    return _once(run, "neighbours", lambda: _sought(run))


def moved(run: Run, name: str) -> dict[str, float]:
    """Whether the inputs of the training split and of another have the same ranks and spread."""
    split = run.data.splits[name]
    return _once(run, name, lambda: compared(*_independent(run, split, SAMPLES, seed=0)))


def _once(run: Run, key: str, make: Callable[[], Found]) -> Found:
    """What follows from the data, found by the first run on them; anew once they are written into.

    Not kept where a step acts on the samples before what compares them sees them.
    """
    if not all(type(step) is ToFloat for step in _unfitted_steps(run)):
        return make()
    kept = run.data.made.setdefault("shift", {})
    known = key, str(run.device), *(split.x._version for split in run.data.splits.values())
    if known not in kept:
        kept[known] = make()
    found: Found = kept[known]
    return found


@torch.no_grad()
def _sought(run: Run) -> dict[str, Near]:
    splits = {
        name: (split, in_order(split, SAMPLES, seed=0))  # the rows that `some` gives
        for name, split in (("train", run.data.train), ("val", run.data.val))
    }
    inputs = dict(zip(splits, _unfitted(run, *splits.values()), strict=True))
    groups = {name: _groups(run, rows) for name, (_, rows) in splits.items()}
    order, others = (mixed(len(rows)) for _, rows in splits.values())
    few = inputs["train"].shape[1] <= INPUTS
    probes = order[:ROWS] if few else order[: min(PROBED, len(order) // 3)]
    known = probes if few else order[len(probes) :]
    found = {}
    for name, rows in (("train", probes), ("val", others if few else others[: len(probes)])):
        parts = []
        for some in rows.split(_AT_ONCE):
            own = groups[name][some][:, None] == groups["train"][known]
            if int((~own).sum(1).amin()) < NEIGHBOURS:
                return {}
            away = distances(inputs[name][some], inputs["train"][known])
            away = away.masked_fill_(own.to(away.device), math.inf)
            parts.append(away.topk(NEIGHBOURS, largest=False))
        least, nearest = (torch.cat(each) for each in zip(*parts, strict=True))
        near = known.to(nearest.device)[nearest]
        found[name] = Near(rows, near, least[_one_of_each(groups[name][rows]), 0])
    return found


def told_apart(run: Run) -> dict[str, float]:
    """How well a classifier tells training inputs from validation inputs (Lopez-Paz, Oquab 2017).

    share: of as many samples of each, those that their √n nearest others put into the right split,
    each left out in turn; 0.5 where nothing tells them apart. error: its standard error there.
    {} where a split has fewer than ten samples, or groups.
    """
    count = min(REFERENCES, *(independent(run, part) for part in (run.data.train, run.data.val)))
    if count < NEIGHBOURS:
        return {}
    x = torch.cat(_independent(run, run.data.val, count, seed=2))
    of_val = torch.arange(2 * count, device=x.device) >= count
    away = distances(x, x).fill_diagonal_(math.inf)
    near = away.topk(math.isqrt(2 * count) // 2 * 2 + 1, largest=False).indices
    right = (of_val[near].float().mean(1) > 0.5) == of_val
    share, error = float(right.float().mean()), 0.5 / math.sqrt(2 * count)
    return {"share": share, "error": error, "samples": float(count)}


def independent(run: Run, split: Split) -> int:
    """How many samples of a split say something of their own: as many as it has groups."""
    return len(_groups(run, split.rows).unique())


def _independent(run: Run, other: Split, count: int, seed: int) -> list[Tensor]:
    """(n, inputs) Samples of training and of another split, `count` at most, one of each group."""
    parts = []
    for split in (run.data.train, other):
        ones = replace(split, rows=split.rows[_one_of_each(_groups(run, split.rows))])
        parts.append((split, in_order(ones, count, seed)))
    return _unfitted(run, *parts)


@torch.no_grad()
def _unfitted(run: Run, *parts: tuple[Split, Tensor]) -> list[Tensor]:
    """(n, inputs) Rows of splits before any step that is fitted to the training split.

    Whitening gives samples that it is fitted to variance 1, and others more. Each column of a
    table, and each channel, is scaled by what it is in all parts together.
    """
    made = []
    for split, rows in parts:
        x, _ = gather(split.x, split.y, rows.to(split.x.device))
        x = x.to(run.device)
        for step in _unfitted_steps(run):
            x = step(x)
        made.append(to_float(x))
    x = torch.cat(made)
    axes = [0, *range(2, x.dim())]
    mean, spread = x.mean(axes, keepdim=True), x.std(axes, keepdim=True)
    varies = spread > 1e-6 * mean.abs()
    x = (x - mean) / torch.where(varies, spread, torch.ones_like(spread))
    return list(x.flatten(1).split([len(rows) for _, rows in parts]))


def _groups(run: Run, rows: Tensor) -> Tensor:
    """(n,) The group of each row; without groups each is one of its own."""
    return rows.cpu() if run.data.groups is None else run.data.groups[rows].cpu()


def _one_of_each(groups: Tensor) -> Tensor:
    """The place of the first of each group."""
    unique, place = groups.unique(return_inverse=True)
    none = torch.full((len(unique),), len(groups))
    return none.scatter_reduce(0, place, torch.arange(len(groups)), "amin")


def _unfitted_steps(run: Run) -> list[nn.Module]:
    """The steps of the preprocessing before the first that learns from the training split."""
    return [*takewhile(lambda step: not isinstance(step, Learns), run.evaluation.children())]


@torch.no_grad()
def compared(train: Tensor, val: Tensor) -> dict[str, float]:
    """Whether two sets of inputs have the same ranks and spread: Hotelling's T² of both.

    Ranks of columns, or of principal components of all inputs; so that no distribution is
    assumed. As normal deviates (Paulson 1942).
    """
    x = torch.cat([train, val]).flatten(1).cpu().float()
    most = min(DIRECTIONS, len(x) // 10, len(train) - 1, len(val) - 1)
    if most < 1 or not x.isfinite().all():
        return {}
    if x.shape[1] > most:
        x = _principal(x - x.mean(0), most)
    ranks = _ranks(x)
    return {"moved": _apart(ranks, len(train)), "spread": _apart(ranks.abs(), len(train))}


def _ranks(x: Tensor) -> Tensor:
    """Ranks in each column, from -1/2 to 1/2; of equal values the mean of theirs (Kendall 1945)."""
    means = []
    for column in x.T:
        _, place, counts = column.unique(return_inverse=True, return_counts=True)
        means.append((2 * counts.cumsum(0) - counts)[place])
    return (torch.stack(means).double() / (2 * len(x)) - 0.5).T


def _principal(x: Tensor, count: int) -> Tensor:
    """Centred rows in their leading directions, nearly (Halko, Martinsson, Tropp 2011)."""
    generator = torch.Generator().manual_seed(0)
    some = x[mixed(len(x))[:ROWS]]
    probes = torch.randn(x.shape[1], count, generator=generator)
    for _ in range(2):
        probes = torch.linalg.qr(some.T @ (some @ probes)).Q
    return x @ probes


def _apart(x: Tensor, first: int) -> float:
    """By how many standard errors the means of the first rows and of the rest differ.

    Hotelling's T² in all directions that the rows have (indicators of a column's classes have one
    fewer), against random splits of the same rows: a beta distribution of their mean and variance
    (Pitman 1937; Box, Andersen 1955), as rare values in small splits are not normal.
    """
    x = x - x.mean(0)
    sizes, directions = torch.linalg.eigh(x.T @ x)
    some = sizes > 1e-9 * sizes.sum()
    x = x @ directions[:, some] / sizes[some].sqrt()
    n, p = x.shape
    if not p:
        return 0.0
    # The share of what tells the splits apart that the columns explain, by least squares.
    told = float(x[:first].sum(0).square().sum()) * n / (first * (n - first))
    mean = p / (n - 1)
    both = mean * (1 - mean) / _variance(n, p, first, float(x.square().sum(1).square().sum())) - 1
    ratio = told / max(1 - told, 1e-12) * (1 - mean) / mean
    a, b = 1 / (9 * both * mean), 1 / (9 * both * (1 - mean))
    root = math.cbrt(ratio)
    return ((1 - b) * root - (1 - a)) / math.sqrt(b * root * root + a)


def _variance(n: int, p: int, first: int, square: float) -> float:
    """Of the share that p columns explain of a random split of n rows into `first` and the rest.

    square: the sum of the squares of the rows' leverages.
    """
    share = first / n
    fourth = (share**3 + (1 - share) ** 3) / (share * (1 - share) * n)
    pairs, both = n * (n - 1), p * p + 2 * p
    found = square * fourth * (n + 3) / pairs + (both - 3 * square) * (1 - fourth) / pairs
    triples = (2 * fourth - 1) / (pairs * (n - 2))
    found += (12 * square - 2 * both) * triples - 3 * (both - 6 * square) * triples / (n - 3)
    return found - (p / (n - 1)) ** 2


def mixed(count: int) -> Tensor:
    """So many rows in an order of chance, always the same."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(1))


def further(a: Tensor, b: Tensor) -> float:
    """P(a > b) + P(a = b)/2 of a draw from each (Mann and Whitney 1947)."""
    ordered = b.sort().values
    below, upto = (torch.searchsorted(ordered, a, right=right) for right in (False, True))
    return float((below + upto).double().mean()) / (2 * len(b))
