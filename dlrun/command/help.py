"""`dlrun --help`: what can be chosen, read from the YAML files; imports nothing heavy.

dlrun --help                   every group, option, setting and flag
dlrun --help optimizer         the options of a group, with their settings
dlrun --help optimizer=adam    one option: its formula, source, use and settings
dlrun --help epochs            one setting
"""

import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from dlrun.command import catalogue
from dlrun.command.catalogue import Option, Setting
from dlrun.command.flags import nearest
from dlrun.errors import Mistake
from dlrun.groups import SEVERAL

WIDTH = 100

_WHAT = """\
dlrun trains deep networks from recipes: one choice from each group below, typed in the shell.
Every run is recorded, with curves and checkpoints in MLflow, and can be resumed."""

_USAGE = """\
dlrun [group=option ...] [key=value ...]     train one recipe
dlrun -m key=a,b,c ...                       train every combination
dlrun resume=last [key=value ...]            go on with a run, where it was stopped
dlrun sync [run ...]                         deliver what a tracking server has missed
dlrun --help [group | group=option | key]    more about one of them"""

_EXAMPLES = """\
dlrun
dlrun optimizer=adam optimizer.lr=0.001 epochs=10
dlrun model=cnn augmentation=[flip,crop] regularization=[l2,dropout] precision=bf16
dlrun data=imagefolder data.root=photos model=resnet schedule=cosine warmup='2 epochs'
dlrun -m optimizer=sgd,momentum,adam seed=0,1,2
dlrun resume=last epochs=40"""

_FLAGS = (
    ("-m, --multirun", "a sweep: every combination of the values with commas between them"),
    ("-cd, --config-dir DIR", "recipes of your own; one of a packaged name replaces it"),
    ("-c, --cfg job", "print the recipe instead of training; with -p model, a part of it"),
    ("-i, --info defaults", "how the recipe was composed; also config, searchpath, plugins"),
    ("-sc, --shell-completion", "TAB completes groups, options and settings, see below"),
    ("--version", "the version of dlrun"),
    ("DLRUN_DEBUG=1 dlrun ...", "show the traceback of every error"),
)

_COMPLETION = """\
bash   eval "$(dlrun -sc install=bash)"
zsh    autoload -Uz bashcompinit && bashcompinit && eval "$(dlrun -sc install=zsh)"
fish   dlrun -sc install=fish | source\n"""


def text(words: Sequence[str], own: Sequence[Path] = ()) -> str:
    """The help about the words, or about everything; `own` are the user's recipe directories.

    Raises Mistake, with the nearest name, where a word is nothing that can be chosen.
    """
    directories = [*own, catalogue.packaged()]
    parts = [_about(word, directories) for word in words] or [_everything(directories)]
    return "\n".join(line.rstrip() for part in parts for line in part) + "\n"


def _everything(directories: Sequence[Path]) -> Iterator[str]:
    yield from _WHAT.splitlines()
    yield from _section("Usage", _USAGE.splitlines())
    yield from _section("Examples", _EXAMPLES.splitlines())
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
    yield from _rows([(name, "", what) for name, what in _FLAGS], [23, 0])
    yield from _section(
        "Completion with TAB, from your shell's start-up file", _COMPLETION.splitlines()
    )


def _about(word: str, directories: Sequence[Path]) -> Iterator[str]:
    group, _, name = word.partition("=")
    if not group:
        raise Mistake(f"--help {word}: name a group or a setting, e.g. --help optimizer")
    options = catalogue.options(group, directories)
    if not options:
        return _about_setting(group, directories)
    if not name:
        return _about_group(group, directories)
    if name not in options:
        near = nearest(name, list(options)) or f"; there are {', '.join(options)}"
        raise Mistake(f"--help {word}: no {group} is called {name!r}{near}")
    return _about_option(group, catalogue.read(options[name]))


def _about_group(group: str, directories: Sequence[Path]) -> Iterator[str]:
    usual = catalogue.defaults(directories).get(group, [])
    options = catalogue.options(group, directories)
    several = f"; several at once: {group}=[a,b], in this order" if group in SEVERAL else ""
    across = any(catalogue.read(file).across for file in options.values())
    yield _bold(("+" if across else "") + group) + f"=option{several}"
    yield ""
    yield from _options(group, directories, usual, max(map(len, options)))
    for file in options.values():
        option = catalogue.read(file)
        if option.own:
            yield from _section(_chosen(group, option), [])
            yield from _settings(option.own, _prefix(group, option))


def _about_option(group: str, option: Option) -> Iterator[str]:
    yield _bold(_chosen(group, option))
    yield ""
    yield from (f"  {line}" for line in option.header)
    settings = option.own
    if settings:
        yield from _section("Settings", [])
        yield from _settings(settings, _prefix(group, option))


def _about_setting(key: str, directories: Sequence[Path]) -> Iterator[str]:
    root = catalogue.read(catalogue.primary(directories)).root
    found = [setting for setting in root if setting.key == key]
    if not found:
        names = [*catalogue.groups(directories), *(setting.key for setting in root)]
        near = nearest(key, names) or "; dlrun --help lists groups and settings"
        raise Mistake(f"--help {key}: no group or setting is called {key!r}{near}")
    return _settings(found)


def _options(
    group: str, directories: Sequence[Path], usual: Sequence[str], wide: int
) -> Iterator[str]:
    for name, file in catalogue.options(group, directories).items():
        mark = "*" if name in usual else " "
        yield from _rows([(f"{mark} {name}", "", catalogue.read(file).summary)], [wide + 2, 0])


def _settings(settings: Sequence[Setting], prefix: str = "") -> Iterator[str]:
    rows = [(prefix + s.key, s.value.replace("???", "(required)"), s.comment) for s in settings]
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


def _chosen(group: str, option: Option) -> str:
    """How an option is typed; what adds to the whole recipe begins with +."""
    name = f"[{option.name}]" if group in SEVERAL else option.name
    return f"{'+' if option.across else ''}{group}={name}"


def _prefix(group: str, option: Option) -> str:
    return "" if option.across else f"{group}."


def _section(title: str, lines: Sequence[str]) -> Iterator[str]:
    yield ""
    yield _bold(title)
    yield from (f"  {line}" for line in lines)


def _bold(words: str) -> str:
    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ
    return words if plain else f"\x1b[1m{words}\x1b[0m"
