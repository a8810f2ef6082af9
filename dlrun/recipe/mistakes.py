"""Turn a wrong command into one short message: the key, the value, the nearest right one.

`words` looks at the overrides before anything is composed, `explained` turns what Hydra
raises while composing into the same kind of message, and `check` reads the composed
recipe. All mistakes of a command are reported together.
"""

import dataclasses
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationKeyError,
    OmegaConfBaseException,
    ValidationError,
)

from dlrun import shell
from dlrun.errors import Mistake, first_line, refuse
from dlrun.recipe import compose, faulty, grammar, settle, signature, suggest
from dlrun.recipe.catalogue import LAUNCHER, Catalogue, unreadable
from dlrun.recipe.compose import ChoiceSweep, Composer, Glob, Override, Sweep
from dlrun.recipe.schema import NEEDED, ROOT, SEVERAL, Settings

UNSET = {
    **dict.fromkeys(
        ("hydra.run", "hydra.sweep", "hydra.output_subdir"),
        "outputs=folder says where runs are kept",
    ),
    "hydra.job.chdir": "a run stays in the directory where it is typed",
    **dict.fromkeys(
        ("hydra.job.num", "hydra.job.id", "hydra.job.override_dirname"), "name=text names a run"
    ),
    **dict.fromkeys(
        ("hydra.help", "hydra.hydra_help", "hydra/help", "hydra/hydra_help"),
        "the help here has a form of its own",
    ),
    **dict.fromkeys(("hydra.runtime", "hydra.overrides"), "it comes from the command"),
    "hydra.searchpath": "--config-dir folder adds your own options",
}
"""Hydra's settings and groups that change nothing here, each with what to do instead."""
LOGGING = ("hydra/job_logging", "hydra/hydra_logging")
BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


def words(composer: Composer, typed: Sequence[str]) -> None:
    """Check the overrides before they are composed. Raises Mistake with all that is wrong."""
    wrong, good = _forms(composer, typed)
    wrong += _unlogged(composer, good)
    if file := faulty.file(composer, []):
        raise Mistake(file)
    if wrong:
        refuse(wrong + _tried(composer, good))
    if file := faulty.key(composer, good):
        raise Mistake(file)


@contextmanager
def explained(composer: Composer, typed: Sequence[str]) -> Iterator[None]:
    """Turn what Hydra raises while it composes these overrides into a Mistake."""
    try:
        yield
    except Exception as error:
        if not compose.is_from_composing(error):
            raise
        _, good = _forms(composer, typed)
        file = faulty.file(composer, good)
        wrong = [file] if file else _tried(composer, good) or [_otherwise(composer, error, good)]
        raise Mistake("\n".join(wrong)) from error


@contextmanager
def resolved() -> Iterator[None]:
    """Turn what OmegaConf raises while a recipe is read into a Mistake."""
    try:
        yield
    except OmegaConfBaseException as error:
        key = f"{error.full_key}: " if error.full_key else ""
        raise Mistake(f"{key}{first_line(error)}") from error


def check(recipe: DictConfig, chosen: Mapping[str, Any], directories: Sequence[Path]) -> None:
    """Raise Mistake for required settings without a value, and references to missing keys.

    chosen: the option of every group; directories: the user's recipes.
    """
    known = compose.copied(recipe)
    known.facts.shape, known.facts.outputs = [1, 1, 1], 1
    catalogue = Catalogue(directories)
    refuse(
        problem or f"{key} is required{_meaning(key, chosen, catalogue)}"
        for key, problem in _gaps(known, compose.keys(recipe))
    )


def _meaning(key: str, chosen: Mapping[str, Any], catalogue: Catalogue) -> str:
    """What a required setting is, as its comment says, or what can be chosen."""
    group, _, rest = key.partition(".")
    options = catalogue.options(group)
    if not rest:
        return f": choose one of {', '.join(options)}" if options else ": give it a value"
    option = options.get(rest.partition(".")[0] if group in SEVERAL else str(chosen.get(group)))
    comments = (one.comment for one in (option.settings if option else ()) if one.full == key)
    return next((f": {comment}" for comment in comments if comment), "")


