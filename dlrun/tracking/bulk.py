"""Points, params, tags and the end of a run, written straight into MLflow's SQLite database.

MLflow's `log_batch` makes an object of its ORM of each entry, checks all of them three times, and
opens a session for each kind: the 190 points and 60 params of a short run cost it 35 ms of CPU.
The same rows as a few statements cost 5. Where many small networks train at once, the process
that delivers them is what they wait for.

The rows are those that MLflow writes, in the tables that it describes, through its own engine.
What it would refuse is left to it to refuse: a run that is deleted, a param that would change.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from sqlalchemy import Connection, select, tuple_, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import IntegrityError

from dlrun.tracking.address import sqlite_path

try:
    from mlflow.store.tracking.dbmodels import models
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from mlflow.tracking.fluent import get_active_model_id
    from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME
    from mlflow.utils.validation import _validate_batch_log_data as checked
except ImportError:  # a release that has them elsewhere
    models = None

_POINT = "key value timestamp step is_nan run_uuid"
_ENTRY = "key value run_uuid"
_RUN = (
    "run_uuid name source_type source_name entry_point_name user_id status start_time end_time "
    "deleted_time source_version lifecycle_stage artifact_uri experiment_id"
)
_KNOWN = {
    "SqlMetric": (_POINT, _POINT),
    "SqlLatestMetric": (_POINT, "key run_uuid"),
    "SqlParam": (_ENTRY, "key run_uuid"),
    "SqlTag": (_ENTRY, "key run_uuid"),
    "SqlRun": (_RUN, "run_uuid"),
}
"""The tables that are written here: all columns that each has, and those of its key."""


def store(client: MlflowClient) -> Any:
    """The client's store, for the functions below.

    None where it is no SQLite database, or where this release of MLflow may keep other rows than
    are known here: then the client itself is to be asked.
    """
    if models is None or sqlite_path(client.tracking_uri) is None:
        return None
    found = getattr(getattr(client, "_tracking_client", None), "store", None)
    if type(found) is not SqlAlchemyStore or not hasattr(found, "sanitize_metric_value"):
        return None
    return found if all(_is_known(name, *columns) for name, columns in _KNOWN.items()) else None


def log_batch(
    store: Any,
    run_id: str,
    metrics: Sequence[Metric] = (),
    params: Sequence[Param] = (),
    tags: Sequence[RunTag] = (),
) -> bool:
    """Add what `MlflowClient.log_batch` adds, all of it or nothing; may be repeated.

    False where the client is to be asked, to do it or to say why not; nothing is written then.
    """
    metrics, params, tags = checked(metrics, params, tags)
    renames = any(tag.key == MLFLOW_RUN_NAME for tag in tags)
    if renames or get_active_model_id() is not None:  # MLflow writes more than these rows
        return False
    points = [_row(store, run_id, metric) for metric in metrics]
    rows = {"SqlMetric": points, "SqlLatestMetric": _latest(points)}
    rows["SqlParam"] = [
        {"run_uuid": run_id, "key": each.key, "value": each.value} for each in params
    ]
    rows["SqlTag"] = [{"run_uuid": run_id, "key": each.key, "value": each.value} for each in tags]
    try:
        with store.engine.begin() as connection:
            if not _is_active(connection, run_id):
                return False
            for name, added in rows.items():
                if added:
                    connection.execute(_statement(name), added)
    except IntegrityError:  # a param that is there already, perhaps with another value
        return False
    return True


def set_terminated(store: Any, run_id: str, status: str, at: int) -> bool:
    """Set how and when a run ended; at: in ms. False where the client is to be asked."""
    runs = models.SqlRun.__table__
    ended = update(runs).where(runs.c.run_uuid == run_id).values(status=status, end_time=at)
    with store.engine.begin() as connection:
        if not _is_active(connection, run_id):
            return False
        connection.execute(ended)
    return True


def _is_known(name: str, columns: str, key: str) -> bool:
    """Whether a table of MLflow has just these columns, and these for its key."""
    table = getattr(getattr(models, name, None), "__table__", None)
    if table is None:
        return False
    return {*table.c.keys()} == {*columns.split()} and {*table.primary_key.c.keys()} == {
        *key.split()
    }


def _is_active(connection: Connection, run_id: str) -> bool:
    """Whether there is such a run, and not deleted; first sets the connection up as MLflow does."""
    connection.exec_driver_sql("PRAGMA foreign_keys = ON")
    connection.exec_driver_sql("PRAGMA busy_timeout = 20000")  # ms to wait for another writer
    runs = models.SqlRun.__table__
    asked = select(runs.c.lifecycle_stage).where(runs.c.run_uuid == run_id)
    return bool(connection.execute(asked).scalar() == "active")


def _row(store: Any, run_id: str, metric: Metric) -> dict[str, Any]:
    is_nan, value = store.sanitize_metric_value(metric.value)
    return {
        "key": metric.key,
        "value": value,
        "timestamp": metric.timestamp,
        "step": metric.step,
        "is_nan": is_nan,
        "run_uuid": run_id,
    }


def _latest(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The latest point of each key, as MLflow compares them."""
    found: dict[str, dict[str, Any]] = {}
    for point in points:
        known = found.setdefault(point["key"], point)
        if _place(point) > _place(known):
            found[point["key"]] = point
    return list(found.values())


def _place(point: dict[str, Any]) -> tuple[Any, ...]:
    return point["step"], point["timestamp"], point["value"]


@cache
def _statement(name: str) -> Any:
    """How rows get into a table, one after another, so that MLflow lists metrics as they came.

    A point takes the place of the latest one where it is later, as MLflow compares them.
    """
    table, key = getattr(models, name).__table__, _KNOWN[name][1].split()
    add = insert(table)
    if name == "SqlParam":
        return add
    if name == "SqlMetric":
        return add.on_conflict_do_nothing(index_elements=key)
    later = None
    if name == "SqlLatestMetric":
        later = _order(add.excluded) > _order(table.c)
    changed = {each.name: add.excluded[each.name] for each in table.c if each.name not in key}
    return add.on_conflict_do_update(index_elements=key, set_=changed, where=later)


def _order(columns: Any) -> Any:
    return tuple_(columns.step, columns.timestamp, columns.value)
