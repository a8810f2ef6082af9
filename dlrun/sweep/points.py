"""From the overrides of a point to its recipe and the hash that it is known by.

Hydra composes once for every combination of group options; plain values are then set on
a copy, by the function that Hydra itself sets them with.
"""

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from omegaconf import DictConfig

from dlrun.recipe import compose
from dlrun.recipe.compose import Composer
from dlrun.recipe.identity import digest

_RECENT = 100  # recipes kept for when they are asked for again
_REFERS = re.compile(r"\$\{|\?\?\?")


@dataclass(frozen=True)
class Made:
    """A recipe, of which nobody may change more than `resume`, and the option of every group."""

    recipe: DictConfig
    choices: dict[str, Any]
    family: tuple[str, ...]  # recipes of one have the same keys and references

    @cached_property
    def digest(self) -> str:
        """The recipe's hash."""
        return digest(self.recipe)


class Points:
    """Composes the recipes of a sweep's points."""

    def __init__(self, composer: Composer, fixed: Sequence[str]) -> None:
        """fixed: the overrides of every point."""
        self._composer, self._fixed = composer, list(fixed)
        self._composed: dict[tuple[str, ...], tuple[DictConfig, dict[str, Any]]] = {}
        self._recent: dict[tuple[str, ...], Made] = {}

    def knows(self, choosing: Sequence[str], recipe: DictConfig, choices: dict[str, Any]) -> None:
        """Take what these options of groups compose to from who has composed it already."""
        self._composed[tuple(choosing)] = recipe, choices

    def recipe(self, overrides: Sequence[str]) -> Made:
        """The recipe of these overrides over the fixed ones."""
        key = tuple(overrides)
        if key not in self._recent:
            if len(self._recent) >= _RECENT:
                del self._recent[next(iter(self._recent))]
            self._recent[key] = self._make(overrides)
        return self._recent[key]

    def _make(self, overrides: Sequence[str]) -> Made:
        words = compose.parse(overrides)
        plain = [
            o for o in words if not self._composer.options(o.key_or_group) and o.package is None
        ]
        choosing = tuple(o.input_line or "" for o in words if o not in plain)
        if choosing not in self._composed:
            # Values of the group's options may be among the fixed words, so all go together.
            composed = self._composer.full([*self._fixed, *choosing])
            recipe = compose.without_hydra(composed)
            self._composed[choosing] = recipe, compose.choices(composed)
        base, choices = self._composed[choosing]
        recipe = copy.deepcopy(base)
        compose.apply(plain, recipe)
        referring = [o.input_line or "" for o in plain if _REFERS.search(o.input_line or "")]
        return Made(recipe, choices, (*choosing, *referring))
