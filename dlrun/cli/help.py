"""`dlrun --help`: what can be chosen, read from the YAML files; imports nothing heavy.

dlrun --help                   every group, option, setting and flag
dlrun --help optimizer         the options of a group, with their settings
dlrun --help optimizer=adam    one option: its formula, source, use and settings
dlrun --help optimizer.lr      one setting: the options that have it, their defaults
dlrun --help sync              a subcommand
"""

import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from dlrun.cli import usage
from dlrun.errors import Mistake
from dlrun.recipe import catalogue, lookup
from dlrun.recipe.catalogue import Option, Setting
from dlrun.recipe.flags import nearest
from dlrun.recipe.lookup import Found
from dlrun.recipe.schema import SEVERAL
from dlrun.recipe.vocabulary import here

WIDTH = 100


def text(words: Sequence[str], own: Sequence[Path] = ()) -> str:
    """The help about the words, or about everything; `own` are the user's recipe directories.

    Raises Mistake, with the nearest name, where a word is nothing that can be chosen.
    """
    directories = [*own, catalogue.packaged()]
    parts = [_about(word, directories) for word in words] or [_everything(directories)]
    return "\n".join(line.rstrip() for part in parts for line in part) + "\n"


def _everything(directories: Sequence[Path]) -> Iterator[str]:
    yield from usage.WHAT.splitlines()
    yield from _section("Usage", usage.USAGE.splitlines())
    yield from _section("Examples", usage.EXAMPLES.splitlines())
    names = catalogue.groups(directories)
    usual = catalogue.defaults(directories)
    wide = max(len(name) for group in names for name in catalogue.options(group, directories))
    yield from _section("Groups and their options", ["* marks the default, [,] several at once"])
    for group in names:
        yield ""
        yield "  " + _bold(group) + (" [,]" if group in SEVERAL else "")
        yield from _options(group, directories, usual.get(group, []), wide)
    root = catalogue.read(catalogue.primary(directories))
    yield from _section("Settings and their defaults", [])
    yield from _settings(root.root)
    yield from _section("Flags", [])
    yield from _rows([(name, "", what) for name, what in usage.FLAGS], [23, 0])
    yield from _section(
        "Completion with TAB, from your shell's start-up file", usage.COMPLETION.splitlines()
    )


def _about(word: str, directories: Sequence[Path]) -> Iterator[str]:
    group, _, name = word.partition("=")
    group = group.lstrip("+~")
    if not group:
        raise Mistake(f"--help {word}: name a group or a setting, e.g. --help optimizer")
    options = catalogue.options(group, directories)
    if group in usage.COMMANDS:
        return _about_command(group, directories)
    if not options:
        return _about_setting(group, directories)
    if not name:
        return _about_group(group, directories)
    names = name.strip("[]").split(",") if group in SEVERAL else [name]
    for name in names:
        if name not in options:
            near = nearest(name, list(options)) or f"; there are {', '.join(options)}"
            raise Mistake(f"--help {word}: no {group} is called {name!r}{near}")
    found = [_about_option(group, catalogue.read(options[name])) for name in names]
    return _apart(found)


def _about_group(group: str, directories: Sequence[Path]) -> Iterator[str]:
    usual = catalogue.defaults(directories).get(group, [])
    options = [catalogue.read(file) for file in catalogue.options(group, directories).values()]
    several = f"; several at once: {group}=[a,b], in this order" if group in SEVERAL else ""
    across = any(option.across for option in options)
    yield _bold(("+" if across else "") + group) + f"=option{several}"
    yield ""
    yield from _options(group, directories, usual, max(len(option.name) for option in options))
    having = [option for option in options if option.own]
    shared = [s for s in having[0].own if all(s in o.own for o in having)] if having[1:] else []
    if shared:
        yield from _section(f"{group}, whichever it is", [])
        yield from _settings(shared, lookup.prefix(group, having[0]))
    for option in having:
        special = [setting for setting in option.own if setting not in shared]
        if special:
            yield from _section(lookup.typed(group, option), [])
            yield from _settings(special, lookup.prefix(group, option))


def _about_option(group: str, option: Option) -> Iterator[str]:
    yield _bold(lookup.typed(group, option))
    yield ""
    yield from (f"  {line}" for line in option.header)
    settings = option.own
    if settings:
        yield from _section("Settings", [])
        yield from _settings(settings, lookup.prefix(group, option))


