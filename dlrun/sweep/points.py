"""From the overrides of a point to its recipe and the hash that it is known by.

Hydra composes once for every combination of group options; plain values are then set on
a copy, by the function that Hydra itself sets them with.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from omegaconf import DictConfig, OmegaConf

from dlrun.command import compose

NEUTRAL = ("outputs", "name", "device", "threads", "tracking", "resume", "facts", "sweep")
"""Settings that change nothing of what a run finds: they are no part of a recipe's hash."""


class Composer:
    """Composes the recipes of a sweep's points."""

    def __init__(
        self, hydra: Hydra, fixed: Sequence[str], options: Callable[[str], Sequence[str]]
    ) -> None:
        """fixed: the overrides of every point; options: the names a group has, if it is one."""
        self._hydra, self._fixed, self._options = hydra, list(fixed), options
        self._composed: dict[tuple[str, ...], tuple[DictConfig, dict[str, Any]]] = {}

    def recipe(self, overrides: Sequence[str]) -> tuple[DictConfig, dict[str, Any]]:
        """The recipe of these overrides over the fixed ones, and the option of every group."""
        words = compose.parse(overrides)
        plain = [o for o in words if not self._options(o.key_or_group) and o.package is None]
        choosing = tuple(o.input_line or "" for o in words if o not in plain)
        if choosing not in self._composed:
            # Values of the group's options may be among the fixed words, so all go together.
            composed = compose.full(self._hydra, [*self._fixed, *choosing])
            recipe = compose.without_hydra(composed)
            self._composed[choosing] = recipe, compose.choices(composed)
        base, choices = self._composed[choosing]
        recipe = copy.deepcopy(base)
        ConfigLoaderImpl._apply_overrides_to_config(plain, recipe)
        return recipe, choices


def digest(recipe: DictConfig) -> str:
    """The hash of a resolved recipe."""
    known = copy.deepcopy(recipe)
    OmegaConf.set_struct(known, False)
    known.facts = {"shape": [0], "outputs": 0}
    values = OmegaConf.to_container(known, resolve=True, throw_on_missing=False)
    assert isinstance(values, dict)
    kept = {str(key): value for key, value in values.items() if key not in NEUTRAL}
    if isinstance(kept.get("data"), dict):
        kept["data"] = {key: value for key, value in kept["data"].items() if key != "cache"}
    return short(kept)


def short(content: Any) -> str:
    """Sixteen hexadecimal digits that stand for plain values."""
    text = json.dumps(content, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
