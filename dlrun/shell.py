"""What passes between the user's shell and dlrun, in both directions.

In: paths as one types them. Out: commands that run as printed, quoted for the shell and,
where need be, for Hydra; and text that is safe to show and to record.
"""

import json
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dlrun.errors import Mistake

HIDDEN = "***"
ONE_RUN = "hydra.mode=RUN"
"""What has one recipe trained where an experiment asks for a sweep."""
_UNQUOTED = re.compile(r"(?!(true|false|null)\Z)[\w/.][\w/.:@%+-]*", re.ASCII | re.IGNORECASE)
_USER = re.compile(r"\b(?!sqlite:|file:)([a-z][a-z0-9+.-]*://)\S*@", re.IGNORECASE)
_QUERY = re.compile(
    r"([?&](?:password|passwd|pwd|token|secret|api_?key)=)[^&\s'\"]+", re.IGNORECASE
)
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def path(text: str | Path, key: str) -> Path:
    """The path that is meant: `~` and `~user` are home directories.

    Raises Mistake where no path can be so: one with a name of more than 255 bytes, say.
    """
    meant = os.path.expanduser(text)
    try:
        os.lstat(meant)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError) as error:
        short = str(text) if len(str(text)) <= 80 else f"{str(text)[:60]}…"
        raise Mistake(f"{key}={short}: {getattr(error, 'strerror', None) or error}") from None
    return Path(meant)


_PLACES = {
    "outputs": "name a directory; . is this one",
    "resume": "names no run; write resume=last, or the id of one that dlrun list shows",
    "weights": "names no weights; write a file, or the id of a run that dlrun list shows",
    "tracking.uri": "names no store; leave it out for the database beside the runs",
    "data.root": "name a directory",
    "data.cache": "name a directory",
}
"""What to write where one of these settings is empty, as from an unset variable."""


def refuse_empty(words: Iterable[str]) -> None:
    """Raise Mistake for a setting of a place that is typed without one."""
    for word in words:
        name, _, value = word.partition("=")
        if name.lstrip("+") in _PLACES and "=" in word and not value.strip(" \t'\""):
            raise Mistake(f"{word}: {_PLACES[name.lstrip('+')]}")


def near(path: Path) -> str:
    """A path as seen from the working directory: relative where it lies below."""
    here = Path.cwd()
    seen = str(path.relative_to(here) if path.is_relative_to(here) else path)
    return f"./{seen}" if seen.startswith("~") else seen


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


def spelled(value: Any) -> str:
    """A plain value, a list or a mapping as Hydra reads it in an override."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{spelled(each)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(spelled, value))}]"
    return repr(value) if isinstance(value, int | float) else _bare(str(value))


def setting(key: str, value: str) -> str:
    """The override that sets a key to this text, whatever is in it, and not to a number."""
    return f"{key}={_bare(value)}".replace("${", "\\${")


def _bare(value: str) -> str:
    """A text without quotes where Hydra takes it for this text all the same."""
    plain = _UNQUOTED.fullmatch(value) and not _is_number(value)
    return value if plain else quoted(value)


def replaced(words: Iterable[str], changes: Mapping[str, str | None]) -> list[str]:
    """The words of a command with others for some keys, `~key` too; None leaves a key out."""
    kept, seen = [], set()
    for word in words:
        name = key(word)
        is_override = "=" in word or word.startswith("~")
        if not is_override or word.startswith("-") or name not in changes:
            kept.append(word)
            continue
        if name not in seen:
            kept += filter(None, [changes[name]])
        seen.add(name)
    return kept + [word for name, word in changes.items() if word and name not in seen]


def typed(value: object) -> str:
    """A plain value as one would type it."""
    if isinstance(value, list):
        return f"[{','.join(map(typed, value))}]"
    plain = value is None or isinstance(value, bool | dict)
    return json.dumps(value, default=str) if plain else str(value)


def shown(value: object) -> str:
    """The same, cut off where it is long."""
    text = typed(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _is_number(value: str) -> bool:
    with suppress(ValueError):
        float(value)
        return True
    return False


def quoted(value: str) -> str:
    """A value in the quotes that Hydra reads."""
    escaped = re.sub(r"(\\*)('|\Z)", lambda m: 2 * m[1] + ("\\'" if m[2] else ""), value)
    return f"'{escaped}'"


def key(word: str) -> str:
    """The key of an override, without signs before it."""
    return word.partition("=")[0].lstrip("+~")


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
    """The override `outputs=` that finds this run; none where it is the default."""
    folder = directory.absolute().parents[1]
    return [] if folder == Path.cwd() / "outputs" else [setting("outputs", near(folder))]


def placed(command: str, directory: Path) -> str:
    """A command that the record of a run holds, with the `outputs=` where the run lies now."""
    if directory.parent.name != "runs" or "$'" in command or not command:
        return command  # the second is a name that is no text, which only a shell reads
    typed = shlex.split(command)
    if f"outputs={near(directory.parents[1])}" in typed:
        return command  # as it was typed
    return line(replaced(typed, {"outputs": next(iter(outputs(directory)), None)}))


def _named(directory: Path) -> tuple[str, list[str]]:
    """How a run is called, and where to look for it."""
    if directory.parent.name in ("runs", "sweeps"):
        return directory.name, outputs(directory)
    return near(directory.absolute()), []


def words(lines: Any) -> list[str]:
    """The words of a line, or of a list of lines, as the shell parts them; null has none.

    Raises ValueError where a quotation mark is missing.
    """
    each = lines if isinstance(lines, list | tuple) else [] if lines is None else [lines]
    return [word for one in each for word in shlex.split(str(one))]


def redacted(text: str) -> str:
    """The text without what a URI says of its user: http://***@host:5000."""
    return _QUERY.sub(rf"\1{HIDDEN}", _USER.sub(rf"\1{HIDDEN}@", text)) if "://" in text else text


def redacted_values(content: Any) -> Any:
    """Plain values with every text in them redacted."""
    if isinstance(content, dict):
        return {key: redacted_values(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [redacted_values(value) for value in content]
    return redacted(content) if isinstance(content, str) else content


def clean(text: str) -> str:
    """A redacted message with control characters written out, \\x1b for an escape."""
    return _CONTROLS.sub(lambda found: _written(found[0]), redacted(text))


def message(kind: str, text: str) -> str:
    """A message as it is shown, e.g. `error: ...`, with its further lines indented."""
    return f"{kind}: {clean(text)}".replace("\n", "\n" + " " * (len(kind) + 2))


def counted(count: int, what: str) -> str:
    """So many things: `1 file`, `1,200 files`."""
    return f"{count:,} {what if count == 1 else f'{what}s'}"


def listed(names: Sequence[str], last: str = " and ") -> str:
    """Names in a sentence: `a`, `a and b`, `a, b and c`; last: what stands before the last one."""
    return last.join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def some(names: Iterable[object], most: int = 10) -> str:
    """The first of many names: `a, b, ...`."""
    shown = [name(each) for each in names]
    return ", ".join(shown[:most]) + (", ..." if len(shown) > most else "")


def more(left: int) -> str:
    """What follows some names where so many others are left out; "" where none is."""
    return f" and {left:,} more" if left > 0 else ""


def name(text: object) -> str:
    """The name of a file, or a word, inside a message: on one line, whatever it holds."""
    return "".join(_written(each) if each in "\n\t" else each for each in clean(str(text)))


def _written(character: str) -> str:
    return character.encode("unicode_escape").decode()
