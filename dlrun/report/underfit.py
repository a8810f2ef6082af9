"""Why a network leaves much of the loss on what it was trained on."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from dlrun import duration
from dlrun.finding import WARN, Finding, exploded
from dlrun.report.brakes import Reason, brake, rises_to_the_end, searched, unmoved
from dlrun.report.known import (
    CLOSE,
    DEAD,
    FITTED,
    GAP,
    HARMLESS,
    LIKELY,
    NOISE,
    SURE,
    Trained,
    longer,
    restrained,
    scaled,
    slower,
)

UNEXPLAINED = 0.75
"""The share of the undecided loss from which next to nothing has been learnt."""
WORSE = 0.02
"""By how much more often the network must be wrong than its neighbours or a linear model, or more
of the targets' variance it must leave."""
DECAY = 0.01
"""The weight decay from which it explains a bad fit."""
GAIN = 0.08
"""The share of the validation loss by which a few more steps must lower it to be worth them."""
FADED = 0.05
"""The first layer's gradient in terms of the last one's, from which it explains a bad fit."""
FASTER = 10.0
"""How many times as much as a step of the training one of the trial must do, to be too short."""
_HINDERS = ("no_gradient", "ignores_input", "symmetric_units", "linear_network", "label_range")
"""Findings before the training that explain why a network learns nothing, or little."""
_FADED_BEFORE = ("vanishing_gradient", "dead_units", "no_gradient", "symmetric_units")
"""Findings before the training that explain why nothing passes a layer."""
WIDE = 64
"""Units of a layer that is to be wider."""
HELD = 0.5
"""The share of the weights at the limit of max_norm from which this holds the network back."""
BACK = 0.4
"""The share of a trial's gain that the recipe's penalties and noise must take away to be blamed."""
WHOLLY = 0.8
"""The share that augmentation must take away, which is to make fitting harder."""
NOTHING = 0.97
"""The share of the undecided loss from which nothing has been learnt."""
SHRINKS = ("l1", "l2", "elastic")
"""Regularizers that draw weights to 0."""
PASSED = 0.1
"""The share of its signal below which a layer that penalties have shrunk passes on next to nothing;
the usual initial weights pass on half of it, or more."""


def underfit(trained: Trained) -> Iterator[Finding]:
    """The network explains next to nothing, or less than it easily could; and why."""
    seen, left = trained.seen, trained.left
    numbers = {"loss": seen["train_eval/loss"], "undecided": seen["undecided"]}
    said = f"On training samples the loss is {left:.0%} of what guessing gives"
    if better_without(trained):
        before, after = seen["trial/before"], seen["trial/after"]
        said += (
            f", and {seen['trial/steps']:.0f} more steps without penalties lower the validation "
            f"loss from {before:.3g} to {after:.3g}"
        )
        said += ", both at their best temperature" if seen["trial/tempered"] else ""
        numbers |= {"before": before, "after": after, "error": seen["trial/error"]}
    elif _worse_than_neighbours(seen):
        said += ", and ten nearest neighbours do better on validation"
    elif _worse_than_linear(seen):
        said += ", and a linear model does better on validation"
    elif left <= UNEXPLAINED or (left <= NOTHING and nothing_gains(seen)):
        return  # little is left, or all has been learnt that anything finds
    elif (by_heart := learnt_by_heart(trained)) is not None:
        yield by_heart
        return
    hinders = [name for name in _HINDERS if trained.had(name)]
    if hinders and not better_without(trained):
        why = f"{' and '.join(hinders)}, found before the training, may keep it from learning"
        yield Finding("underfit", WARN, f"{said}: {why}.", numbers)
        return
    name, why, changes = _why(left, trained)
    yield Finding(name, WARN, f"{said}: {why}.", numbers, changes=changes)


def shows_more(trained: Trained) -> bool:
    """Whether a trial, ten neighbours or a linear model does better: there is more to learn."""
    seen = trained.seen
    return better_without(trained) or _worse_than_neighbours(seen) or _worse_than_linear(seen)


