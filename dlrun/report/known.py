"""What is known of a run that has been trained, and what its verdicts share."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlrun import duration
from dlrun.finding import MOST_TIMES, exploded
from dlrun.format import is_number
from dlrun.record import MANUAL

SURE = 3.5
"""Standard errors: one false alarm in some two thousand comparisons."""
LIKELY = 2.5
"""Standard errors of what is below 0 rather than 0 after a sound training: a trial's gain, and by
how much neighbours do better."""
GAP = 0.15
"""A share of the undecided loss that is much: what is left of it, or has been learnt of it."""
CLOSE = 0.1
"""The share of the undecided loss within which validation is as good as training; beyond it
begins overfitting."""
FITTED = 2.0
"""How many times the training loss that of validation is, at most, where it fits well."""
DEAD = 0.75
"""The share of a layer's units from which dead ones explain a bad fit."""
HARMLESS = (
    *("label_smoothing", "max_norm", "weight_norm", "batch_norm", "early_stopping"),
    *("weight_average", "lookahead"),
)
"""Regularizers that keep no network from fitting its training samples; so does max_norm where few
weights are at its limit."""
PATIENCE = 5
"""Epochs that early stopping waits for after the best, if nobody says otherwise."""
NOISE = 0.01
"""A share of a loss that is next to nothing."""


@dataclass(frozen=True)
class Trained:
    """What is known of a run that has been trained.

    seen: as `engine.examine.examined` gives it; `stopped` is 1 where a rule ended the training
    before its length, `set_up/<finding>` where the checks before it have found that, `initial`
    the loss of the first weights where it matters (`was_high`), `first` 1 where no other run is
    among the outputs, so that validation has chosen no recipe; `monitor/rises` 1 where more of
    what is monitored is better. points, recipe: of the record, plain values, and what `monitor`
    stands for.
    """

    seen: Mapping[str, float]
    points: Sequence[Mapping[str, Any]]
    recipe: Mapping[str, Any]

    @property
    def monitor(self) -> str:
        """What chooses the best weights, by its key in the record."""
        return str(self.recipe.get("monitor", "val/loss"))

    def score(self, key: str, value: float) -> float:
        """A loss, or a value of what is monitored, with the sign that makes higher better."""
        return value if key == self.monitor and self.seen.get("monitor/rises") else -value

    @property
    def measured(self) -> list[Mapping[str, Any]]:
        """The points at which the losses of training and of validation are known."""
        return [p for p in self.points if {"train/loss", "val/loss"} <= p["values"].keys()]

    def values(self, key: str) -> list[float]:
        """What was recorded under a key, in its order."""
        return [point["values"][key] for point in self.points if key in point["values"]]

    @property
    def rules(self) -> Mapping[str, Any]:
        """The regularizers of the recipe, by name."""
        return self.recipe.get("regularization") or {}

    @property
    def weight_decay(self) -> float:
        """That of the optimizer; 0 where it has none."""
        return float((self.recipe.get("optimizer") or {}).get("weight_decay") or 0.0)

    def without(self, *names: str) -> dict[str, Any]:
        """The setting that takes regularizers of these names away."""
        return {"regularization": [key for key in self.rules if key not in names] or "none"}

    @property
    def patience(self) -> Any:
        """That of early stopping, as written, where it has ended the training; else None."""
        rule = self.rules.get("early_stopping") or {}
        return rule.get("patience") if self.seen.get("stopped") else None

    @property
    def left(self) -> float:
        """The share of an undecided network's loss that is left on training samples.

        nan where that loss is not positive, so that there are no shares of it.
        """
        undecided = self.seen.get("undecided/train", self.seen["undecided"])
        return self.seen["train_eval/loss"] / undecided if undecided > 0 else math.nan

    def was_high(self) -> bool:
        """Whether a loss was far above what the network began with, or one that says nothing."""
        losses = (*self.values("train/loss"), *self.values("val/loss"))
        return exploded(max(losses, default=0.0), self.begun)

    @property
    def begun(self) -> float:
        """The loss that a training begins with: an undecided one, or that of the first weights."""
        return max(self.seen["undecided"], self.seen.get("initial", 0.0))

    def had(self, *names: str) -> bool:
        """Whether the checks before the training have found one of these."""
        return any(self.seen.get(f"set_up/{name}") for name in names)


