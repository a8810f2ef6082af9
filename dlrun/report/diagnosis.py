"""The verdict after a training, from what its record and a few measurements say.

Pure functions of plain values. Nothing is said that the numbers do not support: a difference
counts from `SURE` standard errors on.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dlrun.finding import FAIL, NOTE, WARN, Finding
from dlrun.report.averages import train_mode_differs
from dlrun.report.course import cut_short, noisy, overshot, plateau, thrown
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
    both_losses,
    needed,
    restrained,
    slower,
)
from dlrun.report.splits import (
    distribution_shift,
    label_noise,
    test_shift,
    validation_easier,
    validation_overused,
    wrong_validation,
)
from dlrun.report.underfit import (
    better_without,
    blames_the_recipe,
    learnt_by_heart,
    nothing_gains,
    shows_more,
    shrunk,
    underfit,
)
from dlrun.shell import counted

BLOWN_UP = ("wrong_loss", "input_scale", "initial_loss", "exploding_gradient")
"""Findings before the training that explain a loss that is no longer finite."""


def diverged(
    message: str, recipe: Mapping[str, Any], untrained: bool = False, causes: Sequence[str] = ()
) -> Finding:
    """The finding of a run that has ended because its loss was no longer finite.

    untrained: whether it was so before the first update, which no smaller step mends.
    causes: what the checks before the training have found that explains it; these are to be
    mended first.
    """
    smaller = {} if untrained or causes else slower(recipe)
    why = f", as {causes[0]} led to expect" if causes else ""
    return Finding("diverged", FAIL, f"{message}{why}.", changes=smaller)


def diagnose(
    seen: Mapping[str, float], points: Sequence[Mapping[str, Any]], recipe: Mapping[str, Any]
) -> list[Finding]:
    """Every finding of the fit, the one that explains the others first.

    seen: as `engine.examine.examined` gives it. points, recipe: of the record, plain values.
    """
    balanced = recipe.get("sampling") == "balanced" or recipe.get("class_weights") == "balanced"
    trained = Trained(_of_equal_classes(seen) if balanced else seen, points, recipe)
    if seen.get("same_target"):
        return [nothing_to_learn(seen)]
    found: list[Finding] = []
    explanations = (
        *(contradicted_loss, label_noise, wrong_validation, distribution_shift),
        *(train_mode_differs, no_shares),  # for all others guessing has a loss above 0
        *(overshot, died, nothing_holds, memorized),
        *(underfit, cut_short, thrown, overfit, validation_easier, good_fit),
    )
    for explanation in explanations:
        found = list(explanation(trained))
        if found:
            break
    notes = [noisy, plateau] if all(each.level == NOTE for each in found) else []
    for more in (validation_overused, test_shift, simpler_would_do, *notes):
        found += more(trained)
    return found


def _of_equal_classes(seen: Mapping[str, float]) -> dict[str, float]:
    """What is seen of a network that takes rare classes for as frequent as others.

    Its losses are to be compared with those of equal outputs, and not with what those who know
    the true shares come to.
    """
    apart = ("trial/", "linear", "neighbours/")
    kept = {key: value for key, value in seen.items() if not key.startswith(apart)}
    equal = seen.get("undecided/equal", seen["undecided"])
    return kept | {"undecided": equal, "undecided/train": equal}


def nothing_to_learn(seen: Mapping[str, float]) -> Finding:
    """All training samples have the same target: guessing is right, and no loss compares to it."""
    name = "class_missing" if "undecided/equal" in seen else "label_range"
    said = "All training samples have the same target: there is nothing to learn from them."
    return Finding(name, WARN, said, changes={"procedure": "show_data"})


def contradicted_loss(trained: Trained) -> Iterator[Finding]:
    """The loss says that nearly all is learnt, and the metric that nothing is.

    By cross entropy a wrong answer costs log 2 or more: where at most GAP of the entropy of ten
    classes is left, fewer than half are wrong.
    """
    seen, left = trained.seen, trained.left
    error = SURE * seen.get("train_eval/metric_error", 0.0)
    if "guess" not in seen or not left < GAP:
        return
    if "train_eval/accuracy" in seen:
        name, chance = "accuracy", min(seen["guess"], 0.5)
        wrong = seen["train_eval/accuracy"] <= chance
    elif "train_eval/mae" in seen:
        name, chance = "mae", seen["guess"]
        wrong = seen["train_eval/mae"] - error > chance
    else:
        return
    if wrong:
        got = seen[f"train_eval/{name}"]
        yield Finding(
            "wrong_loss",
            FAIL,
            f"On training samples the loss is {left:.0%} of what guessing gives, and yet the "
            f"{name} is {got:.3g}, that of guessing {seen['guess']:.3g}: the loss rewards wrong "
            "answers.",
            {"left": left, name: got, "guess": seen["guess"]},
            changes={"loss": "auto"},
        )


def no_shares(trained: Trained) -> Iterator[Finding]:
    """A loss of which guessing has nothing, or less, so that shares of it say nothing."""
    undecided = trained.seen["undecided"]
    if undecided <= 0:
        yield Finding(
            "inconclusive",
            NOTE,
            f"Guessing has a loss of {undecided:.3g}, which is not positive: how much of it is "
            "left says nothing of the fit.",
            {"undecided": undecided},
        )


def died(trained: Trained) -> Iterator[Finding]:
    """Most units of a layer are dead, and were not before the training."""
    seen, left = trained.seen, trained.left
    thinned = [key for key in trained.rules if key not in HARMLESS]
    explained = trained.had("dead_units", "label_range") or blames_the_recipe(trained)
    if seen["dead"] >= DEAD and not explained and (left > GAP or not thinned):
        yield Finding(
            "rate_too_high",
            WARN,
            f"After the training {seen['dead']:.0%} of the units of a layer are zero for every "
            "sample, a sign of steps that are too large; the loss is "
            f"{left:.0%} of what guessing gives.",
            {"dead": seen["dead"], "left": left},
            changes=slower(trained.recipe),
        )


def nothing_holds(trained: Trained) -> Iterator[Finding]:
    """Validation is no better than guessing, and a closer fit to training does not help it.

    Then neither a longer training nor another rate would help, as long as nothing else shows that
    the inputs tell the target.
    """
    seen, losses = trained.seen, trained.values("val/loss")
    if "val/loss" not in seen or len(losses) < 2:
        return
    train, val, error = both_losses(seen)
    gained = seen["undecided"] - val
    better = gained > max(NOISE * seen["undecided"], LIKELY * seen["val/error"])
    # Of few samples, as of a rare class, a gain of this size is neither shown nor refuted.
    unknown = gained > CLOSE * seen["undecided"] or _knows_more(seen)
    # The loss is known badly, but not how much it changes on the same samples.
    ended = losses[-1] - min(losses) > NOISE * seen["undecided"] or nothing_gains(seen)
    memorized = val - train > max(CLOSE * seen["undecided"], SURE * error)
    explained = memorized or shows_more(trained) or shrunk(trained) is not None
    explained = explained or learnt_by_heart(trained) is not None
    if better or unknown or explained or not ended or trained.was_high():
        return
    fits = "overfit" if trained.left < 1 - NOISE else "underfit"
    yield Finding(
        fits,
        WARN,
        f"The validation loss is {val:.3g}, not better beyond chance than the "
        f"{seen['undecided']:.3g} of guessing (training {train:.3g}), and further steps do not "
        "lower it: nothing was learnt that holds for new samples; the inputs may not tell the "
        "target.",
        {"train": train, "val": val, "undecided": seen["undecided"]},
        changes={"procedure": "show_data"},
    )


def _knows_more(seen: Mapping[str, float]) -> bool:
    """Whether the metric beside the loss is better than guessing on validation, beyond chance.

    The loss need not be: it punishes a few answers that are wrong and sure more than all others.
    Answers that know nothing of the input have the share of the most frequent class, at most.
    """
    better = {"val/accuracy": 1, "val/mae": -1} if "guess" in seen else {}
    guess = max(seen.get("guess", 0.0), seen.get("guess/lucky", 0.0))
    gains = [sign * (seen[key] - guess) for key, sign in better.items() if key in seen]
    return any(gain > LIKELY * seen.get("val/metric_error", math.inf) for gain in gains)


def memorized(trained: Trained) -> Iterator[Finding]:
    """Overfitting where a closer fit to training is not what is lacking.

    Hardly any training loss is left, or what has been learnt makes validation worse than guessing
    does, and no trial makes it better.
    """
    lost = _worse_than_guessing(trained) and not better_without(trained)
    if (trained.left < GAP or lost) and not trained.was_high():
        yield from overfit(trained)


def _worse_than_guessing(trained: Trained) -> bool:
    """Whether validation is, beyond chance, and training is not."""
    seen = trained.seen
    if "val/loss" not in seen or not trained.left < 1 - NOISE:
        return False
    return seen["val/loss"] - seen["undecided"] > LIKELY * seen["val/error"]


def overfit(trained: Trained) -> Iterator[Finding]:
    """Validation leaves much more of the undecided loss than training, or more than all of it."""
    seen = trained.seen
    if "val/loss" not in seen:
        return
    train, val, error = both_losses(seen)
    gap = (val - train) / seen["undecided"]
    far = val > FITTED * train or _worse_than_guessing(trained)
    if far and gap > max(CLOSE, SURE * error / seen["undecided"]):
        yield Finding(
            "overfit",
            WARN,
            f"The validation loss is {val:.3g}, and the training loss, measured the same way, "
            f"{train:.3g}: more data, augmentation or regularization would help.",
            {"train": train, "val": val, "gap": gap},
            changes={"regularization": restrained(trained)},
        )


def good_fit(trained: Trained) -> Iterator[Finding]:
    """Validation is as good as training; or nobody can tell, and how many samples would."""
    seen = trained.seen
    if "val/loss" not in seen:
        return
    train, val, error = both_losses(seen)
    near = CLOSE * seen["undecided"]
    numbers = {"train": train, "val": val, "error": error}
    if 2 * error > near:
        samples = _validation_needed(seen, near / 2)
        more = f"about {samples:,}" if samples else "more of both"
        yield Finding(
            "inconclusive",
            NOTE,
            f"With {counted(int(seen['val/samples']), 'validation sample')} the losses of training "
            f"and validation, {train:.3g} and {val:.3g}, are known only to within "
            f"±{2 * error:.2g}; {more} would be enough to tell how well it fits.",
            numbers | ({"samples": samples} if samples else {}),
        )
    elif abs(val - train) <= near:
        yield Finding(
            "good_fit",
            NOTE,
            "The network fits validation about as well as training: losses "
            f"{train:.3g} (training) and {val:.3g} (validation); guessing gives "
            f"{seen['undecided']:.3g}.",
            numbers,
        )
    elif val > FITTED * train:
        samples = _validation_needed(seen, (val - train) / SURE)
        more = f"; about {samples:,} validation samples would be enough to tell" if samples else ""
        yield Finding(
            "inconclusive",
            NOTE,
            f"The validation loss is {val:.3g}, and the training loss, measured the same way, "
            f"{train:.3g}, known only to within ±{2 * error:.2g}: it may be overfitted{more}.",
            numbers | ({"samples": samples} if samples else {}),
        )


def _validation_needed(seen: Mapping[str, float], least: float) -> int | None:
    """How many validation samples tell the losses of training and validation so well apart."""
    return needed(seen["val/samples"], seen["val/error"], seen["train_eval/error"], least)


def simpler_would_do(trained: Trained) -> Iterator[Finding]:
    """A linear model is at least as good on validation as a network with hidden layers."""
    seen = trained.seen
    linear = "linear" in str((trained.recipe.get("model") or {}).get("_target_"))
    if "linear" not in seen or linear or seen["linear/worse"] < 0:
        return
    if seen["linear/error"] <= CLOSE * max(seen["linear"], CLOSE):
        rules = list(trained.rules)
        # The one that was measured has no penalty and no noise; and it is refused batch norm.
        kept = [rule for rule in rules if rule in HARMLESS and rule != "batch_norm"]
        fewer: dict[str, Any] = {"regularization": kept or "none"} if kept != rules else {}
        if trained.weight_decay:
            fewer["optimizer.weight_decay"] = 0.0
        yield Finding(
            "simpler_would_do",
            NOTE,
            "The validation error of a linear model that is solved by least squares, as a long "
            f"training would end, is {seen['linear']:.3g}, and the network's "
            f"{seen['linear'] + seen['linear/worse']:.3g}: its hidden layers gain nothing.",
            {"linear": seen["linear"], "network": seen["linear"] + seen["linear/worse"]},
            changes={"model": "linear", **fewer},
        )
