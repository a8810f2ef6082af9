"""A Run put back to where a checkpoint found it, as far as its recipe is still the same."""

import logging
import math
from collections.abc import Collection
from dataclasses import fields
from typing import Any, TypeVar

import torch
from torch import Tensor

from dlrun import shell
from dlrun.engine import checkpoint
from dlrun.engine import memory as own
from dlrun.engine.evaluate import best_weights
from dlrun.engine.feed import prepared_again
from dlrun.engine.run import Run, Weights
from dlrun.engine.state.kept import Counters, Standing, State, Window, groups, kind, steps
from dlrun.errors import Mistake
from dlrun.regularization import Regularizer, acts
from dlrun.schedule import Schedule, watches

T = TypeVar("T", Counters, Standing)
_log = logging.getLogger("dlrun")
_SHAPING = {
    "Adam": ("amsgrad",),
    "AdamW": ("amsgrad",),
    "RMSprop": ("momentum", "centered"),
    "Classical": ("nesterov",),
    "Scaled": ("sums", "beta", "momentum", "centered"),
    "AdaDelta": ("window", "numerator"),
    "LBFGS": ("history_size",),
    "Muon": ("muon",),
    "SAM": ("nesterov",),  # which only momentum has
    "ScheduleFree": ("adam",),
}
"""Options of optimizers, and marks of their groups, that decide what their state holds."""


def restore(run: Run, saved: dict[str, Any], changed: Collection[str] = ()) -> State:
    """Put the Run back to where `capture` found it.

    The options of the optimizer (its rate, its momentum) stay those of the recipe, so
    that an override on resuming holds. changed: as `begin` takes it. Raises Mistake where
    the model has changed, and where a step or an epoch is another.
    """
    _refuse_other_steps(run, saved)
    device, anew = run.device, []  # what begins anew, and why
    restore_model(run, saved["model"])
    if "preprocessing" in changed or not take_preprocessing(run, saved["preprocessing"]):
        anew.append("the preprocessing, which is another")
    anew += _restore_optimizer(run, saved["optimizer"])
    own.put_back(run, saved.get("own", {}))
    judged = _judged_anew(run, saved, changed)
    anew += [judged] if judged else []
    known = {key: each for key, each in saved["regularization"].items() if key in run.regularizers}
    memories = {"schedule": saved["schedule"], **known}
    parts: dict[str, Schedule | Regularizer] = {"schedule": run.schedule, **run.regularizers}
    for key, part in parts.items():
        judges = watches(part) if isinstance(part, Schedule) else acts(part, "should_stop")
        if key in memories and not (judged and judges) and not _remember(part, memories[key]):
            what = "the schedule" if part is run.schedule else key
            anew.append(f"{what}, which is another")
    if run.scaler is not None and saved["scaler"]:
        run.scaler.load_state_dict(saved["scaler"])
    checkpoint.restore_random_state(saved["random"], run.generator)

    counters, standing = _filled(Counters, saved["position"]), _filled(Standing, saved["position"])
    if judged:
        standing = Standing(scale=standing.scale, backoffs=standing.backoffs)
    elif saved["best"] is not None:
        standing.best = {
            name: value.to(device) if isinstance(value, Tensor) else value
            for name, value in saved["best"].items()
        }
    elif standing.best_step and standing.best_step == counters.step:
        standing.best = best_weights(run)
    if not judged and {"loss", "val"} & set(changed):
        standing.best_loss = -math.inf  # of another loss or split, so that it breaks no tie
    if anew:
        _log.warning(f"begins anew: {'; '.join(anew)}")
    same = not anew and memories.keys() == parts.keys()
    standing.good = saved.get("good") if same else None
    return State(counters, _window(run, saved), [standing])


def _filled(kind: type[T], values: dict[str, Any]) -> T:
    return kind(**{each.name: values[each.name] for each in fields(kind) if each.name in values})


def _refuse_other_steps(run: Run, saved: dict[str, Any]) -> None:
    """All lengths, schedules and points count steps: those behind must be like those to come."""
    now = steps(run)
    before = saved.get("steps", now)
    if now == before or not saved["position"]["step"]:
        return
    keys = [key for key in now if before[key] != now[key] and key != "steps_per_epoch"]
    if not keys:
        raise Mistake(
            f"data: an epoch has {shell.counted(now['steps_per_epoch'], 'step')}, and had "
            f"{before['steps_per_epoch']} when the run began; start a new run with other data"
        )
    was, wanted = (
        ", ".join(f"{key}={str(values[key]).lower()}" for key in keys) for values in (before, now)
    )
    raise Mistake(
        f"{wanted}: a resumed run keeps its {was}, because its length is counted in steps; "
        "start a new run to change it"
    )


