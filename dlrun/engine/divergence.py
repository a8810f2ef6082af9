"""A loss that is no longer finite: noticed, and answered with an end or with a smaller rate."""

import copy
from math import isfinite
from typing import Any

from dlrun.engine.run import Run
from dlrun.engine.state import Counters, State, capture, restore
from dlrun.errors import Failure
from dlrun.record import Record

AT_MOST = 20  # returns with a smaller rate before giving up


class NotFinite(Failure):
    """The end of a run whose loss is no longer finite."""


class Diverged(Exception):
    """The loss of `step` is `loss`, which is not finite. number: of the run that diverged."""

    def __init__(self, step: int, loss: float, split: str = "training", number: int = 0) -> None:
        super().__init__(f"the {split} loss became {loss} at step {step}")
        self.step, self.number = step, number


def check_finite(run: Run, state: State, number: int = 0) -> None:
    """Raise Diverged for the first mini-batch since the last point that is not finite.

    In its loss, or in what was minimized, where that is something else.
    """
    window = state.window
    found = [window.of(window.losses, number)]
    if window.objectives or window.penalties:
        found.append(window.of(window.minimized(), number))
    for place, values in enumerate(zip(*found, strict=True)):
        for value in values:
            if not isfinite(value):
                step = _step_of(run, state.counters, len(window.losses) - 1 - place)
                raise Diverged(step, value, number=number)


def _step_of(run: Run, counters: Counters, after: int) -> int:
    """The step of a mini-batch that so many others have followed."""
    lengths = run.lengths
    batches = -(-len(run.order(counters.epoch)) // lengths.batch_size)  # in an epoch
    done = counters.step - counters.epoch * lengths.steps_per_epoch
    done = min(done * lengths.accumulate, batches)
    epoch, place = divmod(counters.epoch * batches + done - 1 - after, batches)
    return epoch * lengths.steps_per_epoch + place // lengths.accumulate + 1


def good(run: Run, state: State, number: int = 0) -> dict[str, Any]:
    """A copy of everything, to return to."""
    kept = capture(run, state, recorded=0, number=number) | {"good": None}
    return copy.deepcopy(kept)


def back_off(run: Run, state: State, record: Record, diverged: Diverged) -> None:
    """Return to the last good state with half the rate, a tenth within the first epoch.

    Recorded as `backoff/n`, the factor of all rates from the n-th time on. Raises Failure
    where the recipe does not ask for it, or where it did not help.
    """
    rate = run.optimizer.param_groups[0]["lr"]
    standing = state.runs[diverged.number]
    kept = standing.good
    if not run.backoff or kept is None:
        raise NotFinite(
            f"{diverged} with a rate of {rate:g}; try a smaller optimizer.lr, clip_norm=1, "
            "or on_divergence=backoff"
        )
    count = standing.backoffs + 1
    if count > AT_MOST:
        raise NotFinite(f"{diverged}, after {AT_MOST} returns to a smaller rate, now {rate:g}")
    first = diverged.step <= run.lengths.steps_per_epoch
    scale = standing.scale * (0.1 if first else 0.5)
    kept["position"] |= {"scale": scale, "backoffs": count}
    state.become(restore(run, copy.deepcopy(kept)))  # the optimizer changes what it is given
    state.runs[0].good = kept
    epoch = diverged.step / run.lengths.steps_per_epoch
    record.append(diverged.step, epoch, {f"backoff/{count}": scale})
