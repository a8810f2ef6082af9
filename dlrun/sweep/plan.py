"""What a sweep is to do, read from its command: the space, the settings, the id."""

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dlrun import shell
from dlrun.errors import Mistake
from dlrun.recipe import compose, identity, mistakes
from dlrun.recipe.compose import Composer, Override
from dlrun.recipe.identity import NEUTRAL
from dlrun.recipe.suggest import nearest
from dlrun.sweep import samplers, space
from dlrun.sweep.ledger import Point
from dlrun.sweep.points import Points
from dlrun.sweep.space import Space, Values
from dlrun.tracking import credentials

PRUNERS = ("none", "median", "halving", "hyperband")
EXPORTS = ("best", "all", "none")
OBJECTIVES = ("val/accuracy", "val/loss", "train/accuracy", "train/loss")


@dataclass(frozen=True)
class Plan:
    """One sweep, as its command asks for it.

    words: the overrides without those of the sweep and of Hydra; base: the recipe of the
    first options; composed: the config of the whole command, with `hydra` and `sweep`.
    asked: all overrides, as typed and as in `sweep.params`.
    """

    command: Sequence[str]
    asked: Sequence[str]
    words: Sequence[str]
    space: Space
    composer: Points
    base: DictConfig
    composed: DictConfig
    settings: DictConfig
    directories: Sequence[Path]

    @property
    def sampler(self) -> str:
        """The name of the option of the group `sweep`."""
        return str(compose.choices(self.composed)["sweep"])

    @cached_property
    def id(self) -> str:
        """A hash of what is searched and how, not of how much."""
        search = {
            "recipe": identity.digest(self.base),
            "dimensions": [one.described() for one in self.space.dimensions],
            "sampler": OmegaConf.to_container(self.settings.sampler, resolve=True)
            if self.settings.sampler
            else None,
            "seed": self.settings.seed if self.settings.sampler else None,
            "pruner": self.settings.pruner,
            "objective": self.settings.objective,
        }
        if self.settings.pruner != "none":
            search["pruning"] = OmegaConf.to_container(self.settings.pruning)
        return identity.short(search)[:10]

    @property
    def first(self) -> Values:
        """Some point: the first value of every dimension."""
        return {one.key: (one.listed or [one.low])[0] for one in self.space.dimensions}

    @property
    def directory(self) -> Path:
        """Where the ledger is kept."""
        return self.outputs / "sweeps" / self.id

    @property
    def outputs(self) -> Path:
        """Where the runs are kept."""
        return shell.path(self.base.outputs, "outputs").absolute()

    @property
    def independent(self) -> bool:
        """Whether a point does not depend on what came of others."""
        return self.sampler in ("grid", "random", "qmc") and self.settings.pruner == "none"

    def total(self) -> int:
        """How many points there are to be. Raises Mistake for a grid with an interval."""
        if self.settings.sampler:
            return int(self.settings.trials)
        count = len(self.space.grid())
        return min(count, int(self.settings.trials or count))

    def check(self) -> None:
        """Compose the points of a grid, or one with each of the choices of a sampler.

        Raises what Hydra raises where a recipe cannot be composed.
        """
        for values in self.each() if self.settings.sampler else self.space.grid():
            self.composer.recipe(self.space.overrides(values))

    def check_searched(self) -> None:
        """Raise Mistake where a search has nothing to choose from."""
        if self.settings.sampler and all(len(one.listed) == 1 for one in self.space.dimensions):
            raise Mistake(
                f"sweep={self.sampler}: has nothing to search; give it a range or several values, "
                f"e.g. -m sweep={self.sampler} 'optimizer.lr=tag(log,interval(1e-4,1))', or "
                "sweep.params in a file"
            )

    def each(self) -> list[Values]:
        """A point with each of the values that are listed, the others at their first."""
        return [
            self.first | dict(zip([one.key for one in axis], column, strict=True))
            for axis in self.space.axes()
            for column in zip(*(one.listed or [one.low] for one in axis), strict=True)
        ]

    def holds(self, point: Point) -> bool:
        """Whether a point has a value of each dimension, and of a list one that is on it."""
        dimensions = self.space.dimensions
        return set(point.values) == {one.key for one in dimensions} and all(
            one.choices is None or point.values[one.key] in one.choices for one in dimensions
        )

    def described(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """What `sweep.json` says of it; before: what that said when the sweep was left."""
        started = before.get("started")
        return {
            "id": self.id,
            "command": shlex.join(self.command),
            "started": started
            if isinstance(started, str)
            else datetime.now(UTC).isoformat(timespec="seconds"),
            "cwd": os.getcwd(),
            "overrides": list(self.words),
            "dimensions": [one.described() for one in self.space.dimensions],
            "sampler": self.sampler,
            "repeats": self.settings.repeats,
            "settings": identity.plain(self.settings),
        }

    def make_sampler(self) -> Callable[[int], Any] | None:
        """A sampler of Optuna from the number of a trial; None for a grid."""
        return samplers.maker(self.settings)

    def make_pruner(self) -> Any:
        """A pruner of Optuna, which counts validations; None where nothing is to be pruned."""
        from optuna import pruners

        how = self.settings.pruning
        match self.settings.pruner:
            case "median":
                return pruners.MedianPruner(how.startup, how.warmup)
            case "halving":
                return pruners.SuccessiveHalvingPruner(how.warmup, how.factor)
            case "hyperband":
                return pruners.HyperbandPruner(how.warmup, "auto", how.factor)
        return None


def plan(composer: Composer, words: Sequence[str], command: Sequence[str]) -> Plan:
    """Read a command. Raises Mistake for what cannot be searched."""
    fixed, sweeps = space.read(composer, words)
    _check_lists(fixed)
    more = _params(composer, words, fixed, sweeps)
    asked = [*words, *more]
    if more:
        mistakes.words(composer, more)
        fixed, sweeps = space.read(composer, [*fixed, *more, *_lines(sweeps)])
    for sweep in sweeps:
        if sweep.is_hydra_override() or _top(sweep.key_or_group) == "sweep":
            raise Mistake(f"{sweep.input_line}: how a sweep runs cannot itself be swept")
        if _top(sweep.key_or_group) in NEUTRAL or sweep.key_or_group == "data.cache":
            raise Mistake(
                f"{sweep.input_line}: changes nothing of what a run finds, so it cannot be swept"
            )
    first = _firsts(composer, sweeps)
    with mistakes.explained(composer, asked):
        composed = composer.sweep([*fixed, *first])
    mistakes.refuse_sweeper(composer, words, composed.hydra.sweeper)
    if composed.tracking and composed.tracking.get("uri"):  # jobs elsewhere get it in a file
        composed.tracking.uri = credentials.hidden(str(composed.tracking.uri))
    if "${" in str(OmegaConf.to_container(composed, resolve=False)["outputs"]):  # type: ignore[call-overload, index]
        composed.outputs = str(composed.outputs)  # one place for all points, whatever the time
        fixed = [word for word in fixed if word.partition("=")[0].lstrip("+") != "outputs"]
        fixed.append(shell.setting("outputs", composed.outputs))
    settings = composed.sweep
    _check(settings)
    if settings.repeats > 1 and any(sweep.key_or_group == "seed" for sweep in sweeps):
        raise Mistake(
            f"sweep.repeats={settings.repeats}: seed is swept already; leave out one of the two"
        )
    samplers.check(settings)
    base = compose.without_hydra(composed)
    zips = _zips(settings.zip)
    found = space.build(fixed, sweeps, base, zips, settings.seed)
    samplers.check_start(settings, [one.key for one in found.dimensions if one.choices is None])
    recipe_words = [
        w
        for w, o in zip(fixed, compose.parse(fixed), strict=True)
        if not o.is_hydra_override() and _top(o.key_or_group) != "sweep"
    ]
    made = Points(composer, fixed)
    made.knows(first, base, compose.choices(composed))
    return Plan(
        command,
        asked,
        recipe_words,
        found,
        made,
        base,
        composed,
        settings,
        composer.catalogue.own,
    )


def _params(
    composer: Composer, words: Sequence[str], fixed: Sequence[str], sweeps: Sequence[Override]
) -> list[str]:
    """The overrides in `sweep.params`, as an experiment has them, whose keys are not typed.

    Read from the choices alone: what is set beside may need what only they bring.
    """
    parsed = compose.parse(fixed)
    choosing = [
        word
        for word, override in zip(fixed, parsed, strict=True)
        if composer.chooses(override)
        or override.is_hydra_override()
        or _top(override.key_or_group) == "sweep"
    ]
    with mistakes.explained(composer, words):
        composed = composer.sweep([*choosing, *_firsts(composer, sweeps)])
    typed = {override.key_or_group for override in (*parsed, *sweeps)}
    params = {str(key): value for key, value in composed.sweep.params.items()}
    return [f"{key}={value}" for key, value in params.items() if key not in typed]


def _firsts(composer: Composer, sweeps: Sequence[Override]) -> list[str]:
    """The first of the options of each group that is swept."""
    return [_first(sweep) for sweep in sweeps if composer.options(sweep.key_or_group)]


def _check_lists(words: Sequence[str]) -> None:
    """Raise Mistake where a list is none, for which Hydra has other words."""
    for word, override in zip(words, compose.parse(words), strict=True):
        key, value = override.key_or_group, override.value()
        if key in ("sweep.zip", "sweep.stages") and not isinstance(value, list | str):
            right = "[[optimizer,optimizer.lr]]"
            right = "[{epochs: 2, trials: 20}, {epochs: 20}]" if key == "sweep.stages" else right
            raise Mistake(f"{word}: expected a list, e.g. {key}={right}")


def _first(sweep: Override) -> str:
    value = next(iter(sweep.sweep_string_iterator()), None)
    if value is None:
        raise Mistake(f"{sweep.input_line}: leaves no value")
    return f"{sweep.get_key_element()}={value}"


def _lines(sweeps: Sequence[Override]) -> list[str]:
    return [sweep.input_line or "" for sweep in sweeps]


def _top(key: str) -> str:
    return key.partition(".")[0].partition("/")[0].partition("@")[0]


def _zips(written: Any) -> list[list[str]]:
    """One list of keys, or several."""
    listed = list(written)
    if listed and all(isinstance(key, str) for key in listed):
        listed = [listed]
    if not all(OmegaConf.is_list(keys) or isinstance(keys, list) for keys in listed):
        shown = shell.shown(OmegaConf.to_container(written))
        raise Mistake(f"sweep.zip={shown}: expected keys, e.g. sweep.zip=[[optimizer,seed]]")
    return [[str(key) for key in keys] for keys in listed]


def _check(settings: Mapping[str, Any] | DictConfig) -> None:
    """Raise one Mistake that names every setting of the sweep whose value cannot be."""
    wrong = []

    def require(holds: bool, key: str, right: str) -> None:
        if not holds:
            wrong.append(f"sweep.{key}={settings[key]}: {right}")

    for key in ("trials", "parallel"):
        require(settings[key] is None or settings[key] > 0, key, "must be greater than 0")
    require(settings["repeats"] > 0, "repeats", "must be greater than 0")
    for key in ("retries", "seed"):
        require(settings[key] >= 0, key, "must not be negative")
    for key, names in (("pruner", PRUNERS), ("export", EXPORTS)):
        near = nearest(str(settings[key]), names)
        require(settings[key] in names, key, f"must be one of {', '.join(names)}{near}")
    if settings["sampler"] and settings["trials"] is None:
        wrong.append("sweep.trials=null: a sampler needs a number of trials")
    for key, least in (("startup", 0), ("warmup", 1), ("factor", 2)):
        if settings["pruning"][key] < least:
            wrong.append(f"sweep.pruning.{key}={settings['pruning'][key]}: must be {least} or more")
    objective = settings["objective"]
    if objective is not None and objective.startswith("test"):
        wrong.append(
            f"sweep.objective={objective}: the test split is for one measurement at the very end; "
            f"a search on it would fit it. Use val{objective[4:]}"
        )
    elif objective is not None:
        near = nearest(objective, OBJECTIVES)
        right = f"must be one of {', '.join(OBJECTIVES)}{near}"
        require(objective in OBJECTIVES, "objective", right)
    if wrong:
        raise Mistake("\n".join(wrong))
