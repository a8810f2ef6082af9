"""A run, its points, params, tags, data set and end, straight into MLflow's SQLite database.

MLflow's `log_batch` makes an object of its ORM of each entry, checks all of them three times, and
opens a session for each kind: the 190 points of a short run cost it 20 ms of CPU, the 60 params 5.
As a few statements they cost 4 and 1.5. A new run, of which it asks everything back, costs it 6,
and here 1. Where many small networks train at once, the process that delivers them is what they
wait for; `together` commits the writes of many runs at once.

The rows are those that MLflow writes, in the tables that it describes, through its own engine.
What it would refuse is left to it to refuse: a run that is deleted, a param that would change.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from time import time
from typing import Any
from uuid import uuid4

from mlflow import MlflowClient
from mlflow.entities import DatasetInput, Metric, Param, Run, RunData, RunInfo, RunTag
from sqlalchemy import Connection, Engine, select, tuple_, update
from sqlalchemy.dialects.sqlite import dialect, insert
from sqlalchemy.exc import IntegrityError, OperationalError

from dlrun.tracking.address import sqlite_path

try:
    from mlflow.store.tracking.dbmodels import models
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from mlflow.tracking.fluent import get_active_model_id
    from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME, MLFLOW_USER
    from mlflow.utils.uri import append_to_uri_path
    from mlflow.utils.validation import _validate_batch_log_data as checked
except ImportError:  # a release that has them elsewhere
    models = None

_POINT = "key value timestamp step is_nan run_uuid"
_ENTRY = "key value run_uuid"
_RUN = (
    "run_uuid name source_type source_name entry_point_name user_id status start_time end_time "
    "deleted_time source_version lifecycle_stage artifact_uri experiment_id"
)
_EXPERIMENT = (
    "experiment_id name workspace artifact_location lifecycle_stage creation_time last_update_time"
)
_DATASET = (
    "dataset_uuid experiment_id name digest dataset_source_type dataset_source dataset_schema "
    "dataset_profile"
)
_SHORT = 250  # characters of a value that every release takes
_ENDS = "source_type source_id destination_type destination_id"
_KNOWN = {
    "SqlMetric": (_POINT, _POINT),
    "SqlLatestMetric": (_POINT, "key run_uuid"),
    "SqlParam": (_ENTRY, "key run_uuid"),
    "SqlTag": (_ENTRY, "key run_uuid"),
    "SqlExperiment": (_EXPERIMENT, "experiment_id"),
    "SqlRun": (_RUN, "run_uuid"),
    "SqlDataset": (_DATASET, "experiment_id name digest"),
    "SqlInput": (f"input_uuid step {_ENDS}", _ENDS),
    "SqlInputTag": ("input_uuid name value", "input_uuid name"),
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


@dataclass
class _Batch:
    """What is written to a database and not committed yet. connection: None where that is nothing.

    error: of the disk or of a lock; after it nothing of the batch holds. active: runs that are so
    until the commit, as nobody else can write before it.
    """

    connection: Connection | None = None
    error: Exception | None = None
    active: set[str] = field(default_factory=set)


_batches: dict[Engine, _Batch] = {}


@contextmanager
def together(client: MlflowClient) -> Iterator[None]:
    """Commit what is written inside at its end: pages that many runs share are written once.

    Others that write wait for as long. Raises what the database raises where that can't be; then
    nothing is there of what was written since the last `commit`. Another store than those of
    `store` keeps each write as it comes.
    """
    found = store(client)
    if found is None:
        yield
        return
    batch = _batches[found.engine] = _Batch()
    try:
        yield
        commit(found)
    finally:
        del _batches[found.engine]
        if batch.connection is not None:
            batch.connection.close()  # which takes back what is not committed


def commit(store: Any) -> None:
    """Commit what a batch has so far, for whoever reads or writes by another connection."""
    batch = _batch_of(store)
    if batch is None:
        return
    if batch.error is not None:
        raise batch.error
    if batch.connection is None:
        return
    try:
        batch.connection.commit()
    except Exception as error:
        batch.error = error
        raise
    batch.connection.close()
    batch.connection = None
    batch.active.clear()


def is_committed(store: Any) -> bool:
    """Whether all that was written is."""
    batch = _batch_of(store)
    return batch is None or (batch.connection is None and batch.error is None)


def _batch_of(store: Any) -> _Batch | None:
    """The batch that is open; None where there is none, or no store that has any."""
    return _batches.get(store.engine) if store is not None else None


@contextmanager
def _writing(store: Any) -> Iterator[Connection]:
    """Inside, all is written or nothing: at its end, or with the batch that there is."""
    batch = _batch_of(store)
    if batch is None:
        with store.engine.begin() as connection:
            _set_up(connection)
            yield connection
        return
    if batch.error is not None:
        raise batch.error
    try:
        if batch.connection is None:
            batch.connection = store.engine.connect()
            _set_up(batch.connection)
            batch.connection.exec_driver_sql("BEGIN IMMEDIATE")  # the driver's own would come late
        with batch.connection.begin_nested():
            yield batch.connection
    except OperationalError as error:  # SQLite may have taken back the whole batch
        batch.error = error
        raise


def create_run(
    store: Any, experiment: str, start_time: int, tags: Mapping[str, str], run_name: str
) -> Run | None:
    """Begin a run, as `MlflowClient.create_run` does; start_time: in ms."""
    if not run_name or MLFLOW_RUN_NAME in tags:  # MLflow finds a name, or compares both
        return None
    run_id, active = uuid4().hex, "active"
    experiments, runs = models.SqlExperiment.__table__, models.SqlRun.__table__
    asked = select(experiments.c.artifact_location, experiments.c.lifecycle_stage)
    named = {**tags, MLFLOW_RUN_NAME: run_name}
    row = {"run_uuid": run_id, "experiment_id": int(experiment), "name": run_name}
    row |= {"user_id": tags.get(MLFLOW_USER, "unknown"), "status": "RUNNING"}
    row |= {"start_time": start_time, "lifecycle_stage": active, "source_type": "UNKNOWN"}
    row |= dict.fromkeys(("source_name", "entry_point_name", "source_version"), "")
    with _writing(store) as connection:
        mine = experiments.c.experiment_id == row["experiment_id"]
        where = connection.execute(asked.where(mine)).one_or_none()
        if where is None or where.lifecycle_stage != active or not where.artifact_location:
            return None
        folder = append_to_uri_path(where.artifact_location, run_id, store.ARTIFACTS_FOLDER_NAME)
        connection.execute(insert(runs), [row | {"artifact_uri": folder}])
        entries = [RunTag(*tag) for tag in named.items()]
        _add(connection, "SqlTag", [_entry(run_id, tag) for tag in entries])
    about = (run_id, str(experiment), row["user_id"], row["status"], start_time, None, active)
    return Run(RunInfo(*about, folder, run_name), RunData(tags=entries))


def log_batch(
    store: Any,
    run_id: str,
    metrics: Sequence[Metric] = (),
    params: Sequence[Param] = (),
    tags: Sequence[RunTag] = (),
) -> bool:
    """Add what `MlflowClient.log_batch` adds, all of it or nothing."""
    if not _are_plain(metrics, params, tags):
        metrics, params, tags = checked(metrics, params, tags)
        _names.update(each.key for each in (*metrics, *params, *tags))
    renames = any(tag.key == MLFLOW_RUN_NAME for tag in tags)
    if renames or get_active_model_id() is not None:  # MLflow writes more than these rows
        return False
    points = [_point(store, run_id, metric) for metric in metrics]
    try:
        with _writing(store) as connection:
            if not _is_active(connection, run_id):
                return False
            _add(connection, "SqlMetric", points)
            _add(connection, "SqlLatestMetric", _latest(points))
            _add(connection, "SqlParam", [_entry(run_id, param) for param in params])
            _add(connection, "SqlTag", [_entry(run_id, tag) for tag in tags])
    except IntegrityError:  # a param that is there already, perhaps with another value
        return False
    return True


def log_inputs(store: Any, run_id: str, datasets: Sequence[DatasetInput]) -> bool:
    """Say which data sets a run has, if others had them before."""
    known, runs = models.SqlDataset.__table__.c, models.SqlRun.__table__.c
    with _writing(store) as connection:
        if not _is_active(connection, run_id):
            return False
        for each in datasets:
            here = known.experiment_id == runs.experiment_id, runs.run_uuid == run_id
            same = known.name == each.dataset.name, known.digest == each.dataset.digest
            found = connection.execute(select(known.dataset_uuid).where(*here, *same)).scalar()
            if found is None:
                return False
            row = {"input_uuid": uuid4().hex, "source_type": "DATASET", "source_id": found}
            row |= {"destination_type": "RUN", "destination_id": run_id}
            if _add(connection, "SqlInput", [row]):  # else the run had it before
                key = {"input_uuid": row["input_uuid"]}
                tags = [key | {"name": tag.key, "value": tag.value} for tag in each.tags]
                _add(connection, "SqlInputTag", tags)
    return True


def set_terminated(store: Any, run_id: str, status: str, end_time: int | None = None) -> bool:
    """Set how and when a run ended; end_time: in ms, now where it is None."""
    runs = models.SqlRun.__table__
    ended = {"status": status, "end_time": end_time or round(time() * 1000)}
    with _writing(store) as connection:
        if not _is_active(connection, run_id):
            return False
        connection.execute(update(runs).where(runs.c.run_uuid == run_id).values(ended))
    return True


WRITES: dict[str, Callable[..., Any]] = {
    "create_run": create_run,
    "log_batch": log_batch,
    "log_inputs": log_inputs,
    "set_terminated": set_terminated,
}
"""What takes the place of methods of MlflowClient, given a `store`.

