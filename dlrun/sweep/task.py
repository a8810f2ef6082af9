"""One run of a point, wherever it is trained: from its recipe to what came of it."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from math import inf, isfinite
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from omegaconf import DictConfig

from dlrun import metric, record, shell
from dlrun.console import screen
from dlrun.console.outcome import report
from dlrun.engine.interrupt import within
from dlrun.errors import Interrupted, Mistake
from dlrun.job import factory, recording
from dlrun.job.session import Session
from dlrun.recipe import mistakes
from dlrun.sweep import claims
from dlrun.sweep.ledger import Attempt
from dlrun.sweep.present import difference, digest

TRAIN = "dlrun.procedure.train.train"


@dataclass(frozen=True)
class Task:
    """What a process needs to know to train one run.

    overrides: all of them; changed: those of the point and the seed, which name the run.
    first: whether it is the first run of its point; resume: the directory of a run to go on
        with; whole: with figures and a model; check: look for missing values and references.
    """

    sweep: str
    trial: int
    seed: int
    first: bool
    hash: str
    objective: str
    values: Mapping[str, Any]
    overrides: Sequence[str]
    changed: Sequence[str]
    command: Sequence[str]
    directories: Sequence[Path] = ()
    resume: str | None = None
    whole: bool = False
    check: bool = True

    @property
    def name(self) -> str:
        """In a word for messages and the run's name."""
        return " ".join(self.changed) or "default"

    def label(self, message: str) -> str:
        """The name, for a message that does not begin with it."""
        return "" if message.startswith(self.name) else self.name

    def asked(self, choices: Mapping[str, Any]) -> recording.Invocation:
        """As a job takes it."""
        told = {"id": self.sweep, "trial": self.trial, "seed": self.seed, "hash": self.hash}
        tags: dict[str, Any] = {"dlrun.sweep": self.sweep, "dlrun.trial": self.trial}
        tags |= {f"sweep.{key}": value for key, value in self.values.items()}
        info = {"sweep": told | {"values": dict(self.values)}, "tags": tags, **_origin()}
        return recording.Invocation(
            self.overrides, self.command, choices, recording.name(self.changed), info
        )


def perform(
    task: Task,
    recipe: DictConfig,
    choices: Mapping[str, Any],
    shared: Session,
    stopping: Sequence[Any] = (),
    say: Callable[[BaseException, str], Any] = report,
) -> Attempt:
    """Train a run; an error becomes one line on stderr and a FAILED attempt.

    What another process trains just now is waited for, and taken over where it finishes.

    say: takes the error and the run's name. Raises Interrupted alone.
    """
    if recipe.procedure.get("_target_") != TRAIN:
        return _perform(task, recipe, choices, shared, stopping, say)
    outputs = shell.path(recipe.outputs, "outputs").absolute()
    with claims.held(outputs, task.hash, partial(_waiting, task)) as claim:
        other = claim.found()
        if other and ended(other) and not difference(other, recipe, partial(digest, shared=shared)):
            shared.records = []
            return found(Attempt(task.seed, task.hash), other, task.objective)
        attempt = _perform(task, recipe, choices, shared, stopping, say)
        if attempt.status == record.FINISHED and attempt.directory is not None:
            claim.finished(Path(attempt.directory))
    return attempt


def _waiting(task: Task) -> None:
    screen.console().print(
        f"waiting for {task.name}, which another sweep trains", markup=False, soft_wrap=True
    )


def _perform(
    task: Task,
    recipe: DictConfig,
    choices: Mapping[str, Any],
    shared: Session,
    stopping: Sequence[Any],
    say: Callable[[BaseException, str], Any],
) -> Attempt:
    attempt = Attempt(task.seed, task.hash)
    asked = task.asked(choices)
    recipe.resume = task.resume
    shared.records = []
    value: float | None = None
    try:
        if task.check:
            mistakes.check(recipe, choices, task.directories)
        with mistakes.resolved():
            value = factory.perform(recipe, asked, shared, stopping, task.whole)
    except Interrupted:
        raise
    except Exception as error:
        if (stopped := within(error)) is not None:
            raise stopped from None
        message = str(error) or type(error).__name__
        say(error, task.label(message))
        with suppress(Mistake, OSError):
            factory.refused(recipe, asked, shared, message)
        attempt = replace(attempt, status=record.FAILED, message=message)
    if shared.records:
        attempt = found(attempt, shared.records[-1], task.objective)
    elif attempt.status == record.RUNNING:
        attempt = replace(attempt, status=record.FINISHED)
    if recipe.procedure.get("_target_") != TRAIN and attempt.status == record.FINISHED:
        attempt = replace(attempt, value=value)
    return attempt


