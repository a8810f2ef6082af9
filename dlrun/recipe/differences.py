"""How the recipe and data of a resumed run differ from those it was trained with so far."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from omegaconf import DictConfig, OmegaConf

from dlrun.errors import Mistake
from dlrun.recipe import compose, identity, view
from dlrun.recipe.catalogue import within
from dlrun.recipe.resume import leaves
from dlrun.recipe.schema import SPLITTING
from dlrun.record import Record
from dlrun.shell import shown

_log = logging.getLogger("dlrun")


def since(recipe: DictConfig, kept: Record, facts: Mapping[str, Any]) -> set[str]:
    """What has changed since a resumed run was recorded, in the terms of `state.begin`.

    Raises Mistake where samples that were trained on would be in val or test, and where the
    targets or the pixels would have another scale than the weights know, or its recipe is damaged.
    """
    before = compose.recorded(kept.directory)
    groups = ("preprocessing", "loss")
    keys = [*groups, *(f"metric.{name}" for name in recipe.metric or ())]
    changed = {key for key in keys if _differ(before, recipe, key)}
    if _differ(before, recipe, "validate_on"):
        changed.add("val")
    data, recorded = facts["data"], kept.info.get("data") or {}
    trained = any((kept.directory / "checkpoints").glob("*.pt"))
    if trained:
        _check_classes(before, recipe)
        _check_scale(recipe, recorded, data)
        _check_depth(recipe, recorded, data)
        _tell_seed(before, recipe)
    splits, known = data["splits"], recorded.get("splits") or {}
    if recorded.get("digest") != data["digest"] or not known:
        return changed
    moved = [name for name, rows in splits.items() if known.get(name, rows) != rows]
    if "train" in moved and trained:
        _refuse_splits(before, recipe)
    if moved and "train" not in moved:
        _log.warning(f"not the same samples as before in {' and '.join(moved)}")
    return changed | {"val"} & set(moved)


def keys(recipe: DictConfig, recorded: DictConfig, apart: Sequence[str]) -> list[str]:
    """The settings in which a recipe is not a recorded one, but for those in `apart`."""
    now = compose.copied(recipe)
    for fact, value in recorded.facts.items():
        now.facts[fact] = value
    plain = [view.plain(each) for each in (now, recorded)]
    here, there = (leaves(identity.canonical(each)) for each in plain)
    return sorted(
        key
        for key in here.keys() | there.keys()
        if here.get(key) != there.get(key) and not any(within(key, top) for top in apart)
    )


def _refuse_splits(before: Any, recipe: Any) -> NoReturn:
    """Raise the Mistake of another training split, naming the settings that make it so."""
    split = [f"data.{name}" for name in SPLITTING]
    keys = [key for key in split if _differ(before, recipe, key)]
    values = []
    for key in keys:
        now, was = (
            "null" if value is None else value
            for value in (_resolved(recipe, key), _resolved(before, key))
        )
        values.append(f"{key}={now} (was {was})")
    where = "train_dev" if keys == ["data.train_dev"] else "val or test"
    why = "splits the data in another way, so that samples the run has trained on would be in "
    why += where
    if keys == ["data.samples"]:
        why = "the run would go on with other training samples than it has had"
    raise Mistake(f"{', '.join(values) or 'data'}: {why}; keep it as it was, or start a new run")


def _check_classes(before: Any, recipe: Any) -> None:
    was, now = (_resolved(each, "data.classes") for each in (before, recipe))
    if was != now:
        trained, goes_on = (shown(each) if each else "all classes" for each in (was, now))
        _refuse(recipe, "data.classes", trained, goes_on, f"set data.classes={shown(was)}")


def _check_scale(recipe: Any, recorded: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    was = bool(recorded.get("scale"))
    if was != bool(data.get("scale")):
        forms = ("the targets as they are", "standardized targets")
        right = f"set data.scale_targets={shown(was)}"
        _refuse(recipe, "data.scale_targets", forms[was], forms[not was], right)


def _check_depth(recipe: Any, recorded: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    depth = (data.get("reading") or {}).get("depth")
    before = (recorded.get("reading") or {}).get("depth", depth)
    if before != depth:
        right = f"set data.depth={before}" if before else "take the new images away"
        trained, now = (f"{bits} bits" if bits else "any values" for bits in (before, depth))
        _refuse(recipe, "data.depth", f"images of {trained}", now, right)


def _tell_seed(before: Any, recipe: Any) -> None:
    """Warn that another seed leaves what is trained as it is."""
    was, now = (_resolved(each, "seed") for each in (before, recipe))
    if was not in (None, now):
        _log.warning(
            f"seed={now} (was {was}): leaves the run as it was trained, and changes only the "
            "order of the samples in epochs to come; a run of another seed begins without resume="
        )


def _refuse(recipe: Any, key: str, trained: str, now: str, right: str) -> NoReturn:
    raise Mistake(
        f"{key}={shown(_resolved(recipe, key))}: the run was trained on {trained}, and would go on "
        f"with {now}; {right}"
    )


def _differ(before: Any, recipe: Any, key: str) -> bool:
    return bool(_resolved(before, key) != _resolved(recipe, key))


def _resolved(recipe: Any, key: str) -> Any:
    """The value of a key, as plain values."""
    return view.plain(OmegaConf.select(recipe, key))