def refuse_sweeper(composer: Composer, typed: Sequence[str], sweeper: DictConfig) -> None:
    """Raise Mistake where a file configures Hydra's own sweeper, which dlrun does not use."""
    told = {str(key): value for key, value in sweeper.items() if value is not None}
    if told.pop("_target_") == BASIC and not told:
        return
    path = faulty.sweeper(composer, _forms(composer, typed)[1])
    raise Mistake(f"{path or 'hydra.sweeper'}: {_instead(told.get('params'))}")


# The form of each override.


def _forms(composer: Composer, typed: Sequence[str]) -> tuple[list[str], list[Override]]:
    """What is wrong with each override by itself, and the overrides that are well formed."""
    wrong: list[str] = []
    good: list[Override] = []
    for word in typed:
        override = _parsed(composer, word)
        if isinstance(override, str):
            wrong.append(f"{word[:300]}: {override}")
            continue
        look = _hydras if override.is_hydra_override() else _form
        before = next((one for one in good if _is_another(composer, one, override)), None)
        if before is not None:
            key = override.key_or_group
            wrong.append(
                f"{word}: there is {before.input_line} already; name one {key}, or a sweep over "
                f"both: -m {key}={before.value()},{override.value()}"
            )
        elif found := look(composer, word, override):
            wrong.append(found)
        else:
            good.append(override)
    return wrong, good


def _is_another(composer: Composer, before: Override, override: Override) -> bool:
    """Whether an override chooses a second file of the whole recipe from a group."""
    same = before.key_or_group == override.key_or_group and before.value() != override.value()
    return same and settle.is_whole(composer.catalogue, override.input_line or "")


def _parsed(composer: Composer, word: str) -> Override | str:
    """An override as Hydra reads it, or why Hydra cannot read it and what would be right."""
    key, _, value = word.partition("=")
    if word.encode(errors="ignore").decode() != word:
        return "is not UTF-8 text"
    if len(key) > 255:
        return "no key is so long"
    with suppress(compose.OverrideParseException):
        return composer.parse([word])[0]
    if " " in key:
        return "the key before = has a space in it"
    if not re.fullmatch(r"(~|\+{0,2})\w+([./@:]+\w+|-\w+)*", key, re.ASCII) or ".." in key:
        return f"{key!r} cannot be a key"
    for opening, closing in ("[]", "{}", "()"):
        if value.count(opening) != value.count(closing):
            missing = closing if value.count(opening) > value.count(closing) else opening
            return f"a {missing} is missing"
    if value.count("'") % 2 or value.count('"') % 2:
        right = f"; for a text write {shell.quote(shell.setting(key, value))}"
        begun = value.startswith(("'", '"', "[", "{"))
        return "a quotation mark is missing" + ("" if begun else right)
    return suggest.distribution(word) or grammar.unreadable(key, value)


def _form(composer: Composer, word: str, override: Override) -> str | None:
    """What is wrong with an override of a recipe, without composing it."""
    key, names = override.key_or_group, composer.options(override.key_or_group)
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
    if override.is_sweep_override() and not composer.multirun:
        return _several(composer, word, override)
    if override.is_add() or override.is_force_add():
        if key in ROOT and (names or override.is_add()):
            return f"{word}: {key} exists already; write {key}={value}"
        if not names and key.partition(".")[0] not in ROOT:
            return _no_setting(composer, word, key, composer.full([]))
    return _value(composer, word, override, names)


def _several(composer: Composer, word: str, override: Override) -> str:
    """What is wrong with several values where the command is no sweep, and what may be meant."""
    key, found = override.key_or_group, override.value()
    listed = compose.lines(override) if isinstance(found, ChoiceSweep) else []
    each = ",".join(line.partition("=")[2] for line in listed)
    value = word.partition("=")[2]
    meant = suggest.several(key, value, each, composer.catalogue)
    if not meant and key in grammar.TEXTS and isinstance(found, ChoiceSweep) and found.simple_form:
        meant = f"; for one text with a comma write {shell.quote(shell.setting(key, value))}"
    return f"{word}: several values are a sweep and need -m{meant}"


