"""What of an experiment gives way to what is typed: its settings of another option, its mappings.

An experiment sets keys of the options that it chooses. With another option of a group typed, they
would be settings of something else, or of nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dlrun import shell
from dlrun.recipe.catalogue import Catalogue, Setting
from dlrun.recipe.schema import GROUPS, SEVERAL

Compose = Callable[[tuple[str, ...]], DictConfig]


def options(
    composed: DictConfig, words: Sequence[str], catalogue: Catalogue, compose: Compose
) -> None:
    """Drop from a recipe what a file of the whole recipe sets of options that were not chosen.

    words: the overrides that it was composed of; compose: what composes others.
    """
    typed = _typed(words, catalogue)
    if not typed:
        return
    alone = compose(tuple(word for word in words if shell.key(word).partition(".")[0] in typed))
    others = left_out(words, catalogue, compose)
    for group in typed:
        if group in SEVERAL:
            composed[group] = {name: composed[group][name] for name in alone[group] or ()} or None
        elif group in others:
            composed[group] = alone[group]


def left_out(
    words: Sequence[str], catalogue: Catalogue, compose: Compose
) -> dict[str, list[Setting]]:
    """What files of the whole recipe set of a group, where another option of it is typed."""
    typed = {
        group: some for group, some in _typed(words, catalogue).items() if group not in SEVERAL
    }
    if not typed:
        return {}
    own = compose(tuple(word for word in words if is_whole(catalogue, word)))
    here = compose(tuple(word for word in words if shell.key(word) in typed))
    return {
        group: some for group, some in typed.items() if _which(own, group) != _which(here, group)
    }


def is_whole(catalogue: Catalogue, word: str) -> bool:
    """Whether a word chooses a file that sets keys of the whole recipe."""
    key = shell.key(word)
    return key in catalogue.groups and key not in catalogue.defaults


def replaces(word: str, composed: DictConfig) -> bool:
    """Whether an override gives all of a mapping whose names are free, such as `expect`.

    Hydra would add its names to those that are there. What has a `_target_` or a schema takes
    the names that it knows, so that the others stay.
    """
    key, _, value = word.partition("=")
    if not value.startswith("{") or word.startswith(("+", "~", "hydra.")):
        return False
    node: Any = OmegaConf.select(composed, key)
    free = isinstance(node, DictConfig) and OmegaConf.get_type(node) is dict
    return free and key not in GROUPS and "_target_" not in node


def _typed(words: Sequence[str], catalogue: Catalogue) -> dict[str, list[Setting]]:
    """What files of the whole recipe set of each group that an option is typed of."""
    files = [
        catalogue.options(shell.key(word)).get(word.partition("=")[2].strip("[] "))
        for word in words
        if is_whole(catalogue, word)
    ]
    settings = [one for file in files if file for one in file.settings if one.value]
    keys = {shell.key(word) for word in words}
    found = {
        group: [one for one in settings if one.key.startswith(f"{group}.")]
        for group in GROUPS
        if group in keys
    }
    return {group: some for group, some in found.items() if some}


def _which(composed: DictConfig, group: str) -> tuple[Any, Any]:
    """The option of a group, and what it calls, which a file may have put in its place."""
    return composed.hydra.runtime.choices.get(group), composed[group].get("_target_")