def better_without(trained: Trained) -> bool:
    """Whether a short trial without penalties made validation better, beyond chance."""
    seen = trained.seen
    mistakes = (1 - seen.get("val/accuracy", 0.0)) * seen.get("trial/samples", math.inf)
    if "trial/before" not in seen or mistakes < LIKELY**2:
        return False  # that so few are mended would not be beyond chance
    return _gained(seen) > max(GAIN * seen["trial/before"], LIKELY * seen["trial/error"])


def _gained(seen: Mapping[str, float]) -> float:
    """By how much the trial has lowered the loss on validation; nan where none was made."""
    return seen.get("trial/before", math.nan) - seen.get("trial/after", math.nan)


def nothing_gains(seen: Mapping[str, float]) -> bool:
    """Whether a trial, a linear model and ten neighbours were tried, and none does any better."""
    if not {"trial/before", "linear", "neighbours/val"} <= seen.keys():
        return False
    return (
        _gained(seen) <= max(seen["trial/error"], NOISE * seen["trial/before"])
        and seen["linear/worse"] <= seen["linear/error"]
        and seen["neighbours/val"] <= seen["neighbours/val_error"]
    )


def learnt_by_heart(trained: Trained) -> Finding | None:
    """What has been learnt since the best weights, which is little, holds for training alone."""
    seen, both = trained.seen, trained.measured
    if len(both) < 2 or "val/error" not in seen:
        return None
    best = min(both, key=lambda point: float(point["values"]["val/loss"]))
    then, now = best["values"], both[-1]["values"]
    rise, fall = now["val/loss"] - then["val/loss"], then["train/loss"] - now["train/loss"]
    if fall < GAP * seen["undecided"] or rise < max(CLOSE * seen["undecided"], seen["val/error"]):
        return None
    numbers = {"train": now["train/loss"], "val": now["val/loss"], "best": best["epoch"]}
    return Finding(
        "overfit",
        WARN,
        f"Since epoch {best['epoch']:.3g} the training loss has fallen from "
        f"{then['train/loss']:.3g} to {now['train/loss']:.3g}, and that of validation has risen "
        f"from {then['val/loss']:.3g} to {now['val/loss']:.3g}: what is learnt holds only for the "
        "training samples.",
        numbers,
        changes={"regularization": restrained(trained)},
    )


def _worse_than_neighbours(seen: Mapping[str, float]) -> bool:
    """Whether ten nearest neighbours do better on validation, beyond chance (Fix, Hodges 1951)."""
    if "neighbours/val" not in seen or seen["val/loss"] > FITTED * seen["train_eval/loss"]:
        return False
    return seen["neighbours/val"] > max(WORSE, LIKELY * seen["neighbours/val_error"])


def _worse_than_linear(seen: Mapping[str, float]) -> bool:
    """Whether a linear model does better on validation, beyond chance."""
    if "linear" not in seen or not seen["linear/error"] > 0:
        return False
    least = WORSE * seen.get("linear/unit", 1.0)
    return seen["linear/worse"] > max(least, SURE * seen["linear/error"])


