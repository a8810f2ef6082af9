"""The group `procedure`: what is done with a recipe. Training it is the first of them.

    (lab, **options) -> Outcome

A procedure describes the runs that it wants as a list of `Training`s, plain values, and hands
the list to `lab.train`. Who trains them, one after another or elsewhere, is not its business.
It never sees Hydra's config: `lab.recipe` are the recipe's settings as plain values.

A plain function is taken for a procedure of several runs: it gets a record of its own, and goes
on with what is missing when it is typed again. `@procedure(single=True)` makes one of one run.

train.py           trains the recipe, then measures it on the test split
find_lr.py         proposes a learning rate, by short trials
overfit.py         trains on a few samples, which must be memorized
baseline.py        a constant, a linear model and a shallow network
draw_schedule.py   draws the learning rates, and trains nothing
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dlrun.finding import Finding
from dlrun.record import Record
from dlrun.report.chart import Chart

if TYPE_CHECKING:
    from dlrun.data import Data
    from dlrun.engine.run import Run
    from dlrun.engine.state import State
    from dlrun.engine.train import Show


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
    schedule_steps: the length for which the schedule is drawn; None for that of the run.
    until: values of metrics, by their keys in the record; a run that records one ends, with its
        last weights, as soon as it is reached.
    test: whether the test split is measured at the end, where the recipe says so.
    recorded: False for a short trial whose record is deleted when it ends.
    """

    name: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    rows: Mapping[str, Sequence[int]] | None = None
    weights: str | None = None
    preprocessing: str | None = None
    schedule_steps: int | None = None
    until: Mapping[str, float] = field(default_factory=dict)
    test: bool = True
    recorded: bool = True


@dataclass(frozen=True)
class RecordedRun:
    """A run that has been trained: its directory, and what its record says.

    value: the best of what the recipe monitors. points: all that were recorded.
    """

    directory: Path
    status: str
    value: float | None
    points: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """What a procedure comes to: the value that the recipe is judged by, and the runs it made.

    table: its closing table: rows of values by their column. chart: its figure.
    failure: why the command is to end with exit code 1; "" where it is not.
    """

    value: float | None = None
    runs: Sequence[RecordedRun] = ()
    findings: Sequence[Finding] = ()
    table: Sequence[Mapping[str, Any]] = ()
    chart: Chart | None = None
    failure: str = ""


@dataclass
class BuiltRun:
    """A run that is built and has a record, for those who do something else than train it."""

    run: "Run"
    state: "State"
    record: Record
    show: "Show"


class Lab(Protocol):
    """What a procedure works with.

    record: the procedure's own, and `directory` where it is; None for a procedure of one run.
        What it has noted there as points, it finds again when it is typed again.
    """

    directory: Path | None
    record: Record | None

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The settings as plain values."""

    @property
    def words(self) -> Sequence[str]:
        """The command that was typed, to propose the next one."""

    def command(self, changes: Mapping[str, Any]) -> str:
        """The command that was typed with other settings, by their dotted keys: what to type next.

        None leaves a key out. The words of the procedure go; `changes` may name another.
        """

    def data(self) -> "Data":
        """The recipe's data."""

    def train(self, trainings: Sequence[Training]) -> list[RecordedRun]:
        """Train what has not been trained yet; gives all of them. Raises Mistake and Failure."""

    def built(self, training: Training) -> AbstractContextManager[BuiltRun]:
        """Inside, a built run that is being recorded and not trained."""

    def draw(self, directory: Path) -> None:
        """Draw the curves of a record."""

    def progress(self, said: str, done: int, total: int) -> None:
        """Show how far it is, where nothing that trains shows it."""


@dataclass(eq=False)
class Procedure:
    """A procedure, and what it says of itself.

    single: whether it is one run, which has no record beside its own.
    judged: whether a sweep may judge a recipe by its value.
    trains: whether its run is one that can be trained on.
    """

    function: Callable[..., Outcome]
    single: bool = False
    judged: bool = True
    trains: bool = True

    def __post_init__(self) -> None:
        # The signature and the docstring are the function's, for whoever checks arguments.
        functools.update_wrapper(self, self.function, updated=())

    def __call__(self, lab: Lab, **options: Any) -> Outcome:
        """Do it."""
        return self.function(lab, **options)


def procedure(
    single: bool = False, judged: bool = True, trains: bool = True
) -> Callable[[Callable[..., Outcome]], Procedure]:
    """Decorate a function that is another kind of procedure than most."""

    def declare(function: Callable[..., Outcome]) -> Procedure:
        return Procedure(function, single, judged, trains)

    return declare


def of(made: Callable[..., Outcome]) -> Procedure:
    """What a recipe's procedure is, with its options."""
    if isinstance(made, functools.partial) and isinstance(made.func, Procedure):
        known = made.func
        bound = functools.partial(known.function, **made.keywords)
        return Procedure(bound, known.single, known.judged, known.trains)
    return made if isinstance(made, Procedure) else Procedure(made)
