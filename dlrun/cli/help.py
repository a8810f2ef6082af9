"""`dlrun --help`: what can be chosen, read from the YAML files; imports nothing heavy.

dlrun --help                   every group, option, setting and flag
dlrun --help optimizer         the options of a group, with their settings
dlrun --help optimizer=adam    one option: its formula, source, use and settings
dlrun --help optimizer.lr      one setting: the options that have it, their defaults
dlrun --help sync              a verb, for records
dlrun --help findings          what checks and diagnoses say, each by its name
"""

import os
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dlrun import finding
from dlrun.errors import Mistake
from dlrun.recipe import suggest
from dlrun.recipe.catalogue import Catalogue, Option, Setting, load, within
from dlrun.recipe.schema import SEVERAL
from dlrun.verb import asked

WIDTH = 100
_MOMENTS = """\
First moment: momentum. Second moment: a rate of each weight's own, by its squared gradients.
Leaky: as a running mean, not as a sum. Bias correction: of means that begin at 0."""


def text(words: Sequence[str], own: Sequence[Path] = ()) -> str:
    """The help about the words, or about everything; `own` are the user's recipe directories.

    Raises Mistake, with the nearest name, where a word is nothing that can be chosen.
    """
    catalogue = Catalogue(own)
    parts = [_about(word, catalogue) for word in words] or [_everything(catalogue)]
    return "\n".join(line.rstrip() for part in parts for line in part) + "\n"


def _everything(catalogue: Catalogue) -> Iterator[str]:
    usage = _usage()
    yield from usage["what"].splitlines()
    yield from _section("Usage", usage["usage"])
    verbs = "\n".join(each["brief"] for each in asked.verbs().values())
    yield from _section(
        "What has been recorded: dlrun <verb> [run ...], the last one without", verbs
    )
    yield from _section("Examples", usage["examples"])
    yield from _section("Groups and their options", "* marks the default, [,] several at once")
    names = {group: [*map(len, catalogue.options(group))] for group in catalogue.groups}
    wide = max(max(each) for group, each in names.items() if group in catalogue.defaults)
    for group in catalogue.groups:
        yield ""
        yield "  " + _bold(group) + (" [,]" if group in SEVERAL else "")
        yield from _options(catalogue.options(group).values(), max(wide, *names[group]))
    yield from _section("Settings and their defaults")
    yield from _settings(catalogue.primary.root)
    yield from _section("Flags", usage["flags"])
    yield from _section("Completion with TAB, from your shell's start-up file", usage["completion"])


def _usage() -> Any:
    """What help says about the command itself."""
    return load(Path(__file__).with_name("usage.yaml"))


def _about(word: str, catalogue: Catalogue) -> Iterator[str]:
    group, _, name = word.partition("=")
    group = group.lstrip("+~")
    if not group:
        raise Mistake(f"--help {word}: name a group or a setting, e.g. --help optimizer")
    options = catalogue.options(group)
    commands = _usage()["commands"] | {verb: of["help"] for verb, of in asked.verbs().items()}
    if group in commands:
        mine = _settings([setting for setting in catalogue.primary.root if setting.key == group])
        return _apart([iter(commands[group].splitlines()), mine])
    if group == "findings":
        return _about_findings()
    if not options:
        return _about_setting(group, catalogue)
    if not name:
        return _about_group(group, list(options.values()))
    names = name.strip("[]").split(",") if group in SEVERAL else [name]
    for name in names:
        if wrong := suggest.option(f"--help {word}", group, name, list(options)):
            raise Mistake(wrong)
    return _apart([_about_option(options[name]) for name in names])


def _about_group(group: str, options: Sequence[Option]) -> Iterator[str]:
    several = f"; several at once: {group}=[a,b], in this order" if group in SEVERAL else ""
    across = any(option.across for option in options)
    yield _bold(("+" if across else "") + group) + f"=option{several}"
    wide = max(len(option.name) for option in options)
    subjects = {option.subject for option in options}
    order = ["", *_usage()["subjects"]]
    for subject in sorted(subjects, key=lambda one: order.index(one) if one in order else 99):
        yield from [""] if not subject else _section(subject)
        yield from _options([option for option in options if option.subject == subject], wide)
    if across:
        yield from ["", f"dlrun --help {group}=option says what each expects, and its settings"]
        return
    yield from _tracked(options)
    having = [option for option in options if option.own]
    shared = [s for s in having[0].own if all(s in o.own for o in having)] if having[1:] else []
    if shared:
        yield from _section(f"{group}, whichever it is")
        yield from _settings(shared)
    for option in having:
        special = [setting for setting in option.own if setting not in shared]
        if special:
            yield from _section(option.typed)
            yield from _settings(special)


