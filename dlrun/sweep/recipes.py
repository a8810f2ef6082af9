"""From the overrides of a point to its recipe, and the hash that identifies it.

Hydra composes once for every combination of group options; plain values are then set on
a copy, by the function that Hydra itself sets them with.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from omegaconf import DictConfig

from dlrun.recipe import compose
from dlrun.recipe.compose import Composer
from dlrun.recipe.identity import digest

_RECENT = 500  # recipes kept for when they are asked for again, of 80 KiB each
_REFERS = re.compile(r"\$\{|\?\?\?")


@dataclass(frozen=True)
class Composed:
    """A recipe and the option of every group. Only its `resume` may be changed."""

    recipe: DictConfig
    choices: dict[str, Any]
    family: tuple[str, ...] = ()  # recipes of one family have the same keys and references

    @cached_property
    def digest(self) -> str:
        """The recipe's hash."""
        return digest(self.recipe)


class Recipes:
    """Composes the recipes of a sweep's points."""

    def __init__(
        self,
        composer: Composer,
        fixed: Sequence[str],
        known: Mapping[tuple[str, ...], tuple[DictConfig, dict[str, Any]]],
    ) -> None:
        """fixed: the overrides of every point; known: what options of groups compose to."""
        self._composer, self._fixed, self._known = composer, list(fixed), dict(known)
        self._recent = lru_cache(_RECENT)(self._make)

    def of(self, overrides: Sequence[str]) -> Composed:
        """The recipe of these overrides over the fixed ones."""
        return self._recent(tuple(overrides))

    def _make(self, overrides: tuple[str, ...]) -> Composed:
        words = compose.parse(overrides)
        plain = [
            o for o in words if not self._composer.options(o.key_or_group) and o.package is None
        ]
        choosing = tuple(o.input_line or "" for o in words if o not in plain)
        if choosing not in self._known:
            # Values of the group's options may be among the fixed words, so all go together.
            composed = self._composer.full([*self._fixed, *choosing])
            recipe = compose.without_hydra(composed)
            self._known[choosing] = recipe, compose.choices(composed)
        base, choices = self._known[choosing]
        recipe = compose.copied(base)
        compose.apply(plain, recipe)
        referring = [o.input_line or "" for o in plain if _REFERS.search(o.input_line or "")]
        return Composed(recipe, choices, (*choosing, *referring))
