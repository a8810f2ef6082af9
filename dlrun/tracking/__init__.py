"""The group `tracking`: the way from a run's record on disk to MLflow.

The training process never talks to a tracking server. It writes the record; a second process
follows it, draws its curves, and delivers it in batches. That process outlives a killed
trainer, and tries again while a server is down. What is not delivered in the end stays on
disk; `dlrun sync` delivers it in the same way.

    follower.py  the trainer's end of the second process
    follow.py    the second process: follows records until they are final
    sync.py      `dlrun sync`: which runs, and what it prints
    catch_up.py  one run: what the store lacks of it is delivered
    delivery.py  one run: create it, deliver each point once, finish it
    bulk.py      much at once into MLflow's own database, past its slow way
    cursor.py    `tracking.json`: where a run is delivered, and how much is there
    history.py   which points the store has, and whether they still hold
    artifacts.py the files of a run, and which of them the store lacks
    model.py     the best weights as an MLflow model
    program.py   a model as a program of torch.export, like ones traced once
    together.py  models that differ in their weights alone as one network
    entries.py   a recipe and a record as params, tags and data set
    store.py     the tracking store: a fresh database, the experiment
    deadline.py  a limit for the whole of a request
    late.py      creates a run once, though a slow server answers late
    address.py   what a tracking URI may be
    imports.py   large libraries imported sooner
    credentials.py  the password of a store: recorded nowhere, yet known to the delivery
"""

import logging
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from dlrun import shell
from dlrun.errors import Mistake
from dlrun.tracking import address, credentials, cursor
from dlrun.tracking.address import sqlite_path
from dlrun.tracking.follower import Follower

_log = logging.getLogger("dlrun")

ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # MLflow's own 120 s × 7 tries hang for minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # a request repeated blindly may create two runs
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""MLflow's settings here, where the user's environment sets none."""


def start(
    uri: str | None = None,
    experiment: str | None = None,
    checkpoints: bool = True,
    model: bool = True,
    outputs: str = "outputs",
) -> Follower:
    """Start the process that delivers; it gets ready while the trainer imports torch.

    experiment: None means the one that MLFLOW_EXPERIMENT_NAME names, or `dlrun`.
    checkpoints, model: whether they go to the server too, at the end of a run.
    Raises Mistake where `uri` is of no kind that MLflow takes.
    """
    experiment = default_experiment() if experiment is None else experiment
    if not experiment.strip():
        raise Mistake(f"tracking.experiment='{experiment}': must be a name")
    settings = {
        "uri": resolve_uri(uri, outputs),
        "experiment": experiment,
        "checkpoints": checkpoints,
        "model": model,
    }
    environment = ENVIRONMENT | os.environ
    if shell.HIDDEN in str(settings["uri"]):
        environment["MLFLOW_TRACKING_URI"] = credentials.whole(str(settings["uri"]))
    return Follower(settings, environment)


def default_experiment() -> str:
    """The experiment of runs whose recipe names none."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME", "").strip() or "dlrun"


def resolve_uri(uri: str | None, outputs: str | Path) -> str:
    """Where runs go: `tracking.uri`, else MLFLOW_TRACKING_URI, else `<outputs>/mlflow.db`.

    Paths of SQLite are made absolute, and a password is hidden. Raises Mistake where the form
    is wrong, or where a database that was named cannot be written.
    """
    key = "tracking.uri" if uri else "MLFLOW_TRACKING_URI"
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        return f"sqlite:///{shell.path(outputs, 'outputs').absolute() / 'mlflow.db'}"
    problem = address.problem(uri)
    if problem:
        raise Mistake(f"{key}={shell.redacted(uri)}: {problem}")
    path = sqlite_path(uri)
    if path is None:
        scheme, colon, rest = uri.partition(":")
        return credentials.hidden(f"{scheme.lower()}{colon}{rest}")
    _refuse_unwritable(f"{key}={uri}", path.absolute())
    return f"sqlite:///{path.absolute()}"


def known_uri(directory: str | Path, outputs: str | Path) -> str | None:
    """Where a run was delivered so far; None where it never was.

    A database that moved together with its outputs/ is found in the new place.
    """
    known = cursor.read(Path(directory)).get("uri")
    if not isinstance(known, str):
        return None
    path, moved = sqlite_path(known), shell.path(outputs, "outputs").absolute() / "mlflow.db"
    if path is not None and not path.parent.exists() and moved.exists():
        return f"sqlite:///{moved}"
    return known


def resumed_uri(directory: str | Path, uri: str | None, outputs: str | Path, typed: bool) -> Any:
    """Where a resumed run goes: where it is already, unless `tracking.uri` was typed now.

    uri: that of the recipe. Warns where the run moves, and where MLFLOW_TRACKING_URI names
    another store, which it does not move to.
    """
    known = known_uri(directory, outputs)
    if known is None:
        return uri
    if typed:
        target = resolve_uri(uri, outputs)
        if _place(target) != _place(known):
            _log.warning(
                f"tracking.uri: the run moves from {_place(known)} to {_place(target)} with "
                "all its points; what is there of it already stays there"
            )
        return uri
    variable = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri and variable:
        if _place(resolve_uri(None, outputs)) == _place(known):
            return uri
        _log.warning(
            f"the run stays with {_place(known)}; to send it to where MLFLOW_TRACKING_URI says: "
            f'{shell.sync(Path(directory))} tracking.uri="$MLFLOW_TRACKING_URI"'
        )
    return uri if uri and _place(uri) == _place(known) else known


def _place(uri: str) -> str:
    """The URI without user and password."""
    return re.sub(r"(?<=://)[^/]*@", "", uri)


def _refuse_unwritable(given: str, path: Path) -> None:
    """Raise Mistake where no database can be written; else it would only show at the end."""
    if path.is_dir():
        raise Mistake(f"{given}: cannot be written: Is a directory")
    if path.exists() and not os.access(path, os.W_OK):
        raise Mistake(f"{given}: cannot be written: Permission denied")
    if path.exists() and not address.is_database(path):
        raise Mistake(f"{given}: is not a SQLite database; {address.ADVICE}")
    try:
        folder = next(above for above in path.parents if above.exists())
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise Mistake(f"{given}: cannot be written: {error.strerror or error}") from error
