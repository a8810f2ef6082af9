"""Runs on disk: their results, and which of them a sweep reuses or resumes.

A run counts only while its data and the user's own code are what they were when it was
trained, as `make` compares a file with its sources.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf, isfinite, isnan
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from dlrun import metric, record, shell
from dlrun.errors import Mistake
from dlrun.job import code
from dlrun.job.session import Session
from dlrun.metric import Metric, score
from dlrun.recipe import start
from dlrun.recipe.schema import GROUPS
from dlrun.record.sweep import Point, RunResult
from dlrun.sweep.plan import Plan

_log = logging.getLogger("dlrun")


class Runs:
    """The runs under a sweep's outputs, by the hashes of their recipes."""

    def __init__(self, plan: Plan, session: Session) -> None:
        """Reads nothing yet. Data are loaded once, and only if a run must be compared."""
        self._plan, self._session = plan, session
        self._found: dict[str, list[Path]] = {}
        self._digests: dict[str, str | None] = {}
        keys = [dimension.key for dimension in plan.space.dimensions]
        known = _files(plan.base) or code.digests(plan.base) or plan.base.weights
        self._may_change = bool(known) or any(
            key in (*GROUPS, "weights") or key.startswith("data.") or key.endswith("._target_")
            for key in keys
        )
        self._changed: dict[str, None] = {}  # the sources that have changed, in order

    def scan(self) -> None:
        """Find the runs of this sweep, and the finished ones of others."""
        for directory in record.all_runs(self._plan.outputs):
            told = record.read_json(directory / "run.json").get("sweep")
            if not isinstance(told, dict) or not isinstance(told.get("hash"), str):
                continue
            if told.get("id") == self._plan.id or ended(directory, record.FINISHED):
                for hash in {told["hash"], told.get("typed", told["hash"])}:
                    self.add(hash, directory)

    def add(self, hash: str, directory: Path) -> None:
        """Add a run."""
        self._found.setdefault(hash, []).append(directory)

    def find(self, hash: str, recipe: DictConfig) -> Path | None:
        """A run of a recipe that still counts: one that has finished, else the latest; or None."""
        found = [
            directory
            for directory in self._found.get(hash, [])
            if not changed(directory, recipe, self._digest)
        ]
        return next(filter(ended, found), found[-1] if found else None)

    def current(self, point: Point) -> Point:
        """The point without the runs that no longer count; the same object if all do."""
        if not self._may_change or not point.runs:
            return point
        recipe = self._plan.recipes.of(point.overrides).recipe
        runs = []
        for run in point.runs:
            directory = self._plan.outputs / run.directory if run.directory else None
            what = changed(directory, recipe, self._digest) if directory else ""
            if what:
                self._changed[what] = None
            else:
                runs.append(run)
        if len(runs) == len(point.runs):
            return point
        return replace(point, runs=runs, status=record.RUNNING)

    def warn(self, dropped: Sequence[Point]) -> None:
        """Say that these points are trained again."""
        if dropped:
            points = shell.counted(len(dropped), "point")
            _log.warning(
                f"{', '.join(self._changed)}: has changed since {points} of the sweep had been "
                "trained, which therefore are trained anew; the old runs stay where they are"
            )

    def _digest(self, recipe: DictConfig) -> str | None:
        key = OmegaConf.to_yaml(recipe.data, resolve=True)
        if key not in self._digests:
            self._digests[key] = data_digest(recipe, self._session)
        return self._digests[key]


