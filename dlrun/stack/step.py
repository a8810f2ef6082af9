"""One step of several runs at once."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.modules.dropout import _DropoutNd

from dlrun.engine.batches import Batch, grouped
from dlrun.engine.evaluate import Tally, averages, best_weights, measure
from dlrun.engine.run import Run, Weights
from dlrun.engine.step import BatchResult, StepResult, training_batches
from dlrun.engine.watch import Watch
from dlrun.stack import weights as rows_of
from dlrun.stack.acting import constraint, gradients
from dlrun.stack.network import Network
from dlrun.stack.pool import Pool
from dlrun.stack.update import Update
from dlrun.stack.weights import Stack

_SPLITS = ("train", "val", "train_eval")
T = TypeVar("T")


class StackedStep:
    """The step of runs for which `apart` has nothing to say.

    A batch is (n, ...) where all runs see the same one, else (runs, n, ...).
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = list(runs)
        for run in self._runs:
            known = len(run.rates)
            run.rates += [float(group["lr"]) for group in run.optimizer.param_groups[known:]]
        there = [name for name in _SPLITS if getattr(runs[0], name) is not None]
        self._pools = {name: Pool(runs, name) for name in there}
        self._bind()

    def _bind(self) -> None:
        runs = self._runs
        first = runs[0]
        self._stack = Stack(runs)
        columns = self._stack.columns.items()
        self._places = {name: place.of(self._stack.grad) for name, place in columns}
        self._missing: set[str] = set()
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

    @property
    def draws(self) -> bool:
        """Whether there are masks inside of the networks, which come from one source."""
        layers = self._runs[0].model.modules() if self._runs else ()
        return self._network.varies("rate") or any(isinstance(x, _DropoutNd) for x in layers)

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
        run, pool = self._runs[0], self._pools["train"]
        if run.augmentation is not None or run.change_batch or not pool.gathers:
            every = rows if rows.dim() > 1 else rows.expand(len(self._runs), -1)
            own = [training_batches(*pair) for pair in zip(self._runs, every, strict=True)]
            for batch in zip(*own, strict=True):
                x, y = (torch.stack(values) for values in zip(*batch, strict=True))
                yield x, y
            return
        for x, y in pool.batches(rows, run.lengths.batch_size):
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
        self._missing = set(self._places)
        for (x, y), size in zip(group, samples, strict=True):
            share = size / sum(samples)
            found = self._network(self._stack.tensors(), x, y, axis, self._keep, share)
            objective = None if found.plain is None else found.trained
            plain = found.trained if found.plain is None else found.plain
            results.append(BatchResult(size, plain, found.metric, objective, penalties))
        with torch.no_grad():
            norms = self._condition(norm)
            self._update.step(factors)
            if norm or watched:
                self._update.set_rates()
            with ExitStack() as flights:
                for run in self._runs if self._constraints else ():
                    flights.enter_context(run.landed())
                for rule in self._constraints:
                    rule.constrain()
        return StepResult(results, norms, True)

    def _is_apart(self, batch: Batch) -> bool:
        """Whether each run has a batch of its own."""
        run = self._runs[0]
        return batch[0].dim() > run.train.x.dim() if run.train.prepared else True

    def _keep(self, name: str, grad: Tensor) -> None:
        """Add up the gradients of a step."""
        if name in self._missing:
            self._missing.discard(name)
            self._places[name].copy_(grad)
        elif name in self._places:  # else a weight that is not trained
            self._places[name].add_(grad)

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
    def measure(self, split: str = "val") -> Sequence[dict[str, float] | Exception]:
        """The loss and the metrics of each run on a split, or its error."""
        first, pool = self._runs[0], self._pools[split]
        if self._measures_alone or not pool.gathers:
            return [_attempted(measure, run, getattr(run, split)) for run in self._runs]
        first.model.eval()
        axis = 0 if pool.shared else 1
        tallies: list[Tally | Exception] = [Tally(run.metrics) for run in self._runs]
        losses, sums = [], []
        for x, y, counts in pool.every(first.lengths.evaluation_batch):
            y = x if first.reconstructs else y
            logits = self._network.outputs(self._stack.tensors(), x, axis)
            alike = min(counts) == y.shape[axis]
            if alike:
                loss, metric_sum = self._network.assessed(logits, y, axis)
                losses.append(loss * counts[0])
                sums.append(metric_sum)
            if alike and not first.metrics:
                continue
            every = y if axis else y.expand(len(self._runs), *y.shape)
            own = [
                (run, said[:count], true[:count])
                for run, said, true, count in zip(self._runs, logits, every, counts, strict=True)
            ]
            if not alike:
                found = [_assessed(*each) for each in own]
                loss, metric_sum = (torch.stack(each) for each in zip(*found, strict=True))
                losses.append(loss)
                sums.append(metric_sum)
            for number, (run, said, true) in enumerate(own):
                if run.metrics and len(true):
                    tallies[number] = _attempted(_tallied, tallies[number], run, said, true)
        first.model.train()
        return self._values(split, sums, losses, tallies)

    def _values(
        self, split: str, sums: list[Tensor], losses: list[Tensor], tallies: list[Tally | Exception]
    ) -> list[dict[str, float] | Exception]:
        """What is recorded of a split. sums, losses: (runs,) of each batch."""
        counts = [len(getattr(run, split)) for run in self._runs]
        if not any(counts):
            return [dict.fromkeys(run.measured, math.nan) for run in self._runs]
        totals = [map(math.fsum, torch.stack(parts).T.tolist()) for parts in (sums, losses)]
        return [
            _attempted(_valued, run, hits / count, loss / count, tally, count)
            for run, hits, loss, tally, count in zip(
                self._runs, *totals, tallies, counts, strict=True
            )
        ]

    @property
    def _measures_alone(self) -> bool:
        """Whether a run is measured with other weights than those that are trained."""
        return any(averages(run) or run.modes is not None for run in self._runs)

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
        leaving = [number for number in range(len(self._runs)) if number not in numbers]
        self._update.release(leaving)
        for number in leaving:
            rows_of.release(self._runs[number])
        self._runs = [self._runs[number] for number in numbers]
        for pool in self._pools.values():
            pool.part(numbers)
        if self._runs:
            self._bind()


def _assessed(run: Run, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The loss and the metric of a run, summed over some samples or none."""
    if not len(y):
        return logits.new_zeros(()), logits.new_zeros(())
    return run.loss(logits, y) * len(y), run.metric_sum(logits, y)


def _attempted(make: Callable[..., T], *of_run: Any) -> T | Exception:
    """What is made of a run, or the error of that run alone, such as of the user's own metric."""
    try:
        return make(*of_run)
    except Exception as error:
        return error


def _tallied(tally: Tally | Exception, run: Run, logits: Tensor, y: Tensor) -> Tally:
    """With a batch more. Raises the error that stands in its place."""
    if isinstance(tally, Exception):
        raise tally
    tally.add(*run.answers(logits, y))
    return tally


def _valued(
    run: Run, value: float, loss: float, tally: Tally | Exception, count: int
) -> dict[str, float]:
    """What is recorded of a run. Raises the error that stands in place of its tally."""
    if isinstance(tally, Exception):
        raise tally
    return {run.metric.name: value, "loss": loss} | (tally.values(count) if run.metrics else {})
