"""What of a recipe cut the steps of a training, or their number: facts of its record.

They are asked before the shape of a curve is, which has many causes.
"""

import math
from collections.abc import Mapping
from statistics import median
from typing import Any

from dlrun import duration
from dlrun.record import MANUAL
from dlrun.report.known import GAP, PATIENCE, SURE, Trained

Reason = tuple[str, str, Mapping[str, Any]]
"""The name of a finding, a clause, what to change."""
FADED = 0.01
"""The share of its highest below which a rate moves next to nothing."""
LONG = 0.25
"""The share of the training from which that is long; of a cosine the last 6 % are such."""
CUT = 10.0
"""How many times shorter a step must be made, to explain that they were slow."""
ROUNDED = 2.0**-20
"""A step in terms of a weight: eight times what float32 keeps of it. A shorter one may be lost."""
FIRST = 0.01
"""A rate to begin a search with, where there was none (Bengio 2012, 3.1.1)."""
MOST = 0.5
"""The share of the parameters from which frozen ones explain a bad fit."""
CLIPPED = 1.0
"""A usual `clip_norm` (Pascanu et al. 2013)."""
_PROPORTIONAL = ("momentum", "sgd", "nesterov", "asgd")
"""Optimizers whose steps are as long as their gradients; others take the length out."""
_OTHER_RATES = ("scale_lr", "lr_of", "layer_decay", "layer_lr")
"""Settings by which `optimizer.lr` is not the rate that is recorded."""


def unmoved(trained: Trained) -> Reason | None:
    """Steps that change no weight, as each validation has exactly the loss of the first.

    None where the gradient is 0, or the rate so small that rounding may take the steps away:
    these have reasons of their own.
    """
    losses, rates = trained.values("val/loss"), trained.values("lr")
    norm = max(trained.values("grad/norm"), default=0.0)
    if len(losses) < 2 or len(set(losses)) > 1 or not rates or not norm > 0:
        return None
    clause, highest = "since the first validation no weight has changed", max(rates)
    if highest * min(norm, 1.0) > ROUNDED:
        return "underfit", f"{clause}, at a rate of {highest:g}: the optimizer moves nothing", {}
    if highest > 0:
        return None
    if "optimizer.lr" in (search := searched(trained)):
        return "rate_too_low", f"{clause}, as the rate is 0", search
    return "rate_too_low", f"{clause}: the schedule gives a rate of 0", {"schedule": "constant"}


def searched(trained: Trained) -> dict[str, Any]:
    """The settings that search for a rate; from a rate of 0 no search can begin."""
    none = (trained.recipe.get("optimizer") or {}).get("lr") == 0
    return {**({"optimizer.lr": FIRST} if none else {}), "procedure": "find_lr"}


def brake(trained: Trained) -> Reason | None:
    """The first that is known to have cut the steps or their number; None where nothing has."""
    for fact in (_impatient, _frozen, _averaged, _followed, _faded, _clipped, _smoothed):
        if (found := fact(trained)) is not None:
            return found
    return None


def _impatient(trained: Trained) -> Reason | None:
    """Early stopping, by what it has seen within less than an epoch."""
    last = trained.points[-1]
    if not trained.patience or not last["epoch"]:
        return None
    patience = duration.parse(trained.patience)
    steps = max(1, round(last["step"] / last["epoch"]))
    if patience.unit in ("%", "seconds") or patience.steps(steps) >= steps:
        return None
    clause = f"early stopping ended the training after {last['step']} steps, with a patience of "
    clause += f"{patience}, less than an epoch"
    more = {"regularization.early_stopping.patience": f"{PATIENCE} epochs"}
    return "still_improving", clause, more


def _frozen(trained: Trained) -> Reason | None:
    """Most parameters stay as they were drawn; of a model of the user nobody knows how that was."""
    recipe, share = trained.recipe, trained.seen.get("frozen", 0.0)
    model = recipe.get("model") or {}
    known = str(model.get("_target_", "")).startswith("dlrun.")
    began = recipe.get("weights") or model.get("weights")
    if share < MOST or began or not known or not recipe.get("freeze"):
        return None
    clause = f"freeze keeps {share:.0%} of the parameters as they were drawn, since no trained "
    clause += "weights were given"
    return "underfit", clause, {"freeze": None, "unfreeze_at": None}


