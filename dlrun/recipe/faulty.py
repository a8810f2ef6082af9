"""What is wrong with the user's YAML files where Hydra says little: which file, what to write.

Looks at the files that a command has chosen, and at those that their defaults lists name in
turn, once composing has failed.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.types import Glob, Override
from hydra.plugins.config_source import ConfigSource
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlrun.recipe import catalogue, choices
from dlrun.recipe.flags import nearest
from dlrun.recipe.nearest import Place
from dlrun.recipe.schema import Settings
from dlrun.recipe.signature import shown

_GLOBAL = "# @package _global_"
_LINE = "`- override /optimizer: adam`"
_ROOT = Settings.__dataclass_fields__
_UNREADABLE = (OSError, ValueError, RecursionError, yaml.YAMLError, OmegaConfBaseException)
_Chosen = tuple[str, str]  # a group and one of its options; no group: the default recipe


def file(place: Place, overrides: Sequence[Override]) -> str | None:
    """The first file that is at fault, and what to write there; None where none is."""
    for one, above, path in _files(place, overrides):
        if one in above:
            way = " → ".join(name for _, name in (*above[above.index(one) :], one))
            return f"{path}: its defaults lead back to itself: {way}; leave them out"
        if problem := next(filter(None, _problems(place, one[0], path)), None):
            return f"{path}: {problem}"
    return None


def sweeper(place: Place, overrides: Sequence[Override]) -> str:
    """The file that sets something of `hydra.sweeper`, or of its parameters; empty if none."""
    for _, _, path in _files(place, overrides):
        content = _read(path)
        own = content.get("hydra") if isinstance(content, dict) else None
        if isinstance(own, dict) and "sweeper" in own:
            named = "params" in own["sweeper"] if isinstance(own["sweeper"], dict) else False
            return f"{path}: hydra.sweeper{'.params' if named else ''}"
    return ""


def _files(
    place: Place, overrides: Sequence[Override]
) -> Iterator[tuple[_Chosen, tuple[_Chosen, ...], Path]]:
    """The user's own files that are chosen, with those whose defaults have led to each.

    One that leads back to itself comes once more. Each must be readable to ask for the next.
    """
    todo: list[tuple[_Chosen, tuple[_Chosen, ...]]] = [(("", catalogue.PRIMARY), ())]
    for override in overrides:
        options = place.options(override.key_or_group)
        if options and override.package is None:
            names = _names(override, options)
            todo += [((override.key_or_group, name), ()) for name in names]
    seen = set()
    while todo:
        one, above = todo.pop(0)
        path = place.file(*one)
        if path is None or path.is_relative_to(catalogue.packaged()):
            continue
        if one not in seen or one in above:
            yield one, above, path
        if one not in seen:
            seen.add(one)
            todo[:0] = [(each, (*above, one)) for each in _chosen(one[0], _read(path))]


def setting(place: Place, option: str, key: str) -> tuple[str, str]:
    """The file of an option such as `experiment/mine`, and a key in it as one types it."""
    group, _, name = option.rpartition("/")
    path = place.file(group, name)
    if path is None:
        return option, f"{key}=..."
    value = yaml.safe_load(path.read_text(encoding="utf-8"))
    for part in (key.removeprefix(f"{group}.") if group in _ROOT else key).split("."):
        inside = value.items() if isinstance(value, dict) else ()
        value = next((one for each, one in inside if str(each) == part), None)
    return str(path), f"{key}={shown(value)}"


def _read(path: Path) -> Any:
    OmegaConf.load(path)  # which refuses more than YAML does, such as half an interpolation
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _problems(place: Place, group: str, path: Path) -> Iterator[str]:
    """What is wrong with a file of a group; nothing where something isn't."""
    try:
        content = _read(path)
    except _UNREADABLE as error:
        yield _unreadable(error)
        return
    listed = content.get("defaults", []) if isinstance(content, dict) else []
    if group.partition("/")[0] not in (*_ROOT, "hydra"):
        yield _header(group, path)
        if content is not None and not isinstance(content, dict):
            yield "must hold settings, one `key: value` a line"
    if not isinstance(listed, list):
        yield f"defaults must be a list of lines such as {_LINE}"
        return
    for entry in listed:
        yield _entry(place, group, entry)
    if not group and "schema" not in listed:
        right = "begin with a copy of the packaged one, or give the file another name"
        yield f"takes the place of the default recipe, of which it lacks `- schema`; {right}"


def _unreadable(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError | yaml.reader.ReaderError):
        return "is no text in UTF-8, so no YAML file; mend it or take it away"
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return f"line {mark.line + 1}: {getattr(error, 'problem', 'cannot be read')}"
    return f"cannot be read: {(str(error).strip().splitlines() or [type(error).__name__])[0]}"


def _header(group: str, path: Path) -> str:
    """What is wrong with the package of a file, whose keys would land where no recipe has any."""
    text = path.read_text(encoding="utf-8")
    if not group or ConfigSource._get_header_dict(text)["package"] == "_global_":
        return ""
    late = re.search(r"^\s*#\s*@package\s+_global_\s*$", text, re.M)
    where = "move it up: it must be" if late else "write it as"
    return f"sets keys of the whole recipe, which needs `{_GLOBAL}`; {where} the first line"


def _entry(place: Place, group: str, entry: Any) -> str:
    """What is wrong with a line of the defaults list of a file of a group."""
    chosen = _chosen(group, {"defaults": [entry]})
    if isinstance(entry, str):
        at, name = chosen[0]
        known = name == "_self_" or not group or name in place.options(at)
        return "" if known else choices.option(entry, at, name, place.options(at)) or ""
    if not isinstance(entry, dict) or len(entry) != 1:
        return f"defaults: {shown(entry)} is no line of a defaults list; write {_LINE}"
    [(key, value)] = entry.items()
    *words, last = str(key).split(" ")
    at = last.partition("@")[0].strip("/")
    if at.startswith("hydra/") or "optional" in words:
        return ""
    if at not in place.groups():
        near = nearest(at, place.groups(), f"`- override /{{}}: {value}`")
        return f"`- {key}: {value}`: there is no group {at!r}{near}"
    usual = "override" in words and last.startswith("/")
    if group and at in catalogue.defaults(place.directories) and not usual:
        return f"`- {key}: {value}`: write `- override /{at}: {value}`"
    if value is None:
        return ""
    return choices.option(f"{key}: {shown(value)}", at, value, place.options(at)) or ""


def _chosen(group: str, content: Any) -> list[_Chosen]:
    """The options that the defaults list of a file of a group names."""
    found = []
    for entry in content.get("defaults", []) if isinstance(content, dict) else []:
        if isinstance(entry, str):
            above, _, name = entry.partition("@")[0].rpartition("/")
            beside = "" if entry.startswith("/") else group
            found.append(("/".join(filter(None, (beside, above.strip("/")))), name))
        for key, value in entry.items() if isinstance(entry, dict) else ():
            at = str(key).split(" ")[-1].partition("@")[0].strip("/")
            names = value if isinstance(value, list) else [value]
            found += [(at, str(name)) for name in names]
    return found


def _names(override: Override, options: Sequence[str]) -> list[str]:
    """The options that an override of a group chooses, those of a sweep too."""
    value = override.value()
    values = [value]
    if isinstance(value, Glob):
        values = value.filter(list(options))
    elif override.is_discrete_sweep():
        values = list(override.sweep_iterator())
    return [
        str(name) for value in values for name in (value if isinstance(value, list) else [value])
    ]
