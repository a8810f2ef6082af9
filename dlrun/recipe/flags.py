"""The words of a command, sorted into flags and overrides."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlrun import shell
from dlrun.errors import Mistake
from dlrun.recipe import catalogue, lookup, vocabulary

SWITCHES = {
    "-h": "help",
    "--help": "help",
    "--version": "version",
    "-m": "multirun",
    "--multirun": "multirun",
    "-sc": "completion",
    "--shell-completion": "completion",
    "--resolve": "resolve",
    "-cd": "config_dir",
    "--config-dir": "config_dir",
    "-c": "cfg",
    "--cfg": "cfg",
    "-p": "package",
    "--package": "package",
    "-i": "info",
    "--info": "info",
}
VALUES: dict[str, tuple[str, ...]] = {
    "config_dir": (),
    "package": (),
    "cfg": ("job", "hydra", "all"),
    "info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
}


@dataclass
class Flags:
    """What the command asks for."""

    words: tuple[str, ...] = ()
    help: bool = False
    version: bool = False
    multirun: bool = False
    completion: bool = False
    resolve: bool = False
    config_dir: tuple[str, ...] = ()
    package: str = ""
    cfg: str = ""
    info: str = ""

    def directories(self, cwd: Path | None = None) -> list[Path]:
        """The user's recipe directories, absolute. Raises Mistake where one is missing."""
        found = [(cwd or Path.cwd()) / _folder(name) for name in self.config_dir]
        for name, directory in zip(self.config_dir, found, strict=True):
            if not directory.is_dir():
                raise Mistake(f"--config-dir {name}: no such directory{_beside(directory)}")
        return found


def parse(words: Sequence[str]) -> Flags:
    """Sort the words. Raises Mistake for an unknown flag, and for a flag without its value."""
    flags, rest = Flags(), []
    left = list(words)
    while left:
        word = left.pop(0)
        if not word.startswith("-") or word == "-":
            rest.append(word)
            continue
        flag, given, value = word.partition("=")
        name = SWITCHES.get(flag) or _unknown(word, left[0] if left else "")
        if name not in VALUES:
            if given:
                raise Mistake(f"{word}: {flag} takes no value")
            setattr(flags, name, True)
            continue
        allowed = VALUES[name]
        if not given and name == "info" and (not left or left[0] not in allowed):
            value = "all"
        elif not given:
            if not left:
                raise Mistake(f"{flag} needs {_form(allowed)}")
            value = left.pop(0)
        if allowed and value not in allowed:
            raise Mistake(f"{flag} {value}: write {_form(allowed)}{nearest(value, allowed)}")
        setattr(flags, name, (*flags.config_dir, value) if name == "config_dir" else value)
    flags.words = tuple(rest)
    return flags


def _folder(name: str) -> Path:
    """A directory as typed; what refers to the environment is read as in a recipe."""
    if "${" in name:
        from dlrun.recipe import compose  # imports Hydra

        name = compose.text(f"outputs={name}")
    return shell.path(name, "--config-dir")


def tolerant(words: Sequence[str]) -> Flags:
    """The flags of a line that is still being typed; none where it cannot be read yet."""
    try:
        return parse(words)
    except Mistake:
        return Flags()


def nearest(wrong: str, right: Sequence[str], template: str = "{}") -> str:
    """`; did you mean ...?`, or nothing where no name comes near. The first {} is for the name."""
    near = close(wrong, right)
    return f"; did you mean {template.replace('{}', near, 1)}?" if near else ""


def close(wrong: str, right: Sequence[str]) -> str:
    """The name that is nearest to a wrong one, whatever its case; empty where none comes near."""
    cases = {name.lower(): name for name in reversed(right)}
    near = difflib.get_close_matches(wrong.lower(), list(cases), n=1, cutoff=0.74)
    return cases[near[0]] if near else ""


def _unknown(word: str, after: str) -> str:
    """Raise Mistake for a flag that there is not; `after`: the word that follows."""
    flag, given, value = word.partition("=")
    long = [name for name in SWITCHES if name.startswith("--")]
    key = flag.removeprefix("--").replace("-", "_") if flag.startswith("--") else ""
    if not given and after and "=" not in after and not after.startswith("-"):
        value = after
    near = _setting(key, value) or nearest(flag, long)
    if not near and key:
        near = f"; a setting is written {key}={value or '...'}, without dashes"
    raise Mistake(f"unknown flag {flag}{near or '; dlrun --help lists them'}")


def _setting(key: str, value: str) -> str:
    """How a setting is written that was typed as a flag, if it is one."""
    directories = [catalogue.packaged()]
    root = [setting.key for setting in catalogue.read(catalogue.primary(directories)).root]
    known = key in [*root, *catalogue.groups(directories)]
    choices = [lookup.typed(group, option) for group, option in lookup.options(key, directories)]
    if choices and not known:
        return f"; an option is written {' or '.join(choices)}, without dashes"
    keys = [key] if known else lookup.keys(key, directories)
    if keys and key:
        value = value or ("last" if key == "resume" else "...")
        written = " or ".join(shell.quote(f"{each}={value}") for each in keys[:3])
        return f"; a setting is written {written}, without dashes"
    return vocabulary.here(key, value or "...", directories)


def stray(words: Sequence[str], number: int) -> str:
    """`; ...` that says what a word without = may mean, given those beside it, or nothing."""
    word, directories = words[number], [catalogue.packaged()]
    before = words[number - 1] if number else ""
    after = words[number + 1] if len(words) > number + 1 else ""
    if "=" in before and word.strip() and not nearest(word, ["sync"]):
        return f", or quotes around a value with spaces: {shell.quote(f'{before} {word}')}"
    said = "" if before else vocabulary.command(word, after) or nearest(word, ["sync"], "dlrun {}")
    if said or not word.strip():
        return said
    root = [setting.key for setting in catalogue.read(catalogue.primary(directories)).root]
    names = [*catalogue.groups(directories), *root]
    choices = [lookup.typed(group, option) for group, option in lookup.options(word, directories)]
    if word in names or lookup.settings(word, directories):
        return f"; dlrun --help {word} says more about it"
    if choices:
        return f"; did you mean {' or '.join(choices[:3])}?"
    return nearest(word, names, "{}=...")


def _form(allowed: Sequence[str]) -> str:
    return "one of " + ", ".join(allowed) if allowed else "a value"


def _beside(directory: Path) -> str:
    try:
        names = [entry.name for entry in directory.parent.iterdir() if entry.is_dir()]
    except OSError:
        return ""
    return nearest(directory.name, names)
