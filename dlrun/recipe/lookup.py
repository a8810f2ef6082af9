"""Where a setting is to be found, by its whole key or its last name, in the YAML files.

Imports nothing heavy, as `catalogue`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlrun.recipe import catalogue
from dlrun.recipe.catalogue import Option, Setting
from dlrun.recipe.schema import SEVERAL

LAUNCHER = "hydra/launcher"
"""The group of Hydra's that dlrun has options of; its settings begin with `hydra.launcher.`."""


@dataclass(frozen=True)
class Found:
    """A setting of an option. `usual`: the option is the one of the default recipe."""

    group: str
    option: Option
    setting: Setting
    usual: bool

    @property
    def key(self) -> str:
        """The whole key, with dots."""
        return prefix(self.group, self.option) + self.setting.key

    @property
    def choice(self) -> str:
        """How the option is typed."""
        return typed(self.group, self.option)


def typed(group: str, option: Option) -> str:
    """How an option is typed; what adds to the whole recipe begins with +."""
    name = f"[{option.name}]" if group in SEVERAL else option.name
    return f"{'+' if option.across else ''}{group}={name}"


def prefix(group: str, option: Option) -> str:
    """What the keys of an option's settings begin with."""
    return "" if option.across else f"{group.replace('/', '.')}."


def settings(name: str, directories: Sequence[Path]) -> list[Found]:
    """The settings of groups that have this key, lie below it, or, without a dot, end with it.

    Those of the default recipe come first.
    """
    found = []
    for group in [*catalogue.groups(directories), LAUNCHER]:
        usual = catalogue.defaults(directories).get(group, [])
        for option in map(catalogue.read, catalogue.options(group, directories).values()):
            for setting in option.settings if not option.across else ():
                key = prefix(group, option) + setting.key
                last = key.rpartition(".")[2]
                if setting.value and (_below(key, name) or last == name):
                    found.append(Found(group, option, setting, option.name in usual))
    return sorted(found, key=lambda one: not one.usual)


def keys(name: str, directories: Sequence[Path]) -> list[str]:
    """The keys among them that one sets in a recipe, each once: none that follow from others."""
    found = [one for one in settings(name, directories) if "${" not in one.setting.value]
    return list(dict.fromkeys(one.key for one in found if one.group != LAUNCHER))


def options(name: str, directories: Sequence[Path]) -> Iterator[tuple[str, Option]]:
    """The groups that have an option of this name, with it."""
    for group in [*catalogue.groups(directories), LAUNCHER]:
        files = catalogue.options(group, directories)
        if name in files:
            yield group, catalogue.read(files[name])


def _below(key: str, name: str) -> bool:
    return "." in name and (key == name or key.startswith(f"{name}."))