def _why(left: float, trained: Trained) -> Reason:
    """Why a network does not fit its training samples: a name, a clause, what to change.

    left: the share of the undecided loss that it leaves.
    """
    changes: dict[str, Any]
    seen, recipe = trained.seen, trained.recipe
    losses = trained.values("train/loss")
    if (still := unmoved(trained)) is not None:
        return still
    if (small := shrunk(trained)) is not None:
        return small
    back = _held_back(trained)
    restraint = _restraint(trained, sure=back is True)
    if restraint and back:
        return restraint
    if _takes_back(seen, "augmented", WHOLLY):
        return _augmentation(trained)
    if _exploded(trained):
        clause = "the loss was once far above that of guessing, a sign of steps that are too large"
        return "rate_too_high", clause, slower(recipe)
    if seen["dead"] >= DEAD:
        clause = f"{seen['dead']:.0%} of the units of a layer are zero for every sample, and get "
        clause += "no gradient; with leaky_relu as the activation they get one"
        return "dead_units", clause, {"activation": "leaky_relu"}
    if seen.get("homogeneous"):
        clause = "doubling an input doubles the output, because no layer has a bias"
        return "underfit", clause, {"procedure": "baseline"}
    if (cut := brake(trained)) is not None:
        return cut
    if seen.get("fading", 1.0) < FADED:
        clause = f"the first layer's gradient is {seen['fading']:.1g} times that of the last one; "
        clause += "relu with initializer=he lets more through"
        changes = {"activation": "relu", "initializer": "he"}
        return "vanishing_gradient", clause, changes
    if restraint and back is None and "trial/before" in seen:
        return restraint
    if _steps_are_small(trained) and _bounces(losses, seen["undecided"]):
        clause = "the training loss goes up and down, a sign of steps that are too large"
        return "rate_too_high", clause, slower(recipe)
    if _steps_are_small(trained):
        return _too_low(trained, "each of these steps gains far more than one of the training")
    if left <= UNEXPLAINED and (narrow := _too_narrow(trained)) is not None:
        return narrow
    if trained.patience:
        changes = {"regularization.early_stopping.patience": duration.times(trained.patience, 10)}
        clause = "early stopping ended the training too soon; give it more patience"
        return "still_improving", clause, changes
    if _tried_in_vain(seen):
        clause = f"{seen['trial/steps']:.0f} more steps gain nothing on validation, so neither the "
        clause += "rate nor the length explains it; see whether it can memorize a few samples"
        return "underfit", clause, {"procedure": "overfit"}
    if _falls(losses):
        clause = "the training loss was still falling; train longer, or at a higher rate"
        return "still_improving", clause, {"epochs": longer(trained)}
    if left > UNEXPLAINED and _creeps(losses):
        return _too_low(trained, "the training loss falls all the time, but only slightly")
    if restraint and back is None:
        return restraint
    clause = "the training loss no longer falls; try another rate, then a larger network"
    return "underfit", clause, searched(trained)


def _tried_in_vain(seen: Mapping[str, float]) -> bool:
    """Whether a trial was made, and has not made validation better beyond chance."""
    return _gained(seen) <= LIKELY * seen.get("trial/error", 0.0)


def _held_back(trained: Trained) -> bool | None:
    """Whether the trial's steps gain far less with what restrains the training; None: unknown."""
    return _takes_back(trained.seen, "held", BACK) if "trial/held" in trained.seen else None


def _takes_back(seen: Mapping[str, float], how: str, share: float) -> bool:
    """Whether the trial's steps, done so, have lost this share of what they gain, or more."""
    lost = seen.get(f"trial/{how}", -math.inf) - seen.get("trial/after", 0.0)
    return lost > max(share * _gained(seen), LIKELY * seen.get(f"trial/{how}_error", 0.0))


def blames_the_recipe(trained: Trained) -> bool:
    """Whether penalties, noise or augmentation are known to keep it from fitting."""
    if shrunk(trained) is not None:
        return True
    if not better_without(trained):
        return False
    held = _held_back(trained) is True and _restraint(trained, sure=True) is not None
    return held or _takes_back(trained.seen, "augmented", WHOLLY)


def shrunk(trained: Trained) -> Reason | None:
    """Penalties that have drawn a layer's weights so near to 0 that nothing passes it.

    No trial gets away from there: where all weights are 0 the gradient is, too. A signal that
    has faded before the training is another matter.
    """
    passed, decay = trained.seen.get("passed", math.inf), trained.weight_decay
    if trained.left < NOTHING or passed >= PASSED or trained.had(*_FADED_BEFORE):
        return None
    rules = [key for key in trained.rules if key in SHRINKS]
    named = [*rules, *([f"a weight decay of {decay:g}"] if decay else [])]
    if not named:
        return None
    changes: dict[str, Any] = {"optimizer.weight_decay": 0.0} if decay else {}
    if rules:
        changes |= trained.without(*rules)
    clause = f"{' and '.join(named)} drew the weights of a layer so near to 0 that it passes on "
    clause += f"{passed:.1g} of its signal"
    return "too_much_regularization", clause, changes


def _augmentation(trained: Trained) -> Reason:
    """That samples as they are augmented do not teach what there is to learn."""
    seen, chosen = trained.seen, list(trained.recipe.get("augmentation") or {})
    clause = f"on samples with {' and '.join(chosen)}, {seen['trial/steps']:.0f} such steps end at "
    clause += f"{seen['trial/augmented']:.3g}, without at {seen['trial/after']:.3g}; augment less"
    return "too_much_regularization", clause, {"augmentation": "none"}


