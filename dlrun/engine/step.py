"""One step of training: mini-batches in, what they gave out.

The loop knows `Step` alone. A step of several models at once, or of several processes,
is another class with these methods.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, count
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from dlrun.engine.batches import Batch, batches, grouped
from dlrun.engine.evaluate import best_weights, measure
from dlrun.engine.run import Run, Weights
from dlrun.engine.watch import Watch
from dlrun.optimizer import takes_closure


class BatchResult(NamedTuple):
    """What a mini-batch gave, on the device: scalars, or (runs,) where several train at once.

    loss: as val/loss is computed. objective: what was trained, without penalties; None where
    that is the loss. penalties: of each rule that has one.
    """

    samples: int
    loss: Tensor
    metric_sum: Tensor
    objective: Tensor | None
    penalties: list[Tensor]


class StepResult(NamedTuple):
    """What a step gave. norm: of the gradient, where it was asked for or clipped.

    applied: whether the weights have moved; not so where scaled gradients overflowed.
    """

    batches: list[BatchResult]
    norm: Tensor | None
    applied: bool


class Step(Protocol):
    """How mini-batches change the weights of a run, or of several at once."""

    @property
    def draws(self) -> bool:
        """Whether what the networks draw depends on how many they are."""

    def rows(self, epoch: int) -> Tensor:
        """The rows of the training split in the order of an epoch, (n,) or (runs, n)."""

    def reach(self, step: int) -> None:
        """Train from this step on what it sets free, and no longer what it freezes."""

    def batches(self, rows: Tensor, start: int) -> Iterator[list[Batch]]:
        """The mini-batches of each step from sample `start` of an epoch on."""

    def __call__(
        self, group: list[Batch], factors: Sequence[float], norm: bool, watched: bool = False
    ) -> StepResult:
        """Take a step; factors: of each run's learning rates; norm: whether it is asked for.

        watched: whether `look` comes next.
        """

    def measure(self, split: str = "val") -> Sequence[dict[str, float] | Exception]:
        """Of each run the loss and the metrics on its split val or train_eval.

        An error in place of these, such as of a metric of the user's own, ends that run alone.
        """

    def look(self) -> list[dict[str, float]]:
        """Of each run what is watched, after a step that knew of it."""

    def weights(self, number: int) -> Weights:
        """A copy of the weights of one run as they are evaluated."""

    def forget(self, number: int) -> None:
        """Let the optimizer of one run begin anew."""

    def settle(self) -> None:
        """Put all that a checkpoint holds of the runs where it looks for that."""

    def keep(self, numbers: Sequence[int]) -> None:
        """Go on with these runs alone, which are counted from 0 again."""


class SingleStep:
    """The step of one run on one device."""

    draws = False  # alone it is one all the time

    def __init__(self, run: Run) -> None:
        self.run = run
        self._watch = Watch(run)
        self._closure = takes_closure(run.optimizer)
        self._group: list[Batch] = []
        self._results: list[BatchResult] = []
        self._norm: Tensor | None = None
        self._asks_norm = False
        self._gather()

    def rows(self, epoch: int) -> Tensor:
        """The rows of an epoch; what has joined the model since the last one is trained too."""
        rows = self.run.order(epoch)
        self._gather()
        return rows

    def reach(self, step: int) -> None:
        """Freeze or set free what the recipe says."""
        frozen = self.run.frozen
        if frozen is not None and frozen.at(step):
            self._gather()

    def batches(self, rows: Tensor, start: int) -> Iterator[list[Batch]]:
        """The mini-batches of each step, as the model sees them."""
        return grouped(training_batches(self.run, rows[start:]), self.run.lengths.accumulate)

    def __call__(
        self, group: list[Batch], factors: Sequence[float], norm: bool, watched: bool = False
    ) -> StepResult:
        """Forward, backward, update, and what acts after it."""
        run, optimizer = self.run, self.run.optimizer
        if watched:
            self._watch.before()
        for options, rate in zip(optimizer.param_groups, run.rates, strict=True):
            options["lr"] = rate * factors[0]
        self._group, self._results, self._norm, self._asks_norm = group, [], None, norm
        applied = True
        if self._closure:
            optimizer.step(cast(Callable[[], float], self.gradient))
        else:
            self.gradient()
            if run.scaler is None:
                optimizer.step()
            else:
                applied = scaled_step(run.scaler, optimizer)
        if applied and run.constraints:
            with run.landed():
                for rule in run.constraints:
                    rule.constrain(run.model, optimizer.param_groups)
        # The first evaluation belongs to the weights before the step.
        return StepResult(self._results[: len(group)], self._norm, applied)

    def measure(self, split: str = "val") -> list[dict[str, float]]:
        """The loss and the metrics on a split."""
        feed = self.run.val if split == "val" else self.run.train_eval
        assert feed is not None
        return [measure(self.run, feed)]

    def look(self) -> list[dict[str, float]]:
        """What is watched of the layers and of the curvature of the loss."""
        return [self._watch.look()]

    def weights(self, number: int) -> Weights:
        """A copy of the weights as they are evaluated."""
        return best_weights(self.run)

    def forget(self, number: int) -> None:
        """Let the optimizer begin anew."""
        self.run.optimizer.state.clear()

    def settle(self) -> None:
        """Everything is in its place."""

    def keep(self, numbers: Sequence[int]) -> None:
        """There is only one run."""

    def _gather(self) -> None:
        self._weights = self.run.weights
        known = len(self.run.rates)
        self.run.rates += [float(g["lr"]) for g in self.run.optimizer.param_groups[known:]]

    def gradient(self, backward: bool = True) -> Tensor:
        """The gradient of the step; some optimizers ask for it more than once.

        backward: else only the objective's value, without gradients.
        """
        run, group, weights = self.run, self._group, self._weights
        if not backward:
            return _objective(run, group, weights)
        first = not self._results
        for weight in weights:  # as optimizer.zero_grad does, without its profiling
            weight.grad = None
        samples = sum(len(y) for _, y in group) if len(group) > 1 else 0
        penalties = [rule.penalty(weights) for rule in run.penalties]
        parts = []
        for x, y in group:
            share = self.forward(x, y, penalties)
            if samples:
                share = share * (len(y) / samples)
            (share if run.scaler is None else run.scaler.scale(share)).backward()
            parts.append(share.detach())
        self._condition(first)
        return torch.stack(parts + penalties).sum() if self._closure else parts[0]

    def forward(self, x: Tensor, y: Tensor, penalties: list[Tensor]) -> Tensor:
        """What a mini-batch is to make small; remembers what it gave."""
        run = self.run
        logits = run.forward(x)
        loss = run.objective(logits, y)
        trained = loss.detach()
        differs = run.objective is not run.loss
        plain = run.loss(logits.detach(), y).detach() if differs else trained
        self._results.append(
            BatchResult(
                len(y), plain, run.metric_sum(logits, y), trained if differs else None, penalties
            )
        )
        return loss

    def _condition(self, first: bool) -> None:
        """What acts on the gradient before the update."""
        run, weights = self.run, self._weights
        if run.scaler is not None:
            run.scaler.unscale_(run.optimizer)
        for rule in run.change_gradient:
            rule.add_gradient(weights)
        if run.clip_norm is not None:
            norm = nn.utils.clip_grad_norm_(weights, run.clip_norm)
            self._norm = norm if first else self._norm
        elif self._asks_norm and first:
            self._norm = nn.utils.get_total_norm([w.grad for w in weights if w.grad is not None])
        if run.clip_value is not None:
            nn.utils.clip_grad_value_(weights, run.clip_value)


def endless(step: Step) -> Iterator[list[Batch]]:
    """The mini-batches of each step, epoch after epoch."""
    return chain.from_iterable(step.batches(step.rows(epoch), 0) for epoch in count())


def scaled_step(scaler: torch.amp.GradScaler, optimizer: torch.optim.Optimizer) -> bool:
    """A step with scaled gradients; False where it was left out, because they overflowed."""
    scale = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    return scaler.get_scale() >= scale


def training_batches(run: Run, rows: Tensor) -> Iterator[Batch]:
    """The mini-batches of these rows, as the model sees them in training."""
    split, generator = run.train, run.generator
    size, ahead = run.lengths.batch_size, split.prefetch
    for x, y in batches(split.x, split.y, rows, size, run.device, prefetch=ahead):
        if run.augmentation is not None:
            x, y = run.augmentation(x, y, generator)
        if not split.prepared:
            x = run.preprocessing(x)
        if run.reconstructs:
            y = x
        for change in run.change_batch:
            x, y = change.change_batch(x, y, generator)
        if run.layout is not torch.contiguous_format and x.dim() == 4:
            x = x.contiguous(memory_format=run.layout)
        yield x, y


def _objective(run: Run, group: list[Batch], weights: list[nn.Parameter]) -> Tensor:
    """The loss of a step's mini-batches and all penalties, without gradients."""
    samples = sum(len(y) for _, y in group)
    with torch.no_grad():
        parts = [run.objective(run.forward(x), y) * (len(y) / samples) for x, y in group]
        return torch.stack(parts + [rule.penalty(weights) for rule in run.penalties]).sum()
