"""What a command asks for: the space of a sweep, its settings, its id."""

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dlrun import shell
from dlrun.errors import Mistake, refuse
from dlrun.job import recording
from dlrun.recipe import compose, identity, mistakes, view
from dlrun.recipe.compose import Composer, Override
from dlrun.recipe.identity import NEUTRAL
from dlrun.recipe.schema import stack_of
from dlrun.recipe.suggest import nearest, watched
from dlrun.record.sweep import SEED, Point, Sweep
from dlrun.sweep import ablation, samplers, space
from dlrun.sweep.recipes import Composed, Recipes
from dlrun.sweep.space import Space, Values
from dlrun.tracking import credentials, imports

PRUNERS = ("none", "median", "halving", "hyperband")
EXPORTS = ("best", "all", "none")
_LOOK = 200  # recipes that are looked at, which takes milliseconds each
OBJECTIVES = ("val/accuracy", "val/mae", "val/loss", "train/accuracy", "train/mae", "train/loss")


@dataclass(frozen=True)
class Plan:
    """One sweep, as asked for.

    asked: all overrides, as typed and as in `sweep.params`; fixed: those of every point.
    first: some options of the groups that are swept; composed: the config of the fixed ones
    and these, with `hydra` and `sweep`; of an ablation, of all words of the whole recipe.
    known_as: the id, where points that cannot be built have been left out of the space.
    later: the words of the stages that follow.
    """

    composer: Composer
    command: Sequence[str]
    asked: Sequence[str]
    fixed: Sequence[Override]
    first: Sequence[str]
    space: Space
    composed: DictConfig
    known_as: str = ""
    later: Sequence[str] = ()

    @property
    def settings(self) -> DictConfig:
        """The settings `sweep.*`."""
        settings: DictConfig = self.composed.sweep
        return settings

    @cached_property
    def base(self) -> DictConfig:
        """The recipe of the first options."""
        return compose.without_hydra(self.composed)

    @cached_property
    def recipes(self) -> Recipes:
        """Composes the recipes of the points."""
        known = {tuple(self.first): (self.base, compose.choices(self.composed))}
        known = {} if self.space.points else known  # all of which have other words
        return Recipes(self.composer, space.lines(self.fixed), known)

    def named(self, values: Mapping[str, Any]) -> list[str]:
        """What a point is called by: what it varies; the only one by what was typed."""
        return self.space.named(values) or recording.telling(self.words)

    @property
    def words(self) -> list[str]:
        """The overrides of every run, as typed."""
        return space.lines(override for override in self.fixed if not _is_how(override))

    @cached_property
    def as_one_run(self) -> list[str]:
        """The same, to be typed without -m, even where an experiment asks for a sweep."""
        asks = self.composer.asks_for_sweep(self.words)
        return [*self.words, *([shell.ONE_RUN] if asks else [])]

    @cached_property
    def sampler(self) -> str:
        """The name of the option of the group `sweep`."""
        return str(compose.choices(self.composed)["sweep"])

    @cached_property
    def id(self) -> str:
        """A hash of what is searched and how, but not of how much."""
        if self.known_as:
            return self.known_as
        search = {
            "recipe": identity.digest(self.base),
            "dimensions": [replace(one, typed=(), prefix="") for one in self.space.dimensions],
            "sampler": view.plain(self.settings.sampler),
            "seed": self.settings.seed if self.settings.sampler else None,
            "pruner": self.settings.pruner,
            "objective": self.settings.objective,
        }
        if self.settings.pruner != "none":
            search["pruning"] = view.plain(self.settings.pruning)
        if self.space.points:
            search["points"] = [self.recipe(values).digest for values in self.space.grid()]
        return identity.short(search)[:10]

    @property
    def directory(self) -> Path:
        """The directory of the ledger."""
        return self.outputs / "sweeps" / self.id

    @property
    def outputs(self) -> Path:
        """The directory of all runs and sweeps."""
        return shell.path(self.base.outputs, "outputs").absolute()

    @property
    def independent(self) -> bool:
        """Whether no point depends on the results of others."""
        return (
            self.sampler in ("grid", "random", "qmc", ablation.NAME)
            and self.settings.pruner == "none"
        )

    def total(self) -> int:
        """How many points to train. Raises Mistake for a grid with an interval."""
        if self.settings.sampler:
            return int(self.settings.trials)
        count = len(self.space.grid())
        return min(count, int(self.settings.trials or count))

    def check(self) -> None:
        """Compose the points of a grid, or one with each of the choices of a sampler.

        Raises what Hydra raises where a recipe cannot be composed.
        """
        for values in self.each() if self.settings.sampler else self.space.grid():
            self.recipe(values)

    def listed(self) -> list[Values]:
        """The same points, as many as are looked at."""
        return (self.each() if self.settings.sampler else self.space.grid())[:_LOOK]

    def check_searched(self) -> None:
        """Raise Mistake if a search has nothing to choose from."""
        if self.settings.sampler and all(len(one.listed) == 1 for one in self.space.dimensions):
            raise Mistake(
                f"sweep={self.sampler}: has nothing to search; give it a range or several values, "
                f"e.g. -m sweep={self.sampler} 'optimizer.lr=tag(log,interval(1e-4,1))', or "
                "sweep.params in a file"
            )

    def check_gaps(self) -> None:
        """Raise Mistake if a required setting has no value."""
        families = {made.family: made for made in self._samples()}
        for made in families.values():
            mistakes.check(made.recipe, made.choices, self.composer.catalogue.own)

    def check_values(self, goes_on: bool = False) -> None:
        """Raise Mistake if a setting does not take its value. Imports torch.

        goes_on: whether another stage follows, around the best points.
        """
        with imports.quick():
            from dlrun.recipe import build

        apart = [d for d in self.space.dimensions if d.key == SEED and d.zip is None]
        seeds = [seed for d in apart for seed in d.choices]
        judging, objective = self._judging(goes_on), self.settings.objective
        with mistakes.resolved():
            for made in self._samples():
                build.check(made.recipe)
                _check_procedure(made.recipe, seeds, judging)
                _check_objective(objective, made.recipe)

    def _judging(self, goes_on: bool) -> tuple[str, str]:
        """The setting that goes by the values of points, and what to do without; "" for none."""
        if goes_on:
            return "sweep.stages", "leave it out"
        if self.settings.pruner != "none":
            return f"sweep.pruner={self.settings.pruner}", "leave it out"
        word = f"sweep={self.sampler}"
        if self.sampler == ablation.NAME:
            return word, "leave it out"
        if not self.independent:
            return word, "use sweep=random"
        asked = self.settings.objective
        return (f"sweep.objective={asked}", "leave it out") if asked else ("", "")

    def only(self, names: Sequence[str]) -> "Plan":
        """The same sweep with these points of an ablation alone."""
        [one] = self.space.dimensions
        kept = replace(one, choices=tuple(name for name in one.choices if name in names))
        return replace(self, space=replace(self.space, dimensions=(kept,)), known_as=self.id)

    def recipe(self, values: Values) -> Composed:
        """The recipe of a point."""
        return self.recipes.of(self.space.overrides(values))

    def each(self) -> list[Values]:
        """A point with each of the listed values, the other keys at their first value."""
        first = {one.key: (one.listed or [one.low])[0] for one in self.space.dimensions}
        columns = [
            first | dict(zip([one.key for one in axis], column, strict=True))
            for axis in self.space.axes()
            for column in zip(*(one.listed or [one.low] for one in axis), strict=True)
        ]
        return columns or [first]

    def holds(self, point: Point) -> bool:
        """Whether a point has a value for each dimension, and listed ones where there is a list."""
        dimensions = self.space.dimensions
        return set(point.values) == {one.key for one in dimensions} and all(
            one.ranged or point.values[one.key] in one.choices for one in dimensions
        )

    def sweep(self, objective: str, metrics: Mapping[str, Any], started: object = None) -> Sweep:
        """The sweep without its points. started: the time of its first command, if known."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return Sweep(
            id=self.id,
            command=shlex.join(self.command),
            objective=objective,
            metrics=metrics,
            dimensions=self.space.dimensions,
            overrides=tuple(self.words),
            trials=self.total(),
            repeats=self.settings.repeats,
            sampler=self.sampler,
            started=started if isinstance(started, str) else now,
            cwd=os.getcwd(),
            settings=view.plain(self.settings),
            later=tuple(self.later),
        )

    def _samples(self) -> Iterator[Composed]:
        """The recipes of `each`, as many as take about a second."""
        return map(self.recipe, self.each()[:_LOOK])


def plan(composer: Composer, words: Sequence[str], command: Sequence[str]) -> Plan:
    """Read a command. Raises Mistake for what cannot be searched."""
    fixed, sweeps = space.read(composer, words)
    _check_lists(fixed)
    more = _params(composer, words, fixed, sweeps)
    asked = [*words, *more]
    if more:
        with _of_params(words, more):
            mistakes.words(composer, more)
        fixed, sweeps = space.read(composer, [*space.lines(fixed), *more, *space.lines(sweeps)])
    _check_swept(sweeps)
    first = _firsts(composer, sweeps)
    with _of_params(words, more), mistakes.explained(composer, asked):
        composed = composer.sweep([*space.lines(fixed), *first])
    mistakes.refuse_sweeper(composer, words, composed.hydra.sweeper)
    if composed.tracking and composed.tracking.get("uri"):  # jobs elsewhere get it in a file
        composed.tracking.uri = credentials.hidden(str(composed.tracking.uri))
    if "${" in str(OmegaConf.to_container(composed, resolve=False)["outputs"]):  # type: ignore[call-overload, index]
        composed.outputs = str(composed.outputs)  # one place for all points, whatever the time
        fixed = [override for override in fixed if override.key_or_group != "outputs"]
        fixed += compose.parse([shell.setting("outputs", composed.outputs)])
    settings = composed.sweep
    ablates = compose.choices(composed)["sweep"] == ablation.NAME
    if ablates:
        _check_ablation(sweeps, settings)
    if settings.repeats is None:
        settings.repeats = ablation.REPEATS if ablates else 1
    unfit = _unfit(settings, [sweep.key_or_group for sweep in sweeps])
    settings.stack = stack_of(settings.stack)
    refuse(
        f"sweep.{key}={shell.shown(OmegaConf.select(settings, key))}: {right}"
        for key, right in unfit
    )
    samplers.check(settings)
    base = compose.without_hydra(composed)
    _check_objective(settings.objective, base)
    if ablates:
        rest, found = ablation.divided(composer, fixed, base)
        return Plan(composer, command, asked, rest, first, found, composed)
    found = space.build(sweeps, base, _zips(settings.zip), settings.seed)
    samplers.check_start(settings, [one.key for one in found.dimensions if one.ranged])
    return Plan(composer, command, asked, fixed, first, found, composed)


def _check_swept(sweeps: Sequence[Override]) -> None:
    """Raise Mistake if what is swept is not part of a recipe, or has no effect."""
    for sweep in sweeps:
        if _is_how(sweep):
            raise Mistake(f"{sweep.input_line}: how a sweep runs cannot itself be swept")
        if {_top(sweep.key_or_group), sweep.key_or_group} & {*NEUTRAL}:
            raise Mistake(
                f"{sweep.input_line}: changes nothing of what a run finds, so it cannot be swept"
            )


def _check_ablation(sweeps: Sequence[Override], settings: DictConfig) -> None:
    """Raise Mistake for what an ablation, which makes its own points, cannot use."""
    for sweep in sweeps:
        right = (
            "sweep.repeats=5 trains with several" if sweep.key_or_group == SEED else "give it one"
        )
        raise Mistake(
            f"{sweep.input_line}: has several values, and sweep={ablation.NAME} is of one recipe; "
            f"{right}"
        )
    for key in ("stages", "zip"):
        if settings[key]:
            shown = shell.shown(OmegaConf.to_container(settings[key]))
            raise Mistake(
                f"sweep.{key}={shown}: sweep={ablation.NAME} makes its own points; leave it out"
            )


def _params(
    composer: Composer, words: Sequence[str], fixed: Sequence[Override], sweeps: Sequence[Override]
) -> list[str]:
    """The overrides in `sweep.params` of an experiment whose keys are not typed.

    Without those of an option in whose place another one is typed.
    Read from the choices alone: what is set beside may need what only they bring.
    """
    choosing = space.lines(each for each in fixed if composer.chooses(each) or _is_how(each))
    with mistakes.explained(composer, words):
        composed = composer.sweep([*choosing, *_firsts(composer, sweeps)])
    typed, keys = {override.key_or_group for override in (*fixed, *sweeps)}, compose.keys(composed)
    params = {str(key): value for key, value in composed.sweep.params.items()}
    asked = {key: value for key, value in params.items() if key not in typed}
    gone = [key for key in asked if _top(key) in typed and _top(key) != key and key not in keys]
    return [f"{key}={value}" for key, value in asked.items() if key not in gone]


@contextmanager
def _of_params(words: Sequence[str], more: Sequence[str]) -> Iterator[None]:
    """Inside, a mistake about what stands in `sweep.params` says so."""
    try:
        yield
    except Mistake as mistake:
        if not any(str(mistake).startswith(f"{each}:") for each in more):
            raise
        where = next((w for w in words if shell.key(w) == "sweep.params"), "sweep.params")
        raise Mistake(f"{where}: {mistake}") from None


def _firsts(composer: Composer, sweeps: Sequence[Override]) -> list[str]:
    """The first option of each group that is swept."""
    return [_first(sweep) for sweep in sweeps if composer.options(sweep.key_or_group)]


def _check_lists(fixed: Sequence[Override]) -> None:
    """Raise Mistake if a setting that takes a list is given something else."""
    for override in fixed:
        key, value = override.key_or_group, override.value()
        if key in ("sweep.zip", "sweep.stages") and not isinstance(value, list | str):
            right = "[[optimizer,optimizer.lr]]"
            right = "[{epochs: 2, trials: 20}, {epochs: 20}]" if key == "sweep.stages" else right
            raise Mistake(f"{override.input_line}: expected a list, e.g. {key}={right}")


def _first(sweep: Override) -> str:
    value = next(iter(sweep.sweep_string_iterator()), None)
    if value is None:
        raise Mistake(f"{sweep.input_line}: leaves no value")
    return f"{sweep.get_key_element()}={value}"


def _is_how(override: Override) -> bool:
    """Whether an override says how to search and run, rather than what to train."""
    return override.is_hydra_override() or _top(override.key_or_group) == "sweep"


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


def _check_objective(objective: str | None, recipe: DictConfig) -> None:
    """Raise Mistake for an objective that no run of the recipe records."""
    chosen = list(recipe.metric or ())
    wrong = objective and watched("sweep.objective", objective, OBJECTIVES, chosen)
    if wrong:
        raise Mistake(wrong)


def _check_procedure(recipe: DictConfig, seeds: Sequence[int], judging: tuple[str, str]) -> None:
    """Raise Mistake for a procedure that no sweep takes, or not with these seeds. Imports torch.

    Repetitions with trainings in common would have too small a standard error. judging: the
    setting that goes by the procedure's value, and what to do without; "" for none.
    """
    from dlrun.job.training import procedure_of

    made = procedure_of(recipe)
    name = str(recipe.procedure._target_).rpartition(".")[2]
    if any(b - a < made.stride for a, b in pairwise(sorted(seeds))):
        apart = ",".join(str(min(seeds) + place * made.stride) for place in range(len(seeds)))
        raise Mistake(
            f"seed={','.join(map(str, seeds))}: each procedure={name} takes {made.stride} seeds "
            f"from its own on, so these share some; use seed={apart}"
        )
    if made.alone:
        raise Mistake(f"procedure={name}: searches by itself, so no sweep takes it; leave out -m")
    word, right = judging
    if word and not made.judged:
        raise Mistake(
            f"{word}: goes by the value of each point, and procedure={name} gives none; {right}"
        )


def _unfit(settings: DictConfig, swept: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The settings of a sweep with an impossible value, each with what would be right."""
    for key in ("trials", "parallel", "repeats"):
        if settings[key] is not None and settings[key] <= 0:
            yield key, "must be greater than 0"
    for key in ("retries", "seed"):
        if settings[key] < 0:
            yield key, "must not be negative"
    if settings.sampler and settings.trials is None:
        yield "trials", "a sampler needs a number of trials"
    for key, least in (("startup", 0), ("warmup", 1), ("factor", 2)):
        if settings.pruning[key] < least:
            yield f"pruning.{key}", f"must be {least} or more"
    for key, names in (("pruner", PRUNERS), ("export", EXPORTS)):
        if settings[key] not in names:
            near = nearest(str(settings[key]), names)
            yield key, f"must be one of {', '.join(names)}{near}"
    if str(settings.objective).startswith("test"):
        yield (
            "objective",
            "the test split is for one measurement at the very end; a search on it would fit it. "
            f"Use val{settings.objective[4:]}",
        )
    if settings.repeats > 1 and SEED in swept:
        yield "repeats", "seed is swept already; leave out one of the two"
