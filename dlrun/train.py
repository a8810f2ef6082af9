"""The loop: reads downward, hides nothing, costs what a hand-written one costs.

In a step nothing is read out of the device: losses and hits stay there as scalars until
a point is recorded. What the screen shows is read a few times a second and changes nothing.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator
from operator import mul
from time import perf_counter
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from dlrun import checkpoint
from dlrun.data.batches import batches, order
from dlrun.errors import Failure, Interrupted
from dlrun.evaluate import evaluate, quality, quality_name
from dlrun.feed import ready
from dlrun.interrupt import deferred
from dlrun.record import Record
from dlrun.run import Run
from dlrun.state import Position, State, capture, copy_weights

Batch = tuple[Tensor, Tensor]
_LOOK = 0.2  # seconds between looks at what the clock decides: the screen, a checkpoint


class Show(Protocol):
    """What the loop tells whoever watches."""

    def step(self, step: int, epoch: float, loss: float, rate: float) -> None:
        """A few times a second; `rate` is in samples a second."""

    def point(self, step: int, epoch: float, values: dict[str, float]) -> None:
        """After every point that is recorded."""


def train(run: Run, state: State, record: Record, show: Show) -> Position:
    """Train until the length is reached or a stopping rule holds; where that was.

    Goes on from `state`; ends with the best weights in the model. Raises Failure when the
    loss is no longer finite, Interrupted after a signal: the state is saved, and another
    call goes on from there.
    """
    lengths, optimizer = run.lengths, run.optimizer
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    weights = run.weights
    searches = takes_closure(optimizer)
    observe = getattr(run.schedule, "observe", None)

    at, window = state.at, state.window
    begun = at.step
    run.model.train()

    # The gradient of one step: a closure, because some optimizers ask for it more than once.
    group: list[Batch] = []
    results: list[tuple[Tensor, Tensor]] = []  # loss and hits of every mini-batch
    norm: Tensor | None = None
    logs = False

    def gradient() -> Tensor:
        nonlocal norm
        for weight in weights:  # as optimizer.zero_grad does, without its profiling
            weight.grad = None
        samples = sum(len(y) for _, y in group) if len(group) > 1 else 0
        parts = []
        for x, y in group:
            logits = run.forward(x)
            loss = run.loss(logits, y)
            results.append((loss.detach(), quality(logits, y)))
            share = loss * (len(y) / samples) if samples else loss
            (share if run.scaler is None else run.scaler.scale(share)).backward()
            parts.append(share.detach())
        if run.scaler is not None:
            run.scaler.unscale_(optimizer)
        for penalty in run.penalties:
            penalty.add_gradient(weights)
        if run.clip_norm is not None:
            norm = nn.utils.clip_grad_norm_(weights, run.clip_norm)
        elif logs:
            norm = nn.utils.get_total_norm([w.grad for w in weights if w.grad is not None])
        if run.clip_value is not None:
            nn.utils.clip_grad_value_(weights, run.clip_value)
        if not searches:
            return parts[0]
        return torch.stack(parts + [penalty.penalty(weights) for penalty in run.penalties]).sum()

    with deferred() as signal:
        timed = lengths.checkpoint_every.unit == "seconds"
        interval = lengths.checkpoint_every.amount
        mark = saved = perf_counter()
        look, save_at = mark + _LOOK, math.inf if timed else at.step + interval

        while at.step < lengths.total_steps and not at.stopped:
            rows = epoch_rows(run, at.epoch)
            for group in grouped(_training_batches(run, rows, at.seen), lengths.accumulate):
                # The learning rate of this step.
                multiplier = run.schedule(at.step, lengths.total_steps, lengths.steps_per_epoch)
                for options, rate in zip(optimizer.param_groups, rates, strict=True):
                    options["lr"] = rate * multiplier

                # Forward, backward, update.
                step = at.step + 1
                ends = step == lengths.total_steps
                logs = ends or step % lengths.log_every == 0
                if searches:
                    optimizer.step(cast(Callable[[], float], gradient))
                elif run.scaler is None:
                    gradient()
                    optimizer.step()
                else:
                    gradient()
                    run.scaler.step(optimizer)
                    run.scaler.update()
                for constraint in run.constraints:
                    constraint.constrain(run.model)

                # Remember, on the device.
                for (loss, hits), (_, y) in zip(results, group, strict=False):
                    window.losses.append(loss)
                    window.hits.append(hits)
                    window.sizes.append(len(y))
                    at.seen += len(y)
                results.clear()
                at.step = step
                if at.seen >= len(rows):
                    at.epoch, at.seen = at.epoch + 1, 0

                # Record a point.
                validates = ends or step % lengths.validate_every == 0
                if logs or validates:
                    window.seconds += perf_counter() - mark
                    values = _validate(run) if validates and len(run.val) else {}
                    if logs:
                        values |= _train_values(run, state, norm)
                    at.elapsed += perf_counter() - mark
                    mark = perf_counter()
                    values["time/elapsed"] = at.elapsed
                    epoch = step / lengths.steps_per_epoch
                    record.append(step, epoch, values)
                    show.point(step, epoch, values)

                    # Choose the best, react, stop.
                    if run.monitor in values:
                        score = _score(run.monitor, values[run.monitor])
                        if score > at.best_score:
                            at.best_score, at.best_step = score, step
                            state.best = copy_weights(run.model)
                        if observe is not None:
                            observe(score)
                        for rule in run.stopping:
                            at.stopped |= rule.should_stop(score, step)

                # Now and then: the screen, a checkpoint, a signal.
                now = perf_counter()
                if now >= look or step >= save_at or signal.signum:
                    look = now + _LOOK
                    at.elapsed += now - mark
                    window.seconds += now - mark
                    if window.losses:
                        _look(run, state, show)
                    if (timed and now - saved >= interval) or step >= save_at or signal.signum:
                        _save(run, state, record)
                        saved, save_at = perf_counter(), math.inf if timed else step + interval
                    if signal.signum:
                        raise Interrupted(signal.signum)
                    mark = perf_counter()
                if at.stopped or ends:
                    break
        if at.step > begun:
            _save(run, state, record)

    keeps_last = any(not getattr(rule, "restore_best", True) for rule in run.stopping)
    if state.best is not None and not keeps_last:
        run.model.load_state_dict(state.best)
    return at


def takes_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the optimizer evaluates the loss itself, as L-BFGS and line searches do."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


def epoch_rows(run: Run, epoch: int) -> Tensor:
    """The rows of the training split in the order of one epoch, a pure function of the seed."""
    rows = order(run.train.rows, epoch, run.seed)
    if run.lengths.drop_last:
        rows = rows[: len(rows) // run.lengths.batch_size * run.lengths.batch_size]
    return rows


def grouped(samples: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Mini-batches in lists of `size`, the last list maybe shorter."""
    group: list[Batch] = []
    for batch in samples:
        group.append(batch)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _training_batches(run: Run, rows: Tensor, start: int) -> Iterator[Batch]:
    """The mini-batches of an epoch from sample `start` on, as the model sees them."""
    feed, generator = run.train, run.generator
    left = rows[start:]
    size, ahead = run.lengths.batch_size, feed.prefetch
    for x, y in batches(feed.x, feed.y, left, size, run.device, prefetch=ahead):
        for augment in run.augmentation:
            x, y = augment(x, y, generator)
        if not feed.prepared:
            x = run.preprocessing(x)
        for change in run.change_batch:
            x, y = change.change_batch(x, y, generator)
        if run.layout is not torch.contiguous_format and x.dim() == 4:
            x = x.contiguous(memory_format=run.layout)
        yield x, y


