"""The verdict after a training, from what its record and a few measurements say.

Pure functions of plain values. Nothing is said that the numbers do not support: a difference
counts from `SURE` standard errors on.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from dlrun.finding import FAIL, NOTE, WARN, Finding, exploded, jump, shares_apart
from dlrun.report.brakes import Reason
from dlrun.report.known import (
    CLOSE,
    DEAD,
    FITTED,
    GAP,
    HARMLESS,
    LIKELY,
    NOISE,
    PATIENCE,
    SURE,
    Trained,
    longer,
    needed,
    redrawn,
    restrained,
    scaled,
    slower,
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

ELSEWHERE = 3.1
"""Standard errors by which inputs of one distribution differ once in a thousand comparisons."""
UNLUCKY = (
    "both were drawn at random from the same samples, so the draw is unlucky; take another "
    "data.split_seed"
)
"""What is said of splits that differ though they are of one distribution."""
APART = 0.1
"""By how much P(val further than train) must differ from 1/2, and the shares of the classes from
those of training, to be called another distribution."""
UNTOLD = 0.25
"""The share of labels that neighbours contradict from which they say nothing of single ones."""
STEEP = 0.05
"""The share of the undecided loss by which the training loss must be below its last mean, to be
that of too short a training."""
BLOWN_UP = ("wrong_loss", "input_scale", "initial_loss", "exploding_gradient")
"""Findings before the training that explain a loss that is no longer finite."""
ENOUGH = 32
"""The size of a mini-batch from which batch norm is as good as ever (Wu, He 2018)."""
CAUGHT_UP, QUICK = 3.0, 0.05
"""Running averages are within 5 % after 3/momentum updates; a momentum that is usual for them."""


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


def label_noise(trained: Trained) -> Iterator[Finding]:
    """Labels of training are contradicted where those of validation are not, of like inputs."""
    seen = trained.seen
    if "labels/train" not in seen or _shifted(seen):
        return
    here, there = seen["labels/train"], seen["labels/val"]
    error = math.hypot(seen["labels/train_error"], seen["labels/val_error"])
    train, val, of_losses = _losses(seen)
    told = (
        "The nearest training samples contradict training labels more often than validation "
        "labels ({:.3g} against {:.3g})"
    )
    if here - there - _by_shares(seen) > SURE * error and train > val:
        told = f"{told.format(here, there)}, and the network fits them worse"
    elif _contradicted(seen):
        here, there = seen["contradicted/train"], seen["contradicted/val"]
        error = math.hypot(seen["contradicted/train_error"], seen["contradicted/val_error"])
        told = told.format(here, there)
    elif _easier(seen) and not _other_shares(seen) and there > UNTOLD:
        here, there, error = train, val, of_losses
        told = (
            f"The network fits validation better than its training samples (losses {val:.3g} "
            f"and {train:.3g}), although the inputs are alike"
        )
    else:
        return
    yield Finding(
        "label_noise",
        WARN,
        f"{told}: many training labels look wrong.",
        {"train": here, "val": there, "error": error},
        changes={"procedure": "show_data"},
    )


def wrong_validation(trained: Trained) -> Iterator[Finding]:
    """Neighbours contradict labels of validation far more than of training, of like inputs.

    Of numbers they have only their mean: there the network must also do worse than guessing.
    """
    seen = trained.seen
    if "labels/val" not in seen or _shifted(seen) or trained.had("class_missing"):
        return
    kind = "contradicted" if "contradicted/val" in seen else "labels"
    here, there = seen[f"{kind}/train"], seen[f"{kind}/val"]
    error = math.hypot(seen[f"{kind}/train_error"], seen[f"{kind}/val_error"])
    if there - here <= max(SURE * error, CLOSE if kind == "contradicted" else 0.0):
        return
    if kind == "labels":
        beyond = seen["val/mae"] - SURE * seen["val/metric_error"] if "val/mae" in seen else 0.0
        if beyond <= seen.get("guess", math.inf):
            return
    elif _other_shares(seen) and there < 0.5:
        return  # that may explain it
    yield Finding(
        "label_noise",
        WARN,
        f"The nearest training samples contradict validation labels far more often than training "
        f"labels ({there:.3g} against {here:.3g}), although the inputs are alike: the labels of "
        "validation look wrong.",
        {"train": here, "val": there, "error": error},
        changes={"procedure": "show_data"},
    )


def _contradicted(seen: Mapping[str, float]) -> bool:
    """Whether neighbours agree against labels of training more often than of validation."""
    if "contradicted/train" not in seen:
        return False
    more = seen["contradicted/train"] - seen["contradicted/val"]
    error = math.hypot(seen["contradicted/train_error"], seen["contradicted/val_error"])
    return more - _by_shares(seen) > SURE * error


def _easier(seen: Mapping[str, float]) -> bool:
    """Whether validation leaves clearly less of the undecided loss than training."""
    train, val, error = _losses(seen)
    return train - val > max(CLOSE * seen["undecided"], SURE * error)


def _losses(seen: Mapping[str, float]) -> tuple[float, float, float]:
    """Those of training and validation, and the standard error of their difference."""
    error = math.hypot(seen["train_eval/error"], seen["val/error"])
    return seen["train_eval/loss"], seen["val/loss"], error


def _further(seen: Mapping[str, float]) -> bool:
    """Whether validation samples lie further from training samples than these do, or nearer."""
    return "shift" in seen and abs(seen["shift"] - 0.5) > max(APART, SURE * _chance(seen))


def _shifted(seen: Mapping[str, float]) -> bool:
    """Whether the inputs of validation differ from those of training, by distance or by place."""
    return _further(seen) or max(seen.get("moved", 0.0), seen.get("spread", 0.0)) > ELSEWHERE


def _other_shares(seen: Mapping[str, float]) -> bool:
    """Whether the classes have other shares in validation than in training, beyond chance."""
    return seen.get("classes", 0.0) > APART and seen["classes/errors"] > ELSEWHERE


def _by_shares(seen: Mapping[str, float]) -> float:
    """By how much other shares of the classes may change a probability: by their own distance.

    That is half the sum of their differences (total variation); 0 where these may be chance.
    """
    return seen["classes"] if _other_shares(seen) else 0.0


def _of_shares(seen: Mapping[str, float]) -> bool:
    """Whether other shares of the classes may be all that sets the inputs apart."""
    if not _other_shares(seen) or "shift" not in seen:
        return _other_shares(seen)
    return abs(seen["shift"] - 0.5) - _by_shares(seen) <= max(APART, SURE * _chance(seen))


def distribution_shift(trained: Trained) -> Iterator[Finding]:
    """Validation inputs lie elsewhere than training inputs, or further apart."""
    seen = trained.seen
    if not _shifted(seen) or _of_shares(seen) or trained.had("leak"):
        return
    numbers = {key: seen[key] for key in ("moved", "spread", "shift") if key in seen}
    drawn = bool(seen.get("drawn"))
    if _further(seen):
        where = "further from" if seen["shift"] > 0.5 else "nearer to"
        told = (
            f"Validation samples lie {where} the training samples than these lie to each other "
            f"(in {max(seen['shift'], 1 - seen['shift']):.0%} of the pairs)"
        )
        numbers["error"] = _chance(seen)
    elif seen["moved"] > ELSEWHERE:
        told = f"The inputs of validation lie elsewhere ({seen['moved']:.3g} standard errors)"
    else:
        told = f"The inputs of validation spread differently ({seen['spread']:.3g} standard errors)"
    yield Finding(
        "distribution_shift",
        WARN,
        f"{told}: {UNLUCKY if drawn else 'the two splits come from different distributions'}.",
        numbers,
        changes=redrawn(trained.recipe) if drawn else {"procedure": "show_data"},
    )


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
        kept = [key for key in trained.rules if key != "dropout"]
        return "too_much_regularization", said, {"regularization": kept or "none"}
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
    train, val, error = _losses(seen)
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
    train, val, error = _losses(seen)
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


def validation_easier(trained: Trained) -> Iterator[Finding]:
    """Validation leaves clearly less of the undecided loss than training."""
    seen = trained.seen
    if "val/loss" not in seen:
        return
    train, val, error = _losses(seen)
    if _easier(seen):
        yield Finding(
            "validation_easier",
            WARN,
            f"The validation loss is {val:.3g}, and the training loss, measured the same way, "
            f"{train:.3g}: validation has easier samples, so its result is too good.",
            {"train": train, "val": val, "error": error},
            changes={"procedure": "show_data"},
        )


def good_fit(trained: Trained) -> Iterator[Finding]:
    """Validation is as good as training; or nobody can tell, and how many samples would."""
    seen = trained.seen
    if "val/loss" not in seen:
        return
    train, val, error = _losses(seen)
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


def validation_overused(trained: Trained) -> Iterator[Finding]:
    """The test split is worse than validation, by which the recipe was chosen."""
    seen, tested = trained.seen, trained.values("test/loss")
    if not tested or "val/loss" not in seen or "test/error" not in seen:
        return
    if trained.recipe.get("test_augmentation"):
        return  # validation is measured without it
    test, val = tested[-1], seen["val/loss"]
    error = math.hypot(seen["val/error"], seen["test/error"])
    wrong = _more_wrong(trained)
    cause = "the test split comes from another distribution"
    if not seen.get("first"):
        cause = f"too much was chosen by validation, or {cause}"
    if test - val > max(CLOSE * seen["undecided"], SURE * error) and wrong > SURE:
        yield Finding(
            "validation_overused",
            WARN,
            f"The test loss is {test:.3g}, and the validation loss {val:.3g}: {cause}.",
            {"test": test, "val": val, "error": error},
            changes=redrawn(trained.recipe) | {"procedure": "cross_validate"},
        )


def _more_wrong(trained: Trained) -> float:
    """By how many standard errors the accuracy on the test split is below that on validation.

    The losses of a few samples are known too badly: one confident mistake, or one extreme target,
    makes up most of them. Without an accuracy: by how many their ranks are higher.
    """
    seen, tested = trained.seen, trained.values("test/accuracy")
    if not tested or "val/accuracy" not in seen:
        return seen["test/higher"]
    val, test = seen["val/samples"], seen["test/samples"]
    return shares_apart(test * tested[-1], test, val * seen["val/accuracy"], val)


def test_shift(trained: Trained) -> Iterator[Finding]:
    """The inputs of the test split, which has been measured, lie elsewhere than training's."""
    moved, spread = (trained.seen.get(f"test/{key}", 0.0) for key in ("moved", "spread"))
    if max(moved, spread) <= ELSEWHERE or _shifted(trained.seen) or trained.had("leak"):
        return
    how = "lie elsewhere" if moved > ELSEWHERE else "spread differently"
    drawn = bool(trained.seen.get("test/drawn"))
    yield Finding(
        "distribution_shift",
        WARN,
        f"The inputs of the test split {how} than those of training "
        f"({max(moved, spread):.3g} standard errors): "
        f"{UNLUCKY if drawn else 'it comes from another distribution'}.",
        {"moved": moved, "spread": spread},
        changes=redrawn(trained.recipe) if drawn else {"procedure": "show_data"},
    )


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
        if (trained.recipe.get("optimizer") or {}).get("weight_decay"):
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


def _chance(seen: Mapping[str, float]) -> float:
    """The standard error of P(a > b) for as many draws from each as were probed."""
    return math.sqrt((2 * seen["probes"] + 1) / 12) / seen["probes"]
