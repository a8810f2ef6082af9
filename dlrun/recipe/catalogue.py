"""What can be chosen: every group, option and setting, read from the YAML files.

YAML says what the values are, a file's own comments say what they mean. Imports nothing
heavy, so that `dlrun --help` and TAB answer at once.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from dlrun.errors import Mistake, first_line
from dlrun.recipe.schema import SEVERAL

PRIMARY = "config"
"""The name of the file of the default recipe."""
LAUNCHER = "hydra/launcher"
"""The group of Hydra's that dlrun has options of; its settings begin with `hydra.launcher.`."""
UNREADABLE = (OSError, ValueError, RecursionError, yaml.YAMLError)
"""What reading a YAML file raises."""
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_COMMENT = re.compile(r":?[^\S\n]+#[^\S\n]*(.*)")
_MARKED = re.compile(r"(?:[&!]\S*\s+)+")  # an anchor, a tag


@dataclass(frozen=True)
class Setting:
    """A key of an option, its value as written, and the comment after it."""

    option: "Option" = field(compare=False, repr=False)
    key: str
    value: str
    comment: str

    @property
    def full(self) -> str:
        """The key as it is typed, e.g. `optimizer.lr`."""
        return self.option.prefix + self.key


@dataclass(eq=False)
class Option:
    """One YAML file: an option of a group, or the default recipe, which has no group.

    header: the comment lines on top. across: sets keys of the whole recipe, as an experiment does.
    usual: one of the default recipe. bases: what its defaults list names.
    """

    file: Path
    group: str = ""
    usual: bool = False
    header: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = ()
    across: bool = False
    bases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the option."""
        return self.file.stem

    @property
    def typed(self) -> str:
        """How the option is typed; what adds to the whole recipe begins with +."""
        name = f"[{self.name}]" if self.group in SEVERAL else self.name
        return f"{'+' if self.across else ''}{self.group}={name}"

    @property
    def prefix(self) -> str:
        """What the keys of its settings begin with."""
        return "" if self.across or not self.group else f"{self.group.replace('/', '.')}."

    @property
    def summary(self) -> str:
        """The first line of the header."""
        return self.header[0] if self.header else ""

    @property
    def subject(self) -> str:
        """What an experiment is about, as its header says; "" where it does not."""
        return self._said("subject")

    @property
    def tracks(self) -> tuple[str, ...]:
        """What an optimizer keeps of its gradients, as its header says."""
        return tuple(self._said("tracks").split(", "))

    def _said(self, what: str) -> str:
        """What the line of the header says that begins so; "" where there is none."""
        found = (line.partition(f"{what}: ") for line in self.header)
        return next((said for before, mark, said in found if mark and not before), "")

    @property
    def own(self) -> list[Setting]:
        """What a user may set: no `_target_`, and nothing that follows from other choices."""
        return [
            setting
            for setting in self.settings
            if not setting.key.rpartition(".")[2].startswith("_")
            and setting.value
            and not setting.value.startswith("${")
        ]

    @property
    def root(self) -> list[Setting]:
        """The settings that every recipe has, where this is the default recipe."""
        return [setting for setting in self.own if "." not in setting.key]


class Catalogue:
    """The packaged recipes and those of the user, whose directories come first.

    Each file is read once: a catalogue is for one command.
    """

    def __init__(self, own: Sequence[Path] = ()) -> None:
        self.own = list(own)
        self.directories = [*own, packaged()]
        self._options: dict[str, dict[str, Option]] = {}

    @cached_property
    def primary(self) -> Option:
        """The default recipe."""
        files = (directory / f"{PRIMARY}.yaml" for directory in self.directories)
        return read(next(filter(Path.is_file, files)))

    @cached_property
    def defaults(self) -> dict[str, list[str]]:
        """Which options each group has by default. Raises Mistake where it cannot be read."""
        file, found = self.primary.file, dict[str, list[str]]()
        try:
            content = load(file)
        except UNREADABLE as error:
            raise Mistake(unreadable(file, error)) from None
        for group, name in chosen("", content):
            found.setdefault(group, []).extend([name] if name else [])
        return found

    @cached_property
    def groups(self) -> list[str]:
        """The names of the groups: those of the default recipe in its order, then the others."""
        entries = [entry for directory in self.directories for entry in os.scandir(directory)]
        found = {entry.name for entry in entries if entry.is_dir() and entry.name != "hydra"}
        found = {name for name in found if self._files(name)}
        ordered = [group for group in self.defaults if group in found]
        return ordered + sorted(found.difference(ordered))

    @property
    def names(self) -> list[str]:
        """The groups, and the settings that every recipe has."""
        return [*self.groups, *(setting.key for setting in self.primary.root)]

    def options(self, group: str) -> dict[str, Option]:
        """The options of a group, by name; empty where there is no such group."""
        if group and group not in self._options:
            files = self._files(group)
            usual = self.defaults.get(group, ())
            self._options[group] = {
                name: read(files[name], group, name in usual)
                for name in sorted(files, key=lambda name: (name != "none", name))
            }
            bases: dict[Path, Option] = {}
            for option in self._options[group].values():
                self._inherit(option, bases)
        return self._options.get(group, {})

    def _files(self, group: str) -> dict[str, Path]:
        """The files of a group's options, by name; those of the user take the place of others."""
        files: dict[str, Path] = {}
        for directory in reversed(self.directories):
            folder = directory / group
            if os.path.isdir(folder):  # False for what can be no name of a folder
                files |= {file.stem: file for file in folder.glob("*.yaml") if file.is_file()}
        return files

    def _inherit(self, option: Option, read_before: dict[Path, Option]) -> None:
        """Add to an option the settings that it has from the files of its defaults list."""
        bases = list(option.bases)
        for base in bases:  # which grows by those of each
            files = (directory / f"{base}.yaml" for directory in self.directories)
            file = next(filter(Path.is_file, files), None)
            if file is not None and file != option.file:
                found = read_before.get(file) or read(file, option.group)
                read_before[file] = found
                bases += [name for name in found.bases if name not in bases]
                known = {setting.key for setting in option.settings}
                new = (replace(one, option=option) for one in found.settings)
                option.settings += tuple(one for one in new if one.key not in known)

    def named(self, name: str) -> list[Option]:
        """The options of this name, in whatever group."""
        groups = [*self.groups, LAUNCHER]
        return [self.options(group)[name] for group in groups if name in self.options(group)]

    def settings(self, name: str) -> list[Setting]:
        """The settings of groups that have this key, lie below it, or, without a dot, end with it.

        Those of the default recipe come first.
        """
        found = [
            setting
            for group in [*self.groups, LAUNCHER]
            for option in self.options(group).values()
            for setting in (() if option.across else option.settings)
            if setting.value
            and (
                setting.full.endswith(f".{name}") if "." not in name else within(setting.full, name)
            )
        ]
        return sorted(found, key=lambda setting: not setting.option.usual)

    def keys(self, name: str) -> list[str]:
        """Their keys, each once, without those that follow from other settings."""
        found = [one for one in self.settings(name) if "${" not in one.value]
        return list(dict.fromkeys(one.full for one in found if one.option.group != LAUNCHER))


