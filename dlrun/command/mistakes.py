"""A wrong command becomes one short message: the key, the value, the nearest right one.

`words` looks at the overrides before anything is composed, `explained` turns what Hydra
raises while composing into the same kind of message, and `check` reads the composed
recipe. All mistakes of a command are reported together.
"""

import dataclasses
import re
import traceback
import typing
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, Sweep
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationKeyError,
    OmegaConfBaseException,
    ValidationError,
)

from dlrun.arguments import expected
from dlrun.command import catalogue, compose, faulty, grammar
from dlrun.command.choices import instead, launcher, option
from dlrun.command.flags import nearest
from dlrun.command.lookup import settings
from dlrun.command.nearest import Place, keys, meaning, unknown
from dlrun.command.vocabulary import here
from dlrun.config import NEEDED, Settings
from dlrun.errors import Mistake

OWN = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.output_subdir")
BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
ROOT = tuple(field.name for field in dataclasses.fields(Settings))


def words(place: Place, typed: Sequence[str]) -> None:
    """Check the overrides before they are composed. Raises Mistake with all that is wrong."""
    wrong, good = _forms(place, typed)
    if file := faulty.file(place, []):
        raise Mistake(file)
    if wrong:
        raise Mistake("\n".join(wrong + _keys(place, good)))


@contextmanager
def explained(place: Place, typed: Sequence[str]) -> Iterator[None]:
    """Turn what Hydra raises while it composes these overrides into a Mistake."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        _, good = _forms(place, typed)
        file = faulty.file(place, good)
        wrong = [file] if file else _keys(place, good) or [_otherwise(place, error, good)]
        raise Mistake("\n".join(wrong)) from error
    except Exception as error:
        mark = getattr(error, "problem_mark", None)  # of a YAML file that cannot be read
        if mark is not None:
            problem = getattr(error, "problem", "cannot be read")
            raise Mistake(f"{mark.name}, line {mark.line + 1}: {problem}") from error
        frames = traceback.extract_tb(error.__traceback__)
        if any("_internal" in frame.filename for frame in frames):  # of Hydra, while it composes
            _, good = _forms(place, typed)
            file = faulty.file(place, good)
            wrong = [file] if file else _keys(place, good) or [_first_line(error)]
            raise Mistake("\n".join(wrong)) from error
        raise


def check(recipe: DictConfig, chosen: Mapping[str, Any], directories: Sequence[Path]) -> None:
    """Find required settings without a value, and references to what is not there."""
    known = recipe.copy()
    known.facts.shape, known.facts.outputs = [1, 1, 1], 1
    wrong = []
    for key, problem in _gaps(known, keys(recipe)):
        group, _, rest = key.partition(".")
        if problem:
            wrong.append(problem)
        elif rest:
            wrong.append(f"{key} is required{meaning(group, rest, chosen.get(group), directories)}")
        else:
            names = ", ".join(catalogue.options(group, directories))
            right = f"choose one of {names}" if names else "give it a value"
            wrong.append(f"{key} is required: {right}")
    if wrong:
        raise Mistake("\n".join(wrong))


@contextmanager
def resolved() -> Iterator[None]:
    """Turn what OmegaConf raises while a recipe is read into a Mistake."""
    try:
        yield
    except OmegaConfBaseException as error:
        key = f"{error.full_key}: " if error.full_key else ""
        raise Mistake(f"{key}{_first_line(error)}") from error


def _forms(place: Place, typed: Sequence[str]) -> tuple[list[str], list[Override]]:
    """What is wrong with the overrides one by one, and those that are well formed."""
    wrong, good = [], []
    for word in typed:
        if word.encode(errors="ignore").decode() != word:
            wrong.append(f"{word}: is no UTF-8 text")
            continue
        if len(word.partition("=")[0]) > 255:
            wrong.append(f"{word[:40]}…: no key is so long")
            continue
        try:
            [override] = compose.parse([word])
        except OverrideParseException as error:
            wrong.append(f"{word}: {grammar.unreadable(word, error)}")
            continue
        own = override.is_hydra_override()
        found = (launcher if own else _form)(place, word, override)
        if override.key_or_group in OWN:
            found = f"{word}: cannot be set; outputs=folder says where runs are kept"
        if found:
            wrong.append(found)
        else:
            good.append(override)
    return wrong, good


def _form(place: Place, word: str, override: Override) -> str | None:
    key = override.key_or_group
    names = place.options(key)
    value = word.partition("=")[2]
    if not key:
        return f"{word}: the key before = is missing"
    if key == "hydra":
        return f"{word}: is not set as a whole; write hydra.name=value"
    if any(isinstance(one, Sweep) for one in _inside(override.value())):
        return f"{word}: a range stands alone, not in a list; write its values one by one"
    if key.partition(".")[0] == "facts":
        return f"{word}: comes from the data and cannot be set"
    if override.is_delete():
        if key in NEEDED:
            return f"{word}: a recipe needs one; choose {key}={names[0]} or another"
        if key in ROOT and not names:
            return f"{word}: a setting cannot be taken away; give it another value"
        return None
    if override.is_sweep_override() and not place.multirun:
        return f"{word}: several values are a sweep and need -m; one list is {key}=[{value}]"
    if override.is_add() or override.is_force_add():
        if key in ROOT:
            return f"{word}: {key} exists already; write {key}={value}"
        if not names and key.partition(".")[0] not in ROOT:
            return unknown(place, word, key, _composed(place, []))
    if key != "name" and (range_ := grammar.dots(word)):
        return f"{word}: {range_}"
    if isinstance(override.value(), Glob):
        return None if names else f"{word}: a pattern is for the options of a group"
    try:
        compose.refuse_many(override)
    except Mistake as mistake:
        return str(mistake)
    values = _values(override)
    if not names:
        listed = any(one.setting.value[:1] == "[" for one in settings(key, place.directories))
        one = len(values) == 1 and not listed and word.partition("=")[2].startswith("choice([")
        return f"{word}: {grammar.distribution(word)}" if one else None
    if any(isinstance(value, dict) for value in values):
        return f"{word}: choose an option, {key}={names[-1]}, and set {key}.name=value"
    return next(filter(None, (option(word, key, value, names) for value in values)), None)


def _keys(place: Place, overrides: Sequence[Override]) -> list[str]:
    """Compose the choices alone, then try every other override on them, one by one.

    In a sweep on the choices of each of its points, for a word is right where all points know it.
    """
    last = {o.key_or_group: o for o in overrides}
    choosing = [o for o in overrides if place.chooses(o) and last[o.key_or_group] is o]
    base = [o.input_line or "" for o in choosing if not o.is_sweep_override()]
    points = [[*base, *swept] for swept in _swept(choosing)]
    try:
        recipes = [_composed(place, point) for point in points]
    except Exception:  # which `explained` explains
        return []
    wrong = []
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
                wrong.append(_lacking(word, key, [point[len(base) :] for point in lacking]))
            elif lacking and errors[0]:
                wrong.append(_key(place, word, key, recipes[0], errors[0]))
            if lacking:
                break
    return wrong


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
        _composed(place, words)
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
        return f"{word}: expected {_wanted(str(cause.full_key or key))}"
    return f"{word}: {_first_line(cause)}"


def _list(key: str, composed: DictConfig) -> str:
    """The key, or the part of it, that is a list in the recipe; empty where none is."""
    node: Any = OmegaConf.to_container(composed, resolve=False)
    parts = key.split(".")
    for count, part in enumerate(parts, 1):
        node = node.get(part) if isinstance(node, dict) else None
        if isinstance(node, list):
            return ".".join(parts[:count])
    return ""


def _gaps(node: DictConfig | ListConfig, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Keys without a value, and keys that refer to what is not there, with the problem."""
    for key in range(len(node)) if isinstance(node, ListConfig) else list(node):
        full = node._get_full_key(key)
        if OmegaConf.is_interpolation(node, key):
            try:
                node[key]
            except OmegaConfBaseException as error:
                yield full, _reference(node, key, error, names)
        elif OmegaConf.is_missing(node, key):
            yield full, ""
        elif OmegaConf.is_config(node[key]):
            yield from _gaps(node[key], names)


