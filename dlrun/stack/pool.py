"""A split of several runs in one tensor, from which the mini-batches of all are gathered at once.

Runs whose splits hold the same share them; other splits, as those of folds and of bags, lie one
after another, and each run's own is a view. So no sample is there more often than for single runs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dlrun.engine.batches import sizes
from dlrun.engine.feed import PreparedSplit
from dlrun.engine.run import Run


class Pool:
    """The samples of one split of all runs.

    shared: whether all have the same ones. gathers: whether they lie in one tensor; not so where
    they are raw and differ.
    """

    def __init__(self, runs: Sequence[Run], split: str) -> None:
        feeds: list[PreparedSplit] = [getattr(run, split) for run in runs]
        distinct: list[PreparedSplit] = []
        places = []
        for feed in feeds:
            place = next((n for n, each in enumerate(distinct) if _same(each, feed)), None)
            if place is None:
                place = len(distinct)
                distinct.append(feed)
            places.append(place)
        self.shared = len(distinct) == 1
        self.gathers = distinct[0].prepared and (self.shared or _alike(distinct))
        self._x, self._y = distinct[0].x, distinct[0].y
        starts = [0]
        for feed in distinct:
            starts.append(starts[-1] + len(feed.x))
        if self.gathers and not self.shared:
            self._x, self._y = (
                each.new_empty(starts[-1], *each.shape[1:]) for each in (self._x, self._y)
            )
            for number, feed in enumerate(distinct):
                x, y = (each[starts[number] : starts[number + 1]] for each in (self._x, self._y))
                x.copy_(feed.x)
                y.copy_(feed.y)
                distinct[number] = replace(feed, x=x, y=y)
        for run, place in zip(runs, places, strict=True):
            setattr(run, split, distinct[place])
        self._starts = torch.tensor([starts[place] for place in places], device=self._x.device)
        self._rows = [distinct[place].rows for place in places]

    def batches(self, rows: Tensor, size: int | list[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Batch after batch of these rows, (n, ...) of the same for all, or (runs, n, ...).

        rows: (n,) or (runs, n), of each run's own split. size: of all but the last, or of each.
        """
        rows = rows.to(self._x.device)
        if not self.shared:
            rows = rows + self._starts[:, None]
        for chosen in rows.split(size, -1):
            flat = chosen.reshape(-1)
            yield (
                self._x.index_select(0, flat).unflatten(0, chosen.shape),
                self._y.index_select(0, flat).unflatten(0, chosen.shape),
            )

    def every(self, size: int) -> Iterator[tuple[Tensor, Tensor, list[int]]]:
        """All samples of each run in their order, as `batches` gives them, and how many.

        The first of a run stands where another has more.
        """
        counts = [len(rows) for rows in self._rows]
        rows = self._rows[0]
        if not self.shared:
            rows = torch.nn.utils.rnn.pad_sequence(self._rows, batch_first=True)
        start, parts = 0, sizes(rows.shape[-1], size)
        for part, (x, y) in zip(parts, self.batches(rows, parts), strict=True):
            yield x, y, [min(max(count - start, 0), part) for count in counts]
            start += part

    def part(self, numbers: Sequence[int]) -> None:
        """Go on with these runs alone."""
        self._starts = self._starts[list(numbers)]
        self._rows = [self._rows[number] for number in numbers]


def _alike(feeds: Sequence[PreparedSplit]) -> bool:
    """Whether what splits hold fits into one tensor."""
    kinds = {(feed.x.dtype, feed.x.device, feed.x.shape[1:]) for feed in feeds}
    return len(kinds) == 1 and all(feed.prepared and not feed.prefetch for feed in feeds)


def _same(a: PreparedSplit, b: PreparedSplit) -> bool:
    """Whether two splits hold the same."""
    if a is b:
        return True
    if (a.prepared, a.prefetch) != (b.prepared, b.prefetch):
        return False
    return all(
        x is y or (x.shape == y.shape and x.dtype == y.dtype and torch.equal(x, y))
        for x, y in ((a.rows, b.rows), (a.y, b.y), (a.x, b.x))
    )