def packaged() -> Path:
    """The directory of the recipes that come with dlrun: in the wheel, or in the checkout."""
    here = Path(__file__).resolve().parents[1]
    inside = here / "conf"
    return inside if inside.is_dir() else here.parent / "conf"


def load(file: Path) -> Any:
    """The content of a YAML file. Raises one of `UNREADABLE`."""
    return yaml.load(file.read_text(encoding="utf-8"), Loader=LOADER)


def read(file: Path, group: str = "", usual: bool = False) -> Option:
    """Read one YAML file; where it cannot be read, the header says why."""
    option = Option(file, group, usual)
    try:
        text = file.read_text(encoding="utf-8")
        if re.search(r"\s&\w", text):  # a few aliases can stand for more than a memory holds
            from dlrun.record import bounds

            bounds.read_yaml(file)
        lines = re.match(r"(?:#.*\n?)*", text)[0].splitlines()  # type: ignore[index]
        comments = [line.removeprefix("#").removeprefix(" ").rstrip() for line in lines]
        option.across = any(line.startswith("@package") for line in comments)
        option.header = tuple(line for line in comments if not line.startswith("@package"))
        node = yaml.compose(text, Loader=LOADER)
        option.settings = tuple(_settings(option, node, text))
        listed = chosen(group, {"defaults": _defaults(node)}) if group else []
        option.bases = tuple(f"{at}/{name}" for at, name in listed if within(at, group, "/"))
    except UNREADABLE as error:
        option.header = (unreadable(file, error),)
    return option


