"""The error of a run in parts: bias, variance, mismatch, and what was chosen by validation.

Ng 2018, Machine Learning Yearning, chapters 20 to 30 and 40 to 43: each part has its recipe.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from dlrun.finding import NOTE, WARN, Finding, share_error
from dlrun.report.brakes import searched
from dlrun.report.course import plateau
from dlrun.report.diagnosis import simpler_would_do
from dlrun.report.known import SURE, Trained, longer, needed, restrained
from dlrun.shell import listed

_SAMPLES = {"train_eval": "training", "val": "validation"}


class Part(NamedTuple):
    """By how much the error of one split is above another's, and the standard error of each."""

    name: str
    finding: str
    amount: float
    split: str
    errors: tuple[float, float]
    advice: str
    changes: Mapping[str, Any]

    @property
    def error(self) -> float:
        """The standard error of the amount."""
        return math.hypot(*self.errors)


def error_parts(trained: Trained, target: float) -> list[Finding]:
    """Where the error comes from, the largest part first that is beyond chance.

    An error that is not above the target needs no remedy.

    target: the error of an expert, or the least possible: a share of the samples, or the mean
    absolute error in the units of the targets.
    """
    parts = _parts(trained, target)
    total = target + sum(part.amount for part in parts)
    accuracy = _metric(trained) == "accuracy"
    said = ", ".join(
        f"{part.name} {_shown(part.amount, accuracy, sign=True)} (±{_shown(part.error, accuracy)})"
        for part in parts
    )
    text = f"The error of {_shown(total, accuracy)} is target {_shown(target, accuracy)}, {said}"
    numbers = {"target": target} | {part.name: part.amount for part in parts}
    if total <= target:
        return [Finding("good_fit", NOTE, f"{text}: the target is reached.", numbers)]
    sure = [part for part in parts if part.amount > SURE * part.error]
    worst = max(sure, key=lambda part: part.amount, default=None)
    if worst is not None:
        beyond = "" if worst.amount == max(part.amount for part in parts) else " beyond chance"
        text += f": {worst.name} is the largest{beyond}. {worst.advice}"
        return [Finding(worst.finding, WARN, text, numbers, changes=worst.changes)]
    largest = max(parts, key=lambda part: part.amount)
    text += f": {largest.name}, the largest, may be chance"
    samples = needed(
        trained.seen[f"{largest.split}/samples"], *largest.errors, largest.amount / SURE
    )
    if samples is not None:
        kind = _SAMPLES.get(largest.split, largest.split)
        text += f"; about {samples:,} {kind} samples would be enough to tell"
        numbers["samples"] = float(samples)
    return [Finding("inconclusive", NOTE, f"{text}.", numbers)]


def _parts(trained: Trained, target: float) -> list[Part]:
    """The parts whose splits have been measured, in the order of the splits."""
    seen, metric = trained.seen, _metric(trained)
    values = {split: seen[f"{split}/{metric}"] for split in ("train_eval", "val")}
    for split in ("train_dev", "test"):
        measured = trained.values(f"{split}/{metric}")
        if measured and f"{split}/metric_error" in seen:
            values[split] = measured[-1]
    known = {split: (value, _known_to(trained, split, value)) for split, value in values.items()}
    told = {
        "bias": ("underfit", *_against_bias(trained)),
        "variance": (
            "overfit",
            "Get more data, or use augmentation and regularization.",
            {"regularization": restrained(trained)},
        ),
        "mismatch": (
            "distribution_shift",
            "Make training data more like those of validation.",
            {"procedure": "show_data"},
        ),
        "overfitting of validation": (
            "validation_overused",
            "Get more validation data.",
            {"procedure": "cross_validate"},
        ),
    }
    between = "train_dev" if "train_dev" in known else "val"
    steps = [("bias", "", "train_eval"), ("variance", "train_eval", between)]
    steps += [("mismatch", "train_dev", "val")] if "train_dev" in known else []
    steps += [("overfitting of validation", "val", "test")] if "test" in known else []
    found = []
    for name, before, after in steps:
        (value, error), (low, spread) = known[after], known.get(before, (None, 0.0))
        start = target if low is None else _error(metric, low)
        amount = _error(metric, value) - start
        finding, advice, changes = told[name]
        found.append(Part(name, finding, amount, after, (error, spread), advice, changes))
    return found


def _known_to(trained: Trained, split: str, value: float) -> float:
    """The standard error of what was measured on a split, even where all answers are right."""
    error, samples = (trained.seen[f"{split}/{name}"] for name in ("metric_error", "samples"))
    of_one_kind = _metric(trained) == "accuracy" and not 0 < value < 1
    return share_error(value, samples) if of_one_kind else error


def _against_bias(trained: Trained) -> tuple[str, Mapping[str, Any]]:
    """What lessens bias, without what other findings say would not; and what to change."""
    ended = any(plateau(trained)) or bool(trained.seen.get("stopped"))
    ways = [] if any(simpler_would_do(trained)) else ["a larger network"]
    ways += [*([] if ended else ["longer"]), "with another optimizer or rate"]
    changes = searched(trained) if ended else {"epochs": longer(trained)}
    return f"Train {listed(ways, ', or ')}.", changes


def _metric(trained: Trained) -> str:
    return "accuracy" if "val/accuracy" in trained.seen else "mae"


def _error(metric: str, value: float) -> float:
    return 1 - value if metric == "accuracy" else value


def _shown(value: float, share: bool, sign: bool = False) -> str:
    plus = "+" if sign else ""
    if share:
        return f"{value:{plus}.1%}"
    return f"{value:{plus},.0f}" if abs(value) >= 1000 else f"{value:{plus}.3g}"
