"""A database of its own for the delivery tests, and a real tracking server."""

import importlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import warnings
from pathlib import Path

import pytest

from dlrun import record, tracking

RECIPE = """
epochs: 3
model: {_target_: dlrun.model.mlp, hidden: [50, 20]}
optimizer: {_target_: torch.optim.SGD, lr: 0.1}
tracking: {uri: null}
resume: null
"""
for _key, _value in tracking.ENVIRONMENT.items():  # before anything imports MLflow
    os.environ.setdefault(_key, _value)
with warnings.catch_warnings():  # MLflow's own, while it is imported
    warnings.simplefilter("ignore")
    for _name in ("mlflow.store.tracking.sqlalchemy_store", "mlflow.pyfunc", "mlflow.pytorch"):
        importlib.import_module(_name)


class Server:
    """`mlflow server` on a free port of this machine, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        folder = self._folder
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}"]
        command += ["--artifacts-destination", str(folder / "artifacts")]
        with (folder / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=folder,
                env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                start_new_session=True,
            )
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError((folder / "server.log").read_text())

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@pytest.fixture(scope="session")
def _server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


@pytest.fixture
def server(_server):
    """The server, running."""
    if _server._process is None:
        _server.start()
    return _server


@pytest.fixture
def dead_server(_server):
    """The server, killed; `start` brings it back."""
    _server.kill()
    return _server


@pytest.fixture(scope="session")
def database(tmp_path_factory):
    """The URI of a database that is ready."""
    from dlrun.tracking import store

    uri = f"sqlite:///{tmp_path_factory.mktemp('database') / 'mlflow.db'}"
    store.connect(uri, "dlrun")
    return uri


@pytest.fixture
def begin(tmp_path, add):
    """Begin a run with so many points; all are closed afterwards."""
    made = []

    def begin(points=0, name="a run", recipe=RECIPE, **info):
        run = record.create(tmp_path, name, info, recipe)
        made.append(run)
        add(run, 0, points)
        return run

    yield begin
    for run in made:
        run.close()


@pytest.fixture(scope="session")
def recipe():
    """The recipe of the runs that `begin` makes."""
    return RECIPE


@pytest.fixture(scope="session")
def add():
    """Append points whose values tell their step."""

    def add(run, start, stop):
        for step in range(start, stop):
            values = {"train/loss": 1 / (step + 1), "val/accuracy": step / 1000}
            run.append(step, step / 10, values)

    return add


@pytest.fixture(scope="session")
def history():
    """(step, value) of all points of a metric that the store has."""

    def history(uri, run_id, key="val/accuracy"):
        from mlflow import MlflowClient

        points = MlflowClient(uri).get_metric_history(run_id, key)
        return sorted((point.step, point.value) for point in points)

    return history


@pytest.fixture(scope="session")
def assert_each_once(history):
    """The store has what the record has, every point once, in one run."""

    def assert_each_once(uri, run, run_id):
        from mlflow import MlflowClient

        for key in ("val/accuracy", "train/loss"):
            expected = [(point["step"], point["values"][key]) for point in run.points()]
            assert history(uri, run_id, key) == expected
        client = MlflowClient(uri)
        experiment = client.get_run(run_id).info.experiment_id
        found = client.search_runs([experiment], f"tags.`dlrun.uid` = '{run.info['uid']}'")
        assert len(found) == 1

    return assert_each_once
