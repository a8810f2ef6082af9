"""Loss and metrics of a model on a split, without gradients and in evaluation mode."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.engine import batch_statistics, checkpoint
from dlrun.engine.batches import batches, gather, order, sizes
from dlrun.engine.feed import PreparedSplit
from dlrun.engine.run import Run, Weights
from dlrun.errors import Failure, brief, kind_of
from dlrun.metric import Metric
from dlrun.model.order import evaluation
from dlrun.regularization import dropout
from dlrun.test_augmentation import has_size

Batches = Iterator[tuple[Tensor, Tensor]]
Views = Callable[[Tensor], list[Tensor]]

MINI_BATCHES = 32
"""Of the training split, from which batch norm is estimated whenever averages are evaluated."""


def measure(run: Run, feed: PreparedSplit, views: Views | None = None) -> dict[str, float]:
    """The loss and all metrics of a run on a split, with averaged weights where it has them.

    views: makes several of a raw batch; their predictions are averaged.
    """
    with averaged(run):
        return evaluate(run, *_ways(run, feed, views))


def _ways(
    run: Run, feed: PreparedSplit, views: Views | None
) -> tuple[Callable[[Tensor], Tensor], Batches]:
    """How the model is called, and the batches that it is called with."""
    if views is None:
        return run.forward, samples(run, feed)
    return partial(_predict, run, views, _chain(run, views)), samples(run, feed, raw=True)


def _chain(run: Run, views: Views) -> nn.Module:
    """The preprocessing of views, which may cut images to their size themselves."""
    return run.preprocessing if has_size(views) else run.evaluation


@contextmanager
def evaluating(run: Run) -> Iterator[None]:
    """Inside, the model is in evaluation mode, with averaged weights where it has them."""
    with averaged(run), torch.no_grad():
        was_training = run.model.training
        run.model.eval()
        try:
            yield
        finally:
            run.model.train(was_training)


def outputs(
    run: Run, feed: PreparedSplit, views: Views | None = None, drops: bool = False
) -> Tensor:
    """(n, outputs) What the model gives for a split in evaluation mode.

    views: as `measure` takes it. drops: whether dropout stays on (Gal, Ghahramani 2016).
    """
    with evaluating(run):
        if drops:
            dropout.turn_on(run.model)
        forward, data = _ways(run, feed, views)
        found = torch.cat([forward(x) for x, _ in data])
        if drops:
            dropout.turn_on(run.model, on=False)
    return found


def objective(run: Run, feed: PreparedSplit) -> float:
    """What training makes small, of a split in evaluation mode.

    The mean loss with what class weights and regularizers make of it, and all penalties.
    """
    with evaluating(run):
        parts = [run.objective(run.forward(x), y) * len(y) for x, y in samples(run, feed)]
        penalties = [float(rule.penalty(run.weights)) for rule in run.penalties]
    return _total(parts) / len(feed) + sum(penalties)


def predictions(run: Run, feed: PreparedSplit) -> tuple[Tensor, Tensor]:
    """The predictions and the true targets of a split, as the metrics take both."""
    with evaluating(run):
        found = [run.answers(run.forward(x), y) for x, y in samples(run, feed)]
    predicted, y = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
    return predicted, y


def assess(
    run: Run, feed: PreparedSplit, views: Views | None
) -> tuple[dict[str, float], Tensor, Tensor]:
    """What `measure` gives, and the predictions and the true targets of the samples.

    Both as the metrics take them, and on the CPU; the model sees each sample once.
    """
    logits = outputs(run, feed, views)
    size, y = run.lengths.evaluation_batch, feed.y[feed.rows].to(logits.device)
    values = evaluate(run, lambda z: z, zip(logits.split(size), y.split(size), strict=True))
    predicted, true = run.answers(logits, y)
    return values, predicted.cpu(), true.cpu()


def answer(run: Run, x: Tensor, views: Views | None = None) -> Tensor:
    """What the model says of raw samples, (n, *shape) -> (n, outputs), inside `evaluating`.

    views: as `measure` takes it.
    """
    x = x.to(run.device)
    if views is None:
        return run.forward(ready(run, run.evaluation(x)))
    return _predict(run, views, _chain(run, views), x)


def alone(run: Run, x: Tensor) -> str:
    """Why the model answers no single sample, raw, (1, *shape); empty where it does.

    As where a norm takes the statistics of the batch in evaluation, too: one sample has no
    variance. Tried with the weights as they are.
    """
    others = run.data.train.x[run.data.train.rows[:2]]
    with evaluation(run.model), torch.no_grad():
        try:
            if bool(_plain(run, x).isfinite().all()):
                return ""
        except (RuntimeError, ValueError) as error:
            return brief(error)
        among = bool(_plain(run, torch.cat([x, others.to(x)])).isfinite().all())
    return "it gives nan or infinity" if among else ""


def _plain(run: Run, x: Tensor) -> Tensor:
    return run.uncompiled(ready(run, run.evaluation(x.to(run.device))))


def samples(run: Run, feed: PreparedSplit, raw: bool = False) -> Batches:
    """A split in order, in batches (x, y) as the model sees them in evaluation, or raw."""
    parts = sizes(len(feed.rows), run.lengths.evaluation_batch)
    for x, y in batches(feed.x, feed.y, feed.rows, parts, run.device, prefetch=feed.prefetch):
        if not raw:
            x = ready(run, x if feed.prepared else run.evaluation(x))
        yield x, x if run.reconstructs else y


def averages(run: Run) -> list[tuple[Tensor, Tensor]]:
    """Tensors of the model, each with its average; none where the recipe averages nothing yet."""
    return [pair for part in run.averaging for pair in part.averages()]


@contextmanager
def averaged(run: Run) -> Iterator[None]:
    """Inside, the model has the averaged weights, if the recipe averages.

    And batch norm's statistics for them, from the same mini-batches every time.
    """
    pairs = averages(run)
    changed = [live for live, _ in pairs]
    if pairs:
        changed += batch_statistics.tensors(run.model)
    kept = [value.detach().clone() for value in changed]
    with torch.no_grad():
        try:
            if run.modes is not None:
                run.modes.eval()
            for live, average in pairs:
                live.copy_(average)
            if pairs:
                estimate_statistics(run, MINI_BATCHES)
            yield
        finally:
            for value, before in zip(changed, kept, strict=True):
                value.copy_(before)
            if run.modes is not None:
                run.modes.train()


def best_weights(run: Run) -> Weights:
    """A copy of what is evaluated: all parameters and buffers, averaged where the recipe does."""
    with averaged(run):
        state = run.model.state_dict()
        return {  # a module of the user may keep more than tensors
            name: value.detach().clone() if isinstance(value, Tensor) else copy.deepcopy(value)
            for name, value in state.items()
        }


def estimate_statistics(run: Run, most: int | None = None) -> bool:
    """Estimate batch norm's statistics for the weights as they are; whether there is any.

    From so many mini-batches of the training split at most, else from all of it, without
    augmentation; which they are depends on nothing but the split and the size of a batch. No
    source of random numbers moves.
    """
    if not batch_statistics.layers(run.model):
        return False
    put_back = checkpoint.random_kept(run.generator)
    batch_statistics.estimate(run.model, run.uncompiled, _sample(run, most))
    put_back()
    return True


def _sample(run: Run, most: int | None) -> Iterator[Tensor]:
    """Shuffled mini-batches of the training split as the model sees them in evaluation.

    None is smaller than the others by more than a sample: each counts the same.
    """
    feed, size = run.train, run.lengths.batch_size
    rows = order(feed.rows, epoch=0, seed=0)[: None if most is None else most * size]
    for part in rows.tensor_split(max(1, len(rows) // size)):
        x = gather(feed.x, feed.y, part.to(feed.x.device))[0].to(run.device)
        yield ready(run, x if feed.prepared else run.evaluation(x))


@torch.no_grad()
def evaluate(run: Run, forward: Callable[[Tensor], Tensor], data: Batches) -> dict[str, float]:
    """The loss and all metrics over all samples; what they need stays on the device until then."""
    was_training = run.model.training
    run.model.eval()
    losses, sums, count = [], [], 0
    tally = Tally(run.metrics) if run.metrics else None
    for x, y in data:
        logits = forward(x)
        losses.append(run.loss(logits, y) * len(y))
        sums.append(run.metric_sum(logits, y))
        if tally is not None:
            tally.add(*run.answers(logits, y))
        count += len(y)
    run.model.train(was_training)
    if not count:
        return dict.fromkeys(run.measured, math.nan)
    values = {run.metric.name: _total(sums) / count, "loss": _total(losses) / count}
    return values if tally is None else values | tally.values(count)


class Tally:
    """What metrics have seen of a split so far."""

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self._metrics = metrics
        self._sums: dict[str, Tensor] = {}
        self._keeps = any(metric.of_sums is None for metric in metrics.values())
        self._kept: list[tuple[Tensor, Tensor]] = []

    def add(self, predicted: Tensor, y: Tensor) -> None:
        """Take in a batch of answers."""
        for name, metric in self._metrics.items():
            if metric.of_sums is not None:
                part = metric(predicted, y)
                before = self._sums.get(name)
                self._sums[name] = part if before is None else metric.merge(before, part)
        if self._keeps:
            self._kept.append((predicted, y))

    def values(self, samples: int) -> dict[str, float]:
        """The value of each metric over all samples, read out at once. Raises as `number` does."""
        answers = [torch.cat(parts) for parts in zip(*self._kept, strict=True)]
        found = {
            name: metric(*answers)
            if metric.of_sums is None
            else metric.of_sums(self._sums[name], samples)
            for name, metric in self._metrics.items()
        }
        numbers = torch.stack([number(name, each) for name, each in found.items()])
        return dict(zip(found, numbers.tolist(), strict=True))


def number(name: str, value: Any) -> Tensor:
    """() float64: what a metric gives of a split. Raises Failure where that is no single number."""
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex():
        return value.double().reshape(())
    if isinstance(value, Real):
        with suppress(OverflowError):  # an integer beyond all floats
            return torch.tensor(float(value), dtype=torch.float64)
    given = value.numel() if isinstance(value, Tensor) else kind_of(value)
    raise Failure(f"metric.{name}: must give one number for a split, not {given}")


def _predict(run: Run, views: Views, chain: nn.Module, x: Tensor) -> Tensor:
    """What the model says of a raw batch, averaged over its views as the loss averages."""
    seen = [run.forward(ready(run, chain(view))) for view in views(x)]
    return run.loss.averaged(torch.stack(seen))


def ready(run: Run, x: Tensor) -> Tensor:
    """A preprocessed batch in the layout of memory that the run asks for."""
    return x.contiguous(memory_format=run.layout) if x.dim() == 4 else x


def _total(parts: list[Tensor]) -> float:
    """The exact sum of scalars on the device, read out at once."""
    return math.fsum(torch.stack(parts).tolist())
