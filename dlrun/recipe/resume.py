"""`resume=`: the recipe of a recorded run, with the overrides that are typed now.

A new override replaces the recorded one of the same key; another option of a group
drops the recorded settings of the old one. Where the defaults of a packaged recipe
have changed since, the recorded value stays.

From another directory than that of the run, recorded paths still mean what they meant
there, and the user's own modules are found there.
"""

import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlrun import record, shell
from dlrun.errors import Mistake
from dlrun.recipe import compose, flags, mistakes, view
from dlrun.recipe.catalogue import within
from dlrun.recipe.compose import Composer
from dlrun.recipe.schema import LOSS_OF_TASK, SEVERAL
from dlrun.recipe.signature import expected, fits
from dlrun.record import named, sweep

_log = logging.getLogger("dlrun")
_NAMED = 3  # runs in a message
_OWN = ("resume", "facts", "outputs", "tracking.uri", "tracking.outputs", "expect", "short")
"""Settings of the run, not of the recipe: never taken from the record."""

_PATHS = ("weights", *(key for key in compose.PATHS if "." in key))
_KINDS: dict[str, Any] = {
    "overrides": list,
    "command": str | list,
    "name": str,
    "cwd": str,
    "data": dict,
    "resumed": list,
    "threads": int,
}
"""The types of what `run.json` says."""


@dataclass(frozen=True)
class Previous:
    """A recorded run, its recipe, the overrides that led to it, and the command's directory.

    asked: how the run was called; command: the words that it was started with.
    """

    asked: str
    directory: Path
    recipe: DictConfig
    overrides: list[str]
    command: list[str]
    cwd: Path

    def merge(self, composer: Composer, typed: Sequence[str]) -> list[str]:
        """The recorded overrides and those typed now, without `resume=`.

        Raises Mistake where a recorded one cannot be any more.
        """
        try:
            mistakes.words(composer, self.overrides)
            with mistakes.explained(composer, self.overrides):
                recorded = compose.choices(composer.full(self.overrides))
        except Mistake as mistake:
            raise Mistake(f"{self.directory / 'run.json'}: {mistake}") from None
        new = [word for word in typed if shell.key(word) != "resume"]
        if again := next((word for word in new if shell.key(word) == "weights"), None):
            raise Mistake(
                f"{again}: a run that goes on has its weights; leave it out, or start a new run "
                "without resume="
            )
        if self.cwd != Path.cwd():  # the record has one directory for all its overrides
            new = [_placed_word(word, Path.cwd()) for word in new]
        if self._outputs is not None:  # the word only says where the run is
            new = [word for word in new if shell.key(word) != "outputs"] + self._moved()
        return merge(self.overrides, new, recorded)

    def restore(self, composer: Composer, recipe: DictConfig, words: Sequence[str]) -> DictConfig:
        """The recipe with recorded values where defaults have changed; points at the run."""
        self._refuse_procedure(recipe)
        recipe.resume = str(self.directory)
        if self._outputs not in (None, shell.path(recipe.outputs, "outputs").absolute()):
            recipe.outputs = str(self._outputs)
        before = placed(composer.recipe(self.overrides), self.cwd)
        typed = [shell.key(word) for word in words if word not in self.overrides]
        dropped = [shell.key(word) for word in self.overrides if word not in words]
        if before.loss.get("_target_") == LOSS_OF_TASK:
            dropped.append("loss")  # the record has the one that was taken
        changed = changes(before, placed(self.recipe, self.cwd), [*typed, *dropped])
        for key, value in changed.items():
            OmegaConf.update(recipe, key, value, force_add=True)
        if told := [key for key in changed if key != "name"]:  # which procedures give their runs
            _log.warning(f"defaults have changed since; kept as recorded: {', '.join(told)}")
        if self.cwd != Path.cwd():
            self._move(recipe, typed)
        return recipe

    def _refuse_procedure(self, recipe: DictConfig) -> None:
        """Raise Mistake where another procedure would write over the record."""
        was, now = (
            str(OmegaConf.select(one, "procedure._target_") or "") for one in (self.recipe, recipe)
        )
        if was and was != now:
            name = was.rpartition(".")[2]
            raise Mistake(
                f"resume={self.asked}: is a record of procedure={name}, which would be lost to "
                f"procedure={now.rpartition('.')[2]}; leave procedure= out to go on with it, or "
                "leave resume= out"
            )

    def refuse_unwritable(self) -> None:
        """Raise Mistake where nothing can be added to the record."""
        if why := record.unwritable(self.directory):
            where = shell.line([f"weights={shell.near(self.directory)}"])
            raise Mistake(
                f"resume={self.asked}: cannot write {shell.near(self.directory)}: {why}; {where} "
                "begins a run of your own from its weights"
            )

    def refuse_columns(self, recipe: DictConfig, words: Sequence[str]) -> None:
        """Raise Mistake where other columns of a table are typed than the run was trained on."""
        typed = [shell.key(word) for word in words if word not in self.overrides]
        for key in (f"data.{name}" for name in ("target", "features", "group")):
            now, was = (
                shell.spelled(view.plain(OmegaConf.select(one, key)))
                for one in (recipe, self.recipe)
            )
            if key in typed and now != was:
                raise Mistake(
                    f"{key}={now} (was {was}): a run that goes on keeps its columns; leave it out, "
                    "or start a new run without resume="
                )

    @property
    def _outputs(self) -> Path | None:
        """The directory `outputs` that the run lies in; None where it was moved out."""
        return self.directory.parents[1] if self.directory.parent.name == "runs" else None

    def _moved(self) -> list[str]:
        """The override that says where the run lies, if the recorded one says otherwise by now."""
        typed = _last(self.overrides, "outputs")
        if not typed or shell.path(typed, "outputs").absolute() == self._outputs:
            return []
        return [shell.setting("outputs", shell.near(self.directory.parents[1]))]

    def keep_store(self, recipe: DictConfig, typed: Sequence[str]) -> None:
        """Deliver the run to the same store as before, whatever MLFLOW_TRACKING_URI says now."""
        if recipe.tracking:
            from dlrun import tracking

            named = any(shell.key(word) == "tracking.uri" for word in typed)
            recipe.tracking.uri = tracking.resumed_uri(
                self.directory, recipe.tracking.get("uri"), recipe.outputs, named
            )

    def _move(self, recipe: DictConfig, typed: Sequence[str]) -> None:
        """Make paths and modules mean what they meant in the directory of the run."""
        for key, path in _paths(placed(recipe, self.cwd)):
            if not any(within(key, top) for top in typed):
                OmegaConf.update(recipe, key, path)
        if str(self.cwd) not in sys.path:
            sys.path.insert(-1, str(self.cwd))  # before that of now, which comes last


