"""Which points of a run a tracking store has, and whether they agree with the record.

A resumed run may take another course than before it was stopped, and MLflow neither changes
nor deletes a point. So a contradiction must be noticed before anything is sent.
"""

import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Run, ViewType
from mlflow.exceptions import MlflowException

from dlrun.tracking import entries

CLOCK = "time/"
"""Metrics with this prefix are durations, which differ each time."""

REPLACED = "dlrun.replaced"
"""The tag of a run in MLflow whose record is in another run there."""

History = dict[str, dict[int, list[float]]]
"""The values by key and step; one each, unless something else has written there."""


def runs(client: MlflowClient, experiment: str, uid: str, known: str | None) -> list[Run]:
    """The runs that stand for a record, deleted ones too; the one to go on with comes first.

    known: the id in the cursor. There is more than one where a server was slow to answer.
    """
    asked = f"tags.`dlrun.uid` = '{uid}'"
    found = list(client.search_runs([experiment], asked, ViewType.ALL)) if experiment else []
    if known and all(run.info.run_id != known for run in found):
        try:
            found.append(client.get_run(known))
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
    standing = [run for run in found if REPLACED not in run.data.tags]
    return sorted(
        standing,
        key=lambda run: (run.info.run_id != known, is_deleted(run), -len(run.data.metrics)),
    )


def is_deleted(run: Run) -> bool:
    """Whether a user has deleted it in MLflow, which keeps it so that it can be restored."""
    return str(run.info.lifecycle_stage) != "active"


def ends_as(run: Run, points: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the store has the last value of every metric; asking for all points costs more."""
    last: dict[str, tuple[int, float]] = {}
    for point in points:
        for key, value in point["values"].items():
            if not key.startswith(CLOCK) and point["step"] >= last.get(key, (0, 0.0))[0]:
                last[key] = point["step"], float(value)
    there = run.data.metrics
    values = {entries.legal_key(key): value for key, (_, value) in last.items()}
    return all(key in there and _same(there[key], value) for key, value in values.items())


def fetch(client: MlflowClient, run_id: str) -> History:
    """All points of a run that the store has."""
    found: History = {}
    for key in client.get_run(run_id).data.metrics:
        steps = found.setdefault(key, {})
        for point in client.get_metric_history(run_id, key):
            steps.setdefault(point.step, []).append(point.value)
    return found


def has(known: History, metric: Metric) -> bool:
    """Whether the store has this point, whatever its value."""
    return metric.step in known.get(metric.key, ())


def contradicts(known: History, metrics: Iterable[Metric]) -> bool:
    """Whether the store has another value where one of these is to be."""
    return any(
        has(known, metric)
        and not metric.key.startswith(CLOCK)
        and not any(_same(value, metric.value) for value in known[metric.key][metric.step])
        for metric in metrics
    )


def outlives(known: History, points: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the store has steps at which a finished run has no point.

    Metrics that only an earlier end has, such as those of the test split, do not count.
    """
    steps = {point["step"] for point in points}
    return any(not steps >= there.keys() for there in known.values())


def _same(stored: float, value: float) -> bool:
    """Whether a database, which has no infinity, stores a value as this one."""
    if math.isnan(value):
        return math.isnan(stored)
    largest = sys.float_info.max
    return math.isclose(stored, max(-largest, min(value, largest)), rel_tol=1e-9)
