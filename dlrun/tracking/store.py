"""The tracking store: a database that is created once, and the experiment in it."""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import Engine, event

from dlrun.tracking import credentials
from dlrun.tracking.address import artifacts, engine_uri, sqlite_path

_LOCATIONS = {
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
}
"""Where MLflow writes down whole paths."""
_BUSY = 30  # seconds to wait for others that write


def look(uri: str, experiment: str) -> tuple[MlflowClient, Experiment | None] | None:
    """A client of the store and the experiment in it, as they are; None where there is no store.

    Creates and restores nothing, but finds files as `connect` does. Raises what MLflow raises
    where a server does not answer.
    """
    path = sqlite_path(uri)
    if path is not None and not _is_made(path):
        return None
    if path is not None:
        _find_files(path)
    client = MlflowClient(credentials.whole(engine_uri(uri)))
    return client, client.get_experiment_by_name(experiment)


def connect(uri: str, experiment: str) -> tuple[MlflowClient, str]:
    """A client of the store and the experiment's id; creates what is missing.

    A database that was moved or copied with its files finds them where they are now. Any number
    of processes may call it at once. Raises what MLflow raises where a server does not answer.
    """
    path = sqlite_path(uri)
    if path is None:
        client = MlflowClient(credentials.whole(uri))
        return client, _experiment(client, experiment)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(path.name + ".lock")):
        if not _is_made(path):
            _make(path)
        _find_files(path)
        client = MlflowClient(engine_uri(uri))
        _wait_less(SqlAlchemyStore(engine_uri(uri), artifacts(path)).engine)
        return client, _experiment(client, experiment, artifacts(path))


def _wait_less(engine: Engine) -> None:
    """Let a database with a write-ahead journal wait for the disk when that is folded in.

    It stays whole whatever happens. What a loss of power takes from it is on disk in the records.
    """
    if not event.contains(engine, "connect", _synchronize_normally):
        event.listen(engine, "connect", _synchronize_normally)
        engine.dispose()  # connections that were opened before


def _synchronize_normally(connection: sqlite3.Connection, _: object) -> None:
    if connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
        connection.execute("PRAGMA synchronous=NORMAL")


def disconnect(uri: str) -> None:
    """Close the connections to a database, so that SQLite folds its journal into the file."""
    path = sqlite_path(uri)
    if path is not None and path.exists():
        # Stores of one URI share their connections.
        SqlAlchemyStore(engine_uri(uri), artifacts(path)).engine.dispose()


def _is_made(path: Path) -> bool:
    """Whether there is a database. What is no file, such as a device, is never replaced."""
    return path.exists() and (path.stat().st_size > 0 or not path.is_file())


def _make(path: Path) -> None:
    """Create a database, under another name until its tables are complete."""
    for stale in path.parent.glob(f".{path.name}.*.part*"):  # left by a process that was killed
        stale.unlink()
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    event.listen(Engine, "connect", _synchronize_never)  # each of some fifty migrations would wait
    try:
        store = SqlAlchemyStore(engine_uri(f"sqlite:///{part}"), artifacts(path))
    finally:
        event.remove(Engine, "connect", _synchronize_never)
    store.engine.dispose()
    with closing(sqlite3.connect(part)) as database:
        database.execute("PRAGMA journal_mode=WAL")  # readers and a writer don't block each other
    with part.open("rb+") as file:
        os.fsync(file)
    part.replace(path)


def _find_files(path: Path) -> None:
    """Write down where the files of runs are, if a database was moved or copied with them.

    MLflow keeps whole paths, and would make the old folder again. A database that nobody may
    write stays as it is.
    """
    here, folder = artifacts(path), path.parent / "artifacts"
    with (
        suppress(sqlite3.DatabaseError),  # MLflow says it
        closing(sqlite3.connect(path, timeout=_BUSY)) as database,
        database,
    ):
        found = database.execute("SELECT experiment_id, artifact_location FROM experiments")
        for number, before in found.fetchall():
            if before == here or Path(before).name != folder.name:
                continue
            own = database.execute("SELECT run_uuid FROM runs WHERE experiment_id = ?", (number,))
            if not any((folder / run).is_dir() for [run] in own):
                continue
            if os.path.exists(before) and os.path.samefile(before, folder):  # by a link
                continue
            for table, column in _LOCATIONS.items():
                database.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (here, len(before) + 1, before, len(before) + 1, f"{before}/"),
                )


def _synchronize_never(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")


def _experiment(client: MlflowClient, name: str, location: str | None = None) -> str:
    for _ in range(2):
        known = client.get_experiment_by_name(name)
        if known is not None:
            if known.lifecycle_stage != "active":
                client.restore_experiment(known.experiment_id)
            return str(known.experiment_id)
        with suppress(MlflowException):  # another process was faster: look again
            return str(client.create_experiment(name, artifact_location=location))
    return str(client.create_experiment(name, artifact_location=location))
