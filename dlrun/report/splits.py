"""What sets validation and test apart from training: labels, inputs, shares of the classes."""

import math
from collections.abc import Iterator, Mapping

from dlrun.finding import WARN, Finding, shares_apart
from dlrun.report.known import CLOSE, SURE, Trained, both_losses, redrawn

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


def label_noise(trained: Trained) -> Iterator[Finding]:
    """Labels of training are contradicted where those of validation are not, of like inputs."""
    seen = trained.seen
    if "labels/train" not in seen or _shifted(seen):
        return
    here, there = seen["labels/train"], seen["labels/val"]
    error = math.hypot(seen["labels/train_error"], seen["labels/val_error"])
    train, val, of_losses = both_losses(seen)
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
    train, val, error = both_losses(seen)
    return train - val > max(CLOSE * seen["undecided"], SURE * error)


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


def validation_easier(trained: Trained) -> Iterator[Finding]:
    """Validation leaves clearly less of the undecided loss than training."""
    seen = trained.seen
    if "val/loss" not in seen:
        return
    train, val, error = both_losses(seen)
    if _easier(seen):
        yield Finding(
            "validation_easier",
            WARN,
            f"The validation loss is {val:.3g}, and the training loss, measured the same way, "
            f"{train:.3g}: validation has easier samples, so its result is too good.",
            {"train": train, "val": val, "error": error},
            changes={"procedure": "show_data"},
        )


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


def _chance(seen: Mapping[str, float]) -> float:
    """The standard error of P(a > b) for as many draws from each as were probed."""
    return math.sqrt((2 * seen["probes"] + 1) / 12) / seen["probes"]
