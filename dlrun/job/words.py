"""What was typed of a recipe, and how other settings of it are typed: the commands to type next."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dlrun import record, shell
from dlrun.data.tables.columns import read_kinds
from dlrun.job.recording import Invocation
from dlrun.preprocessing import SCALES
from dlrun.recipe import checks, compose, identity, view
from dlrun.recipe.catalogue import within
from dlrun.recipe.schema import GROUPS, OF_MODEL, SEVERAL

PLAINLY = "procedure=train"


@dataclass(frozen=True, eq=False)
class Words:
    """A recipe, and what was typed to get it."""

    config: DictConfig
    invocation: Invocation
    _options: dict[str, Any] = field(default_factory=dict, init=False)

    def command(self, changes: Mapping[str, Any]) -> str:
        """The command that was typed with other settings; None leaves a key out.

        Those with a tuple are swept.
        """
        kept = self._kept(changes)
        words = {
            key: None if value is None else self._word(key, value, changes)
            for key, value in changes.items()
        }
        where = shell.config_dirs(self.invocation.command)
        if any(isinstance(value, tuple) for value in changes.values()):
            where.append("-m")
            kept = [word for word in kept if word != shell.ONE_RUN]
        return shell.line(["dlrun", *where, *shell.replaced(kept, words)])

    def advice(self, changes: Mapping[str, Any]) -> str:
        """The command that makes those changes that the recipe has not; "" where there are none.

        Where a run has gone on with other settings, the recipe from the beginning is a change.
        None either for another activation where the model brings its own.
        """
        if "activation" in changes and any(checks.idle_activation(self.config)):
            return ""
        changes = self._beside_own(changes)
        new = {key for key, value in changes.items() if not self._is_so(key, value)}
        kept = {key: value for key, value in changes.items() if key in {*new, "procedure"}}
        return self.command(kept) if new or self._began_otherwise() else ""

    def _began_otherwise(self) -> bool:
        """Whether the run was resumed with settings that it had not begun with."""
        if not self.config.resume:
            return False
        resumed = record.read_json(Path(self.config.resume) / "run.json").get("resumed", ())
        keys = (shell.key(word) for each in resumed for word in each["new"])
        return any(key not in identity.NEUTRAL for key in keys)

    def plainly(self) -> list[str]:
        """What was typed of the recipe, to train it: where a file asks for more, this says so."""
        words, own = self.invocation.words(), ("procedure", "resume", "name", "sweep")
        kept = [word for word in words if shell.key(word).partition(".")[0] not in own]
        chosen = any(shell.key(word) == "procedure" for word in words)
        in_file = not chosen and self.invocation.choices.get("procedure", "train") != "train"
        return [*kept, PLAINLY] if in_file or PLAINLY in words else kept

    def trained_with(self, settings: Mapping[str, Any]) -> list[str]:
        """What would be typed of the recipe with the settings of a training."""
        groups = [key for key in settings if key in GROUPS]
        gone = [key for key in groups if key not in SEVERAL]
        kept = [
            word
            for word in self._kept(settings)
            if shell.key(word).partition(".")[0] not in gone and shell.key(word) not in groups
        ]
        return kept + [
            self._word(key, (value or "none") if key in groups else value, settings)
            for key, value in settings.items()
        ]

    def directories(self) -> list[Path]:
        """The user's recipe directories."""
        words = shell.config_dirs(self.invocation.command)
        named = [word.partition("=")[2] if word.startswith("-") else word for word in words]
        return [shell.path(name, "--config-dir").absolute() for name in named if name]

    def chosen(self, group: str, names: str | Sequence[str]) -> Any:
        """What a group holds with other options; one that the recipe has stays as it is."""
        word = f"{group}={shell.spelled(names or 'none')}"
        if word not in self._options:  # composing takes longer than many a step
            with compose.composer(self.directories()) as composer:
                self._options[word] = view.as_written(composer.recipe([word]))
        found: Any = copy.deepcopy(self._options[word])
        if group not in SEVERAL:
            return found[group]
        here = view.as_written(self.config)[group] or {}
        return {name: here.get(name, found[group][name]) for name in names}

    def _beside_own(self, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Changes beside what the recipe has of the same.

        Scaling comes after what is done to inputs otherwise; columns are left out beside others.
        """
        found = dict(changes)
        if "preprocessing" in changes:
            own = [step for step in self.config.preprocessing or () if step not in SCALES]
            found["preprocessing"] = [*own, *changes["preprocessing"]]
        out = found.pop("data.columns", {})
        if out and (features := self.config.data.features):
            found["data.features"] = [name for name in features if name not in out]
        elif out:
            kinds = read_kinds(view.plain(self.config.data.columns)) | out
            found["data.columns"] = [f"{name}: {kind}" for name, kind in kinds.items()]
        return found

    def _is_so(self, key: str, value: Any) -> bool:
        """Whether the recipe has this value, and nothing typed that goes with a change to it."""
        if any(lost(word, {key: value}) for word in self.invocation.overrides):
            return False
        chosen = self.invocation.chosen(self.config)
        if key in chosen:
            return chosen[key] == (value if isinstance(value, str) else ", ".join(value))
        return bool(OmegaConf.select(self.config, key) == value)

    def _kept(self, changes: Mapping[str, Any]) -> list[str]:
        """What was typed of the recipe, without what goes with changes."""
        kept = [word for word in self.plainly() if not lost(word, changes)]
        model = changes.get("model")
        if not isinstance(model, str) or not any(map(_of_activation, kept)):
            return kept
        other = OmegaConf.create({"model": self.chosen("model", model)})
        idle = any(checks.idle_activation(other))
        return [word for word in kept if not (idle and _of_activation(word))]

    def _word(self, key: str, value: Any, changes: Mapping[str, Any]) -> str:
        """The override that gives a key this value, which the recipe or a changed group has."""
        each = value if isinstance(value, tuple) else (value,)
        word = f"{key}={','.join(map(shell.spelled, each))}"
        given = ("procedure", "sweep", *changes)
        known = compose.has(self.config, key) or key.partition(".")[0] in given
        return word if known else f"+{word}"


def lost(word: str, changes: Mapping[str, Any]) -> bool:
    """Whether a typed setting goes with a change: of the group of its option, or of the model."""
    key = shell.key(word)
    if key in OF_MODEL:
        return key not in changes and any(within(each, "model") for each in changes)
    group, _, rest = key.partition(".")
    if not rest or group not in changes or key in changes:
        return False
    chosen = changes[group]
    if group not in SEVERAL:
        return True
    return rest.partition(".")[0] not in chosen or (word.startswith("~") and rest in chosen)


def _of_activation(word: str) -> bool:
    return within(shell.key(word), "activation")