def _about_command(name: str, directories: Sequence[Path]) -> Iterator[str]:
    yield from usage.COMMANDS[name].splitlines()
    root = catalogue.read(catalogue.primary(directories)).root
    settings = [setting for setting in root if setting.key == name]
    if settings:
        yield ""
        yield from _settings(settings)


def _about_setting(key: str, directories: Sequence[Path]) -> Iterator[str]:
    """Settings of the root, of groups, and options, that have this name."""
    root = catalogue.read(catalogue.primary(directories))
    mine = [s for s in root.settings if s.value and f"{s.key}.".startswith(f"{key}.")]
    places = lookup.settings(key, directories)
    named = list(lookup.options(key.rpartition(".")[2], directories))
    if "." in key:  # regularization.l2 is an option too
        named = [one for one in named if f"{one[0]}.{one[1].name}" == key and one[0] in SEVERAL]
    if named:
        places = [one for one in places if not one.key.startswith(f"{key}.")]
    if not (mine or places or named):
        names = [*catalogue.groups(directories), *(setting.key for setting in root.root)]
        near = here(key, "...", directories) or nearest(key, names)
        near = near or "; dlrun --help lists groups and settings"
        raise Mistake(f"--help {key}: no group or setting is called {key!r}{near}")
    sections = [_settings(mine)] if mine else []
    for full in dict.fromkeys(one.key for one in places):
        having = [one for one in places if one.key == full]
        sections.append(_about_places(full, having, directories))
    sections += [_about_option(group, option) for group, option in named]
    return _apart(sections)


def _about_places(key: str, places: Sequence[Found], directories: Sequence[Path]) -> Iterator[str]:
    """The options that have a setting, each with its default and the comment."""
    group, first = places[0].group, places[0].setting
    if len(places) == len(catalogue.options(group, directories)) and all(
        one.setting == first for one in places
    ):
        yield from _settings([first], lookup.prefix(group, places[0].option))
        return
    yield _bold(key)
    yield ""
    yield from _table(
        [
            (("* " if one.usual else "  ") + one.choice, _shown(one.setting), one.setting.comment)
            for one in places
        ]
    )
    if len(places) == 1:
        yield ""
        yield from (f"    {line}" for line in places[0].option.header)


def _apart(sections: Sequence[Iterator[str]]) -> Iterator[str]:
    """Sections with an empty line between them."""
    for number, section in enumerate(sections):
        if number:
            yield ""
        yield from section


def _options(
    group: str, directories: Sequence[Path], usual: Sequence[str], wide: int
) -> Iterator[str]:
    for name, file in catalogue.options(group, directories).items():
        mark = "*" if name in usual else " "
        yield from _rows([(f"{mark} {name}", "", catalogue.read(file).summary)], [wide + 2, 0])


def _settings(settings: Sequence[Setting], prefix: str = "") -> Iterator[str]:
    return _table([(prefix + s.key, _shown(s), s.comment) for s in settings])


def _shown(setting: Setting) -> str:
    return setting.value.replace("???", "(required)")


def _table(rows: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    wide = [max((len(row[i]) for row in rows), default=0) for i in (0, 1)]
    wide = [min(wide[0], 50), min(wide[1], 30)]
    return _rows(rows, wide)


def _rows(rows: Sequence[tuple[str, str, str]], wide: Sequence[int]) -> Iterator[str]:
    """Lines of a table of three columns; the last one wraps, an empty second one is left out."""
    for name, value, what in rows:
        left = f"  {name:<{wide[0]}}  " + (f"{value:<{wide[1]}}  " if wide[1] else "")
        indent = " " * (4 + wide[0] + (wide[1] + 2 if wide[1] else 0))
        lines = textwrap.wrap(what, WIDTH - len(indent)) if not what.startswith(" ") else [what]
        if len(left) > len(indent) and lines:
            yield left
            left = indent
        yield left + (lines[0] if lines else "")
        yield from (indent + line for line in lines[1:])


def _section(title: str, lines: Sequence[str]) -> Iterator[str]:
    yield ""
    yield _bold(title)
    yield from (f"  {line}" for line in lines)


def _bold(words: str) -> str:
    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ
    return words if plain else f"\x1b[1m{words}\x1b[0m"
