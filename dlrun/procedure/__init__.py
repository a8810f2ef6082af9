"""The group `procedure`: what is done with a recipe. Training it is the first of them.

    (lab, **options) -> Outcome

A procedure describes the runs that it wants as a list of `Training`s, plain values, and hands
the list to `lab.train`. Who trains them, one after another or elsewhere, is not its business.
It never sees Hydra's config: `lab.recipe` are the recipe's settings as plain values.

A plain function is taken for a procedure of several runs: it gets a record of its own, and goes
on with what is missing when it is typed again. `@procedure(single=True)` makes one of one run.

train.py            trains the recipe, then measures it on the test split
preflight.py        checks the set-up, and drives one mini-batch to a loss near zero
show_data.py        counts, ranges and examples of the data
probe.py            what passes through the layers of the untrained network
contrast.py         trains it in named variants, to compare their curves
against.py          trains it at several values of one setting
find_lr.py          proposes a learning rate, by short trials
overfit.py          trains on a few samples, which must be memorized
start.py            the first steps with a recipe, one after another, on one page
time.py             times a step and its parts, and what could be faster
noise_scale.py      how far the rate can grow with the batch
baseline.py         a constant, a linear model and a shallow network
surface.py          draws the paths of optimizers over a function of two numbers (descent.py: one
                    path; landscapes.py: the functions)
draw_schedule.py    draws the learning rates, and trains nothing
draw_activation.py  draws an activation function and its derivative
cross_validate.py   trains on all folds but one, in turn
retrain.py          trains on train and val, as long as a first training says
ensemble.py         several trained runs as one model
bagging.py          trains them on samples drawn with replacement
subnetworks.py      all networks that dropout draws from, and their mean
regions.py          decision regions, or fitted curves, of variants
bias_variance.py    trains variants on many samples of a known function
weights.py          how large, how sparse the weights of variants are
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dlrun.errors import Mistake
from dlrun.finding import Finding
from dlrun.record import Record, read_json
from dlrun.report.chart import Charts

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from dlrun.data import Data
    from dlrun.engine.run import Run
    from dlrun.engine.state import State
    from dlrun.engine.train import Show
    from dlrun.schedule import Schedule

RULES, LENGTH, OBJECTIVE = "rules", "length", "objective"
"""What ends a training, besides its length; see `Training`."""


@dataclass(frozen=True)
class Training:
    """A run that a procedure wants.

    name: of the run; "" for one made of its settings.
    settings: other settings of the recipe, by their dotted keys. A group has the name of an
        option, or a list of names, whose settings in the recipe stay as they are.
    rows: of the data set, for "train", "val" and "test"; one that is not named is empty. Those
        of any other name are measured at the end, as `<name>/…`. None: as the recipe splits.
    weights: a file of weights to start from, such as a run's checkpoints/best.pt.
    preprocessing: the directory of a run whose fitted preprocessing is taken.
    optimizer: the directory of a run whose optimizer's last state and rate are taken; the rate
        then stays as it is.
    length: in steps, or with `by_passes` in passes over the training split; None for that of the
        recipe, of which all percentages remain.
    schedule_steps: the length for which the schedule is drawn; None for that of the recipe.
    rates: the directory of a run of the same recipe whose learning rates are taken, those of the
        same step, or with `by_passes` after as many passes.
    until: values of metrics, by their keys in the record; a run that records one ends, with its
        last weights, as soon as it is reached.
    ends: RULES, as the recipe says. LENGTH, at its length alone; or OBJECTIVE, earlier, once the
        objective on val is below what it was at first on that part of train which is not in val.
        With these two the last weights are the result.
    predict: a split whose predictions are kept at the end, in the run's `predictions.npz`.
    test: whether the test split is measured at the end, where the recipe says so.
    export: whether it gets figures and a diagnosis, and a model where the recipe says so.
    halved: whether its images have half the width and height, for a trial of how fast that is.
    may_diverge: whether it is given as far as it came where its loss is no longer finite, rather
        than that all fails.
    recorded: False for a short trial whose record is deleted when it ends.
    """

    name: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    rows: Mapping[str, Sequence[int]] | None = None
    weights: str | None = None
    preprocessing: str | None = None
    optimizer: str | None = None
    length: float | None = None
    schedule_steps: int | None = None
    rates: str | None = None
    by_passes: bool = False
    until: Mapping[str, float] = field(default_factory=dict)
    ends: str = RULES
    predict: str = ""
    test: bool = True
    export: bool = True
    halved: bool = False
    may_diverge: bool = False
    recorded: bool = True

    @property
    def keeps_last(self) -> bool:
        """Whether its last weights are its result, whatever the rules of the recipe say."""
        return self.ends != RULES or bool(self.until)


@dataclass(frozen=True)
class RecordedRun:
    """A run that has been trained: its directory, and what its record says.

    value: the best of what the recipe monitors. points: all that were recorded.
    """

    directory: Path
    status: str
    value: float | None
    points: Sequence[Mapping[str, Any]]

    @property
    def info(self) -> Mapping[str, Any]:
        """What its `run.json` says."""
        return read_json(self.directory / "run.json")

    @property
    def last(self) -> Mapping[str, float]:
        """The values of its end: the best, and what was measured then or later."""
        ends = [place for place, p in enumerate(self.points) if "best/epoch" in p["values"]]
        closing = self.points[ends[-1] if ends else -1 :]
        return {key: value for point in closing for key, value in point["values"].items()}

    @property
    def at_best(self) -> list[Mapping[str, Any]]:
        """The points at the epoch of the best weights."""
        epoch = self.last.get("best/epoch")
        return [point for point in self.points if point["epoch"] == epoch]


@dataclass(frozen=True)
class Outcome:
    """What a procedure comes to: the value that the recipe is judged by, and the runs it made.

    result: the run whose weights it comes to, where that is not the best of them.
    values: what is recorded as the point of the procedure's own record, by name; with the name of
    a value and `_stderr` its standard error, by which a sweep tells what may be chance.
    text: the result in one sentence. table: the closing table: rows of values by their column;
    rows with another first column than those before them begin another table.
    chart: its figure; several are panels of one, side by side.
    failure: why the command is to end with exit code 1; "" where it is not.
    """

    value: float | None = None
    runs: Sequence[RecordedRun] = ()
    findings: Sequence[Finding] = ()
    values: Mapping[str, float] = field(default_factory=dict)
    text: str = ""
    table: Sequence[Mapping[str, Any]] = ()
    chart: Charts = None
    failure: str = ""
    result: RecordedRun | None = None


@dataclass(frozen=True)
class Done:
    """A procedure that another one has had done: what came of it, and its record's directory."""

    outcome: Outcome
    directory: Path


