"""What a recipe is known by: a hash of all that decides what a run finds."""

import hashlib
import json
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf

NEUTRAL = ("outputs", "name", "device", "threads", "tracking", "resume", "facts", "sweep")
"""Settings that change nothing of what a run finds: they are no part of a recipe's hash."""


def digest(recipe: DictConfig) -> str:
    """The hash of a resolved recipe."""
    facts = recipe.facts
    facts.shape, facts.outputs = [0], 0  # references to them resolve
    try:
        values = OmegaConf.to_container(recipe, resolve=True, throw_on_missing=False)
    finally:
        facts.shape = facts.outputs = MISSING
    assert isinstance(values, dict)
    kept = {str(key): value for key, value in values.items() if key not in NEUTRAL}
    if isinstance(kept.get("data"), dict):
        kept["data"] = {key: value for key, value in kept["data"].items() if key != "cache"}
    return short(kept)


def short(content: Any) -> str:
    """Sixteen hexadecimal digits that stand for plain values."""
    text = json.dumps(content, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def plain(value: Any) -> Any:
    """A value of a config as a plain one, with all that it refers to."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
