"""What many tests need: a recipe composed as the command does it, data, a Run, a trained one."""

import logging
import math
import os
import signal
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from _pytest.mark import ParameterSet
from omegaconf import DictConfig

from dlrun import record
from dlrun.data import Data
from dlrun.engine.run import Run
from dlrun.engine.state import State, begin
from dlrun.engine.train import train
from dlrun.job import stacked
from dlrun.job.session import Session
from dlrun.recipe import build, compose
from dlrun.record import Record
from dlrun.stack import StackedStep

Recipe = Callable[..., DictConfig]

# Tests ask for the same numbers to the last bit, so they stay on the CPU. DLRUN_DEVICE=cuda
# lets `device=auto` find a GPU, for those of tests/engine/test_cuda.py and others by choice.
if os.environ.get("DLRUN_DEVICE") != "cuda":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

logging.getLogger("dlrun").setLevel("WARNING")  # MLflow raises the root's, on import


def in_suite(kept: Iterable[str], values: Iterable[str]) -> list[Any]:
    """The values of a parameter: `make test` takes those in `kept`, `make proofs` the others."""
    kept = set(kept)
    return [v if v in kept else pytest.param(v, marks=pytest.mark.proof) for v in values]


def sparsely(rows: Iterable[Any], every: int, names: int = 2) -> list[Any]:
    """Of rows that are alike, `make test` takes one in so many, `make proofs` the others.

    names: how many the parameter has; a row of one name is a value, whatever it is.
    """

    def for_proofs(row: Any) -> Any:
        if isinstance(row, ParameterSet):
            return pytest.param(*row.values, marks=[*row.marks, pytest.mark.proof], id=row.id)
        values = row if isinstance(row, tuple) and names > 1 else (row,)
        return pytest.param(*values, marks=pytest.mark.proof)

    return [row if place % every == 0 else for_proofs(row) for place, row in enumerate(rows)]


def seeded(seed: int = 0) -> torch.Generator:
    """Random numbers, the same ones each time."""
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def _torch_as_it_was():
    """One thread, as small networks are fastest; what a recipe sets ends with its test."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session", autouse=True)
def _environment_of_its_own(tmp_path_factory):
    """What is kept in the user's home, such as passwords, is kept for these tests alone.

    And what the user has set for dlrun is not set here.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        for name in ("DLRUN_DEBUG", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_by_one():
    """Nothing is timed to train at once where a test does not ask for it: that would be chance."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacked, "SOON", math.inf)
        yield


@pytest.fixture(scope="session", autouse=True)
def _without_figures():
    """Runs draw nothing: the process that does costs more than most tests."""
    prepare, update = Session.prepare, Record.update

    def updated(self, **changes):
        brought = [name for name in changes.get("closing", ()) if name != "figures"]
        update(self, **changes | ({"closing": brought} if "closing" in changes else {}))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "prepare", lambda self, config, draws=False: prepare(self, config))
        patch.setattr(Session, "draw", lambda self, directory: None)
        patch.setattr(Record, "update", updated)
        yield patch


@pytest.fixture(autouse=True)
def _with_figures(request, _without_figures):
    """But where a test is marked `figures`."""
    if "figures" not in request.keywords:
        yield
        return
    drawing = ((Session, "prepare"), (Session, "draw"), (Record, "update"))
    idle = [(owner, name, getattr(owner, name)) for owner, name in drawing]
    _without_figures.undo()
    yield
    for each in idle:
        _without_figures.setattr(*each)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def stacks(monkeypatch):
    """How many runs each stack has begun with, in order."""
    found = []
    made = StackedStep.__init__

    def noted(self, runs):
        found.append(len(runs))
        made(self, runs)

    monkeypatch.setattr(StackedStep, "__init__", noted)
    return found


@pytest.fixture
def interrupted(monkeypatch):
    """Inside `interrupted()`, Ctrl-C is pressed in the second validation of a stack."""

    @contextmanager
    def inside():
        measure, seen = StackedStep.measure, []

        def stopped(self, split="val"):
            seen.append(split)
            if len(seen) == 2:
                os.kill(os.getpid(), signal.SIGINT)
            return measure(self, split)

        with monkeypatch.context() as patched:
            patched.setattr(StackedStep, "measure", stopped)
            yield

    return inside


@pytest.fixture(scope="session")
def compose_recipe():
    """compose_recipe("optimizer=adam", ...) is the recipe that these words mean."""

    def composed(*words: str) -> DictConfig:
        with compose.composer([]) as composer:
            return composer.recipe(["tracking=none", "threads=1", *words])

    return composed


@pytest.fixture(scope="session")
def digits(compose_recipe):
    """The embedded digits, split as the default recipe does."""
    return Session().data(compose_recipe())


class Net(torch.nn.Sequential):
    """A user's own network on the digits."""

    def __init__(self, width: int) -> None:
        super().__init__(
            torch.nn.Flatten(),
            torch.nn.Linear(64, width),
            torch.nn.ReLU(),
            torch.nn.Linear(width, 10),
        )


@dataclass
class Watcher:
    """Keeps what the loop shows."""

    points: list[tuple[int, float, dict[str, float]]] = field(default_factory=list)
    steps: list[tuple[int, float, float, float]] = field(default_factory=list)

    def step(self, step: int, epoch: float, loss: float, samples_per_second: float) -> None:
        self.steps.append((step, epoch, loss, samples_per_second))

    def point(self, step: int, epoch: float, values: Any) -> None:
        self.points.append((step, epoch, dict(values)))


@dataclass
class Trained:
    """A run that has ended, and what it left."""

    run: Run
    state: State
    directory: Path
    points: list[dict[str, Any]]
    show: Watcher

    def values(self, name: str) -> list[float]:
        """All values of one metric, in order."""
        return [point["values"][name] for point in self.points if name in point["values"]]


@pytest.fixture
def train_recipe(compose_recipe, digits, tmp_path):
    """train_recipe("epochs=2", ...) builds and trains a recipe on the digits or on `data`."""

    def trained(*words: str, data: Data = digits, change: Any = None) -> Trained:
        run = build.build(compose_recipe(*words), data)
        if change is not None:
            change(run)
        kept = record.create(tmp_path, "test", {}, "")
        show = Watcher()
        try:
            state = train(run, begin(run, kept), kept, show)
            return Trained(run, state, kept.directory, kept.points(), show)
        finally:
            kept.close()

    return trained
