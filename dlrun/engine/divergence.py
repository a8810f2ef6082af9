"""A loss that diverges: noticed, and answered with an end or with a smaller rate."""

import copy
from collections.abc import Mapping
from math import isfinite
from statistics import mean
from typing import Any

import torch

from dlrun.engine.batches import order
from dlrun.engine.examine import constants, without_network
from dlrun.engine.look import untouched
from dlrun.engine.run import Run
from dlrun.engine.state import Counters, State, capture, restore
from dlrun.engine.step import training_batches
from dlrun.errors import Failure
from dlrun.finding import EXPLODED, exploded, jump
from dlrun.record import Record

AT_MOST = 20  # returns with a smaller rate before giving up
_TRIED = 256  # training samples, at most


class LossDiverged(Failure):
    """The end of a run whose loss diverges.

    untrained: whether it was not finite before the first update, so that no rate can mend it.
    """

    untrained = False


class Diverged(Exception):
    """What has become of the loss of `step`. number: of the run that diverged.

    untrained: whether it was so before the first update.
    """

    def __init__(self, step: int, said: str, number: int = 0, untrained: bool = False) -> None:
        super().__init__(f"the {said} at step {step}")
        self.step, self.number, self.untrained = step, number, untrained


def check_finite(run: Run, state: State, number: int) -> None:
    """Raise Diverged for the first mini-batch since the last point that is not finite.

    In its loss, or in what was minimized, where that is something else.
    """
    window = state.window
    found = [window.of("losses", number)]
    if window.objectives or window.penalties:
        found.append(window.of("minimized", number))
    for place, values in enumerate(zip(*found, strict=True)):
        for value in values:
            if not isfinite(value):
                step = _step_of(run, state.counters, len(window.losses) - 1 - place)
                if step == 1:
                    said = f"training loss is {value} with the weights it begins with,"
                    raise Diverged(step, said, number, untrained=True)
                raise Diverged(step, f"training loss became {value}", number)


def check_stable(run: Run, state: State, values: Mapping[str, float], number: int) -> None:
    """Raise Diverged where a finite loss explodes or oscillates, if the recipe asks for that.

    As the findings `rate_too_high` and `noisy` have it. A network whose first weights are worse
    than saying nothing may be as bad as it was at first. values: of the point, before the window
    is cleared.
    """
    standing, step = state.runs[number], state.counters.step
    if "explosion" in run.divergence and "train/loss" in values:
        if standing.least is None:
            first = state.window.of("losses", number)[0]
            standing.least = max(without_network(run, constants(run))["undecided"], first)
        latest = max(values["train/loss"], _loss_now(run))
        if not isfinite(latest) or exploded(latest, standing.least):
            said = f"training loss exploded to {latest:.4g}, which is above {EXPLODED:g} times"
            raise Diverged(step, f"{said} {standing.least:.4g},", number)
    if "oscillation" in run.divergence and "val/loss" in values:
        standing.losses.append(values["val/loss"])
        jumps = jump(standing.losses)
        if jumps is not None:
            said = f"validation loss oscillates by {jumps:.3g} from point to point"
            raise Diverged(step, said, number)


def _loss_now(run: Run) -> float:
    """The loss of some training samples with the weights as they are.

    That of a step is of the weights before it: what they have become might be no state to return
    to.
    """
    rows = order(run.order(0), epoch=0, seed=0)[: min(run.lengths.batch_size, _TRIED)]
    with untouched(run), torch.no_grad():
        run.model.train()
        return mean(float(run.loss(run.uncompiled(x), y)) for x, y in training_batches(run, rows))


def _step_of(run: Run, counters: Counters, after: int) -> int:
    """The step of a mini-batch that so many others have followed."""
    lengths = run.lengths
    batches = -(-len(run.order(counters.epoch)) // lengths.batch_size)  # in an epoch
    done = counters.step - counters.epoch * lengths.steps_per_epoch
    done = min(done * lengths.accumulate, batches)
    epoch, place = divmod(counters.epoch * batches + done - 1 - after, batches)
    return epoch * lengths.steps_per_epoch + place // lengths.accumulate + 1


def good(run: Run, state: State, recorded: int = 0, number: int = 0) -> dict[str, Any]:
    """A copy of everything, to return to. recorded, number: as `capture` takes them."""
    kept = capture(run, state, recorded, number) | {"good": None}
    return copy.deepcopy(kept)


def back_off(run: Run, state: State, record: Record, diverged: Diverged) -> None:
    """Return to the last good state with half the rate, a tenth within the first epoch.

    What validation was before no longer counts, and points since then are cut off: they will come
    again. Recorded as `backoff/n`, the factor of all rates from the n-th time on. The clock goes
    on. Raises Failure where the recipe does not ask for it, or where it did not help.
    """
    if diverged.untrained:
        failure = LossDiverged(
            f"{diverged}; no rate mends that: look at the inputs and the first weights"
        )
        failure.untrained = True
        raise failure
    standing = state.runs[diverged.number]
    rate = run.rates[0] * run.multiplier(diverged.step - 1) * standing.scale
    kept = standing.good
    if not run.backoff or kept is None:
        raise LossDiverged(
            f"{diverged} with a rate of {rate:g}; try a smaller optimizer.lr, clip_norm=1, "
            "or on_divergence=backoff"
        )
    count = standing.backoffs + 1
    if count > AT_MOST:
        raise LossDiverged(f"{diverged}, after {AT_MOST} returns to a smaller rate, now {rate:g}")
    first = diverged.step <= run.lengths.steps_per_epoch
    scale = standing.scale * (0.1 if first else 0.5)
    kept["position"] |= {"scale": scale, "backoffs": count, "losses": []}
    kept["position"]["elapsed"] = state.counters.elapsed
    state.become(restore(run, copy.deepcopy(kept)))  # the optimizer changes what it is given
    state.runs[0].good = kept
    epoch = diverged.step / run.lengths.steps_per_epoch
    record.truncate(kept["recorded"])
    record.append(diverged.step, epoch, {f"backoff/{count}": scale})
    kept["recorded"] = record.size  # the next return keeps that, too