def _value(composer: Composer, word: str, override: Override, names: Sequence[str]) -> str | None:
    """What is wrong with the value of an override; names: the options, where it sets a group."""
    key = override.key_or_group
    if key != "name" and (range_ := suggest.dots(word)):
        return f"{word}: {range_}"
    if isinstance(override.value(), Glob):
        return None if names else f"{word}: a pattern is for the options of a group"
    try:
        compose.refuse_many(override)
    except Mistake as mistake:
        return str(mistake)
    values = compose.values(override)
    if not names:
        if len(values) > 1 or not word.partition("=")[2].startswith("choice(["):
            return None
        listed = any(one.value[:1] == "[" for one in composer.catalogue.settings(key))
        return None if listed else f"{word}: {suggest.distribution(word)}"
    if any(isinstance(value, dict) for value in values):
        return f"{word}: choose an option, {key}={names[-1]}, and set {key}.name=value"
    found = (suggest.option(word, key, value, names) for value in values)
    return next(filter(None, found), None)


def _hydras(composer: Composer, word: str, override: Override) -> str | None:
    """What is wrong with an override of Hydra's own settings and groups, such as a launcher."""
    key, value = override.key_or_group, override.value()
    if key == "hydra.job":
        return f"{word}: is not set as a whole; write {key}.name=value"
    for unset, right in UNSET.items():
        if f"{key}.".startswith(f"{unset}."):
            return f"{word}: cannot be set; {right}"
    if f"{key}.".startswith("hydra.sweeper."):
        return f"{word}: {_instead(_params(word, key, value))}"
    known = composer.hydra_options(key)
    if "/" not in key or override.is_delete() or value in known:
        return None
    if not known or key == "hydra/sweeper":
        near = suggest.here(key, str(value), composer.catalogue)
        near = near or suggest.nearest(key, [LAUNCHER])
        return f"{word}: there is no choice of {key!r}{near}"
    return suggest.option(word, key, str(value), composer.options(key) or known)


def _unlogged(composer: Composer, typed: Sequence[Override]) -> list[str]:
    """What is wrong with settings of a log that is not kept.

    Hydra's log is off, and a sweep that no launcher trains elsewhere begins none.
    """
    keys = [override.key_or_group for override in typed]
    here = composer.multirun and LAUNCHER not in keys
    wrong = []
    for override, key in zip(typed, keys, strict=True):
        word = override.input_line
        if here and (key == "hydra.verbose" or key.startswith(LOGGING)):
            wrong.append(f"{word}: no log is kept of a sweep here; leave it out")
        elif key == "hydra.verbose" and not any(each in keys for each in LOGGING):
            wrong.append(
                f"{word}: no log is kept; add {LOGGING[0]}=stdout, or type DLRUN_DEBUG=1 before "
                "dlrun to see tracebacks"
            )
    return wrong


def _instead(params: Any) -> str:
    """What to write instead of settings of Hydra's sweeper; params: what it should search."""
    if not isinstance(params, Mapping) or not params:
        return (
            "dlrun has searches of its own; write e.g. sweep=random, with sweep.trials=20 and "
            "sweep.params, as dlrun --help sweep shows"
        )
    lines = ", ".join(f"{key}: '{value}'" for key, value in params.items())
    words = " ".join(f"'{key}={value}'" for key, value in params.items())
    return (
        "Hydra's own sweeper is not asked: dlrun reads sweep.params; write in a file "
        f"`sweep: {{params: {{{lines}}}}}`, or type -m {words}"
    )


