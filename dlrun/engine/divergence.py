"""A loss that is no longer finite: noticed, and answered with an end or with a smaller rate."""

import copy
from math import isfinite
from typing import Any

import torch

from dlrun.engine.run import Run
from dlrun.engine.state import State, capture, restore
from dlrun.errors import Failure
from dlrun.record import Record

AT_MOST = 20  # returns with a smaller rate before giving up


class Diverged(Exception):
    """The loss of `step` is `loss`, which is not finite."""

    def __init__(self, step: int, loss: float, split: str = "training") -> None:
        super().__init__(f"the {split} loss became {loss} at step {step}")
        self.step = step


def check_finite(run: Run, state: State) -> None:
    """Raise Diverged for the first mini-batch since the last point that is not finite.

    In its loss, or in what was minimized, where that is something else.
    """
    window = state.window
    found = [torch.stack(window.losses).tolist()]
    if window.objectives or window.penalties:
        found.append(window.minimized().tolist())
    for place, values in enumerate(zip(*found, strict=True)):
        for value in values:
            if not isfinite(value):
                raise Diverged(_step_of(run, state, len(window.losses) - 1 - place), value)


def _step_of(run: Run, state: State, after: int) -> int:
    """The step of a mini-batch that so many others have followed."""
    at, lengths = state.at, run.lengths
    batches = -(-len(run.order(at.epoch)) // lengths.batch_size)  # in an epoch
    done = min((at.step - at.epoch * lengths.steps_per_epoch) * lengths.accumulate, batches)
    epoch, place = divmod(at.epoch * batches + done - 1 - after, batches)
    return epoch * lengths.steps_per_epoch + place // lengths.accumulate + 1


def good(run: Run, state: State) -> dict[str, Any]:
    """A copy of everything, to return to."""
    return copy.deepcopy(capture(run, State(state.at, state.window, state.best), recorded=0))


def back_off(run: Run, state: State, record: Record, diverged: Diverged) -> State:
    """Return to the last good state with half the rate, a tenth within the first epoch.

    Recorded as `backoff/n`, the factor of all rates from the n-th time on. Raises Failure
    where the recipe does not ask for it, or where it did not help.
    """
    rate = run.optimizer.param_groups[0]["lr"]
    if not run.backoff or state.good is None:
        raise Failure(
            f"{diverged} with a rate of {rate:g}; try a smaller optimizer.lr, clip_norm=1, "
            "or on_divergence=backoff"
        )
    count = state.at.backoffs + 1
    if count > AT_MOST:
        raise Failure(f"{diverged}, after {AT_MOST} returns to a smaller rate, now {rate:g}")
    first = diverged.step <= run.lengths.steps_per_epoch
    scale = state.at.scale * (0.1 if first else 0.5)
    kept = state.good
    state = restore(run, kept)
    state.at.scale, state.at.backoffs, state.good = scale, count, kept
    kept["position"] |= {"scale": scale, "backoffs": count}
    epoch = diverged.step / run.lengths.steps_per_epoch
    record.append(diverged.step, epoch, {f"backoff/{count}": scale})
    return state