False or None where the client is to be asked after all, to do it or to say why not.
"""


def _is_known(name: str, columns: str, key: str) -> bool:
    """Whether a table of MLflow has just these columns, and these for its key."""
    table = getattr(getattr(models, name, None), "__table__", None)
    if table is None:
        return False
    there = {*table.c.keys()}, {*table.primary_key.c.keys()}
    return there == ({*columns.split()}, {*key.split()})


_names: set[str] = set()  # which MLflow has found right


def _are_plain(metrics: Sequence[Metric], params: Sequence[Param], tags: Sequence[RunTag]) -> bool:
    """Whether MLflow would find nothing wrong, as it did with others of the same names.

    To ask it takes longer than to write what is asked about.
    """
    return all(
        each.key in _names
        and (type(each.value), type(each.timestamp), type(each.step)) == (float, int, int)
        and each.timestamp >= 0
        for each in metrics
    ) and all(
        each.key in _names and type(each.value) is str and len(each.value) <= _SHORT
        for each in (*params, *tags)
    )


def _is_active(connection: Connection, run_id: str) -> bool:
    """Whether there is such a run, and not deleted."""
    batch = _batches.get(connection.engine)
    if batch is not None and run_id in batch.active:
        return True
    active = connection.exec_driver_sql(_asked_stage(), (run_id,)).scalar() == "active"
    if active and batch is not None:
        batch.active.add(run_id)
    return active


@cache
def _asked_stage() -> str:
    """How SQLite is asked for the stage of a run's life."""
    runs = models.SqlRun.__table__.c
    return str(select(runs.lifecycle_stage).where(runs.run_uuid == "").compile(dialect=dialect()))


