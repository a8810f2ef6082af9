"""Whether batch norm's running averages, by which a network is evaluated, fit it."""

from collections.abc import Iterator

from dlrun.finding import WARN, Finding
from dlrun.report.brakes import Reason
from dlrun.report.known import GAP, HARMLESS, SURE, Trained, longer, slower

ENOUGH = 32
"""The size of a mini-batch from which batch norm is as good as ever (Wu, He 2018)."""
CAUGHT_UP, QUICK = 3.0, 0.05
"""Running averages are within 5 % after 3/momentum updates; a momentum that is usual for them."""


def train_mode_differs(trained: Trained) -> Iterator[Finding]:
    """Batch norm's running averages, by which the network is evaluated, do not fit."""
    seen = trained.seen
    if "train_mode" not in seen:
        return
    batch, running = seen["train_mode"], seen["train_mode_before"]
    if (found := _misfit(trained, batch, running)) is not None:
        name, said, changes = found
        numbers = {"train_mode": batch, "evaluation": running}
        yield Finding(name, WARN, said, numbers, changes=changes)


def _misfit(trained: Trained, batch: float, running: float) -> Reason | None:
    """Why the losses of training samples differ, by mini-batches and by running averages."""
    seen, steps = trained.seen, trained.points[-1]["step"]
    updates = steps * seen["train_mode_momentum"]
    chance = SURE * seen["train_eval/error"]
    much = max(GAP * seen["undecided"], chance)
    same = f"On the same training samples the loss is {batch:.3g} where batch norm normalizes by "
    if updates < CAUGHT_UP and seen["train_mode_momentum"] >= QUICK:
        if not running - batch > chance:  # The training was too short for any average.
            return None
        said = (
            f"The training had {steps} updates, too few even for batch norm's running averages: by "
            f"these the loss on the same training samples is {running:.3g}, by mini-batches "
            f"{batch:.3g}; train longer, or with smaller mini-batches."
        )
        return "still_improving", said, {"epochs": longer(trained)}
    if batch - running > much and trained.left > GAP:
        # More noise than the network can learn through (Wu, He 2018); of larger ones it is none.
        size = trained.recipe.get("batch_size")
        if not isinstance(size, int) or size >= ENOUGH:
            return None
        said = (
            f"{same}mini-batches of {size}, as in training, and {running:.3g} by its running "
            "averages: of so few samples mean and variance are mostly noise."
        )
        return "train_mode_differs", said, {"batch_size": ENOUGH}
    # Of averages that are still near those they began with any difference is a consequence.
    if not running - batch > (chance if updates < 1 else much):
        return None
    same += f"mini-batches, and {running:.3g} by its running averages"
    if "dropout" in trained.rules:  # which changes the variances (Li et al. 2019)
        said = (
            f"{same}: dropout changes the variances that these average, and evaluation is without "
            "it; use less dropout."
        )
        return "too_much_regularization", said, trained.without("dropout")
    if _averages_the_same(trained) and updates >= CAUGHT_UP:
        said = (
            f"{same}, which follow the last {1 / seen['train_mode_momentum']:.0f} of these: so far "
            "do a few steps change what it computes, a sign of steps that are too large."
        )
        return "rate_too_high", said, slower(trained.recipe)
    own = "batch_norm" in trained.rules
    change = {"regularization.batch_norm.momentum": 0.1} if own else {"epochs": longer(trained)}
    said = f"{same}, as in evaluation: these averages lag behind, or mini-batches are too small."
    return "train_mode_differs", said, change


def _averages_the_same(trained: Trained) -> bool:
    """Whether running averages are of samples as evaluation has them, in mini-batches of enough.

    Of a usual momentum they then miss what these are by how much the weights have just changed.
    """
    recipe, size = trained.recipe, trained.recipe.get("batch_size")
    mixed = recipe.get("sampling", "shuffle") in ("shuffle", "stratified", "replacement")
    same = not recipe.get("augmentation") and all(rule in HARMLESS for rule in trained.rules)
    enough = size == "full" or (isinstance(size, int) and size >= ENOUGH)
    return enough and mixed and same and trained.seen["train_mode_momentum"] >= QUICK
