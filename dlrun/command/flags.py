"""The words of a command, sorted into flags and overrides."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlrun.errors import Mistake

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
        found = [(cwd or Path.cwd()) / Path(name).expanduser() for name in self.config_dir]
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
        name = SWITCHES.get(flag) or _unknown(word)
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


def tolerant(words: Sequence[str]) -> Flags:
    """The flags of a line that is still being typed; none where it cannot be read yet."""
    try:
        return parse(words)
    except Mistake:
        return Flags()


def nearest(wrong: str, right: Sequence[str], template: str = "{}") -> str:
    """`; did you mean ...?`, or nothing where no name comes near. The first {} is for the name."""
    near = difflib.get_close_matches(wrong, list(right), n=1, cutoff=0.6)
    return f"; did you mean {template.replace('{}', near[0], 1)}?" if near else ""


def _unknown(word: str) -> str:
    flag, given, value = word.partition("=")
    long = [name for name in SWITCHES if name.startswith("--")]
    near = nearest(flag, long)
    if not near and len(flag) > 2 and flag.startswith("--"):
        key = flag.removeprefix("--").replace("-", "_")
        near = f"; a setting is written {key}={value if given else '...'}, without dashes"
    raise Mistake(f"unknown flag {flag}{near or '; dlrun --help lists them'}")


def _form(allowed: Sequence[str]) -> str:
    return "one of " + ", ".join(allowed) if allowed else "a value"


def _beside(directory: Path) -> str:
    try:
        names = [entry.name for entry in directory.parent.iterdir() if entry.is_dir()]
    except OSError:
        return ""
    return nearest(directory.name, names)
