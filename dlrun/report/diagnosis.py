"""The verdict after a training, from what its record and a few measurements say.

Pure functions of plain values. Nothing is said that the numbers do not support: a difference
counts from `SURE` standard errors on.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from dlrun.finding import FAIL, NOTE, WARN, Finding

SURE = 3.5
"""Standard errors: one false alarm in some two thousand comparisons."""
APART = 0.1
"""By how much P(val further than train) must differ from 1/2 to be called another distribution."""
GAP = 0.15
"""By how much more of the undecided loss validation leaves than training, to be overfitting."""
UNEXPLAINED = 0.75
"""The share of the undecided loss from which next to nothing has been learnt."""
WORSE = 1.5
"""Times the undecided loss from which a network is worse than if it said nothing."""
DEAD, DECAY = 0.9, 0.01
"""The share of dead units, and the weight decay, from which they explain a bad fit."""
CLOSE = 0.1
"""The share of the undecided loss within which validation is as good as training."""
_HARMLESS = (
    *("label_smoothing", "max_norm", "weight_norm", "batch_norm", "early_stopping"),
    "weight_average",
)
"""Regularizers that keep no network from fitting its training samples."""


NAMES = (
    *("label_noise", "distribution_shift", "dead_units", "too_much_regularization"),
    *("rate_too_high", "inconclusive"),
    *("still_improving", "rate_too_low", "underfit", "overfit", "good_fit", "diverged"),
)
"""What a diagnosis may say; a later one of the same run takes its place."""


def diverged(message: str, recipe: Mapping[str, Any]) -> Finding:
    """The finding of a run that has ended because its loss was no longer finite."""
    rate = _rate(recipe)
    changes = {"clip_norm": 1.0} if rate is None else {"optimizer.lr": _rounded(rate / 10)}
    return Finding("diverged", FAIL, f"{message}.", changes=changes)


def diagnose(
    seen: Mapping[str, float], points: Sequence[Mapping[str, Any]], recipe: Mapping[str, Any]
) -> list[Finding]:
    """Every finding of the fit, the one that explains the others first.

    seen: as `engine.examine.examined` gives it. points, recipe: of the record, plain values.
    """
    for explanation in (label_noise, distribution_shift, underfit, overfit):
        found = list(explanation(seen, points, recipe))
        if found:
            return found
    return list(good_fit(seen))


def label_noise(
    seen: Mapping[str, float], points: Sequence[Mapping[str, Any]], recipe: Mapping[str, Any]
) -> Iterator[Finding]:
    """Neighbours contradict the labels of training more often than those of validation."""
    if "labels/train" not in seen or abs(seen["shift"] - 0.5) > APART + _chance(seen):
        return
    here, there = seen["labels/train"], seen["labels/val"]
    error = math.hypot(seen["labels/train_error"], seen["labels/val_error"])
    fits_worse = seen["train_eval/loss"] > seen["val/loss"]
    if here - there > SURE * error and fits_worse:
        yield Finding(
            "label_noise",
            WARN,
            "The nearest training samples contradict the labels of training more often than those "
            f"of validation ({here:.3g} against {there:.3g}), and the network fits them worse: "
            "many training labels look wrong.",
            {"train": here, "val": there, "error": error},
            changes={"procedure": "show_data"},
        )


def distribution_shift(
    seen: Mapping[str, float], points: Sequence[Mapping[str, Any]], recipe: Mapping[str, Any]
) -> Iterator[Finding]:
    """Validation samples lie further from training samples, or nearer, than these do."""
    if "shift" not in seen or seen.get("classes", 0.0) > APART:
        return
    apart = abs(seen["shift"] - 0.5)
    if apart > APART and apart > SURE * _chance(seen):
        where = "further from" if seen["shift"] > 0.5 else "nearer to"
        yield Finding(
            "distribution_shift",
            WARN,
            f"Validation samples lie {where} the training samples than these lie to each other "
            f"(in {max(seen['shift'], 1 - seen['shift']):.0%} of the pairs): the two splits come "
            "from different distributions.",
            {"further": seen["shift"], "error": _chance(seen)},
            changes={"procedure": "show_data"},
        )


def underfit(
    seen: Mapping[str, float], points: Sequence[Mapping[str, Any]], recipe: Mapping[str, Any]
) -> Iterator[Finding]:
    """The network explains next to nothing, or less than ten neighbours do; and why."""
    left = seen["train_eval/loss"] / seen["undecided"] if seen["undecided"] > 0 else 0.0
    if left > UNEXPLAINED or _worse_than_neighbours(seen):
        said = f"The network leaves {left:.0%} of an undecided network's loss on training samples"
        numbers = {"loss": seen["train_eval/loss"], "undecided": seen["undecided"]}
        name, why, changes = _why(left, seen, points, recipe)
        yield Finding(name, WARN, f"{said}, {why}.", numbers, changes=changes)


def _why(
    left: float,
    seen: Mapping[str, float],
    points: Sequence[Mapping[str, Any]],
    recipe: Mapping[str, Any],
) -> tuple[str, str, Mapping[str, Any]]:
    """Why a network does not fit its training samples: a name, a clause, what to change.

    left: the share of the undecided loss that it leaves.
    """
    changes: dict[str, Any]
    losses, rate = _losses(points), _rate(recipe)
    chosen = list(recipe.get("regularization") or {})
    rules = [key for key in chosen if key not in _HARMLESS]
    decay = float((recipe.get("optimizer") or {}).get("weight_decay") or 0.0)
    if max(losses, default=0.0) > WORSE * seen["undecided"]:
        changes = {"optimizer.lr": _rounded(rate / 10)} if rate else {"clip_norm": 1.0}
        clause = "and its training loss was far above that: the steps are too large"
        return "rate_too_high", clause, changes
    if seen["dead"] >= DEAD:
        clause = f"and {seen['dead']:.0%} of the units of a layer are zero for every sample"
        return "dead_units", clause, {"activation": "leaky_relu"}
    if rules:
        kept = [key for key in chosen if key in _HARMLESS]
        clause = f"and {' and '.join(rules)} may keep it from fitting them"
        return "too_much_regularization", clause, {"regularization": kept or "none"}
    if decay > DECAY:
        clause = f"and a weight decay of {decay:g} may keep it from fitting them"
        return "too_much_regularization", clause, {"optimizer.weight_decay": 0.0}
    if _falls(points):
        clause = "and its loss was still falling: train longer, or at a higher rate"
        return "still_improving", clause, {"epochs": _longer(recipe["epochs"])}
    if _creeps(points):
        changes = {"optimizer.lr": _rounded(10 * rate)} if rate else {"procedure": "find_lr"}
        clause = "and its loss falls from point to point, but hardly: the steps are too small"
        return "rate_too_low", clause, changes
    clause = "and its loss no longer falls: try another rate, then a larger network"
    return "underfit", clause, {"procedure": "find_lr"}


def overfit(
    seen: Mapping[str, float], points: Sequence[Mapping[str, Any]], recipe: Mapping[str, Any]
) -> Iterator[Finding]:
    """Validation leaves much more of the undecided loss than training."""
    if "val/loss" not in seen or seen["undecided"] <= 0:
        return
    train, val = seen["train_eval/loss"], seen["val/loss"]
    gap = (val - train) / seen["undecided"]
    error = math.hypot(seen["train_eval/error"], seen["val/error"]) / seen["undecided"]
    if gap > GAP and gap > SURE * error and val > 2 * train:
        more = sorted({*(recipe.get("regularization") or {}), "l2", "early_stopping"})
        yield Finding(
            "overfit",
            WARN,
            f"Validation has a loss of {val:.3g}, and training, measured alike, one of "
            f"{train:.3g}: more data, augmentation or regularization would help.",
            {"train": train, "val": val, "gap": gap},
            changes={"regularization": more},
        )


def good_fit(seen: Mapping[str, float]) -> Iterator[Finding]:
    """Validation is as good as training; or nobody can tell, and how many samples would."""
    if "val/loss" not in seen or seen["undecided"] <= 0:
        return
    train, val = seen["train_eval/loss"], seen["val/loss"]
    error = math.hypot(seen["train_eval/error"], seen["val/error"])
    near = CLOSE * seen["undecided"]
    numbers = {"train": train, "val": val, "error": error}
    if 2 * error > near:
        samples = math.ceil(seen["val/samples"] * (2 * error / near) ** 2)
        yield Finding(
            "inconclusive",
            NOTE,
            f"With {seen['val/samples']:.0f} validation samples the losses of training and "
            f"validation, {train:.3g} and {val:.3g}, are known to ±{2 * error:.2g} alone; about "
            f"{samples:,} samples would tell how well it fits.",
            numbers | {"samples": samples},
        )
    elif abs(val - train) <= near:
        yield Finding(
            "good_fit",
            NOTE,
            f"Validation is as good as training: losses of {val:.3g} and {train:.3g}.",
            numbers,
        )


def _chance(seen: Mapping[str, float]) -> float:
    """The standard error of P(a > b) for as many draws from each as were probed."""
    return math.sqrt((2 * seen["probes"] + 1) / 12) / seen["probes"]


def _worse_than_neighbours(seen: Mapping[str, float]) -> bool:
    """Whether ten nearest neighbours do better on validation, beyond chance (Fix, Hodges 1951)."""
    if "labels/val" not in seen or "val/accuracy" not in seen:
        return False
    wrong = 1 - seen["val/accuracy"]
    error = math.sqrt(wrong * (1 - wrong) / seen["val/samples"])
    return wrong - seen["labels/val"] > SURE * math.hypot(error, seen["labels/val_error"])


def _rate(recipe: Mapping[str, Any]) -> float | None:
    rate = (recipe.get("optimizer") or {}).get("lr")
    return float(rate) if isinstance(rate, int | float) else None


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _losses(points: Sequence[Mapping[str, Any]]) -> list[float]:
    return [p["values"]["train/loss"] for p in points if "train/loss" in p["values"]]


def _creeps(points: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the training loss fell nearly all the time."""
    losses = _losses(points)
    rises = sum(after > before for before, after in pairwise(losses))
    return losses[-1] < losses[0] and rises <= len(losses) / 4


def _falls(points: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the training loss fell by more than 1 % in the last third, or 3 % before."""
    losses = _losses(points)
    if len(losses) < 3:
        return True  # too short to have come to rest
    third = len(losses) // 3
    before, between, last = losses[-1 - 2 * third], losses[-1 - third], losses[-1]
    return bool(last < 0.99 * between or between < 0.97 * before)


def _longer(length: Any) -> Any:
    """Three times a length, as one types it."""
    amount, _, unit = str(length).partition(" ")
    longer = f"{3 * float(amount):.15g}"
    return f"{longer} {unit}" if unit else float(longer) if "." in longer else int(longer)