def unreadable(file: Path, error: Exception) -> str:
    """Why a YAML file cannot be read, in one line; error: one of `UNREADABLE`."""
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        problem = str(getattr(error, "problem", None) or "is not YAML")
        problem = problem.replace("found unhashable key", "a key must be a name")
        return f"{file}, line {mark.line + 1}: {problem}"
    if isinstance(error, UnicodeDecodeError | yaml.reader.ReaderError):
        return f"{file}: is not UTF-8 text, so not a YAML file; mend it or remove it"
    if isinstance(error, RecursionError):
        return f"{file}: is nested too deeply"
    return f"{file}: cannot be read: {getattr(error, 'strerror', None) or first_line(error)}"


def chosen(group: str, content: Any) -> list[tuple[str, str]]:
    """The options that the defaults list of a file names, each with its group.

    group: that of the file. A name is empty where a group has no option.
    """
    listed = content.get("defaults") if isinstance(content, dict) else None
    found = []
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, str):
            above, _, name = entry.partition("@")[0].rpartition("/")
            beside = "" if entry.startswith("/") else group
            found.append(("/".join(filter(None, (beside, above.strip("/")))), name))
        for key, value in entry.items() if isinstance(entry, dict) else ():
            at = str(key).split(" ")[-1].partition("@")[0].strip("/")
            names = value if isinstance(value, list) else [value]
            found += [(at, str(name or "")) for name in names or [None]]
    return found


def within(key: str, top: str, mark: str = ".") -> bool:
    """Whether a key is `top` or lies below it."""
    return key == top or key.startswith(f"{top}{mark}")


def _defaults(node: Any) -> Any:
    """The defaults list in the content of a file; None where it has none."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    found = next((value for key, value in pairs if key.value == "defaults"), None)
    return LOADER("").construct_document(found) if found else None


def _settings(option: Option, node: Any, text: str, above: str = "") -> Iterator[Setting]:
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        name = f"{above}{key.value}"
        inside = isinstance(value, yaml.MappingNode) and bool(value.value)
        end = key.end_mark.index  # a comment stands here where the value is on the lines below
        ends = (end, max(end, value.end_mark.index))
        comment = next(filter(None, (_COMMENT.match(text, end) for end in ends)), None)
        if name != "defaults":
            written = "" if inside else _written(value, text)
            yield Setting(option, name, written, comment[1] if comment else "")
        if inside:
            yield from _settings(option, value, text, f"{name}.")


def _written(node: Any, text: str) -> str:
    """A value as it is written, or as it could be on one line."""
    written = text[node.start_mark.index : node.end_mark.index]
    written = written[match.end() :] if (match := _MARKED.match(written)) else written
    if isinstance(node, yaml.ScalarNode):
        return " ".join(node.value.split()) if "\n" in written else written or "null"
    if written[:1] in ("[", "{") and "\n" not in written:
        return written
    if isinstance(node, yaml.SequenceNode):
        return f"[{', '.join(_written(one, text) for one in node.value)}]"
    each = (f"{_written(key, text)}: {_written(value, text)}" for key, value in node.value)
    return f"{{{', '.join(each)}}}"
