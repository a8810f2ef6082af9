"""What the losses of a training say point by point: throws, jumps, a rest, an early end."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from dlrun.finding import NOTE, WARN, Finding, exploded, jump
from dlrun.report.known import GAP, LIKELY, NOISE, PATIENCE, SURE, Trained, longer, scaled, slower

STEEP = 0.05
"""The share of the undecided loss by which the training loss must be below its last mean, to be
that of too short a training."""


def cut_short(trained: Trained) -> Iterator[Finding]:
    """After few epochs, which show no curve, the training loss is far below its last mean."""
    seen, losses = trained.seen, trained.values("train/loss")
    if "as_trained" not in seen or not losses or losses[-1] > min(losses):
        return
    fallen = losses[-1] - seen["as_trained"]
    if fallen > max(STEEP * seen["undecided"], SURE * seen["as_trained/error"]):
        yield Finding(
            "still_improving",
            WARN,
            f"Over the last recorded interval the training loss averaged {losses[-1]:.3g}, and it "
            f"ended at {seen['as_trained']:.3g}: it was still falling; train longer.",
            {"mean": losses[-1], "end": seen["as_trained"]},
            changes={"epochs": longer(trained)},
        )


def thrown(trained: Trained) -> Iterator[Finding]:
    """After an epoch or later the network was worse than one that says nothing.

    What has come back from there may fit, but stands where large steps have thrown it. The
    training loss alone shows it badly: its first mean is also of the untrained network.
    """
    undecided = trained.seen["undecided"]
    if "val/loss" not in trained.seen:
        return
    later = [point for point in trained.points if point["epoch"] >= 1]
    highest = {
        key: max((each["values"].get(key, 0.0) for each in later), default=0.0)
        for key in ("train/loss", "val/loss")
    }
    if exploded(min(highest.values()), trained.begun):
        yield Finding(
            "rate_too_high",
            WARN,
            f"After the first epoch the losses of training and validation were up to "
            f"{highest['train/loss']:.3g} and {highest['val/loss']:.3g}, far above the "
            f"{undecided:.3g} of guessing: a sign of steps that are too large.",
            highest | {"undecided": undecided},
            changes=slower(trained.recipe),
        )


def overshot(trained: Trained) -> Iterator[Finding]:
    """Momentum that remembers more steps than were taken, and a loss that it has carried away.

    A gradient acts on 1/(1 - m) steps: no turn of these ends within the training.
    """
    momentum = (trained.recipe.get("optimizer") or {}).get("momentum")
    losses = trained.values("train/loss")
    if not isinstance(momentum, int | float) or not 0 < momentum < 1 or len(losses) < 2:
        return
    memory, steps = 1 / (1 - momentum), trained.points[-1]["step"]
    least = list(accumulate(losses, min))
    rise = max(loss - before for loss, before in zip(losses, least, strict=True))
    if memory > steps and trained.left > GAP and rise > GAP * trained.seen["undecided"]:
        yield Finding(
            "rate_too_high",
            WARN,
            f"With a momentum of {momentum:g} a gradient acts on {memory:,.0f} steps, and the "
            f"training had {steps:,}: the training loss had fallen to "
            f"{least[-1]:.3g} and rose by {rise:.3g}.",
            {"memory": memory, "steps": steps, "rise": rise},
            changes={"optimizer.momentum": 0.9},
        )


def noisy(trained: Trained) -> Iterator[Finding]:
    """In its second half validation jumps by more than it gets better in all."""
    losses = trained.values("val/loss")
    jumps, late = jump(losses), losses[len(losses) // 2 :]
    if jumps is not None and jumps > NOISE * trained.seen["undecided"]:
        schedule = (trained.recipe.get("schedule") or {}).get("_target_", "")
        falls = not str(schedule).endswith("constant")
        changes = {} if falls else {"schedule": "cosine"}
        way = "take smaller steps" if falls else "let the rate fall"
        yield Finding(
            "noisy",
            NOTE,
            f"The validation loss jumps by {jumps:.3g} from point to point, and its lowest value "
            f"is {min(late):.3g}: {way}, or average the weights.",
            {"jump": jumps, "least": min(late)},
            changes=changes | scaled(trained.recipe, 1 / 3),
        )


def plateau(trained: Trained) -> Iterator[Finding]:
    """Validation has not got better for the second half of the training, or longer.

    Neither by its loss nor by what is monitored, which chooses the weights.
    """
    scored = [point for point in trained.points if "val/loss" in point["values"]]
    if len(scored) < 6 or "early_stopping" in trained.rules:
        return
    asked = dict.fromkeys(["val/loss", trained.monitor])
    keys = [key for key in asked if key.startswith("val/")]
    early = [best for key in keys if (best := _best_early(trained, scored, key)) is not None]
    if len(early) < len(keys):
        return
    best, length = max(point["epoch"] for point in early), scored[-1]["epoch"]
    fewer: dict[str, Any] = {"epochs": max(1, math.ceil(best))}
    if _would_stop(trained):
        fewer = {"regularization": [*trained.rules, "early_stopping"]}
    yield Finding(
        "plateau",
        NOTE,
        f"After epoch {best:.3g} of {length:.3g} validation was no better, beyond chance, by "
        f"{' and '.join(keys)}: far fewer epochs would have been enough.",
        {"best": best, "length": length},
        changes=fewer,
    )


def _best_early(
    trained: Trained, scored: Sequence[Mapping[str, Any]], key: str
) -> Mapping[str, Any] | None:
    """The best point of the first half by a value; None where a later one is better."""
    half, unknown = scored[-1]["step"] / 2, math.nan
    scores = [trained.score(key, point["values"].get(key, unknown)) for point in scored]
    many = sum(point["step"] <= half for point in scored)
    best = max(range(many), key=scores.__getitem__, default=None)
    told = key in ("val/accuracy", "val/mae")
    chance = LIKELY * trained.seen.get("val/metric_error", 0.0) if told else 0.0
    if best is None or not all(later <= scores[best] + chance for later in scores[many:]):
        return None
    return scored[best]


def _would_stop(trained: Trained) -> bool:
    """Whether early stopping, which acts on what is monitored, would have ended the training."""
    highest, at = -math.inf, 0.0
    monitored = [point for point in trained.points if trained.monitor in point["values"]]
    for point in monitored[:-1]:
        score = trained.score(trained.monitor, point["values"][trained.monitor])
        if score > highest:
            highest, at = score, point["epoch"]
        elif point["epoch"] - at >= PATIENCE:
            return True
    return False