def restore_model(run: Run, weights: Weights) -> None:
    """Put weights into the model. Raises Mistake where they are those of another."""
    now = run.model.state_dict()
    for name in (*weights, *now):
        shapes = [list(getattr(each.get(name), "shape", [])) for each in (weights, now)]
        if name in weights and name in now and shapes[0] == shapes[1]:
            continue
        was, is_now = (
            f"of shape {shape}" if name in each else "not there"
            for each, shape in zip((weights, now), shapes, strict=True)
        )
        raise Mistake(
            f"the checkpoint does not fit the model: {name} was {was} and is {is_now}; "
            "a run keeps its model: start a new one for another"
        )
    try:
        run.model.load_state_dict(weights)
    except RuntimeError as error:
        message = str(error).splitlines()[0]
        raise Mistake(f"the checkpoint does not fit the model: {message}") from error


def take_preprocessing(run: Run, fitted: Weights) -> bool:
    """Take over what was fitted; whether that was possible.

    What lies ready for the model is made again where it differs (another device, say).
    """
    before = {name: value.clone() for name, value in run.preprocessing.state_dict().items()}
    if before.keys() != fitted.keys():
        return False
    try:
        run.preprocessing.load_state_dict(fitted)
    except RuntimeError:
        return False
    after = run.preprocessing.state_dict()
    if any(not torch.equal(after[name], before[name]) for name in before):
        run.train = prepared_again(run.train, run.preprocessing)
        run.val = prepared_again(run.val, run.evaluation)
        if run.train_eval is not None:
            run.train_eval = prepared_again(run.train_eval, run.evaluation)
    return True


def take_optimizer(run: Run, saved: dict[str, Any]) -> bool:
    """Take over the state of another run's optimizer with its last rate; whether that was possible.

    And what the scaler of gradients and the regularizers remember.
    """
    if _restore_optimizer(run, saved["optimizer"]):
        return False
    before = saved["optimizer"]["state"]["param_groups"]
    for group, old in zip(run.optimizer.param_groups, before, strict=True):
        group["lr"] = old["lr"]
    if run.scaler is not None and saved["scaler"]:
        run.scaler.load_state_dict(saved["scaler"])
    known = saved["regularization"]
    return all(_remember(rule, known.get(key)) for key, rule in run.regularizers.items())


def _restore_optimizer(run: Run, saved: dict[str, Any]) -> list[str]:
    """Take over the state; what begins anew instead."""
    now, before = type(run.optimizer).__name__, saved["name"]
    if before != now:
        return [f"the optimizer, which was {before} and is {now}"]
    here = groups(run)
    if saved.get("groups", here) != here:
        return ["the optimizer, which has its weights in other groups"]
    options = [dict(group) for group in run.optimizer.param_groups]
    for group, old in zip(options, saved["state"]["param_groups"], strict=False):
        for key in _SHAPING.get(now, ()):
            was, wanted = old.get(key), group.get(key)
            if was != wanted and not (was and wanted and key == "momentum"):
                return [f"the optimizer, whose {key} was {was} and is {wanted}"]
    try:
        run.optimizer.load_state_dict(saved["state"])
    except (ValueError, KeyError) as error:
        raise Mistake(
            f"the checkpoint does not fit the optimizer: {error}; "
            "keep optimizer and decay as they were"
        ) from error
    for group, wanted in zip(run.optimizer.param_groups, options, strict=True):
        group.update({key: wanted[key] for key in wanted if key != "params"})
    return []


def _window(run: Run, saved: dict[str, Any]) -> Window:
    """What the mini-batches since the last point gave; none where another objective was trained."""
    kept = saved["window"]
    losses, metric_sums, objectives, penalties = (
        [] if kept.get(key) is None else list(kept[key].to(run.device).unbind())
        for key in ("losses", "metric_sums", "objectives", "penalties")
    )
    same = bool(objectives) == (run.objective is not run.loss)
    if penalties or run.penalties:
        same &= list(saved["regularization"]) == list(run.regularizers)
    if losses and not same:
        return Window()
    apart = [list(each.unbind()) for each in penalties]
    return Window(losses, metric_sums, objectives, apart, list(kept["sizes"]), kept["seconds"])


def _judged_anew(run: Run, saved: dict[str, Any], changed: Collection[str]) -> str:
    """Why scores so far say nothing about those to come; nothing where they do."""
    before = saved.get("monitor", run.monitor)
    if before != run.monitor:
        return f"the best, which was chosen by {before} and is by {run.monitor}"
    if "val" in changed and run.monitor.startswith("val/"):
        return "the best, because the val split is another"
    measured = run.monitor.rpartition("/")[2]
    if "loss" in changed and measured == "loss":
        return f"the best, because {run.monitor} is of another loss"
    if f"metric.{measured}" in changed:
        return f"the best, because {run.monitor} is measured in another way"
    return ""


def _remember(part: Schedule | Regularizer, memory: dict[str, Any] | None) -> bool:
    """Take over a memory, if it has one; whether it was of the same kind."""
    if memory is None:
        return True
    if memory["name"] != kind(part):
        return False
    try:
        part.load_state_dict(memory["state"])
    except (KeyError, ValueError, TypeError, RuntimeError):
        return False
    return True