def both_losses(seen: Mapping[str, float]) -> tuple[float, float, float]:
    """Those of training and validation, and the standard error of their difference."""
    error = math.hypot(seen["train_eval/error"], seen["val/error"])
    return seen["train_eval/loss"], seen["val/loss"], error


def needed(samples: float, error: float, other: float, least: float) -> int | None:
    """How many samples make the error of a difference no larger than `least`.

    samples: there are now, which give `error`. other: the error of what they are compared with,
    which no more of them lessen; None where that alone is too large, or nobody has so many.
    """
    left = least**2 - other**2
    if left <= 0 or error**2 > MOST_TIMES * left:
        return None
    return math.ceil(samples * error**2 / left)


def rounded(value: float) -> float:
    """To three digits, as one types it."""
    return float(f"{value:.3g}")


def scaled(recipe: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """The settings that make all rates so many times as large; none where no number sets them.

    recipe: as written, so that a table of schedule=manual may name `optimizer.lr`.
    """
    lr, table = _rates(recipe)
    changes: dict[str, Any] = {} if lr is None else {"optimizer.lr": rounded(factor * lr)}
    if any(is_number(rate) for _, rate in table):
        changes["schedule.table"] = [
            [epoch, rounded(factor * rate) if is_number(rate) else rate] for epoch, rate in table
        ]
    return changes


def reaching(recipe: Mapping[str, Any], rate: float) -> dict[str, Any]:
    """The settings that make this the highest rate."""
    lr, table = _rates(recipe)
    numbers = [each for _, each in table if is_number(each)]
    if not numbers:
        return {"optimizer.lr": rate}
    highest = max([*numbers, lr or 0.0])
    if not highest:
        return {"schedule": "constant", "optimizer.lr": rate}
    return scaled(recipe, rate / highest)


def _rates(recipe: Mapping[str, Any]) -> tuple[float | None, list[tuple[float, Any]]]:
    """`optimizer.lr` where it is a number that counts, and the table that replaces it."""
    lr, schedule = (recipe.get("optimizer") or {}).get("lr"), recipe.get("schedule") or {}
    table = schedule.get("table") if schedule.get("_target_") == MANUAL else None
    rows = [(epoch, rate) for epoch, rate in table or ()]
    named = not rows or min(rows, key=lambda row: row[0])[0] > 0
    named = named or not all(is_number(rate) for _, rate in rows)
    return (lr or None if named and is_number(lr) else None), rows


def redrawn(recipe: Mapping[str, Any]) -> dict[str, int]:
    """The setting that draws the splits anew."""
    return {"data.split_seed": int((recipe.get("data") or {}).get("split_seed") or 0) + 1}


def slower(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """What makes steps smaller."""
    return scaled(recipe, 0.1) or {"clip_norm": 1.0}


def restrained(trained: Trained) -> list[str]:
    """The regularizers of the recipe, and those that help against overfitting.

    Early stopping does where what is monitored is of validation, and the training is long enough.
    """
    scored = [point["epoch"] for point in trained.points if "val/loss" in point["values"]]
    long = bool(scored) and min(scored) + PATIENCE < max(scored)
    stops = long and trained.monitor.startswith("val/")
    more = ["l2", "early_stopping"] if stops else ["l2"]
    return sorted({*trained.rules, *more})


def longer(trained: Trained) -> Any:
    """Three times the length, as one types it."""
    return duration.times(trained.recipe["epochs"], 3)
