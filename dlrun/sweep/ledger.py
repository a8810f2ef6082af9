"""The ledger of a sweep on disk: what was asked, what came of it, and what is left to do.

    <outputs>/sweeps/<id>/
        sweep.json       what is searched, and how
        ledger.jsonl     one line whenever a point begins or ends; the last line of a trial holds
        lock             held by the process that drives the sweep
        report.html      written by `dlrun.report`
        journal.log      Optuna's storage, there only while a pruner judges jobs of many processes

The id is a hash of what is searched: the fixed overrides, the dimensions, the sampler and
its settings. Not of how much: the same sweep goes on when `sweep.trials` is raised.

`sweep.json`:

    id, command, started, cwd
    overrides      the fixed ones, as typed
    dimensions     [{"key": "optimizer.lr", "kind": "float", "scale": "log", "low": 1e-4,
                     "high": 1e-1, "step": null, "choices": null, "zip": null}, ...]
                   kind: float or int, with low and high, or categorical, with choices (a list);
                   scale: log or linear; the choices of one zip (a number) advance together
    objective      the metric, e.g. "val/accuracy"
    direction      "maximize" or "minimize"
    sampler        grid, random, tpe, cmaes, gp or qmc
    trials         how many points there are to be
    repeats        runs, with different seeds, of each point
    settings       all of `sweep.*`

A line of `ledger.jsonl`, about one trial:

    trial          its number, from 0
    hash           of the point's resolved recipe, with the seed of its first run
    values         {"optimizer": "sgd", "optimizer.lr": 0.1}: one for every dimension
    overrides      the same as typed: ["optimizer=sgd", "optimizer.lr=0.1"]
    runs           [{"seed": 0, "hash": …, "directory": "runs/<id>", "status": "FINISHED",
                     "value": 0.97, "loss": 0.12, "epochs": 20.0, "message": "", "tries": 1}, ...]
                   directory: relative to <outputs>, or null while it is not known
                   value: of the objective, null where there is none
                   loss: val/loss with it, which breaks ties; null where there is none
                   epochs: where training ended
    status         RUNNING, FINISHED, PRUNED, FAILED or KILLED
    value          the mean over the runs, null until there is one
    stderr         its standard error, null where there are fewer than two runs
"""

import json
import logging
import math
import os
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dlrun import record, shell
from dlrun.errors import Mistake
from dlrun.record import FAILED, FINISHED, KILLED, PRUNED, RUNNING

NAME = "ledger.jsonl"

_STATES = (RUNNING, FINISHED, PRUNED, FAILED, KILLED)
_NUMBER, _NONE = (int, float), type(None)
_POINT = {"trial": int, "hash": str, "values": dict, "overrides": list, "runs": list}
_RUN = {
    **{"seed": int, "hash": str, "directory": (str, _NONE), "value": (*_NUMBER, _NONE)},
    **{"loss": (*_NUMBER, _NONE), "epochs": _NUMBER, "message": str, "tries": int},
}
_log = logging.getLogger("dlrun")


@dataclass
class Attempt:
    """One run of a point."""

    seed: int
    hash: str
    directory: str | None = None
    status: str = RUNNING
    value: float | None = None
    loss: float | None = None
    epochs: float = 0.0
    message: str = ""
    tries: int = 1


@dataclass
class Point:
    """One trial: a point of the search space and its runs."""

    trial: int
    hash: str
    values: dict[str, Any]
    overrides: list[str]
    runs: list[Attempt] = field(default_factory=list)
    status: str = RUNNING

    @property
    def measured(self) -> list[float]:
        """The values of the runs that have one."""
        found = [run.value for run in self.runs if run.status in (FINISHED, PRUNED)]
        return [value for value in found if value is not None and math.isfinite(value)]

    @property
    def value(self) -> float | None:
        """The mean over the runs."""
        return statistics.fmean(self.measured) if self.measured else None

    @property
    def loss(self) -> float:
        """The mean val/loss with these values, by which equal ones are ranked; inf without."""
        ended = [run.loss for run in self.runs if run.status in (FINISHED, PRUNED)]
        found = [loss for loss in ended if loss is not None]
        return statistics.fmean(found) if found else math.inf

    @property
    def stderr(self) -> float | None:
        """The standard error of the mean."""
        many = self.measured
        return statistics.stdev(many) / math.sqrt(len(many)) if len(many) > 1 else None

    def line(self) -> dict[str, Any]:
        """As the ledger keeps it."""
        return asdict(self) | {"value": self.value, "stderr": self.stderr}


def read(directory: str | Path) -> list[Point]:
    """The points of a sweep by their numbers, each as its last line says."""
    latest = {point.trial: point for point in _lines(Path(directory)) if point is not None}
    return [latest[trial] for trial in sorted(latest)]


def repaired(directory: Path, fits: Callable[[Point], bool]) -> list[Point]:
    """All lines, oldest first, after those that are damaged have been taken out of the file.

    fits: whether a point is one of the sweep. What is lost is on disk as a run, or trained again.
    """
    found = _lines(directory)
    good = [p for p in found if p is not None and p.trial <= len(found) and fits(p)]
    if len(good) < len(found):
        path, lost = directory / NAME, len(found) - len(good)
        lines = "1 line is" if lost == 1 else f"{lost} lines are"
        _log.warning(f"{path}: {lines} damaged and left out; what it said is taken from the runs")
        record.write(path, "".join(_written(point) for point in good))
    return good


def append(directory: str | Path, entry: Point) -> None:
    """Add a line; a half-written one before it is cut off. Raises Failure on a full disk."""
    path = Path(directory) / NAME
    line = _written(entry).encode()
    with record.guard(path), path.open("ab+") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(end - 1, 0))
        if end and file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
        file.write(line)


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Inside, no other process drives the sweep. Raises Mistake where one does."""
    lock = FileLock(directory / "lock", timeout=0.5)
    with record.guard(directory, Mistake):
        try:
            lock.acquire()
        except Timeout:
            raise Mistake(
                f"sweep {directory.name} is being run by another process; type the command again "
                "when that has ended"
            ) from None
    try:
        yield
    finally:
        lock.release()


def _lines(directory: Path) -> list[Point | None]:
    """What each whole line says, None where it is damaged."""
    with suppress(FileNotFoundError):
        content = (directory / NAME).read_bytes().splitlines(keepends=True)
        return [_point(line) for line in content if line.endswith(b"\n")]
    return []


def _point(line: bytes) -> Point | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if not _is(entry, Point, _POINT) or not all(_is(run, Attempt, _RUN) for run in entry["runs"]):
        return None
    runs = [Attempt(**_of(run, Attempt)) for run in entry["runs"]]
    return Point(**_of(entry, Point) | {"runs": runs})


def _is(entry: Any, kind: type, kinds: Mapping[str, Any]) -> bool:
    """Whether an entry has all that it needs, of the right types."""
    if not isinstance(entry, dict) or entry.get("status") not in _STATES:
        return False
    needed = {
        one.name
        for one in fields(kind)
        if one.default is MISSING and one.default_factory is MISSING
    }
    if not needed <= set(entry):
        return False
    of_kind = all(isinstance(entry[key], kinds[key]) for key in kinds if key in entry)
    return of_kind and min(entry.get("trial", 0), entry.get("seed", 0)) >= 0


def _of(entry: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """What a class knows of an entry; a later release may have written more."""
    return {one.name: entry[one.name] for one in fields(kind) if one.name in entry}


def _written(point: Point) -> str:
    return record.text(shell.redacted_values(point.line())) + "\n"