def placed(recipe: DictConfig, cwd: Path) -> DictConfig:
    """A copy of a recipe with absolute paths, as they are meant in a directory."""
    copy = compose.copied(recipe)
    for key, path in _paths(recipe):
        OmegaConf.update(copy, key, _placed(path, cwd))
    return copy


def is_asked(words: Sequence[str]) -> bool:
    """Whether words ask for a run to go on, or for several, which cannot be."""
    values = [word.partition("=")[2] for word in words if shell.key(word) == "resume"]
    return bool(values) and values[-1] not in ("", "null")


def _named(outputs: str, which: str) -> Path:
    """The directory of a run. Raises Mistake where there is none, as where it is a sweep."""
    folder = named.sweep_folder(outputs, which) if which != "last" else None
    if folder is not None:
        again = sweep.read(folder).command
        raise Mistake(f"is a sweep, which goes on when typed again: {again}")
    return record.find(outputs, which, ())


def find(words: Sequence[str]) -> Previous | None:
    """The run that `resume=` names; None where nothing is to be resumed.

    Raises Mistake where there is none, and where its record is damaged.
    """
    asked = _last(words, "resume")
    if not asked:
        return None
    outputs = _last(words, "outputs") or "outputs"
    try:
        directory = _named(outputs, asked)
    except Mistake as mistake:
        raise Mistake(f"resume={asked}: {mistake}") from None
    if asked == "last" and (later := record.untrained_since(outputs, directory)):
        names = ", ".join(each.name for each in later[-_NAMED:])
        more = f" and {len(later) - _NAMED:,} older" if len(later) > _NAMED else ""
        _log.warning(
            f"resume=last: goes on with {directory.name}; passes over what never trains: "
            f"{names}{more}"
        )
    try:
        return of(directory, asked)
    except Mistake as mistake:
        right = "the run cannot go on; begin a new one, without resume="
        raise Mistake(f"resume={asked}: {mistake}; {right}") from None


def of(directory: Path, asked: str = "last") -> Previous:
    """A recorded run. Raises Mistake where its recipe or its run.json is damaged."""
    record.check(directory, needed=record.TO_GO_ON)
    recipe = compose.recorded(directory)
    info = _read_info(directory / "run.json")
    cwd = Path(info.get("cwd", ".")).absolute()
    return Previous(asked, directory, recipe, info["overrides"], info["command"], cwd)


def directories(command: Sequence[str], cwd: Path) -> list[Path]:
    """The recipe directories of a command, as meant where it was typed.

    Raises Mistake where one is missing.
    """
    return flags.parse(command[1:]).directories(cwd)


def with_directories(command: Sequence[str], recorded: Sequence[str], cwd: Path) -> list[str]:
    """A command with the recipe directories of a recorded one, as they are seen from here."""
    names = flags.tolerant(recorded[1:]).config_dir
    where = [cwd / shell.path(name, "--config-dir") for name in names]
    words = [word for each in where for word in ("--config-dir", shell.near(each))]
    return [*command[:1], *words, *command[1:]]


