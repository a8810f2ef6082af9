"""What a recipe is known by: a hash of all that decides what a run finds."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from omegaconf import DictConfig

from dlrun import duration
from dlrun.errors import Mistake
from dlrun.recipe.once import once
from dlrun.recipe.schema import GROUPS, SEVERAL, as_words
from dlrun.recipe.view import as_written, filled, plain

NEUTRAL = (
    *("outputs", "name", "device", "threads", "tracking", "resume", "facts", "sweep"),
    *("preflight", "target_error", "watch", "watch_every", "stop_after"),
    *("expect", "short", "checkpoint_every", "data.cache"),
)
"""Settings that change nothing of what a run finds: they are no part of a recipe's hash."""
_MEASURED = ("test", "log_every", "train_eval")
"""Settings that change what is recorded of a run, and nothing of what it has learnt."""
_LENGTHS = ("epochs", "warmup", "unfreeze_at", "validate_every", "log_every")
_ACTING = (
    *("augmentation", "activation", "initializer", "loss", "optimizer", "schedule"),
    "regularization",
)
"""Groups in whose settings numbers are amounts, and texts lengths or one of a few words."""
_NO_FACTS = {"shape": [0], "outputs": 0}
_OWN = ("seed", "epochs", "warmup", "schedule", "initializer", "clip_norm", "clip_value")
_NUMBERED = ("optimizer", "regularization", "loss", "augmentation", "activation")


def digest(recipe: DictConfig) -> str:
    """The hash of a resolved recipe."""
    return short(_deciding(recipe))


def _deciding(recipe: DictConfig) -> dict[str, Any]:
    """The plain values that decide what a run finds."""
    written = as_written(recipe) | {"facts": _NO_FACTS}  # references to them resolve
    kept = {str(key): each for key, each in written.items() if key not in NEUTRAL}
    try:
        kept = {key: filled(each, written) for key, each in kept.items()}
    except (LookupError, RecursionError):
        kept = _resolved_without_facts(recipe)
    for group, _, setting in (key.partition(".") for key in NEUTRAL):
        if isinstance(kept.get(group), dict):
            kept[group].pop(setting, None)
    kept |= {key: sorted(as_words(kept.get(key))) for key in ("freeze", "divergence")}
    return {key: _in_one_form(key, value) for key, value in kept.items()}


def _resolved_without_facts(recipe: DictConfig) -> dict[str, Any]:
    facts = recipe.facts
    before = as_written(facts)
    facts.update(_NO_FACTS)
    try:
        return resolved(recipe, NEUTRAL)
    finally:
        facts.update(before)


@once
def _in_one_form(key: str, value: Any) -> Any:
    return _sorted(key, canonical({key: value})[key])


def canonical(values: Mapping[str, Any]) -> dict[str, Any]:
    """The plain values of a recipe, the same however its numbers and lengths are written.

    Only where 1.0 and 1, or '60 min' and '1 h', are known to mean the same: in data they may be
    names, and in preprocessing a share and a count.
    """
    found = dict(values)
    for key in found.keys() & {*_LENGTHS}:
        found[key] = by_value(found[key])
    for group in found.keys() & {*GROUPS}:
        value = found[group]
        if group in SEVERAL:
            some = (value or {}).items()
            found[group] = {
                name: _option(each) if group in _ACTING else each for name, each in some
            }
        elif group in _ACTING:
            found[group] = _option(value)
    return found


def _option(values: Any) -> Any:
    target = str(values.get("_target_", "")) if isinstance(values, dict) else ""
    return by_value(values) if target.startswith(("dlrun.", "torch.")) else values


def by_value(value: Any) -> Any:
    """A number or a length, the same however it was written: 1.0 as 1, '5 epochs' as 5."""
    if isinstance(value, dict):
        return {key: by_value(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [by_value(each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str) or value[-1:].isdigit():  # '5' may be the name of a class
        return value
    try:
        length = duration.parse(value)
    except Mistake:
        return value
    amount = by_value(length.amount)
    return amount if length.unit == "epochs" else f"{amount!r} {length.unit}"


def _sorted(key: str, value: Any) -> Any:
    """An option with its settings in one order, as they act in any; options keep theirs."""
    if key not in GROUPS or not isinstance(value, dict):
        return value
    if key in SEVERAL:
        return {name: _sorted(GROUPS[0], each) for name, each in value.items()}
    return dict(sorted(value.items(), key=lambda pair: str(pair[0])))


def without_seed(recipe: DictConfig) -> str:
    """The hash of what a recipe is, whatever its seed and however it is recorded."""
    apart = ("seed", *_MEASURED)
    return short({key: value for key, value in _deciding(recipe).items() if key not in apart})


def structure(recipe: DictConfig) -> str:
    """The hash of a recipe without its numbers: what checks find is alike where it is."""
    return short(_kinds(_deciding(recipe)))


def kin(recipe: DictConfig) -> str:
    """The hash of what recipes have in common that may train as one network.

    They differ in numbers of what acts on the weights, in how these begin, and in seeds.
    """
    values = {key: each for key, each in _deciding(recipe).items() if key not in _OWN}
    for group in _NUMBERED:
        values[group] = _kinds(values.get(group))
    model = values.get("model")
    if isinstance(model, dict):
        values["model"] = {key: None if "drop" in key else each for key, each in model.items()}
    if isinstance(values.get("data"), dict):
        values["data"] = {k: each for k, each in values["data"].items() if k != "split_seed"}
    return short(values)


def _kinds(value: Any) -> Any:
    """Plain values with a word in place of each number."""
    if isinstance(value, dict):
        return {key: _kinds(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_kinds(each) for each in value]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return "number" if number else value


def resolved(recipe: DictConfig, apart: Iterable[str] = ()) -> dict[str, Any]:
    """A recipe as plain values, with all that it refers to, but for some of its keys."""
    written, found = as_written(recipe), dict[Any, Any]()
    for key in written.keys() - set(apart):
        try:
            found[key] = filled(written[key], written)
        except (LookupError, RecursionError):
            found[key] = plain(recipe[key])
    return {str(key): found[key] for key in written if key in found}


def short(content: Any) -> str:
    """Sixteen hexadecimal digits that stand for plain values."""
    text = json.dumps(content, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
