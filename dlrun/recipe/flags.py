"""The words of a command, sorted into flags and overrides."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from dlrun import shell
from dlrun.errors import Mistake
from dlrun.recipe import suggest
from dlrun.recipe.catalogue import Catalogue

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
    shell_completion: bool = False
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


SWITCHES = {f"--{one.name.replace('_', '-')}": one.name for one in fields(Flags)[1:]}
SHORT = {"-h": "--help", "-m": "--multirun", "-sc": "--shell-completion", "-cd": "--config-dir"}
SHORT |= {"-c": "--cfg", "-p": "--package", "-i": "--info"}
SWITCHES |= {short: SWITCHES[long] for short, long in SHORT.items()}


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
        name = SWITCHES.get(flag) or _unknown(flag, value, left)
        if name not in VALUES:
            if given:
                raise Mistake(f"{word}: {flag} takes no value")
            setattr(flags, name, True)
            continue
        allowed = VALUES[name]
        form = f"one of {', '.join(allowed)}" if allowed else "a value"
        if not given and name == "info" and (not left or left[0] not in allowed):
            value = "all"
        elif not given:
            if not left:
                raise Mistake(f"{flag} needs {form}")
            value = left.pop(0)
        if allowed and value not in allowed:
            raise Mistake(f"{flag} {value}: write {form}{suggest.nearest(value, allowed)}")
        setattr(flags, name, (*flags.config_dir, value) if name == "config_dir" else value)
    flags.words = tuple(rest)
    return flags


def tolerant(words: Sequence[str]) -> Flags:
    """The flags of a line that is still being typed; none where it cannot be read yet."""
    try:
        return parse(words)
    except Mistake:
        return Flags()


def _unknown(flag: str, value: str, left: Sequence[str]) -> str:
    """Raise Mistake for a flag that does not exist; left: the words that follow."""
    key = flag.removeprefix("--").replace("-", "_") if flag.startswith("--") else ""
    if not value and left and "=" not in left[0] and not left[0].startswith("-"):
        value = left[0]
    near = suggest.flag(key, value, Catalogue()) if key else ""
    near = near or suggest.nearest(flag, [name for name in SWITCHES if name.startswith("--")])
    if not near and key:
        near = f"; a setting is written {key}={value or '...'}, without dashes"
    raise Mistake(f"unknown flag {flag}{near or '; dlrun --help lists them'}")


def _folder(name: str) -> Path:
    """A directory as typed; references to the environment are read as in a recipe."""
    if "${" in name:
        from dlrun.recipe import compose  # imports Hydra

        name = compose.text(f"outputs={name}")
    return shell.path(name, "--config-dir")


def _beside(directory: Path) -> str:
    try:
        names = [entry.name for entry in directory.parent.iterdir() if entry.is_dir()]
    except OSError:
        return ""
    return suggest.nearest(directory.name, names)
