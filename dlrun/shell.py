"""Commands as one types them where one is: quoted for the shell, and for Hydra where need be."""

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

_PLAIN = re.compile(r"(?!(true|false|null)\Z)[\w/.][\w/.:@%+-]*", re.ASCII | re.IGNORECASE)


def line(words: Iterable[str]) -> str:
    """A command to type, from its words."""
    return " ".join(map(quote, words))


def quote(word: str) -> str:
    """A word for the shell; one that no terminal can show in the form $'...', byte by byte."""
    if word.isprintable():
        double = "'" in word and not set(word) & set('"$`\\!')
        return f'"{word}"' if double else shlex.quote(word)
    kept = b"".join(
        bytes([byte]) if 32 <= byte < 127 and byte not in b"'\\" else b"\\x%02x" % byte
        for byte in os.fsencode(word)
    )
    return f"$'{kept.decode()}'"


def setting(key: str, value: str) -> str:
    """The override that gives a key this text, whatever is in it, and not as a number."""
    plain = _PLAIN.fullmatch(value) and not _is_number(value)
    return f"{key}={value if plain else quoted(value)}".replace("${", "\\${")


def _is_number(value: str) -> bool:
    with suppress(ValueError):
        float(value)
        return True
    return False


def quoted(value: str) -> str:
    """A value in the quotes that Hydra reads."""
    escaped = re.sub(r"(\\*)('|\Z)", lambda m: 2 * m[1] + ("\\'" if m[2] else ""), value)
    return f"'{escaped}'"


def near(path: Path) -> str:
    """A path as it is seen from the working directory: relative where it lies below."""
    here = Path.cwd()
    seen = str(path.relative_to(here) if path.is_relative_to(here) else path)
    return f"./{seen}" if seen.startswith("~") else seen


def resume(directory: Path, *more: str) -> str:
    """The command that goes on with a run."""
    which, where = _named(directory)
    return line(["dlrun", setting("resume", which), *where, *more])


def sync(*directories: Path) -> str:
    """The command that delivers these runs, or all that lie beside the first; none: all here."""
    named = [_named(directory) for directory in directories]
    where = dict.fromkeys(word for _, words in named for word in words)
    return line(["dlrun", "sync", *(which for which, _ in named), *where])


def config_dirs(words: Sequence[str]) -> list[str]:
    """The words of a command that name directories of recipes."""
    found: list[str] = []
    for number, word in enumerate(words):
        if word in ("-cd", "--config-dir"):
            found += words[number : number + 2]
        elif word.startswith(("-cd=", "--config-dir=")):
            found.append(word)
    return found


def outputs(directory: Path) -> list[str]:
    """The word that says where the runs beside this one are; none where it needs not be said."""
    folder = directory.absolute().parents[1]
    return [] if folder == Path.cwd() / "outputs" else [setting("outputs", near(folder))]


def _named(directory: Path) -> tuple[str, list[str]]:
    """How a run is called, and where it is to be looked for."""
    if directory.parent.name in ("runs", "sweeps"):
        return directory.name, outputs(directory)
    return near(directory.absolute()), []