def outcome(run: RunResult, directory: Path, objective: str) -> RunResult:
    """The result that a run's record holds."""
    status, points = record.read_status(directory), record.read_points(directory)
    info = record.read_json(directory / "run.json")
    data, metrics = info.get("data") or {}, metric.known(info.get("metrics"))
    samples = data.get("samples") or {}
    value, best = _best(points, objective, metrics)
    loss = best.get("val/loss", inf)
    others = (f"val/{name}" for name in metrics if name not in metric.METRICS)
    own = info.get("kind") == "procedure"  # whose values may have any name
    trains = not own and any(name.startswith("train/") for name in record.last_values(points))
    return replace(
        run,
        hash=(info.get("sweep") or {}).get("hash", run.hash),
        directory=os.path.relpath(directory, directory.parents[1]),
        status=status.get("status", record.KILLED),
        message=status.get("message", ""),
        value=value,
        loss=loss if isfinite(loss) else None,
        epochs=float(points[-1]["epoch"]) if trains else 0.0,
        samples=samples.get(objective.partition("/")[0]),
        trained_on=samples.get("train"),
        of_loss=str((info.get("choices") or {}).get("loss", "")),
        error=best.get(f"{objective}_stderr"),
        others={key: best[key] for key in others if key in best and key != objective},
    )


def _best(
    points: Sequence[Mapping[str, Any]], objective: str, metrics: Mapping[str, Metric]
) -> tuple[float | None, Mapping[str, float]]:
    """The best value of the objective and all values with it; val/loss breaks ties.

    If the run chose its weights by the objective: the value of these weights.
    """
    end = record.last_values(points)
    chosen = end.get(f"best/{objective.replace('/', '_')}")
    chosen = None if chosen is not None and isnan(chosen) else chosen
    rated = [
        point["values"]
        for point in points
        if isfinite(point["values"].get(objective, inf))
        and (chosen is None or point["epoch"] == end["best/epoch"])
    ]
    start = "best/val_"
    whole = {f"val/{k[len(start) :]}": v for k, v in end.items() if k.startswith(start)}
    if not rated:
        return chosen, {}
    best = max(
        rated, key=lambda at: (score(objective, at[objective], metrics), -at.get("val/loss", inf))
    )
    return best[objective] if chosen is None else chosen, best | whole


def ended(directory: Path, *statuses: str) -> bool:
    """Whether a run has finished or was pruned, or has one of the given statuses."""
    status = record.read_status(directory).get("status")
    return status in (statuses or (record.FINISHED, record.PRUNED))


def resumable(directory: Path) -> bool:
    """Whether a run has started to train and has not ended."""
    return not ended(directory) and "data" in record.read_json(directory / "run.json")


def replay(judge: Any, directory: Path, objective: str) -> None:
    """Show a pruner the validations of a run again."""
    metrics = metric.known(record.read_json(directory / "run.json").get("metrics"))
    for point in record.read_points(directory):
        value = point["values"].get(objective)
        if value is not None and "time/elapsed" in point["values"]:
            judge.should_stop(score(objective, value, metrics), point["step"])


def wait_for(directory: Path, console: Console) -> None:
    """Wait while another process holds a run, such as a job that outlived its sweep."""
    said = 0.0
    while record.is_running(directory):
        if monotonic() - said > 60:
            console.print(f"waiting for run {directory.name}, which another process holds")
            said = monotonic()
        sleep(0.2)


def changed(directory: Path, recipe: DictConfig, digest: Callable[[DictConfig], str | None]) -> str:
    """Which source of a run has changed since it was trained; empty if none has.

    digest: gives that of a recipe's data as they are now.
    """
    info = record.read_json(directory / "run.json")
    was, now = info.get("code"), code.digests(recipe)
    if isinstance(was, dict) and was != now:
        return next(str(name) for name in (*now, *was) if now.get(name) != was.get(name))
    if recipe.weights is not None:
        digest_now = start.digest(recipe)
        if digest_now and (info.get("weights") or {}).get("digest") not in (None, digest_now):
            return f"weights={recipe.weights}"
    told, files = info.get("data"), _files(recipe)
    recorded = told.get("digest") if isinstance(told, dict) else None
    same = not files or recorded is None or digest(recipe) in (None, recorded)
    return "" if same else files


def data_digest(recipe: DictConfig, session: Session) -> str | None:
    """The digest of the data now; None if they cannot be read, which training will report."""
    try:
        return session.data(recipe).digest
    except Mistake:
        return None


def _files(recipe: DictConfig) -> str:
    """The override that names the data files; empty if there are none."""
    where = next((key for key in ("path", "root") if recipe.data.get(key)), None)
    return f"data.{where}={recipe.data[where]}" if where else ""
