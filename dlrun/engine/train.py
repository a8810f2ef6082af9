"""The loop: reads downward, hides nothing, costs what a hand-written one costs.

In a step nothing is read out of the device: losses and hits stay there as scalars until
a point is recorded. What the screen shows is read a few times a second and changes nothing.
"""

import inspect
import math
from collections.abc import Callable, Iterator
from operator import mul
from time import perf_counter
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from dlrun import metric
from dlrun.data.batches import Batch, batches, grouped
from dlrun.engine import checkpoint
from dlrun.engine.divergence import Diverged, back_off, check_finite, good
from dlrun.engine.evaluate import averages, measure, quality, quality_name
from dlrun.engine.interrupt import deferred
from dlrun.engine.run import Run
from dlrun.engine.state import Position, Result, State, best_weights, capture, settle
from dlrun.errors import Interrupted
from dlrun.record import Record

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
    run.rates = run.rates or [float(group["lr"]) for group in optimizer.param_groups]
    weights, units, differs = run.weights, run.units, run.objective is not run.loss
    searches = takes_closure(optimizer)
    observe, margin = getattr(run.schedule, "observe", None), _margin(run)

    at, window = state.at, state.window
    begun = at.step
    run.model.train()

    # The gradient of one step: a closure, because some optimizers ask for it more than once.
    group: list[Batch] = []
    results: list[Result] = []  # of every mini-batch
    norm: Tensor | None = None
    logs = False

    def gradient(backward: bool = True) -> Tensor:
        nonlocal norm
        if not backward:
            return _objective(run, group, weights)
        first = not results  # of this step; the point belongs to the weights before it
        for weight in weights:  # as optimizer.zero_grad does, without its profiling
            weight.grad = None
        samples = sum(len(y) for _, y in group) if len(group) > 1 else 0
        parts, penalties = [], [rule.penalty(weights) for rule in run.penalties]
        for x, y in group:
            logits = run.forward(x)
            loss = run.objective(logits, y)
            trained, hits = loss.detach(), quality(logits, y, units, run.loss)
            plain = run.loss(logits.detach(), y).detach() if differs else trained
            results.append((plain, hits, trained if differs else None, penalties))
            share = loss * (len(y) / samples) if samples else loss
            (share if run.scaler is None else run.scaler.scale(share)).backward()
            parts.append(share.detach())
        if run.scaler is not None:
            run.scaler.unscale_(optimizer)
        for rule in run.change_gradient:
            rule.add_gradient(weights)
        if run.clip_norm is not None:
            found = nn.utils.clip_grad_norm_(weights, run.clip_norm)
            norm = found if first else norm
        elif logs and first:
            norm = nn.utils.get_total_norm([w.grad for w in weights if w.grad is not None])
        if run.clip_value is not None:
            nn.utils.clip_grad_value_(weights, run.clip_value)
        if not searches:
            return parts[0]
        return torch.stack(parts + penalties).sum()

    with deferred() as signal:
        timed = lengths.checkpoint_every.unit == "seconds"
        interval = lengths.checkpoint_every.amount
        mark = saved = perf_counter()
        look, save_at = mark + _LOOK, math.inf if timed else at.step + interval

        if run.backoff and state.good is None:
            state.good = good(run, state)
        while at.step < lengths.total_steps and not at.stopped:
            rows = run.order(at.epoch)
            try:
                for group in grouped(_training_batches(run, rows, at.seen), lengths.accumulate):
                    # The learning rate of this step.
                    multiplier = run.schedule(at.step, lengths.total_steps, lengths.steps_per_epoch)
                    for options, rate in zip(optimizer.param_groups, run.rates, strict=True):
                        options["lr"] = rate * multiplier * at.scale

                    # Forward, backward, update.
                    step = at.step + 1
                    ends = step == lengths.total_steps
                    logs = ends or step % lengths.log_every == 0
                    stepped = True
                    if searches:
                        optimizer.step(cast(Callable[[], float], gradient))
                    elif run.scaler is None:
                        gradient()
                        optimizer.step()
                    else:
                        gradient()
                        stepped = _scaled_step(run.scaler, optimizer)
                    for rule in run.constraints if stepped else ():
                        rule.groups = optimizer.param_groups
                        rule.constrain(run.model)

                    # Remember, on the device.
                    for result, (_, y) in zip(results, group, strict=False):
                        window.add(len(y), *result)
                        at.seen += len(y)
                    results.clear()
                    at.step = step
                    if at.seen >= len(rows):
                        at.epoch, at.seen = at.epoch + 1, 0

                    # Record a point.
                    validates = ends or step % lengths.validate_every == 0
                    if logs or validates:
                        window.seconds += perf_counter() - mark
                        check_finite(run, state)
                        values = _validate(run, step) if validates and len(run.val) else {}
                        if logs:
                            values |= _train_values(run, state, norm, len(rows))
                        at.elapsed += perf_counter() - mark
                        mark = perf_counter()
                        values["time/elapsed"] = at.elapsed
                        epoch = step / lengths.steps_per_epoch
                        record.append(step, epoch, values)
                        show.point(step, epoch, values)

                        # Choose the best, react, stop.
                        if run.monitor in values:
                            score = metric.score(run.monitor, values[run.monitor])
                            second = values.get("val/loss", math.inf)
                            if at.beaten(score, second, margin):
                                at.best_score, at.best_loss, at.best_step = score, second, step
                                at.best_averaged = bool(averages(run))
                                state.best = best_weights(run)
                            if observe is not None:
                                observe(score)
                        for rule in run.stopping:
                            watched = getattr(rule, "metric", run.monitor)
                            if watched in values:
                                score = metric.score(watched, values[watched])
                                at.stopped |= rule.should_stop(score, step)
                        if run.backoff:
                            state.good = good(run, state)

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
                            raise Interrupted(signal.signum, "the state is saved")
                        mark = perf_counter()
                    if at.stopped or ends:
                        break
            except Diverged as diverged:
                state = back_off(run, state, record, diverged)
                at, window = state.at, state.window
        if at.step > begun:
            _save(run, state, record)

    _settle(run, state, record)
    return at