def _tracked(options: Sequence[Option]) -> Iterator[str]:
    """The table of what optimizers keep of their gradients, where their headers say it."""
    told = [option for option in options if any(option.tracks)]
    columns = max((option.tracks for option in told), key=len, default=())
    wide = max((len(option.name) for option in told), default=0)
    if told:
        yield from _section("What each tracks of its gradients", _MOMENTS)
        yield f"  {'':<{wide}}  {'  '.join(columns)}"
    for option in told:
        marks = (f"{'yes' if each in option.tracks else '-':<{len(each)}}" for each in columns)
        yield f"  {option.name:<{wide}}  {'  '.join(marks)}"


def _about_option(option: Option) -> Iterator[str]:
    yield _bold(option.typed)
    yield ""
    yield from (f"  {line}" for line in option.header)
    if option.own:
        yield from _section("Settings")
        yield from _settings(option.own)


def _about_findings() -> Iterator[str]:
    yield _bold("findings") + " of checks, diagnoses and the critic of a sweep"
    yield ""
    rows = [(name, "", f"{means} ({source})") for name, (means, source) in finding.NAMES.items()]
    yield from _table(rows)


def _about_setting(key: str, catalogue: Catalogue) -> Iterator[str]:
    """Settings of the root, of groups, and options, that have this name."""
    mine = [s for s in catalogue.primary.settings if s.value and within(s.key, key)]
    places = catalogue.settings(key)
    named = catalogue.named(key.rpartition(".")[2])
    if "." in key:  # regularization.l2 is an option too
        named = [one for one in named if f"{one.group}.{one.name}" == key and one.group in SEVERAL]
    if named:
        places = [one for one in places if not one.full.startswith(f"{key}.")]
    if not (mine or places or named):
        near = suggest.here(key, "...", catalogue) or suggest.nearest(key, catalogue.names)
        near = near or "; dlrun --help lists groups and settings"
        raise Mistake(f"--help {key}: no group or setting is called {key!r}{near}")
    sections = [_settings(mine)] if mine else []
    for full in dict.fromkeys(one.full for one in places):
        having = [one for one in places if one.full == full]
        sections.append(_about_places(having, catalogue))
    return _apart([*sections, *map(_about_option, named)])


def _about_places(places: Sequence[Setting], catalogue: Catalogue) -> Iterator[str]:
    """The options that have a setting, each with its default and its comment."""
    first = places[0]
    everywhere = len(places) == len(catalogue.options(first.option.group))
    if everywhere and all(one == first for one in places):
        yield from _settings([first])
        return
    yield _bold(first.full)
    yield ""
    yield from _table(
        [
            (("* " if one.option.usual else "  ") + one.option.typed, _shown(one), one.comment)
            for one in places
        ]
    )
    if len(places) == 1:
        yield ""
        yield from (f"    {line}" for line in first.option.header)


def _apart(sections: Sequence[Iterator[str]]) -> Iterator[str]:
    """Sections with an empty line between them."""
    for number, lines in enumerate(filter(None, map(list, sections))):
        yield from [""] * bool(number)
        yield from lines


def _options(options: Iterable[Option], wide: int) -> Iterator[str]:
    rows = [(f"{'*' if one.usual else ' '} {one.name}", "", one.summary) for one in options]
    return _rows(rows, [wide + 2, 0])


def _settings(settings: Sequence[Setting]) -> Iterator[str]:
    return _table([(one.full, _shown(one), one.comment) for one in settings])


def _shown(setting: Setting) -> str:
    return setting.value.replace("???", "(required)")


def _table(rows: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    wide = [max((len(row[i]) for row in rows), default=0) for i in (0, 1)]
    return _rows(rows, [min(wide[0], 50), min(wide[1], 30)])


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


def _section(title: str, text: str = "") -> Iterator[str]:
    yield ""
    yield _bold(title)
    yield from (f"  {line}" for line in text.splitlines())


def _bold(words: str) -> str:
    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ
    return words if plain else f"\x1b[1m{words}\x1b[0m"
