"""Which word of a command is at fault: each is tried alone on what the command chooses."""

import dataclasses
import typing
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, ValidationError

from dlrun.recipe import compose
from dlrun.recipe.flags import nearest
from dlrun.recipe.nearest import Place, keys, unknown
from dlrun.recipe.schema import Settings
from dlrun.recipe.signature import expected


def wrong(place: Place, overrides: Sequence[Override]) -> list[str]:
    """Compose the choices alone, then try every other override on them, one by one.

    In a sweep on the choices of each of its points, for a word is right where all points know it.
    """
    last = {o.key_or_group: o for o in overrides}
    choosing = [o for o in overrides if place.chooses(o) and last[o.key_or_group] is o]
    base = [o.input_line or "" for o in choosing if not o.is_sweep_override()]
    points = [[*base, *swept] for swept in _swept(choosing)]
    try:
        recipes = [compose.full(place.hydra, point) for point in points]
    except Exception:  # which `explained` explains
        return []
    found = []
    for override in [o for o in overrides if not place.chooses(o)]:
        key, line = override.key_or_group, override.input_line or ""
        prefix = line.partition("=")[0]
        swept = override.is_discrete_sweep()
        lines = [f"{prefix}={v}" for v in override.sweep_string_iterator()] if swept else [line]
        if override.is_interval_sweep():
            lines = [f"{prefix}={override.value().start}"]  # type: ignore[union-attr]
        for word in lines:
            errors = [_error(place, [*point, word]) for point in points]
            lacking = [point for point, error in zip(points, errors, strict=True) if error]
            if 0 < len(lacking) < len(points):
                found.append(_lacking(word, key, [point[len(base) :] for point in lacking]))
            elif lacking and errors[0]:
                found.append(_key(place, word, key, recipes[0], errors[0]))
            if lacking:
                break
    return found


def _swept(choosing: Sequence[Override]) -> list[list[str]]:
    """The choices of a sweep: each value of each, with the first of the others."""
    swept = [o for o in choosing if o.is_discrete_sweep()]
    lines = [[f"{o.get_key_element()}={v}" for v in o.sweep_string_iterator()] for o in swept]
    first = [values[0] for values in lines if values]
    return [first] + [
        [*first[:place], value, *first[place + 1 :]]
        for place, values in enumerate(filter(None, lines))
        for value in values[1:]
    ]


def _error(place: Place, words: Sequence[str]) -> Exception | None:
    try:
        compose.full(place.hydra, words)
    except Exception as error:
        return error
    return None


def _lacking(word: str, key: str, points: Sequence[Sequence[str]]) -> str:
    """What is wrong with a word that only some points of a sweep know; points: the others."""
    group = key.partition(".")[0]
    near = [[line for line in point if line.partition("=")[0] == group] for point in points]
    names = [" ".join(own or point) for own, point in zip(near, points, strict=True)]
    listed = ", ".join(dict.fromkeys(names))
    why = f"not every recipe of the sweep has {key!r}: {listed} has not"
    return f"{word}: {why}; leave it out, or make two sweeps"


def _key(place: Place, word: str, key: str, composed: DictConfig, error: Exception) -> str:
    cause = error.__cause__ or error
    names = keys(composed)
    if name := _list(key, composed):
        return f"{word}: {name} is a list; write all of it, e.g. {name}=[1,2]"
    if word.startswith("~") and key in names:
        return f"{word}: write ~{key}"
    if word.startswith("~"):
        return f"{word}: there is no {key!r}{nearest(key, names, '~{}')}"
    if word.startswith("+") and key in names:
        return f"{word}: {key} exists already; write {word.lstrip('+')}"
    if isinstance(cause, ConfigAttributeError | ConfigKeyError):
        full = str(cause.full_key)
        return unknown(place, word, full if full.startswith(f"{key}.") else key, composed)
    if isinstance(cause, ValidationError):
        return f"{word}: expected {wanted(str(cause.full_key or key))}"
    return f"{word}: {first_line(cause)}"


def _list(key: str, composed: DictConfig) -> str:
    """The key, or the part of it, that is a list in the recipe; empty where none is."""
    node: Any = OmegaConf.to_container(composed, resolve=False)
    parts = key.split(".")
    for count, part in enumerate(parts, 1):
        node = node.get(part) if isinstance(node, dict) else None
        if isinstance(node, list):
            return ".".join(parts[:count])
    return ""


def wanted(key: str) -> str:
    """What a setting of every recipe takes, in words."""
    hint: Any = Settings
    for name in key.split("."):
        hint = typing.get_type_hints(hint).get(name) if dataclasses.is_dataclass(hint) else None
    if dataclasses.is_dataclass(hint):
        return "a mapping"
    return expected(hint) if hint is not None else "another kind of value"


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
