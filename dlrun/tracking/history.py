"""What a tracking store has of a run's points, and whether the record still says so.

A resumed run may go another way than it went before it was stopped, and MLflow neither
changes nor deletes a point. So it must be noticed before anything is sent.
"""

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric

CLOCK = "time/"
"""Metrics that begin so tell how long something took, and are never the same again."""

History = dict[str, dict[int, list[float]]]
"""The values by key and step; of each step one, unless something else has written there."""


def fetch(client: MlflowClient, run_id: str, say: Callable[[float], None]) -> History:
    """All points that the store has of a run; `say(5)` after every answer."""
    found: History = {}
    for key in client.get_run(run_id).data.metrics:
        steps = found.setdefault(key, {})
        for point in client.get_metric_history(run_id, key):
            steps.setdefault(point.step, []).append(point.value)
        say(5)
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
    """Whether the store has steps that a run, at its end, has no point of.

    A measure that only an earlier end had, such as that of the test split, stays true.
    """
    steps = {point["step"] for point in points}
    return any(not steps >= there.keys() for there in known.values())


def _same(stored: float, value: float) -> bool:
    """Whether a value has become this one in a database, which knows no infinity."""
    if math.isnan(value):
        return math.isnan(stored)
    largest = sys.float_info.max
    return math.isclose(stored, max(-largest, min(value, largest)), rel_tol=1e-9)