@dataclass
class BuiltRun:
    """A run that is built and has a record, for those who do something else than train it."""

    run: "Run"
    state: "State"
    record: Record
    show: "Show"


class Lab(Protocol):
    """What a procedure works with.

    record: the procedure's own, which begins when it is first asked for, or at the first run, and
        `directory` where it is; None for a procedure of one run. What it has noted there as
        points, it finds again when it is typed again.
    """

    @property
    def directory(self) -> Path | None:
        """Of the procedure's own record."""

    @property
    def record(self) -> Record | None:
        """The procedure's own record."""

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The settings as plain values."""

    @property
    def chosen(self) -> Mapping[str, str]:
        """The option of each group; those of a group with several, in their order."""

    def command(self, changes: Mapping[str, Any]) -> str:
        """The command that was typed with other settings, by their dotted keys: what to type next.

        None leaves a key out; a tuple is swept. The words of the procedure go; `changes` may
        name another.
        """

    def advice(self, changes: Mapping[str, Any]) -> str:
        """The command that makes changes; "" where the recipe is so already."""
        ...

    def data(self) -> "Data":
        """The recipe's data."""

    def find(self, which: str, setting: str = "run", other: bool = False) -> RecordedRun:
        """A run that has been trained with this recipe on these data, by its id or `last`.

        setting: of the procedure, which names it. other: whether another recipe will do, and
        another training split. Raises Mistake where it is none.
        """

    def unrecorded(self, names: Sequence[str]) -> dict[str, str]:
        """Why no value of a name can be recorded in training, by those names. Raises Mistake."""
        ...

    def untrained(self) -> "Run":
        """The recipe's run as it would begin, without a record. Raises Mistake."""

    def descent(self, model: "nn.Module", steps: int) -> "tuple[Optimizer, Schedule]":
        """The optimizer and the schedule of the recipe for another model, for so many steps.

        A step counts as an epoch. Raises Mistake.
        """

    def trained(self, run: RecordedRun) -> "Run":
        """A run that has been trained, with the weights that count, made anew from its record.

        Raises Mistake where its checkpoints are lost.
        """

    @property
    def measures_test(self) -> bool:
        """Whether the test split is measured at the end."""

    @property
    def exports(self) -> bool:
        """Whether a model is saved that others can load, as `model/` of the record."""

    def train(self, trainings: Sequence[Training]) -> list[RecordedRun]:
        """Train what has not been trained yet; gives all of them. Raises Mistake and Failure."""

    def variant(self, words: Sequence[str], where: str = "") -> "Lab":
        """What works on the command that was typed with these words behind it, as from the shell.

        It has the same record, and names `where` the words are typed in what it refuses later.
        Raises Mistake where there is no such recipe.
        """
        ...

    def do(self, name: str, **options: Any) -> Done:
        """Do another procedure of several runs with this recipe, as its own command would.

        It has its own record, in which it goes on; what was typed alone before is not done again.
        Where it fails, its outcome says so. Raises Mistake where it cannot be done.
        """

    def built(self, training: Training) -> AbstractContextManager[BuiltRun]:
        """Inside, a built run that is being recorded and not trained."""

    def draw(self, directory: Path) -> None:
        """Draw the curves of a record."""

    def say(self, text: str) -> None:
        """Tell whoever watches what comes next."""

    def progress(self, said: str, done: int, total: int) -> None:
        """Show how far it is, where nothing that trains shows it."""