def takes_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the optimizer evaluates the loss itself, as L-BFGS and line searches do."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


def _scaled_step(scaler: torch.amp.GradScaler, optimizer: torch.optim.Optimizer) -> bool:
    """A step with scaled gradients; False where it was left out, because they overflowed."""
    scale = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    return scaler.get_scale() >= scale


def _training_batches(run: Run, rows: Tensor, start: int) -> Iterator[Batch]:
    """The mini-batches of an epoch from sample `start` on, as the model sees them."""
    feed, generator = run.train, run.generator
    left = rows[start:]
    size, ahead = run.lengths.batch_size, feed.prefetch
    for x, y in batches(feed.x, feed.y, left, size, run.device, prefetch=ahead):
        if run.augmentation is not None:
            x, y = run.augmentation(x, y, generator)
        if not feed.prepared:
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


def _save(run: Run, state: State, record: Record) -> None:
    folder = record.directory / "checkpoints"
    checkpoint.save(capture(run, state, record.position()), folder)
    if state.best is not None:
        checkpoint.save_best(state.best, folder)


def _settle(run: Run, state: State, record: Record) -> None:
    """Put the weights that count into the model.

    Where their statistics of batch norm are better known now, best.pt and the best score are
    those of the weights with them.
    """
    before = state.best
    settle(run, state)
    if state.best is None or state.best is before:
        return
    checkpoint.save_best(state.best, record.directory / "checkpoints")
    if run.monitor.startswith("val/"):
        state.at.best_score = metric.score(run.monitor, _measured(run)[run.monitor])


def _validate(run: Run, step: int) -> dict[str, float]:
    """What validation finds. Raises Diverged where the loss is no longer finite."""
    values = _measured(run)
    if not math.isfinite(values["val/loss"]):
        raise Diverged(step, values["val/loss"], "validation")
    return values


def _measured(run: Run) -> dict[str, float]:
    """The headline first: MLflow's comparisons begin with what was recorded first."""
    loss, hits = measure(run, run.val)
    named = {f"val/{quality_name(run.regression)}": hits, "val/loss": loss}
    return dict(sorted(named.items(), key=lambda item: item[0] != run.monitor))


def _train_values(run: Run, state: State, norm: Tensor | None, epoch: int) -> dict[str, float]:
    """The means of the window over its samples; a new window begins. epoch: its samples.

    train/loss is what val/loss is, of the training batches; train/objective, with what weighs
    classes, smooths labels and punishes weights, is recorded where it is something else.
    """
    window = state.window
    samples = sum(window.sizes)

    def mean(values: Tensor) -> float:
        return float(sum(map(mul, values.tolist(), window.sizes)) / samples)

    values = {
        "train/loss": mean(torch.stack(window.losses)),
        f"train/{quality_name(run.regression)}": sum(torch.stack(window.hits).tolist()) / samples,
    }
    if window.objectives or window.penalties:
        values["train/objective"] = mean(window.minimized())
    for i, rule in enumerate(run.penalties):
        name = f"train/{type(rule).__name__.lower()}"
        values[name] = mean(torch.stack([penalties[i] for penalties in window.penalties]))
    values["lr"] = float(run.optimizer.param_groups[0]["lr"])
    if norm is not None:
        values["grad/norm"] = float(norm)
    values["time/samples_per_second"] = samples / max(window.seconds, 1e-9)
    values["time/epoch"] = window.seconds * epoch / samples
    window.clear()
    return values


def _look(run: Run, state: State, show: Show) -> None:
    """Show how it goes, and notice a loss that is no longer finite."""
    at, window = state.at, state.window
    loss = float(window.losses[-1])
    objective = float(window.objectives[-1]) if window.objectives else loss
    if not math.isfinite(loss + objective):
        check_finite(run, state)
    rate = sum(window.sizes) / max(window.seconds, 1e-9)
    show.step(at.step, at.step / run.lengths.steps_per_epoch, loss, rate)


def _margin(run: Run) -> float:
    """By how much a score must be above the best to be the next one.

    As the rules ask that return the best by the monitor: what they call an improvement is one.
    """
    asked = [
        float(getattr(rule, "min_improvement", 0.0))
        for rule in run.stopping
        if getattr(rule, "restore_best", True)
        and getattr(rule, "metric", run.monitor) == run.monitor
    ]
    return max(asked, default=0.0)
