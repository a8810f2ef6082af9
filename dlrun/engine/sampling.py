"""The order of the samples in an epoch, and class weights.

    (rows, y, epoch, seed, batch_size) -> rows of the epoch, (n,) int64

rows: (n,) int64; y: (n,) int64, the class of each row. An order is a pure function, as
`batches.order` is, so that training can resume in the middle of any epoch.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from dlrun.data.sample import make_generator
from dlrun.engine.batches import order
from dlrun.errors import Mistake

# Uses of (seed, epoch), beside those of batches.py and data/sample.py; each draws independent
# numbers.
_BALANCED, _STRATIFIED, _REPLACEMENT = 2, 3, 12


def by_epoch(
    name: str, rows: Tensor, y: Tensor, seed: int, batch_size: int, drop_last: bool
) -> Callable[[int], Tensor]:
    """(epoch) -> its rows, in the order `name`, one of `ORDERS`.

    y[rows] are the targets; drop_last leaves out a smaller last mini-batch. Raises Mistake
    where the order needs classes and the targets are numbers.
    """
    draw, labels = ORDERS[name], y[rows].cpu()
    if draw in (balanced, stratified) and labels.is_floating_point():
        raise Mistake(f"sampling={name}: needs classes; use sampling=shuffle")
    keep = len(rows) // batch_size * batch_size if drop_last else len(rows)
    return lambda epoch: draw(rows, labels, epoch, seed, batch_size)[:keep]


def shuffle(rows: Tensor, y: Tensor, epoch: int, seed: int, batch_size: int) -> Tensor:
    """Every row once, in random order."""
    return order(rows, epoch, seed)


def fixed(rows: Tensor, y: Tensor, epoch: int, seed: int, batch_size: int) -> Tensor:
    """Every row once, in the order of the data, the same in each epoch: shuffling forgotten."""
    return rows


def replacement(rows: Tensor, y: Tensor, epoch: int, seed: int, batch_size: int) -> Tensor:
    """As many independent draws as there are rows: 1 − 1/e of the rows are met in an epoch."""
    generator = make_generator(_REPLACEMENT, seed, epoch)
    drawn = torch.randint(len(rows), (len(rows),), generator=generator)
    return rows[drawn.to(rows.device)]


def balanced(rows: Tensor, y: Tensor, epoch: int, seed: int, batch_size: int) -> Tensor:
    """As many draws as there are rows, each class equally often, in random order.

    A large class shows another part of itself each epoch; the rows of a small one repeat, each
    as often as any other or once more. Where the draws don't divide evenly among the classes,
    which classes get one more is random.
    """
    generator = make_generator(_BALANCED, seed, epoch)
    by_class = _by_class(y)
    lengths = _shares(len(rows), len(by_class))
    chosen = []
    for place, length in zip(_permutation(len(by_class), generator), lengths, strict=True):
        members = by_class[int(place)]
        rounds = -(-length // len(members))
        drawn = [members[_permutation(len(members), generator)] for _ in range(rounds)]
        chosen.append(torch.cat([members[:0], *drawn])[:length])
    drawn_rows = torch.cat(chosen)[_permutation(len(rows), generator)]
    return rows[drawn_rows.to(rows.device)]


def stratified(rows: Tensor, y: Tensor, epoch: int, seed: int, batch_size: int) -> Tensor:
    """Every row once; the shares of the classes in each mini-batch are close to those of the whole.

    In a full mini-batch a class has at most one sample more or fewer than its share, apart from
    what a smaller last mini-batch leaves over. Samples are dealt class by class, like cards.
    """
    generator = make_generator(_STRATIFIED, seed, epoch)
    n = len(rows)
    by_class = _by_class(y)
    classes = _permutation(len(by_class), generator)
    members = [by_class[int(place)] for place in classes]
    dealt = torch.cat([some[_permutation(len(some), generator)] for some in members])

    # Place k of a mini-batch of s samples is filled in the round of the deal at (k + 1/2)/s:
    # each full mini-batch gets one card a round, a smaller last one sits some rounds out.
    place = torch.arange(n)
    batch = place // batch_size
    size = torch.full((n,), batch_size).where(batch < n // batch_size, n % batch_size)
    turn = (place % batch_size + 0.5).double() / size
    # Around the table in a random order, the same in each round: the samples of a class, which
    # are dealt one after another, then reach all mini-batches before they reach one twice.
    chance = _permutation(-(-n // batch_size), generator)[batch]
    hands = batch[torch.from_numpy(np.lexsort((chance.numpy(), turn.numpy())))]

    # Back into mini-batches, shuffled in each.
    chance = torch.rand(n, generator=generator, dtype=torch.float64)
    visited = dealt[torch.from_numpy(np.lexsort((chance.numpy(), hands.numpy())))]
    return rows[visited.to(rows.device)]


ORDERS = {each.__name__: each for each in (shuffle, fixed, replacement, balanced, stratified)}


def class_weights(y: Tensor, classes: int) -> Tensor:
    """The weight of each class, (classes,) float32: n / (present classes · n_c).

    All classes then have the same total weight, and the mean over the samples is 1. A class
    without samples has weight 0. y: (n,) int64.
    """
    counts = torch.bincount(y, minlength=classes)
    present = (counts > 0).sum()
    weights = len(y) / (present * counts.clamp(min=1))
    return torch.where(counts > 0, weights, torch.zeros_like(weights)).float()


def _by_class(y: Tensor) -> list[Tensor]:
    """The places in y of each class that it has."""
    y = y.cpu()
    _, counts = y.unique(return_counts=True)
    return list(y.argsort(stable=True).split(counts.tolist()))


def _shares(total: int, parts: int) -> list[int]:
    return [total // parts + (part < total % parts) for part in range(parts)]


def _permutation(n: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(n, generator=generator)