def _averaged(trained: Trained) -> Reason | None:
    """An average of the weights that lags behind those that the training has measured."""
    seen, known = trained.seen, [point["values"] for point in trained.measured]
    if "weight_average" not in trained.rules or not known:
        return None
    best = min(known, key=lambda values: float(values["val/loss"]))
    loss, live = seen["train_eval/loss"], best["train/loss"]
    if loss - live <= max(GAP * seen["undecided"], SURE * seen["train_eval/error"]):
        return None
    clause = f"with the average of the weights it is {loss:.3g}, and with those that were averaged "
    clause += f"it was {live:.3g}: the average lags behind"
    return "too_much_regularization", clause, trained.without("weight_average")


def _followed(trained: Trained) -> Reason | None:
    """Slow weights of lookahead that hardly follow those that the optimizer moves."""
    rule = trained.rules.get("lookahead") or {}
    share = float(rule.get("share", 1.0))
    if share * CUT >= 1:
        return None
    clause = f"with lookahead.share={share:g} the weights keep {share:.2g} of the way that the "
    clause += "optimizer makes"
    return "too_much_regularization", clause, {"regularization.lookahead.share": 0.5}


def _faded(trained: Trained) -> Reason | None:
    """A rate that was next to nothing for a quarter of the training, or longer."""
    recipe = trained.recipe
    steps = [(p["step"], p["values"]["lr"]) for p in trained.points if "lr" in p["values"]]
    schedule = recipe.get("schedule") or {}
    named = (recipe.get("optimizer") or {}).get("lr")
    manual = schedule.get("_target_") == MANUAL or any(
        recipe.get(key) not in (None, "none") for key in _OTHER_RATES
    )
    highest = max([rate for _, rate in steps], default=0.0)
    if isinstance(named, int | float) and not manual:
        highest = max(highest, named)
    if not steps or not highest:
        return None
    before, low = 0, 0
    start = 0.0 if duration.parse(recipe.get("warmup") or 0).amount else highest
    for step, rate in steps:  # recorded is that at the end of an interval
        low += (step - before) * (max(start, rate) < FADED * highest)
        before, start = step, rate
    if low < LONG * before:
        return None
    clause = f"for {low / before:.0%} of the training the rate was below {FADED:.0%} of "
    if rises_to_the_end(trained):
        return "rate_too_low", f"{clause}{highest:g}; the warm-up is too long", {"warmup": "10%"}
    clause += f"{highest:g}: the schedule lets it fall too early"
    return "rate_too_low", clause, {"schedule": "cosine"}


def rises_to_the_end(trained: Trained) -> bool:
    """Whether the training has ended before its warm-up."""
    rise = duration.parse(trained.recipe.get("warmup") or 0)
    ends = {unit: max(point[unit] for point in trained.points) for unit in ("epoch", "step")}
    return bool(rise.amount > ends.get(rise.unit.removesuffix("s"), math.inf))


def _clipped(trained: Trained) -> Reason | None:
    """Gradients that are cut to a small part of their length, which the rate does not know of.

    Of n elements that are none above v the norm is v √n at most.
    """
    recipe, norms = trained.recipe, trained.values("grad/norm")
    target = str((recipe.get("optimizer") or {}).get("_target_", "")).lower()
    if not norms or target.rpartition(".")[2] not in _PROPORTIONAL:
        return None
    norm = median(norms)
    length = math.sqrt(trained.seen.get("weights", math.inf))
    for key, factor, usual in (("clip_norm", 1.0, CLIPPED), ("clip_value", length, None)):
        limit = recipe.get(key)
        # Beyond a usual norm it keeps steps from being too large.
        if limit and limit * factor < CLIPPED and norm > CUT * limit * factor:
            clause = f"{key}={limit:g} makes a usual gradient, of norm {norm:.2g}, and so the "
            clause += f"step {norm / (limit * factor):,.0f} times shorter"
            return "rate_too_low", clause, {key: usual}
    return None


def _smoothed(trained: Trained) -> Reason | None:
    """Label smoothing with which even a perfect fit leaves much of the cross-entropy: -log q."""
    rule = trained.rules.get("label_smoothing") or {}
    equal = trained.seen.get("undecided/equal", 0.0)
    amount, classes = float(rule.get("amount", 0.0)), trained.seen.get("outputs", 1.0)
    if not amount or not math.isclose(equal, math.log(classes), rel_tol=0.01):  # another loss
        return None
    true = 1 - amount + (amount / classes if rule.get("spread") == "all" else 0.0)
    least = -math.log(max(true, 1e-9))
    if least <= max(GAP * equal, trained.seen["train_eval/loss"] / 2):
        return None
    clause = f"with label_smoothing.amount={amount:g} even a perfect fit leaves {least:.3g} of "
    clause += f"the {equal:.3g} of guessing"
    return "too_much_regularization", clause, trained.without("label_smoothing")