def _reference(
    node: DictConfig | ListConfig, key: Any, error: OmegaConfBaseException, names: Sequence[str]
) -> str:
    raw = OmegaConf.to_container(node, resolve=False)
    written = raw[key]  # type: ignore[index]
    where = f"{node._get_full_key(key)}={written}"
    if isinstance(error, InterpolationKeyError):
        for name in re.findall(r"\$\{([\w.]+)\}", str(written)):
            if name not in names:
                return f"{where}: there is no {name!r}{nearest(name, names, '${{}}')}"
    return f"{where}: {_first_line(error)}"


def refuse_sweeper(place: Place, typed: Sequence[str], sweeper: DictConfig) -> None:
    """Raise Mistake where a file tells Hydra's own sweeper what to do, which nobody asks."""
    told = {str(key): value for key, value in sweeper.items() if value is not None}
    if told.pop("_target_") == BASIC and not told:
        return
    path = faulty.sweeper(place, _forms(place, typed)[1])
    raise Mistake(f"{path or 'hydra.sweeper'}: {instead(told.get('params'))}")


def _otherwise(place: Place, error: Exception, overrides: Sequence[Override]) -> str:
    """Where no override is wrong by itself: a conflict, or a faulty YAML file."""
    cause = error.__cause__ or error
    key = getattr(cause, "full_key", None)
    option, inside = re.match(r"In '([\w/.-]+)'", str(error)), error.__context__
    if option and isinstance(inside, OmegaConfBaseException) and inside.full_key:
        return _in_file(place, option[1], inside)
    for override in overrides:
        if place.multirun and key and override.key_or_group == key:
            return f"{override.input_line}: not every recipe of the sweep has {key!r}"
    return _first_line(error) if str(error) else _first_line(cause)


def _in_file(place: Place, option: str, error: OmegaConfBaseException) -> str:
    """What is wrong with a key of an option's file."""
    key = str(error.full_key)
    path, word = faulty.setting(place, option, key)
    if isinstance(error, ValidationError):
        return f"{path}: {word}: expected {_wanted(key)}"
    known = keys(OmegaConf.structured(Settings))
    near = nearest(key, known) or here(key, word.partition("=")[2], place.directories)
    return f"{path}: {word}: there is no setting {key!r}{near or '; dlrun --help lists them'}"


def _wanted(key: str) -> str:
    hint: Any = Settings
    for name in key.split("."):
        hint = typing.get_type_hints(hint).get(name) if dataclasses.is_dataclass(hint) else None
    if dataclasses.is_dataclass(hint):
        return "a mapping"
    return expected(hint) if hint is not None else "another kind of value"


def _inside(value: Any) -> Iterator[Any]:
    """All that stands in a value of several parts."""
    value = value.list if isinstance(value, ChoiceSweep) else value
    for one in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield one
        yield from _inside(one)


def _values(override: Override) -> list[Any]:
    if override.is_discrete_sweep():
        return list(override.sweep_iterator())
    return [override.value()]


def _composed(place: Place, overrides: Sequence[str]) -> DictConfig:
    return compose.full(place.hydra, overrides)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
