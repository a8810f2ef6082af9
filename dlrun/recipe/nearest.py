"""The nearest right key for a wrong one, searched in the recipe and in all other options."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.hydra import Hydra
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from dlrun.recipe import catalogue
from dlrun.recipe.flags import close, nearest
from dlrun.recipe.lookup import settings, typed
from dlrun.recipe.schema import SEVERAL
from dlrun.recipe.vocabulary import SETTINGS, here, within


@dataclass(frozen=True)
class Place:
    """Where a recipe is composed: Hydra, and the directories the YAML files come from."""

    hydra: Hydra
    directories: Sequence[Path]
    multirun: bool = False

    def options(self, group: str) -> list[str]:
        """The options of a group; empty where it is none."""
        return list(catalogue.options(group, self.directories)) if group else []

    def groups(self) -> list[str]:
        """The names of all groups."""
        return catalogue.groups(self.directories)

    def chooses(self, override: Override) -> bool:
        """Whether an override chooses options, on which depends what there is to be set."""
        key = override.key_or_group
        return bool(self.options(key)) or "/" in key

    def file(self, group: str, name: str) -> Path | None:
        """The file of an option, or of the default recipe where the group is empty."""
        if group:
            return catalogue.options(group, self.directories).get(name)
        return catalogue.primary(self.directories) if name == catalogue.PRIMARY else None


def unknown(place: Place, word: str, key: str, composed: DictConfig) -> str:
    """No such key: name the nearest one there is, in the recipe or in another option."""
    value = word.partition("=")[2]
    group, _, rest = key.partition(".")
    names, wrong = keys(composed), key
    if rest and group in place.groups():
        mine = [name.partition(".")[2] for name in names if name.startswith(f"{group}.")]
        mine = [name for name in mine if name and not name.startswith("_")]
        mine = [name for name in mine if not any(n.startswith(f"{name}.") for n in mine)]
        others = _options_with(place, group, rest)
        near = nearest(rest, mine, f"{group}.{{}}={value}")
        called = SETTINGS.get(rest, "").format(value)
        if not near and _takes_any(place, group, composed):
            near = f"; write +{key}={value} where it is an argument of your own class"
        elif others:
            near = f"; it is a setting of {group}={' or '.join(others)}"
        elif not near and called.partition("=")[0] in names and called.startswith(f"{group}."):
            near = f"; did you mean {called}?"
        elif not near:
            near = f"; it has {', '.join(mine)}" if mine else "; it has no settings"
        near = "" if f"mean {word}?" in near else near
        return f"{word}: {group}={_chosen(composed, group)} has no setting {rest!r}{near}"
    near = here(key, value, place.directories)
    if key.startswith("hydra.launcher."):
        choices = dict.fromkeys(one.choice for one in settings(key, place.directories))
        near = f"; it is a setting of {' or '.join(choices)}" if choices else near
    key = within(key)
    group, _, rest = key.partition(".")
    if key in names and not near:
        near = f"; did you mean {key}={value}?"
    if not near and not rest:
        near = nearest(key, place.groups(), f"{{}}={value}")
    if not near:
        near = nearest(group, place.groups(), f"{{}}.{rest}={value}") if rest else ""
    if not near:
        near = _elsewhere(place, key, value, names)
    return f"{word}: there is no setting {wrong!r}{near}"


def _elsewhere(place: Place, key: str, value: str, names: Sequence[str]) -> str:
    """Where a key without its group belongs: to the recipe, to a group, or to another option."""
    inside = [name for name in names if name.endswith(f".{key}") and not name.startswith("facts")]
    if inside:
        return f"; did you mean {' or '.join(f'{name}={value}' for name in inside[:3])}?"
    for group in place.groups():
        for name, file in catalogue.options(group, place.directories).items():
            option = catalogue.read(file)
            choice = typed(group, option)
            if name == key:
                return f"; did you mean {choice}?"
            for setting in option.settings if not option.across else ():
                if setting.key.rpartition(".")[2] == key:
                    return f"; did you mean {group}.{setting.key}={value}, a setting of {choice}?"
    leaves = {name.rpartition(".")[2]: name for name in reversed(names)}
    near = nearest(key, names, f"{{}}={value}")
    if not near:
        found = close(key, list(leaves))
        near = f"; did you mean {leaves[found]}={value}?" if found else ""
    return near or "; dlrun --help lists them"


def _takes_any(place: Place, group: str, composed: DictConfig) -> bool:
    """Whether the chosen option is a place for a class of the user's own, as model=custom."""
    files = catalogue.options(group, place.directories)
    chosen = _chosen(composed, group)
    settings = catalogue.read(files[chosen]).settings if chosen in files else ()
    return any(setting.key == "_target_" and setting.value == "???" for setting in settings)


def _options_with(place: Place, group: str, rest: str) -> list[str]:
    """The options of a group that have the setting `rest`, as they are typed."""
    files = catalogue.options(group, place.directories)
    having = {name: [s.key for s in catalogue.read(file).settings] for name, file in files.items()}
    return [_typed(group, name) for name, keys in having.items() if rest in keys]


def _typed(group: str, name: str) -> str:
    return f"[{name}]" if group in SEVERAL else name


def meaning(group: str, rest: str, choice: Any, directories: Sequence[Path]) -> str:
    """The comment after a key in the YAML of the chosen option."""
    files = catalogue.options(group, directories)
    for name in [rest.split(".")[0]] if group in SEVERAL else [choice]:
        for setting in catalogue.read(files[name]).settings if name in files else ():
            if setting.key == rest and setting.comment:
                return f": {setting.comment}"
    return ""


def keys(composed: DictConfig) -> list[str]:
    """Every key of a recipe, with dots."""
    names = []

    def gather(node: Any, above: str) -> None:
        for key in node if isinstance(node, dict) else ():
            if above or key != "hydra":
                names.append(f"{above}{key}")
                gather(node[key], f"{above}{key}.")

    gather(OmegaConf.to_container(composed, resolve=False), "")
    return names


def _chosen(composed: DictConfig, group: str) -> str:
    """The choice of a group as it is typed."""
    if group in SEVERAL:
        names = list(composed[group] or [])
        return f"[{','.join(map(str, names))}]" if names else "none"
    return str(composed.hydra.runtime.choices.get(group))
