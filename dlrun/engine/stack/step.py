"""One step of several runs at once."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from dlrun.engine.batches import Batch, grouped
from dlrun.engine.evaluate import Tally, averages, best_weights, measure
from dlrun.engine.feed import PreparedSplit
from dlrun.engine.run import Run, Weights
from dlrun.engine.stack import update as updates
from dlrun.engine.stack import weights as rows_of
from dlrun.engine.stack.acting import constraint, gradients
from dlrun.engine.stack.network import Network
from dlrun.engine.stack.update import Update
from dlrun.engine.stack.weights import Stack
from dlrun.engine.step import BatchResult, StepResult, training_batches
from dlrun.engine.watch import Watch


class StackedStep:
    """The step of runs for which `apart` has nothing to say.

    A batch is (n, ...) where all runs see the same one, else (runs, n, ...).
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = list(runs)
        for run in self._runs:
            known = len(run.rates)
            run.rates += [float(group["lr"]) for group in run.optimizer.param_groups[known:]]
        self._share("train")
        self._share("val")
        self._share("train_eval")
        self._bind()

    def _bind(self) -> None:
        runs = self._runs
        first = runs[0]
        self._stack = Stack(runs)
        self._update = Update(runs, self._stack)
        self._network = Network(runs)
        places = range(len(first.change_gradient))
        self._gradients = [gradients(runs, place, self._stack) for place in places]
        among = [first.change_gradient.index(rule) for rule in first.penalties]
        self._penalties = [self._gradients[place] for place in among]
        places = range(len(first.constraints))
        self._constraints = [constraint(runs, place, self._stack, self._update) for place in places]
        self._watches = [Watch(run) for run in runs]
        self._clips = [
            self._stack.flat.new_tensor([math.inf if v is None else v for v in values])[:, None]
            if any(v is not None for v in values)
            else None
            for values in ([run.clip_norm for run in runs], [run.clip_value for run in runs])
        ]

    def _share(self, split: str) -> None:
        """Let all runs have one copy of a split that is the same for all of them."""
        feeds: list[PreparedSplit | None] = [getattr(run, split) for run in self._runs]
        first = feeds[0]
        for run, feed in zip(self._runs, feeds, strict=True):
            if first is not None and feed is not None and _same(first, feed):
                setattr(run, split, first)

    def rows(self, epoch: int) -> Tensor:
        """The rows of an epoch: (n,) where they are the same for all, else (runs, n)."""
        orders = [run.order(epoch) for run in self._runs]
        if all(torch.equal(order, orders[0]) for order in orders):
            return orders[0]
        return torch.stack(orders)

    def reach(self, step: int) -> None:
        """Nothing is frozen."""

    def batches(self, rows: Tensor, start: int) -> Iterator[list[Batch]]:
        """The mini-batches of each step, as the networks see them."""
        lengths = self._runs[0].lengths
        return grouped(self._batches(rows[..., start:]), lengths.accumulate)

    def _batches(self, rows: Tensor) -> Iterator[Batch]:
        run = self._runs[0]
        feed = run.train
        shared = all(each.train is feed for each in self._runs)
        changed = run.augmentation is not None or run.change_batch
        if changed or not feed.prepared or not shared:
            every = rows if rows.dim() > 1 else rows.expand(len(self._runs), -1)
            own = [training_batches(*pair) for pair in zip(self._runs, every, strict=True)]
            for batch in zip(*own, strict=True):
                x, y = (torch.stack(values) for values in zip(*batch, strict=True))
                yield x, y
            return
        for chosen in rows.to(feed.x.device).split(run.lengths.batch_size, -1):
            flat = chosen.reshape(-1)
            x, y = (
                every.index_select(0, flat).unflatten(0, chosen.shape) for every in (feed.x, feed.y)
            )
            yield x, (x if run.reconstructs else y)

    def __call__(
        self, group: list[Batch], factors: Sequence[float], norm: bool, watched: bool = False
    ) -> StepResult:
        """Forward and backward through all networks, one update, and what acts after it."""
        for watch in self._watches if watched else ():
            watch.before()
        with torch.no_grad():
            penalties = [rule.penalty() for rule in self._penalties]
        axis = 1 if self._is_apart(group[0]) else 0
        samples = [y.shape[axis] for _, y in group]
        results = []
        for place, ((x, y), size) in enumerate(zip(group, samples, strict=True)):
            trained, plain, metric_sum = self._network(self._stack.tensors(), x, y, axis)
            loss = trained.sum() if len(group) == 1 else trained.sum() * (size / sum(samples))
            self._add_gradient(loss, fresh=not place)
            objective = None if plain is None else trained.detach()
            plain = (trained if plain is None else plain).detach()
            results.append(BatchResult(size, plain, metric_sum, objective, penalties))
        with torch.no_grad():
            found = self._condition(norm)
            self._update.step(factors)
            if norm or watched:
                self._update.set_rates()
            for rule in self._constraints:
                rule.constrain()
        return StepResult(results, found, True)

    def _is_apart(self, batch: Batch) -> bool:
        """Whether each run has a batch of its own."""
        run = self._runs[0]
        return batch[0].dim() > run.train.x.dim() if run.train.prepared else True

    def _add_gradient(self, loss: Tensor, fresh: bool) -> None:
        leaves = list(self._stack.leaves.values())
        found = torch.autograd.grad(loss, leaves)
        places = [place.of(self._stack.grad) for place in self._stack.columns.values()]
        if fresh:
            torch._foreach_copy_(places, found)
        else:
            torch._foreach_add_(places, found)

    def _condition(self, norm: bool) -> Tensor | None:
        """What acts on the gradients before the update; the norm of each, where it is known."""
        grad, found = self._stack.grad, None
        for rule in self._gradients:
            rule.add()
        clip_norm, clip_value = self._clips
        if norm or clip_norm is not None:
            found = torch.linalg.vector_norm(grad, dim=1)
        if clip_norm is not None and found is not None:
            grad.mul_((clip_norm / (found[:, None] + 1e-6)).clamp_(max=1))
        if clip_value is not None:
            torch.maximum(torch.minimum(grad, clip_value, out=grad), -clip_value, out=grad)
        return found

    @torch.no_grad()
    def measure(self, split: str = "val") -> list[dict[str, float]]:
        """The loss and the metrics of each run on a split."""
        first = self._runs[0]
        feeds = [getattr(run, split) for run in self._runs]
        alone = any(averages(run) or run.modes is not None for run in self._runs)
        if alone or not feeds[0].prepared or any(feed is not feeds[0] for feed in feeds):
            return [measure(run, feed) for run, feed in zip(self._runs, feeds, strict=True)]
        first.model.eval()
        feed, size = feeds[0], first.lengths.evaluation_batch
        tallies = [Tally(run.metrics) for run in self._runs]
        losses, sums = [], []
        for rows in feed.rows.split(size):
            x, y = feed.x.index_select(0, rows), feed.y.index_select(0, rows)
            y = x if first.reconstructs else y
            logits, loss, metric_sum = self._network.measured(self._stack.tensors(), x, y)
            losses.append(loss * len(rows))
            sums.append(metric_sum)
            for run, tally, said in zip(self._runs, tallies, logits, strict=True):
                if run.metrics:
                    tally.add(*run.answers(said, y))
        first.model.train()
        count = len(feed)
        if not count:
            return [dict.fromkeys(run.measured, math.nan) for run in self._runs]
        totals = [
            [math.fsum(own) / count for own in torch.stack(parts).T.tolist()]
            for parts in (sums, losses)
        ]
        return [
            {run.metric.name: hits, "loss": loss} | (tally.values(count) if run.metrics else {})
            for run, hits, loss, tally in zip(self._runs, *totals, tallies, strict=True)
        ]

    def look(self) -> list[dict[str, float]]:
        """What is watched of each run's layers and of the curvature of its loss."""
        return [watch.look() for watch in self._watches]

    def weights(self, number: int) -> Weights:
        """A copy of the weights of one run as they are evaluated."""
        return best_weights(self._runs[number])

    def forget(self, number: int) -> None:
        """Let the optimizer of one run begin anew."""
        self._update.forget(number)

    def settle(self) -> None:
        """Put into each run what a checkpoint holds of it."""
        self._update.settle()

    def keep(self, numbers: Sequence[int]) -> None:
        """Go on with these runs alone, in a smaller stack."""
        if len(numbers) == len(self._runs):
            return
        self._update.settle()
        for number, run in enumerate(self._runs):
            if number not in numbers:
                rows_of.release(run)
                updates.release(run)
        self._runs = [self._runs[number] for number in numbers]
        if self._runs:
            self._bind()


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