def _set_up(connection: Connection) -> None:
    """Set a connection up much as MLflow does, once for each that its pool has open."""
    if not connection.info.get(__name__):
        connection.exec_driver_sql("PRAGMA foreign_keys = ON")
        connection.exec_driver_sql("PRAGMA cache_size = -32000")  # KiB: for all of a batch
        connection.exec_driver_sql("PRAGMA busy_timeout = 20000")  # ms to wait for another writer
        connection.info[__name__] = True


def _add(connection: Connection, name: str, rows: list[dict[str, Any]]) -> int:
    """Add rows to a table, all of the same columns; how many of them are new, or newer.

    SQLAlchemy would look at every value of every row, which takes longer than to write it.
    """
    if not rows:
        return 0
    statement, columns = _written(name, tuple(rows[0]))
    return connection.exec_driver_sql(
        statement, [tuple([row[key] for key in columns]) for row in rows]
    ).rowcount


def _point(store: Any, run_id: str, metric: Metric) -> dict[str, Any]:
    is_nan, value = store.sanitize_metric_value(metric.value)
    place = {"timestamp": metric.timestamp, "step": metric.step}
    return {"run_uuid": run_id, "key": metric.key, "value": value, "is_nan": is_nan, **place}


def _entry(run_id: str, entry: Param | RunTag) -> dict[str, Any]:
    return {"run_uuid": run_id, "key": entry.key, "value": entry.value}


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
def _written(name: str, columns: tuple[str, ...]) -> tuple[str, list[str]]:
    """A statement as SQLite reads it, and the columns of a row in the order of its values."""
    compiled = _statement(name).compile(dialect=dialect(), column_keys=columns)
    return str(compiled), [*(compiled.positiontup or ())]


def _statement(name: str) -> Any:
    """How rows get into a table, one after another, so that MLflow lists metrics as they came.

    A point takes the place of the latest one where it is later, as MLflow compares them.
    """
    table, key = getattr(models, name).__table__, _KNOWN[name][1].split()
    add = insert(table)
    if name in ("SqlParam", "SqlInputTag"):
        return add
    if name in ("SqlMetric", "SqlInput"):
        return add.on_conflict_do_nothing(index_elements=key)
    later = None
    if name == "SqlLatestMetric":
        later = _order(add.excluded) > _order(table.c)
    changed = {each.name: add.excluded[each.name] for each in table.c if each.name not in key}
    return add.on_conflict_do_update(index_elements=key, set_=changed, where=later)


def _order(columns: Any) -> Any:
    return tuple_(columns.step, columns.timestamp, columns.value)
