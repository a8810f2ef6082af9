"""What is wrong with the user's YAML files where Hydra says little: which file, what to write.

Looks at the files that a command has chosen, and at those that their defaults lists name in
turn, once composing has failed.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlrun.recipe import catalogue, compose, suggest
from dlrun.recipe.compose import Composer, Override
from dlrun.recipe.schema import GROUPS, ROOT, SEVERAL
from dlrun.shell import shown

_GLOBAL = "# @package _global_"
_LINE = "`- override /optimizer: adam`"
_Chosen = tuple[str, str]  # a group and one of its options; no group: the default recipe


def file(composer: Composer, overrides: Sequence[Override]) -> str | None:
    """The first file that is at fault, and what to write there; None where none is."""
    for one, above, path in _files(composer, overrides):
        if one in above:
            way = " → ".join(name for _, name in (*above[above.index(one) :], one))
            return f"{path}: its defaults lead back to itself: {way}; leave them out"
        try:
            content = _read(path)
        except (*catalogue.UNREADABLE, OmegaConfBaseException) as error:
            return catalogue.unreadable(path, error)
        if problem := next(filter(None, _problems(composer, one[0], path, content)), None):
            return f"{path}: {problem}"
    return None


def key(composer: Composer, overrides: Sequence[Override]) -> str | None:
    """The first key of a file that is no name, or that holds a list where settings belong.

    Composing lets some of them pass.
    """
    with suppress(*catalogue.UNREADABLE, OmegaConfBaseException):  # which composing tells
        for (group, _), _, path in _files(composer, overrides):
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
            if problem := next(_misplaced(_kind(group), content), None):
                return f"{path}: {problem}"
    return None


def _kind(group: str) -> str:
    """The group of what a file holds; "" where that is a whole recipe."""
    return group if group.partition("/")[0] in (*ROOT, "hydra") else ""


def _misplaced(kind: str, content: Any, above: str = "") -> Iterator[str]:
    """What is wrong with the keys of a file, or with those of a group or an option in it."""
    if not isinstance(content, dict):
        if isinstance(content, list) or not (above or content is None):
            yield f"{above and f'{above}: '}must hold settings, one `key: value` a line"
        return
    taken = (str, int, float) if kind == "argument" else str  # as of what is given by class
    for name, value in content.items():
        key = f"{above and f'{above}.'}{shown(name)}"
        if not isinstance(name, taken):
            yield f"{key}: a key must be a name"
        elif name != "defaults" and kind in SEVERAL:
            yield from _misplaced("option", value, key)
        elif not kind and name in (*GROUPS, "expect"):
            yield from _misplaced(name, value, key)
        elif isinstance(value, dict):
            yield from _misplaced("argument", value, key)


def sweeper(composer: Composer, overrides: Sequence[Override]) -> str:
    """The file that sets something of `hydra.sweeper`, or of its parameters; empty if none."""
    for _, _, path in _files(composer, overrides):
        content = _read(path)
        own = content.get("hydra") if isinstance(content, dict) else None
        if isinstance(own, dict) and "sweeper" in own:
            named = "params" in own["sweeper"] if isinstance(own["sweeper"], dict) else False
            return f"{path}: hydra.sweeper{'.params' if named else ''}"
    return ""


def setting(composer: Composer, option: str, key: str) -> tuple[str, str]:
    """The file of an option such as `experiment/mine`, and a key in it as one types it."""
    group, _, name = option.rpartition("/")
    path = _file(composer, group, name)
    if path is None:
        return option, f"{key}=..."
    value = _read(path)
    for part in (key.removeprefix(f"{group}.") if group in ROOT else key).split("."):
        inside = value.items() if isinstance(value, dict) else ()
        value = next((one for each, one in inside if str(each) == part), None)
    return str(path), f"{key}={shown(value)}"


def _files(
    composer: Composer, overrides: Sequence[Override]
) -> Iterator[tuple[_Chosen, tuple[_Chosen, ...], Path]]:
    """The user's own files that are chosen, each with the files whose defaults led to it.

    A file that leads back to itself comes twice. Each must be readable to ask for the next.
    """
    todo: list[tuple[_Chosen, tuple[_Chosen, ...]]] = [(("", catalogue.PRIMARY), ())]
    for override in overrides:
        if override.package is None and composer.catalogue.options(override.key_or_group):
            todo += [((override.key_or_group, name), ()) for name in _names(override)]
    seen = set()
    while todo:
        one, above = todo.pop(0)
        path = _file(composer, *one)
        if path is None or path.is_relative_to(catalogue.packaged()):
            continue
        if one not in seen or one in above:
            yield one, above, path
        if one not in seen:
            seen.add(one)
            todo[:0] = [(each, (*above, one)) for each in catalogue.chosen(one[0], _read(path))]


def _file(composer: Composer, group: str, name: str) -> Path | None:
    """The file of an option, or of the default recipe where the group is empty."""
    if not group and name == catalogue.PRIMARY:
        return composer.catalogue.primary.file
    option = composer.catalogue.options(group).get(name)
    return option.file if option else None


def _names(override: Override) -> list[str]:
    """The options that an override of a group chooses, also in a sweep."""
    return [
        str(name)
        for value in compose.values(override)
        for name in (value if isinstance(value, list) else [value])
    ]


def _read(path: Path) -> Any:
    OmegaConf.load(path)  # which refuses more than YAML does, such as half an interpolation
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _problems(composer: Composer, group: str, path: Path, content: Any) -> Iterator[str]:
    """What is wrong with a file of a group; empty messages where nothing is."""
    listed = content.get("defaults", []) if isinstance(content, dict) else []
    if not _kind(group):
        yield _header(group, path)
    if not isinstance(listed, list):
        yield f"defaults must be a list of lines such as {_LINE}"
        return
    for entry in listed:
        yield _entry(composer, group, entry)
    if not group and "schema" not in listed:
        right = "begin with a copy of the packaged one, or give the file another name"
        yield f"replaces the default recipe, but lacks its line `- schema`; {right}"


def _header(group: str, path: Path) -> str:
    """What is wrong with the `@package` of a file: without it the keys land in no known place."""
    text = path.read_text(encoding="utf-8")
    if not group or compose.sets_whole_recipe(text):
        return ""
    late = re.search(r"^\s*#\s*@package\s+_global_\s*$", text, re.M)
    where = "move it up: it must be" if late else "write it as"
    return f"sets keys of the whole recipe, which needs `{_GLOBAL}`; {where} the first line"


def _entry(composer: Composer, group: str, entry: Any) -> str:
    """What is wrong with a line of the defaults list of a file of a group."""
    known = composer.catalogue
    if isinstance(entry, str):
        [(at, name)] = catalogue.chosen(group, {"defaults": [entry]})
        names = composer.options(at)
        right = name == "_self_" or not group or name in names
        return "" if right else suggest.option(entry, at, name, names) or ""
    if not isinstance(entry, dict) or len(entry) != 1:
        return f"defaults: {shown(entry)} is not a line of a defaults list; write {_LINE}"
    [(key, value)] = entry.items()
    *words, last = str(key).split(" ")
    at = last.partition("@")[0].strip("/")
    if at.startswith("hydra/") or "optional" in words:
        return ""
    if at not in known.groups:
        near = suggest.nearest(at, known.groups, f"`- override /{{}}: {value}`")
        return f"`- {key}: {value}`: there is no group {at!r}{near}"
    usual = "override" in words and last.startswith("/")
    if group and at in known.defaults and not usual:
        return f"`- {key}: {value}`: write `- override /{at}: {value}`"
    if value is None:
        return ""
    return suggest.option(f"{key}: {shown(value)}", at, value, composer.options(at)) or ""
