"""A wrong command becomes one short message: the key, the value, the nearest right one.

`words` looks at the overrides before anything is composed, `explained` turns what Hydra
raises while composing into the same kind of message, and `check` reads the composed
recipe. All mistakes of a command are reported together.
"""

import dataclasses
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, Sweep
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import (
    InterpolationKeyError,
    OmegaConfBaseException,
    ValidationError,
)

from dlrun.errors import Mistake
from dlrun.recipe import catalogue, compose, faulty, grammar, trial
from dlrun.recipe.choices import instead, launcher, option
from dlrun.recipe.flags import nearest
from dlrun.recipe.lookup import settings
from dlrun.recipe.nearest import Place, keys, meaning, unknown
from dlrun.recipe.schema import NEEDED, Settings
from dlrun.recipe.vocabulary import here

OWN = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.output_subdir")
BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
ROOT = tuple(field.name for field in dataclasses.fields(Settings))


def words(place: Place, typed: Sequence[str]) -> None:
    """Check the overrides before they are composed. Raises Mistake with all that is wrong."""
    wrong, good = _forms(place, typed)
    if file := faulty.file(place, []):
        raise Mistake(file)
    if wrong:
        raise Mistake("\n".join(wrong + trial.wrong(place, good)))


@contextmanager
def explained(place: Place, typed: Sequence[str]) -> Iterator[None]:
    """Turn what Hydra raises while it composes these overrides into a Mistake."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        _, good = _forms(place, typed)
        file = faulty.file(place, good)
        wrong = [file] if file else trial.wrong(place, good) or [_otherwise(place, error, good)]
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
            wrong = [file] if file else trial.wrong(place, good) or [trial.first_line(error)]
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
        raise Mistake(f"{key}{trial.first_line(error)}") from error


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
            return unknown(place, word, key, compose.full(place.hydra, []))
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
    return f"{where}: {trial.first_line(error)}"


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
    return trial.first_line(error) if str(error) else trial.first_line(cause)


def _in_file(place: Place, option: str, error: OmegaConfBaseException) -> str:
    """What is wrong with a key of an option's file."""
    key = str(error.full_key)
    path, word = faulty.setting(place, option, key)
    if isinstance(error, ValidationError):
        return f"{path}: {word}: expected {trial.wanted(key)}"
    known = keys(OmegaConf.structured(Settings))
    near = nearest(key, known) or here(key, word.partition("=")[2], place.directories)
    return f"{path}: {word}: there is no setting {key!r}{near or '; dlrun --help lists them'}"


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