def _save(run: Run, state: State, record: Record) -> None:
    folder = record.directory / "checkpoints"
    checkpoint.save(capture(run, state, record.position()), folder)
    if state.best is not None:
        checkpoint.save_best(state.best, folder)


def _validate(run: Run) -> dict[str, float]:
    """The headline first: MLflow's comparisons begin with what was recorded first."""
    samples = ready(
        run.val, run.preprocessing, run.lengths.evaluation_batch, run.device, run.layout
    )
    loss, hits = evaluate(run.model, run.forward, run.loss, samples)
    named = {f"val/{quality_name(run.regression)}": hits, "val/loss": loss}
    return dict(sorted(named.items(), key=lambda item: item[0] != run.monitor))


def _train_values(run: Run, state: State, norm: Tensor | None) -> dict[str, float]:
    """The means of the window over its samples; a new window begins."""
    window = state.window
    stacked = torch.stack(window.losses)
    losses, hits = torch.stack([stacked, torch.stack(window.hits).to(stacked.dtype)]).tolist()
    _check_finite(run, state, losses)
    samples = sum(window.sizes)
    values = {
        "train/loss": sum(map(mul, losses, window.sizes)) / samples,
        f"train/{quality_name(run.regression)}": sum(hits) / samples,
    }
    for penalty in run.penalties:
        name = f"train/{type(penalty).__name__.lower()}"
        values[name] = float(penalty.penalty(run.weights))
    values["lr"] = float(run.optimizer.param_groups[0]["lr"])
    if norm is not None:
        values["grad/norm"] = float(norm)
    values["time/samples_per_second"] = samples / max(window.seconds, 1e-9)
    values["time/epoch"] = window.seconds * run.lengths.steps_per_epoch / len(window.sizes)
    window.clear()
    return values


def _look(run: Run, state: State, show: Show) -> None:
    """Show how it goes, and notice a loss that is no longer finite."""
    at, window = state.at, state.window
    loss = float(window.losses[-1])
    if not math.isfinite(loss):
        _check_finite(run, state, torch.stack(window.losses).tolist())
    rate = sum(window.sizes) / max(window.seconds, 1e-9)
    show.step(at.step, at.step / run.lengths.steps_per_epoch, loss, rate)


def _check_finite(run: Run, state: State, losses: list[float]) -> None:
    wrong = [place for place, loss in enumerate(losses) if not math.isfinite(loss)]
    if wrong:
        step = state.at.step - (len(losses) - 1 - wrong[0]) // run.lengths.accumulate
        rate = run.optimizer.param_groups[0]["lr"]
        raise Failure(
            f"the training loss became {losses[wrong[0]]} at step {step}; "
            f"try a smaller rate than optimizer.lr={rate:g}, or clip_norm=1"
        )


def _score(monitor: str, value: float) -> float:
    """Higher is better: an accuracy as it is, a loss or an error with its sign turned."""
    return value if monitor.endswith("accuracy") else -value