def words_here(words: Sequence[str], cwd: Path) -> list[str]:
    """Recorded overrides with paths that mean here what they meant in the directory `cwd`."""
    if cwd == Path.cwd():
        return list(words)
    return [_placed_word(word, cwd) for word in words]


def merge(recorded: Sequence[str], new: Sequence[str], choices: Mapping[str, Any]) -> list[str]:
    """Recorded overrides, then new ones, without the recorded ones that these replace.

    choices: which option each group had in the recorded run.
    """
    prefixes = {shell.key(word): word[: len(word) - len(word.lstrip("+"))] for word in recorded}
    kept = [word for word in recorded if not any(_replaces(n, word, choices) for n in new)]
    added = []
    for word in new:
        plain = word[0] not in "+~" and shell.key(word) not in choices
        added.append(prefixes.get(shell.key(word), "") + word if plain else word)
    return kept + added


def changes(before: DictConfig, kept: DictConfig, ignored: Sequence[str]) -> dict[str, Any]:
    """Recorded values that the same overrides no longer give, by key.

    before: the recipe as the recorded overrides give it today; kept: as recorded.
    ignored: keys whose value is chosen anew, with everything below them.
    """
    now = compose.copied(before)
    for fact, value in (kept.get("facts") or {}).items():
        now.facts[fact] = value
    try:
        new, old = (OmegaConf.to_container(one, resolve=True) for one in (now, kept))
    except OmegaConfBaseException:
        return {}
    today, then = leaves(new), leaves(old)
    return {
        key: value
        for key, value in then.items()
        if (key not in today or today[key] != value)
        and not any(within(key, top) for top in (*_OWN, *ignored))
    }


def _replaces(new: str, old: str, choices: Mapping[str, Any]) -> bool:
    """Whether the override `new` replaces `old`."""
    key, before = shell.key(new), shell.key(old)
    if key == before:
        return True
    if key not in (*choices, *SEVERAL) or not before.startswith(f"{key}."):
        return False
    names = _names(new.partition("=")[2])
    if key in SEVERAL:  # a list of options is none of Hydra's choices
        return before.split(".")[1] not in names
    return names != _names(choices[key])


def _read_info(path: Path) -> dict[str, Any]:
    """What `run.json` says. Raises Mistake where that cannot be."""
    info, named = record.read_json(path), shell.near(path)
    for key, kind in _KINDS.items():
        if key in info and not fits(info[key], kind):
            raise Mistake(f"{named}: {key} is {info[key]!r}, but should be {expected(kind)}")
    command = info.get("command", "")
    try:
        info["command"] = shlex.split(command) if isinstance(command, str) else command
    except ValueError as error:
        raise Mistake(f"{named}: command={command!r}: {error}") from None
    if not all(isinstance(word, str) for word in info.get("overrides", [None]) + info["command"]):
        raise Mistake(f"{named} does not say its overrides")
    return info


def _paths(recipe: DictConfig) -> list[tuple[str, str]]:
    """The paths in a recipe, by their keys."""
    found = [(key, OmegaConf.select(recipe, key)) for key in _PATHS]
    return [(key, value) for key, value in found if isinstance(value, str)]


def _placed_word(word: str, cwd: Path) -> str:
    """The override with an absolute path, if it sets a path."""
    if shell.key(word) not in _PATHS or word.startswith("~"):
        return word
    value = compose.parse([word])[0].value()
    if not isinstance(value, str) or _placed(value, cwd) == value:
        return word
    return f"{word.partition('=')[0]}={shell.quoted(_placed(value, cwd))}"


def _placed(path: str, cwd: Path) -> str:
    """The path, or the URI of a SQLite database, as it is meant in the directory `cwd`."""
    scheme, is_uri, place = path.partition("://")
    if is_uri:
        if scheme == "sqlite" and place.startswith("/") and place[1:2] not in ("", "/"):
            return f"sqlite:///{cwd / shell.path(place[1:], 'tracking.uri')}"
        return shell.redacted(path)
    return path if str(shell.path(path, "data")) != path else str(cwd / path)


def _names(choice: Any) -> list[str]:
    items = choice if isinstance(choice, list) else str(choice).strip("[]").split(",")
    return [str(item).strip() for item in items]


def leaves(node: Any, above: str = "") -> dict[str, Any]:
    """The values of a recipe by their keys, joined by points."""
    if not isinstance(node, dict) or not node:
        return {above.rstrip("."): None if node == {} else node}  # both choose nothing of a group
    found: dict[str, Any] = {}
    for key, value in node.items():
        found |= leaves(value, f"{above}{key}.")
    return found


def _last(words: Sequence[str], key: str) -> str:
    return next((compose.text(w) for w in reversed(words) if shell.key(w) == key and "=" in w), "")