def _restraint(trained: Trained, sure: bool) -> Reason | None:
    """What restrains the training, as `_why` gives it; None where nothing does.

    sure: whether it is known that something does; else a small weight decay is none.
    """
    decay, rules = trained.weight_decay, [key for key in trained.rules if key not in HARMLESS]
    if "max_norm" in trained.rules and trained.seen.get("max_norm", 0.0) > HELD:
        rules.append("max_norm")
    named, changes = [*rules], trained.without(*rules) if rules else {}
    if decay > (0.0 if sure and not rules else DECAY):
        named.append(f"a weight decay of {decay:g}")
        changes["optimizer.weight_decay"] = 0.0
    if sure and (own := trained.seen.get("own_dropout", 0.0)):
        named.append(f"the model's own dropout of {own:g}")
    if not named:
        return None
    clause = f"{' and '.join(named)} may keep it from fitting"
    if sure:
        clause = (
            f"with {' and '.join(named)}, {trained.seen['trial/steps']:.0f} such steps end at "
            f"{trained.seen['trial/held']:.3g}, without at {trained.seen['trial/after']:.3g}"
        )
    return "too_much_regularization", clause, changes


def _too_narrow(trained: Trained) -> Reason | None:
    """Fewer units in a layer than a linear model has outputs of their own, which does better."""
    hidden = (trained.recipe.get("model") or {}).get("hidden")
    classes = "undecided/equal" in trained.seen
    free = round(trained.seen["outputs"]) - 1 if classes else 0  # C logits less one
    if not isinstance(hidden, list) or not hidden or not _worse_than_linear(trained.seen):
        return None
    narrowest = min(hidden)
    if not isinstance(narrowest, int) or narrowest >= free:
        return None
    clause = f"a linear model has {free} outputs of their own for {free + 1} classes, and a layer "
    clause += f"of the network has {narrowest} units; make it wider"
    wider = [max(units, WIDE) for units in hidden]
    return "underfit", clause, {"model.hidden": wider}


def _too_low(trained: Trained, said: str) -> Reason:
    """That the rate is too low, or does not get to what it is to be before the end."""
    if rises_to_the_end(trained):
        clause = f"{said}; the warm-up is longer than the training, so the rate is still low"
        return "rate_too_low", clause, {"warmup": "10%"}
    changes = scaled(trained.recipe, 10) or searched(trained)
    return "rate_too_low", f"{said}; the rate is too low", changes


def _steps_are_small(trained: Trained) -> bool:
    """Whether a step of the trial lowers the loss far more than one of the training has."""
    seen = trained.seen
    if not better_without(trained):
        return False
    gained = _gained(seen) / seen["trial/steps"]
    fallen = (seen["undecided"] - seen["train_eval/loss"]) / max(trained.points[-1]["step"], 1)
    return bool(gained > FASTER * fallen)


def _exploded(trained: Trained) -> bool:
    """Whether the loss was far above what the training began with.

    Where units are dropped in training, its loss is of thinned networks: then validation's.
    """
    thinned = "dropout" in trained.rules
    losses = trained.values("val/loss") if thinned else []
    losses = losses or trained.values("train/loss")
    return exploded(max(losses, default=0.0), trained.begun)


def _bounces(losses: Sequence[float], undecided: float) -> bool:
    """Whether the training loss fell at once, and has since gone up and down."""
    rises = sum(after > before for before, after in pairwise(losses))
    fell, later = (undecided - losses[0], undecided - losses[-1]) if losses else (0.0, 0.0)
    at_once = fell > max(0.0, later / 2)
    return len(losses) > 3 and at_once and rises > len(losses) / 4


def _creeps(losses: Sequence[float]) -> bool:
    """Whether the training loss fell nearly all the time; so it does as it comes to rest, too."""
    rises = sum(after > before for before, after in pairwise(losses))
    return losses[-1] < losses[0] and rises <= len(losses) / 4


def _falls(losses: Sequence[float]) -> bool:
    """Whether the training loss fell by more than 1 % in the last third, or 3 % before."""
    if len(losses) < 3:
        return True  # too short to have come to rest
    third = len(losses) // 3
    before, between, last = losses[-1 - 2 * third], losses[-1 - third], losses[-1]
    return bool(last < 0.99 * between or between < 0.97 * before)
