"""Samples of validation or test that nearly repeat training samples.

Whoever augments, oversamples with noise, or takes several pictures of one thing before the split
measures how well the network remembers. Identical samples are found by their hashes, these by
their distances. Of samples drawn alike, the distance to the nearest of k neighbours, as a share of
that to the furthest and to the power of their dimension, is the least of k - 1 numbers drawn evenly
from 0 to 1 (Levina and Bickel 2004): it is hardly ever as small as a near copy makes it.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from dlrun.data.sample import sample
from dlrun.engine.look import Seen
from dlrun.finding import WARN, Finding

NEAR = 0.25
"""The share of a split that nearly stands in another one from which it is said.

Of things drawn by a program, which differ in little but noise, a tenth may; of pictures collected
from the web, as those of CIFAR, 3 % do (Barz and Denzler 2020).
"""
_NEIGHBOURS = 20
_CHANCE = 1e-3  # how often a sample is taken for a copy that is none
_LOOKED = 128  # samples of a split
_ROWS, _NUMBERS = 8_000, 2**21  # of training, at most, and the numbers in them
_FEWEST = 50  # samples of a split, and five times as many training samples
_SEVERAL = 3  # copies that are no accident
_VARIED = 0.1  # the share of different values from which a column counts as continuous
_SAME = 1e-6  # of the distance to the furthest neighbour: identical but for rounding


def near_copies(seen: Seen) -> Iterator[Finding]:
    """The share of samples that have a near copy among those that train the network."""
    data = seen.run.data
    most = min(_ROWS, _NUMBERS // max(1, math.prod(data.shape)))
    rows = sample(data.train, most, seed=0)
    if len(rows) < 5 * _FEWEST:
        return
    known = data.train.x[rows].flatten(1).double().cpu()
    scale = _scale(known) if len(data.shape) == 1 else torch.ones(known.shape[1])
    used = scale.isfinite()
    if not used.any():
        return
    known = known[:, used] / scale[used]
    for name, split in (("validation", data.val), ("test", data.test)):
        if len(split) < _FEWEST:
            continue
        x = split.x[sample(split, _LOOKED, seed=0)].flatten(1).double().cpu()
        count = _copies(x[:, used] / scale[used], known)
        share = min(1.0, count / len(x) * len(data.train) / len(rows))
        if count >= _SEVERAL and share > NEAR:
            yield Finding(
                "leak",
                WARN,
                f"About {share:.0%} of the {name} samples are nearly identical to one that trains "
                "the network, far nearer than chance brings any: the result there is too good. "
                "Split first and vary the samples then, or keep in one split what belongs together "
                "(data.group).",
                {"samples": float(count), "share": share},
            )


def _scale(table: Tensor) -> Tensor:
    """The standard deviation of each continuous column of a table (n, columns); inf of others.

    Of words, flags and counts, few rows of a rare kind would lie far nearer than the rest.
    """
    varied = [len(column.unique()) > _VARIED * len(column) for column in table.T]
    return torch.where(torch.tensor(varied), table.std(0), torch.inf)


def _copies(x: Tensor, known: Tensor) -> int:
    """How many of x (m, d) have a near copy among those known (n, d) that is not identical."""
    distances = torch.cdist(x, known).topk(_NEIGHBOURS + 1, largest=False).values
    furthest = distances[:, -1:]
    distances = torch.where(distances > _SAME * furthest, distances, torch.inf).sort(1).values
    near, ranks = distances[:, :_NEIGHBOURS], range(_NEIGHBOURS // 2 + 1, _NEIGHBOURS)
    near = near[near.isfinite().all(1)]
    if not len(near):
        return 0
    ratios = near / near[:, -1:]
    # The mean log of a ratio to the j-th is the sum of 1/i from j on, by the dimension; copies
    # are nearer than half of the neighbours, and leave it as it is.
    expected = sum(sum(1 / i for i in range(j, _NEIGHBOURS)) for j in ranks)
    dimension = expected * len(near) / -float(ratios[:, ranks[0] - 1 : -1].log().sum())
    return int((dimension * ratios[:, 0].log() < math.log(_CHANCE / (_NEIGHBOURS - 1))).sum())