def _params(word: str, key: str, value: Any) -> dict[str, Any]:
    """What an override asks Hydra's sweeper to search."""
    inside = key.removeprefix("hydra.sweeper").strip(".")
    if inside.startswith("params."):
        return {inside.removeprefix("params."): word.partition("=")[2]}
    found = value.get("params") if not inside and isinstance(value, dict) else value
    return {str(name): one for name, one in found.items()} if isinstance(found, dict) else {}


def _inside(value: Any) -> Iterator[Any]:
    """All parts of a list, a mapping or a choice, and their parts."""
    value = value.list if isinstance(value, ChoiceSweep) else value
    value = list(value.values()) if isinstance(value, dict) else value
    for one in value if isinstance(value, list) else ():
        yield one
        yield from _inside(one)


# Which override is at fault: each is tried alone on the options that the command chooses.


def _tried(composer: Composer, overrides: Sequence[Override]) -> list[str]:
    """Compose the options that are chosen, then try every other override on them, one by one.

    In a sweep, try it on the options of each point: an override is right if all points take it.
    """
    last = {o.key_or_group: o for o in overrides}
    choosing = [o for o in overrides if composer.chooses(o) and last[o.key_or_group] is o]
    base = [o.input_line or "" for o in choosing if not o.is_sweep_override()]
    points = [[*base, *swept] for swept in _swept(choosing)]
    try:
        recipes = [composer.full(point) for point in points]
    except Exception:  # which `explained` explains
        return []
    found = []
    for override in [o for o in overrides if not composer.chooses(o)]:
        for word in _lines(override):
            errors = [_error(composer, [*point, word]) for point in points]
            lacking = [point for point, error in zip(points, errors, strict=True) if error]
            if 0 < len(lacking) < len(points):
                without = [point[len(base) :] for point in lacking]
                found.append(_lacking(word, override.key_or_group, without))
            elif lacking and errors[0]:
                found.append(_wrong(composer, word, override.key_or_group, recipes[0], errors[0]))
            if lacking:
                break
    return found


def _swept(choosing: Sequence[Override]) -> list[list[str]]:
    """The options that a sweep chooses: each value of a group, with the first of the others."""
    swept = list(filter(None, (_lines(o) for o in choosing if o.is_discrete_sweep())))
    first = [values[0] for values in swept]
    return [first] + [
        [*first[:place], value, *first[place + 1 :]]
        for place, values in enumerate(swept)
        for value in values[1:]
    ]


def _lines(override: Override) -> list[str]:
    """An override once for each of its values; for an interval, with its lower end."""
    value: Any = override.value()
    if override.is_interval_sweep():
        return [f"{override.get_key_element()}={value.start}"]
    return compose.lines(override)


def _error(composer: Composer, words: Sequence[str]) -> Exception | None:
    try:
        composer.full(words)
    except Exception as error:
        return error
    return None


def _lacking(word: str, key: str, points: Sequence[Sequence[str]]) -> str:
    """What is wrong with an override that some points of a sweep do not take: these points."""
    group = key.partition(".")[0]
    near = [[line for line in point if line.partition("=")[0] == group] for point in points]
    names = [" ".join(own or point) for own, point in zip(near, points, strict=True)]
    listed = ", ".join(dict.fromkeys(names))
    why = f"not every recipe of the sweep has {key!r}: {listed} has not"
    return f"{word}: {why}; leave it out, or make two sweeps"


def _wrong(composer: Composer, word: str, key: str, recipe: DictConfig, error: Exception) -> str:
    """What is wrong with an override that the recipe does not take."""
    cause = error.__cause__ or error
    names = compose.keys(recipe)
    if name := _list(key, recipe):
        return f"{word}: {name} is a list; write all of it, e.g. {name}=[1,2]"
    if word.startswith("~") and key in names:
        return f"{word}: write ~{key}"
    if word.startswith("~"):
        return f"{word}: there is no {key!r}{suggest.nearest(key, names, '~{}')}"
    if word.startswith("+") and key in names:
        return f"{word}: {key} exists already; write {word.lstrip('+')}"
    if isinstance(cause, ConfigAttributeError | ConfigKeyError):
        full = str(cause.full_key)
        return _no_setting(composer, word, full if full.startswith(f"{key}.") else key, recipe)
    if isinstance(cause, ValidationError):
        full = str(cause.full_key or key)
        meant = signature.as_list(key, compose.parse([word])[0].value(), _hint(full))
        return f"{word}: expected {_wanted(full)}{meant if full == key else ''}"
    return f"{word}: {first_line(cause)}"


