"""`resume=`: the recipe of a recorded run, with the overrides that are typed now.

A new override replaces the recorded one of the same key; another option of a group
drops the recorded settings of the old one. Where the defaults of a packaged recipe
have changed since, the recorded value stays.
"""

import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.hydra import Hydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlrun import record
from dlrun.command import compose, flags
from dlrun.errors import Mistake
from dlrun.groups import SEVERAL

_log = logging.getLogger("dlrun")
_OWN = ("resume", "facts", "outputs")
"""Settings of the run, not of the recipe: never taken from the record."""


@dataclass(frozen=True)
class Previous:
    """A recorded run, and the overrides that led to it."""

    directory: Path
    overrides: list[str]
    config_dirs: list[Path]

    def merge(self, hydra: Hydra, typed: Sequence[str]) -> list[str]:
        """The recorded overrides and those typed now, without `resume=`."""
        recorded = compose.choices(compose.full(hydra, self.overrides))
        new = [word for word in typed if _key(word) != "resume"]
        return merge(self.overrides, new, recorded)

    def restore(self, hydra: Hydra, recipe: DictConfig, words: Sequence[str]) -> DictConfig:
        """The recipe with recorded values where defaults have changed; points at the run."""
        recipe.resume = str(self.directory)
        kept = OmegaConf.load(self.directory / "recipe.yaml")
        assert isinstance(kept, DictConfig)
        before = compose.recipe(hydra, self.overrides)
        typed = [_key(word) for word in words if word not in self.overrides]
        dropped = [_key(word) for word in self.overrides if word not in words]
        changed = changes(before, kept, [*typed, *dropped])
        for key, value in changed.items():
            OmegaConf.update(recipe, key, value, force_add=True)
        if changed:
            names = ", ".join(changed)
            _log.warning(f"defaults have changed since; kept as recorded: {names}")
        return recipe


def find(words: Sequence[str]) -> Previous | None:
    """The run that `resume=` names; None where nothing is to be resumed."""
    asked = _last(words, "resume")
    if asked in ("", "null"):
        return None
    try:
        directory = record.find(_last(words, "outputs") or "outputs", asked)
    except Mistake as mistake:
        raise Mistake(f"resume={asked}: {mistake}") from None
    info = record.read_json(directory / "run.json")
    overrides = info.get("overrides")
    if not isinstance(overrides, list):
        raise Mistake(f"resume={asked}: {directory / 'run.json'} does not say its overrides")
    command = info.get("command", "")
    line = shlex.split(command) if isinstance(command, str) else list(command)
    cwd = Path(info.get("cwd", "."))
    return Previous(directory, overrides, flags.parse(line[1:]).directories(cwd))


def merge(recorded: Sequence[str], new: Sequence[str], choices: Mapping[str, Any]) -> list[str]:
    """Recorded overrides, then new ones, which replace those they make void.

    choices: which option each group had in the recorded run.
    """
    prefixes = {_key(word): word[: len(word) - len(word.lstrip("+"))] for word in recorded}
    kept = [word for word in recorded if not any(_replaces(n, word, choices) for n in new)]
    added = []
    for word in new:
        plain = word[0] not in "+~" and _key(word) not in choices
        added.append(prefixes.get(_key(word), "") + word if plain else word)
    return kept + added


def changes(before: DictConfig, kept: DictConfig, ignored: Sequence[str]) -> dict[str, Any]:
    """Recorded values that the same overrides no longer lead to, by key.

    before: the recipe as the recorded overrides give it today; kept: as recorded.
    ignored: keys whose value is chosen anew, with everything below them.
    """
    now = before.copy()
    for fact, value in (kept.get("facts") or {}).items():
        now.facts[fact] = value
    try:
        new, old = (OmegaConf.to_container(one, resolve=True) for one in (now, kept))
    except OmegaConfBaseException:
        return {}
    today, then = _leaves(new), _leaves(old)
    return {
        key: value
        for key, value in then.items()
        if (key not in today or today[key] != value)
        and not any(_within(key, top) for top in (*_OWN, *ignored))
    }


def _replaces(new: str, old: str, choices: Mapping[str, Any]) -> bool:
    """Whether the override `old` is void once `new` is given."""
    key, before = _key(new), _key(old)
    if key == before:
        return True
    if key not in choices or not before.startswith(f"{key}."):
        return False
    names, previous = _names(new.partition("=")[2]), choices[key]
    if key in SEVERAL:
        return before.split(".")[1] not in names
    return names != _names(previous)


def _names(choice: Any) -> list[str]:
    items = choice if isinstance(choice, list) else str(choice).strip("[]").split(",")
    return [str(item).strip() for item in items]


def _leaves(node: Any, above: str = "") -> dict[str, Any]:
    if not isinstance(node, dict) or not node:
        return {above.rstrip("."): node}
    found: dict[str, Any] = {}
    for key, value in node.items():
        found |= _leaves(value, f"{above}{key}.")
    return found


def _within(key: str, top: str) -> bool:
    return key == top or key.startswith(f"{top}.")


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def _last(words: Sequence[str], key: str) -> str:
    return next((w.partition("=")[2] for w in reversed(words) if _key(w) == key), "")
