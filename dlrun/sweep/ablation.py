"""An ablation: the points of a recipe without each of its ingredients.

An ingredient is a group that is not as it is by default; of a group that takes several options
and has none by default, each option. Without it, the group is as it is by default, with all of
its settings. A point is known by what it goes without, and has all words of these groups, so
that those of the ingredient can be missing.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dlrun import shell
from dlrun.errors import Mistake
from dlrun.recipe.catalogue import within
from dlrun.recipe.compose import Composer, Override
from dlrun.recipe.schema import GROUPS, SEVERAL
from dlrun.record.sweep import NOTHING, WITHOUT, Dimension
from dlrun.sweep.space import Space, lines

NAME = "ablation"
"""The option of the group `sweep`."""
REPEATS = 3
"""Seeds of each point where none are asked for: one tells nothing of chance."""
APART = ("data", "metric", "procedure", "tracking")
"""Groups that are no ingredients: other data cannot be compared, the rest trains nothing else."""


def divided(
    composer: Composer, fixed: Sequence[Override], base: DictConfig
) -> tuple[list[Override], Space]:
    """The overrides that all points have, and the space of the points.

    fixed: all that was typed, of the recipe `base`. Raises Mistake where nothing differs from
    the default recipe.
    """
    usual = composer.recipe([])
    changed = [
        group
        for group in GROUPS
        if group not in APART and _plain(base[group]) != _plain(usual[group])
    ]
    if not changed:
        raise Mistake(
            f"sweep={NAME}: every group of the recipe is as it is by default, so there is nothing "
            f"to leave out; type the recipe, e.g. -m sweep={NAME} optimizer=adam "
            "'regularization=[l2,dropout]'"
        )
    rest = [one for one in fixed if _group(one.key_or_group) not in changed]
    own = lines(one for one in fixed if one not in rest)
    kept, points = lines(rest), {NOTHING: own}
    for group in changed:
        for name, target in _without(group, base, usual):
            points[name] = _words(composer, kept, own, (group, name), target)
    return rest, Space((Dimension(WITHOUT, choices=tuple(points)),), points)


def _without(group: str, base: DictConfig, usual: DictConfig) -> Iterator[tuple[str, Any]]:
    """The ingredients of a group by name, each with what the group holds without it."""
    here, default = _plain(base[group]), _plain(usual[group])
    if group not in SEVERAL or default:
        yield group, default
        return
    for option in here:
        yield f"{group}.{option}", {key: here[key] for key in here if key != option}


def _words(
    composer: Composer,
    kept: Sequence[str],
    own: Sequence[str],
    ingredient: tuple[str, str],
    target: Any,
) -> list[str]:
    """The words, in place of `own`, with which a group holds what it is to hold.

    kept: the words beside them; ingredient: the group, and the name of what is left out. A file
    of an experiment sets what no word takes back, so its settings may have to be replaced.
    """
    group, name = ingredient
    choice = _choice(composer, group, target)
    others = [word for word in own if _group(shell.key(word)) != group]
    tries = [others, [*others, choice]]
    if name != group:  # the settings of the other options stay
        mine = [word for word in own if shell.key(word).startswith(f"{group}.")]
        mine = [word for word in mine if not within(shell.key(word), name)]
        tries = [[*others, choice, *mine]]
    for words in tries:
        found = _plain(composer.recipe([*kept, *words])[group])
        if found == target:
            return words
    return [*words, *_settings(group, found, target)]


def _choice(composer: Composer, group: str, target: Any) -> str:
    """The word that chooses the options of a group."""
    if group in SEVERAL:
        return f"{group}={shell.spelled(list(target)) if target else 'none'}"
    return f"{group}={composer.catalogue.defaults[group][0]}"


def _settings(key: str, found: Any, target: Any) -> Iterator[str]:
    """The words that change what a key holds into what it is to hold."""
    if not isinstance(found, dict) or not isinstance(target, dict):
        if found != target:
            yield f"{key}={shell.spelled(target)}"
        return
    for name in found.keys() - target.keys():
        yield f"~{key}.{name}"
    for name, value in target.items():
        if name in found:
            yield from _settings(f"{key}.{name}", found[name], value)
        else:
            yield f"+{key}.{name}={shell.spelled(value)}"


def _plain(node: Any) -> Any:
    """What a group holds, with its references as they are written."""
    return OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else node


def _group(key: str) -> str:
    return key.partition(".")[0].partition("@")[0]
