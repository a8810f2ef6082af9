"""What can be chosen: every group, option and setting, read from the text of the YAML files.

Imports nothing but the standard library, so that `dlrun --help` answers at once. It
reads what these files have (comments, keys, indentation), not the whole of YAML.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlrun.errors import Mistake

PRIMARY = "config"
"""The name of the file of the default recipe."""
_SETTING = re.compile(r"^( *)([A-Za-z_][\w.-]*):(?: +(.*))?$")
_DEFAULT = re.compile(r"^ *- *(?:optional +)?([a-z_]+): *([\w-]+|\[.*\])?")
_VALUE = re.compile(r"""('[^']*'|"[^"]*"|(?:(?!(?:^|\s)#).)*)(?:\s*#\s*(.*))?$""")


@dataclass(frozen=True)
class Setting:
    """A key of a YAML file, with dots, its value as written, and the comment after it."""

    key: str
    value: str
    comment: str


@dataclass(frozen=True)
class Option:
    """One YAML file: the comment lines on top, and its settings."""

    name: str
    header: tuple[str, ...]
    settings: tuple[Setting, ...]
    across: bool = False  # sets keys of the whole recipe, as an experiment does

    @property
    def summary(self) -> str:
        """The first line of the header."""
        return self.header[0] if self.header else ""

    @property
    def own(self) -> list[Setting]:
        """What a user may set: not where the function is, nor what follows from other choices."""
        return [
            setting
            for setting in self.settings
            if not setting.key.rpartition(".")[2].startswith("_")
            and setting.value
            and not setting.value.startswith("${")
        ]

    @property
    def root(self) -> list[Setting]:
        """The settings that every recipe has, where this is `config.yaml`."""
        return [setting for setting in self.own if "." not in setting.key]


def packaged() -> Path:
    """The directory of the recipes that come with dlrun: in the wheel, or in the checkout."""
    here = Path(__file__).resolve().parents[1]
    inside = here / "conf"
    return inside if inside.is_dir() else here.parent / "conf"


def groups(directories: Sequence[Path]) -> list[str]:
    """The names of the groups: those of the default recipe in its order, then the others."""
    found = {
        entry.name
        for directory in directories
        for entry in os.scandir(directory)
        if entry.is_dir() and entry.name != "hydra" and options(entry.name, [directory])
    }
    ordered = [group for group in defaults(directories) if group in found]
    return ordered + sorted(found.difference(ordered))


def options(group: str, directories: Sequence[Path]) -> dict[str, Path]:
    """The options of a group and their files; an earlier directory wins."""
    found: dict[str, Path] = {}
    for directory in reversed(directories):
        folder = directory / group
        if os.path.isdir(folder):  # False for what can be no name of a folder
            files = filter(Path.is_file, sorted(folder.glob("*.yaml")))
            found |= {file.stem: file for file in files}
    return dict(sorted(found.items(), key=lambda item: (item[0] != "none", item[0])))


def defaults(directories: Sequence[Path]) -> dict[str, list[str]]:
    """The default recipe: which options each group has. Raises Mistake where it is no text."""
    chosen = {}
    file = primary(directories)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Mistake(f"{file}: cannot be read: {_why(error)}") from None
    for line in lines:
        match = _DEFAULT.match(line)
        if match:
            names = (match[2] or "").strip("[]").split(",")
            chosen[match[1]] = [name.strip() for name in names if name.strip()]
    return chosen


def primary(directories: Sequence[Path]) -> Path:
    """The file of the root settings."""
    return next(file for file in (d / f"{PRIMARY}.yaml" for d in directories) if file.is_file())


def read(file: Path) -> Option:
    """Read one YAML file; one that is none says so in its header."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return Option(file.stem, (f"cannot be read: {_why(error)}",), ())
    header, across = [], False
    for line in lines:
        if not line.startswith("#"):
            break
        text = line.removeprefix("#").removeprefix(" ").rstrip()
        if text.startswith("@package"):
            across = True
        else:
            header.append(text)
    return Option(file.stem, tuple(header), tuple(_settings(lines)), across)


def _why(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or "") if isinstance(error, OSError) else "it is no text in UTF-8"


def _settings(lines: Sequence[str]) -> list[Setting]:
    found: list[Setting] = []
    above: list[tuple[int, str]] = []
    for line in lines:
        match = _SETTING.match(line.rstrip())
        if not match:
            continue
        indent, key, rest = len(match[1]), match[2], match[3] or ""
        while above and above[-1][0] >= indent:
            above.pop()
        above.append((indent, key))
        value = _VALUE.match(rest)
        dotted = ".".join(name for _, name in above)
        written, comment = value.groups("") if value else (rest, "")
        found.append(Setting(dotted, written.strip(), comment))
    return found
