"""In what order an epoch visits its samples, which stand for all, and how much a class counts.

    (rows, y, epoch, seed, batch_size) -> rows of the epoch, (n,) int64

rows: (n,) int64; y: (n,) int64, the class of each of them. A pure function of its
arguments, as `batches.order` is, so that training can go on in the middle of any epoch.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from dlrun.data import Split
from dlrun.data.batches import make_generator, order
from dlrun.errors import Mistake

# Tell these uses of (seed, epoch) from others, which draw independent numbers.
_BALANCED, _STRATIFIED, _SAMPLE = 2, 3, 4


def by_epoch(
    name: str, rows: Tensor, y: Tensor, seed: int, batch_size: int, drop_last: bool
) -> Callable[[int], Tensor]:
    """(epoch) -> its rows, by the order of this name: shuffle, balanced or stratified.

    y[rows] are the targets; drop_last leaves out a smaller last mini-batch. Raises Mistake
    where an order asks for classes and the targets are numbers.
    """
    draw = {"shuffle": shuffle, "balanced": balanced, "stratified": stratified}[name]
    labels = y[rows].cpu()
    if name != "shuffle" and labels.is_floating_point():
        raise Mistake(f"sampling={name}: needs classes; use sampling=shuffle")
    keep = len(rows) // batch_size * batch_size if drop_last else len(rows)
    return lambda epoch: draw(rows, labels, epoch, seed, batch_size)[:keep]


def shuffle(rows: Tensor, y: Tensor, epoch: int, seed: int, batch_size: int) -> Tensor:
    """Every row once, in random order."""
    return order(rows, epoch, seed)


def balanced(rows: Tensor, y: Tensor, epoch: int, seed: int, batch_size: int) -> Tensor:
    """As many draws as there are rows, each class equally often, in random order.

    Of a large class a fresh part every epoch; a small one comes round several times, each
    of its rows as often as any other or once more. Where the classes don't divide the
    number of draws, chance decides which of them have one more.
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
    """Every row once, the shares of the classes in each mini-batch as close as can be to the whole.

    A class has in a full mini-batch at most one sample more or fewer than its share, up to
    what a smaller last mini-batch leaves over. The samples are dealt out class by class, as
    cards are.
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
    # Around the table in an order by chance, the same in each round: then the samples of a
    # class, neighbours in the deal, reach no mini-batch twice before they have reached all.
    chance = _permutation(-(-n // batch_size), generator)[batch]
    hands = batch[torch.from_numpy(np.lexsort((chance.numpy(), turn.numpy())))]

    # Back into mini-batches, in each by chance again.
    chance = torch.rand(n, generator=generator, dtype=torch.float64)
    visited = dealt[torch.from_numpy(np.lexsort((chance.numpy(), hands.numpy())))]
    return rows[visited.to(rows.device)]


def sample(split: Split, count: int, seed: int) -> Tensor:
    """Rows by chance that stand for a split, `count` of them or all that there are, in any order.

    Each class has its share of them, rounded up or down: a set is often sorted by class, so that
    its first rows stand for one alone. (m,) int64.
    """
    generator = make_generator(_SAMPLE, seed, 0)
    n, y = len(split), split.y[split.rows].cpu()
    dealt = _permutation(n, generator)
    if not y.is_floating_point():
        dealt = dealt[y[dealt].argsort(stable=True)]
    m = min(count, n)
    start = torch.rand((), generator=generator, dtype=torch.float64)
    places = ((torch.arange(m) + start) * (n / max(m, 1))).long().clamp(max=n - 1)
    chosen = dealt[places][_permutation(m, generator)]
    return split.rows[chosen.to(split.rows.device)]


def class_weights(y: Tensor, classes: int) -> Tensor:
    """What each class counts, (classes,) float32: n / (present classes · n_c).

    Each class weighs the same in all; the mean over the samples is 1. A class without
    samples has weight 0. y: (n,) int64.
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