@dataclass(eq=False)
class Procedure:
    """A procedure, and what it says of itself.

    single: whether it is one run, which has no record beside its own.
    judged: whether a sweep may judge a recipe by its value.
    trains: whether its run is one that can be trained on. alone: whether no sweep takes it.
    seeds: how many it takes from the recipe's one on, by its options; None for one.
    split: on which its value is measured.
    uses: the groups and settings that it depends on; None where it trains, or may depend on all.
    """

    function: Callable[..., Outcome]
    single: bool = False
    judged: bool = True
    trains: bool = True
    alone: bool = False
    seeds: Callable[..., int] | None = None
    split: str = "val"
    uses: Sequence[str] | None = None

    @property
    def stride(self) -> int:
        """By how much the seed of a repetition is beyond the one before, to share no training."""
        options = getattr(self.function, "keywords", {})
        return self.seeds(**options) if self.seeds else 1

    def __post_init__(self) -> None:
        # The signature and the docstring are the function's, for whoever checks arguments.
        functools.update_wrapper(self, self.function, updated=())

    def __call__(self, lab: Lab, **options: Any) -> Outcome:
        """Do it."""
        return self.function(lab, **options)


def procedure(
    single: bool = False,
    judged: bool = True,
    trains: bool = True,
    alone: bool = False,
    seeds: Callable[..., int] | None = None,
    split: str = "val",
    uses: Sequence[str] | None = None,
) -> Callable[[Callable[..., Outcome]], Procedure]:
    """Decorate a function that is another kind of procedure than most."""

    def declare(function: Callable[..., Outcome]) -> Procedure:
        return Procedure(function, single, judged, trains, alone, seeds, split, uses)

    return declare


def at_least(least: int, **options: int) -> None:
    """Raise Mistake for the first of a procedure's options, by their names, that is less."""
    for name, value in options.items():
        if value < least:
            raise Mistake(f"procedure.{name}={value}: must be at least {least}")


def by_variant(found: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The values of each variant as those of the record: `<variant> <key>`."""
    return {f"{name} {key}": value for name, own in found.items() for key, value in own.items()}


def of(made: Callable[..., Outcome]) -> Procedure:
    """What a recipe's procedure is, with its options."""
    if isinstance(made, functools.partial) and isinstance(made.func, Procedure):
        known = made.func
        bound = functools.partial(known.function, **made.keywords)
        return replace(known, function=bound)
    return made if isinstance(made, Procedure) else Procedure(made)
