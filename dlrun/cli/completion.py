"""Completion with TAB in bash, zsh and fish, from the YAML files alone, so that it is fast.

The shell asks `dlrun -sc query=bash` with the line in COMP_LINE and the cursor in COMP_POINT,
and takes one whole word from each line of the answer.
"""

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dlrun import shell
from dlrun.errors import Mistake
from dlrun.recipe import flags
from dlrun.recipe.catalogue import LAUNCHER, Catalogue, Setting, load
from dlrun.recipe.schema import CHOICES, MONITORS, SEVERAL
from dlrun.verb import asked


def text(words: Sequence[str]) -> str:
    """What `-sc install=bash`, `uninstall=bash` or `query=bash` prints."""
    action, _, shell = (words[0] if words else "").partition("=")
    if action == "query":
        line = os.environ.get("COMP_LINE", "")
        point = os.environ.get("COMP_POINT", "")
        return "".join(f"{word}\n" for word in candidates(line[: int(point or len(line))]))
    printed = _tables().get(action, {}) if action in ("install", "uninstall") else {}
    if shell not in printed:
        raise Mistake("--shell-completion: write -sc install=bash, zsh or fish, or uninstall=bash")
    return str(printed[shell])


def words(key: str) -> Sequence[str]:
    """The words that a setting takes; none where it takes other values."""
    return CHOICES.get(key) or _tables()["words"].get(key, "").split()


def _tables() -> Any:
    return load(Path(__file__).with_name("completion.yaml"))


def candidates(line: str) -> list[str]:
    """The words that the last word of the line can become, the line ending at the cursor."""
    *before, word = _words(line)
    before = before[1:]
    own = [shell.path(name, "--config-dir") for name in flags.tolerant(before).config_dir]
    option = flags.SWITCHES.get(before[-1], "") if before else ""
    if option in flags.VALUES and option != "info":
        found: Iterator[str] = iter(flags.VALUES[option])
    elif word.startswith("-") and not (before and before[0] in asked.verbs()):
        found = iter(flags.SWITCHES)
    elif before and before[0] in asked.verbs():
        found = _of_verb(before, word)
    else:
        sign = word[: len(word) - len(word.lstrip("+~"))]
        catalogue = Catalogue([*filter(Path.is_dir, own)])
        found = (sign + each for each in _overrides(word.lstrip("+~"), before, catalogue))
    return sorted({each for each in found if each.startswith(word)})


def _words(line: str) -> list[str]:
    """The words of a line as the shell parts them, the last one up to the cursor: maybe empty."""
    for end in ("", "'", '"'):  # a quotation mark may still be missing
        with suppress(ValueError):
            *whole, last = shlex.split(f"{line}.{end}")
            if not (end and " " in last):  # else it is missing further ahead
                return [*whole, last[:-1]]
    *whole, last = f"{line}.".split()
    return [*whole, last[:-1]]


def _of_verb(before: Sequence[str], word: str) -> Iterator[str]:
    """What may follow a verb: runs, its keys, its flags, and their values."""
    of = asked.verbs()[before[0]]
    values = of["flags"].get(before[-1])
    key, given, value = word.partition("=")
    if isinstance(values, list):
        yield from values
    elif given:
        yield from _values(key, value, before, Catalogue())
        yield from (f"{key}={each}" for each in of.get(key, ()) if key in of["keys"])
    elif word.startswith("-"):
        yield from (*of["flags"], "--help")
    else:
        yield from _runs("", before)
        yield from (f"{name}=" for name in of["keys"] if name != "data")
        if "data" in of["keys"]:
            yield from ("data=", "data.")
            options = _settings("data", before, Catalogue()) if word.startswith("data.") else ()
            yield from (f"{setting.full}=" for setting in options)


def _overrides(word: str, before: Sequence[str], catalogue: Catalogue) -> Iterator[str]:
    key, given, value = word.partition("=")
    if given:
        yield from _values(key, value, before, catalogue)
        return
    if not before:
        yield from asked.verbs()
    group, inside, _ = word.partition(".")
    if inside:
        yield from (f"{setting.full}=" for setting in _settings(group, before, catalogue))
        return
    yield from (f"{name}=" for name in (*catalogue.names, LAUNCHER))
    yield from (f"{name}." for name in catalogue.groups if _settings(name, before, catalogue))


def _values(key: str, value: str, before: Sequence[str], catalogue: Catalogue) -> Iterator[str]:
    """Options of a group, also inside [a,b] and a,b; runs; files; or the default of a setting."""
    head = value[: max(value.rfind(","), value.rfind("[")) + 1]
    names = catalogue.options(key) or words(key) or _recorded(key, before)
    if names:
        used = head.strip("[").split(",")
        yield from (f"{key}={head}{name}" for name in names if name not in used)
        if key in SEVERAL and not head:
            yield f"{key}=["
    elif key == "resume":
        yield from _runs("resume=", before)
    elif value.startswith((".", "/", "~")):
        yield from _files(key, value)
    else:
        yield from (f"{key}={each}" for each in _default(key, before, catalogue))


def _recorded(key: str, before: Sequence[str]) -> list[str]:
    """The recorded values that a setting may name, those of the metrics typed before among them."""
    if key not in ("monitor", "sweep.objective"):
        return []
    usual = [name for name in MONITORS if name != "auto" or key == "monitor"]
    typed = [word.partition("=")[2].strip("[]") for word in before if word.startswith("metric=")]
    chosen = [f"val/{name}" for name in (typed[-1].split(",") if typed else ())]
    return [*usual, *(name for name in chosen if name not in (*usual, "val/none"))]


def _settings(group: str, before: Sequence[str], catalogue: Catalogue) -> list[Setting]:
    """The settings of the options that a group has so far, by default or by the words before."""
    options = catalogue.options(group)
    names = [name for name in options if options[name].usual]
    for word in before:
        if word.startswith(f"{group}="):
            names = word.partition("=")[2].strip("[]").split(",")
    return [setting for name in names if name in options for setting in options[name].own]


def _default(key: str, before: Sequence[str], catalogue: Catalogue) -> list[str]:
    """The value a setting has, or both where it is true or false."""
    group, inside, _ = key.partition(".")
    known = _settings(group, before, catalogue) if inside else catalogue.primary.root
    values = [setting.value for setting in known if setting.full == key]
    if set(values) & {"true", "false"}:
        return ["true", "false"]
    return [value.strip("'\"").replace(" ", "") for value in values if value not in ("???", "null")]


def _runs(prefix: str, before: Sequence[str]) -> Iterator[str]:
    outputs = [word.partition("=")[2] for word in before if word.startswith("outputs=")]
    runs = shell.path(outputs[-1] if outputs else "outputs", "outputs") / "runs"
    yield f"{prefix}last"
    if runs.is_dir():
        yield from (prefix + name for name in os.listdir(runs))


def _files(key: str, value: str) -> Iterator[str]:
    folder, _, start = value.rpartition("/")
    where = shell.path(f"{folder}/" if folder or value.startswith("/") else ".", key)
    if where.is_dir():
        for entry in os.scandir(where):
            if entry.name.startswith(start.lstrip("~")):
                end = "/" if entry.is_dir() else ""
                yield f"{key}={value[: len(value) - len(start)]}{entry.name}{end}"