@cache
def _origin() -> dict[str, Any]:
    """What the runs of one process have in common: the code that it has loaded."""
    return {"versions": record.versions(), "git": record.git()}


def found(attempt: Attempt, directory: Path, objective: str) -> Attempt:
    """What the record of a run says of it."""
    status = record.read_status(directory)
    points = record.read_points(directory)
    value, loss = _best(points, objective)
    return replace(
        attempt,
        directory=os.path.relpath(directory, directory.parents[1]),
        status=status.get("status", record.KILLED),
        message=status.get("message", ""),
        value=value,
        loss=loss,
        epochs=float(points[-1]["epoch"]) if points else 0.0,
    )


def _best(points: Sequence[Mapping[str, Any]], objective: str) -> tuple[float | None, float | None]:
    """The best value of the objective, of equal ones that of the least val/loss, and that loss.

    Where the run has ended and has chosen its weights by it: that of these weights.
    """
    end = points[-1]["values"] if points else {}
    chosen = end.get(f"best/{objective.replace('/', '_')}")
    rated = [
        (metric.score(objective, point["values"][objective]), -point["values"].get("val/loss", inf))
        for point in points
        if isfinite(point["values"].get(objective, inf))
        and (chosen is None or point["epoch"] == end["best/epoch"])
    ]
    if not rated:
        return chosen, None
    score, loss = max(rated)
    value = metric.score(objective, score) if chosen is None else chosen
    return value, -loss if isfinite(loss) else None


@dataclass
class Known:
    """The runs on disk that a sweep can take over or go on with, by their recipes' hashes."""

    runs: dict[str, list[Path]] = field(default_factory=dict)

    @classmethod
    def scan(cls, outputs: Path, sweep: str) -> "Known":
        """Look at every run under `outputs`: those of the sweep, and finished ones of others."""
        known = cls()
        for directory in record.all_runs(outputs):
            told = record.read_json(directory / "run.json").get("sweep")
            if not isinstance(told, dict) or not isinstance(told.get("hash"), str):
                continue
            status = record.read_status(directory).get("status")
            if told.get("id") == sweep or status == record.FINISHED:
                known.add(told["hash"], directory)
        return known

    def add(self, hash: str, directory: Path) -> None:
        """One more run."""
        self.runs.setdefault(hash, []).append(directory)

    def find(self, hash: str, fits: Callable[[Path], bool]) -> Path | None:
        """A run of a recipe that fits: the first that has ended as it should, else the last."""
        found = [directory for directory in self.runs.get(hash, []) if fits(directory)]
        return next(filter(ended, found), found[-1] if found else None)


def ended(directory: Path) -> bool:
    """Whether a run has ended as it should."""
    return record.read_status(directory).get("status") in (record.FINISHED, record.PRUNED)


def resumable(directory: Path) -> bool:
    """Whether a run has begun to train and not ended, so that it can be gone on with."""
    return not ended(directory) and "data" in record.read_json(directory / "run.json")


def show(judge: Any, directory: Path, objective: str) -> None:
    """Show a pruner the validations that a run has behind it."""
    for at in record.read_points(directory):
        value = at["values"].get(objective)
        if value is not None and "time/elapsed" in at["values"]:
            judge.should_stop(metric.score(objective, value), at["step"])


def wait_for(directory: Path, console: Any) -> None:
    """Until no other process trains a run, such as a job that outlived its sweep."""
    said = 0.0
    while record.is_running(directory):
        if monotonic() - said > 60:
            console.print(f"waiting for run {directory.name}, which another process holds")
            said = monotonic()
        sleep(0.2)