def _no_setting(composer: Composer, word: str, key: str, recipe: DictConfig) -> str:
    known = composer.catalogue
    group, _, rest = key.partition(".")
    target = None if group in SEVERAL else OmegaConf.select(recipe, f"{group}._target_")
    with suppress(Mistake):  # a file such as an experiment may have put another in its place
        if rest in (signature.parameters(signature.find(str(target), group)) or {}):
            name = str(target).rpartition(".")[2]
            return f"{word}: is an argument of {name} that the recipe leaves out; write +{word}"
    chosen = compose.chosen(recipe, known.groups)
    return suggest.setting(word, key, compose.keys(recipe), chosen, known)


def _list(key: str, recipe: DictConfig) -> str:
    """The part of a key that names a list in the recipe; empty where none does."""
    node: Any = OmegaConf.to_container(recipe, resolve=False)
    parts = key.split(".")
    for count, part in enumerate(parts, 1):
        node = node.get(part) if isinstance(node, dict) else None
        if isinstance(node, list):
            return ".".join(parts[:count])
    return ""


def _wanted(key: str) -> str:
    """What a root setting takes, in words."""
    hint = _hint(key)
    if dataclasses.is_dataclass(hint):
        return "a mapping"
    return signature.expected(hint) if hint is not None else "another kind of value"


def _hint(key: str) -> Any:
    """The annotation of a root setting; None where it has none."""
    hint: Any = Settings
    for name in key.split("."):
        hint = typing.get_type_hints(hint).get(name) if dataclasses.is_dataclass(hint) else None
    return hint


# What is left: conflicts, files, and recipes with gaps.


def _otherwise(composer: Composer, error: Exception, overrides: Sequence[Override]) -> str:
    """What is wrong where no override is wrong by itself: a conflict, or a faulty YAML file."""
    cause = error.__cause__ or error
    key, mark = getattr(cause, "full_key", None), getattr(error, "problem_mark", None)
    if mark is not None:
        return unreadable(Path(mark.name), error)
    option, inside = re.match(r"In '([\w/.-]+)'", str(error)), error.__context__
    if option and isinstance(inside, OmegaConfBaseException) and inside.full_key:
        return _in_file(composer, option[1], inside)
    for override in overrides:
        if composer.multirun and key and override.key_or_group == key:
            return f"{override.input_line}: not every recipe of the sweep has {key!r}"
    return first_line(error if str(error) else cause)


def _in_file(composer: Composer, option: str, error: OmegaConfBaseException) -> str:
    """What is wrong with a key of an option's file."""
    key = str(error.full_key)
    path, word = faulty.setting(composer, option, key)
    if isinstance(error, ValidationError):
        return f"{path}: {word}: expected {_wanted(key)}"
    near = suggest.nearest(key, compose.keys(OmegaConf.structured(Settings)))
    near = near or suggest.here(key, word.partition("=")[2], composer.catalogue)
    return f"{path}: {word}: there is no setting {key!r}{near or '; dlrun --help lists them'}"


def _gaps(node: DictConfig | ListConfig, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Keys without a value, and keys that refer to a missing key, each with the problem."""
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
    raw: Any = OmegaConf.to_container(node, resolve=False)
    where = f"{node._get_full_key(key)}={raw[key]}"
    if isinstance(error, InterpolationKeyError):
        for name in re.findall(r"\$\{([\w.]+)\}", str(raw[key])):
            if name not in names:
                return f"{where}: there is no {name!r}{suggest.nearest(name, names, '${{}}')}"
    return f"{where}: {first_line(error)}"
