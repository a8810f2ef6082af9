"""Where runs go, and that finding out is light."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from dlrun import tracking
from dlrun.errors import Mistake


def test_by_default_a_database_in_the_outputs(here):
    assert tracking.resolve_uri(None, "outputs") == f"sqlite:///{here}/outputs/mlflow.db"


def test_the_option_wins_over_the_variable_and_that_over_the_default(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://a:5000")
    assert tracking.resolve_uri(None, "o") == "http://a:5000"
    assert tracking.resolve_uri("https://b", "o") == "https://b"


def test_paths_of_sqlite_become_absolute(here):
    assert tracking.resolve_uri("sqlite:///x.db", "o") == f"sqlite:///{here}/x.db"
    there = f"sqlite:///{here}/not/yet/x.db"
    assert tracking.resolve_uri(there, "o") == there
    assert not list(here.iterdir())
    assert tracking.sqlite_path("sqlite:////x/y.db") == Path("/x/y.db")
    assert tracking.sqlite_path("http://a") is None


def test_a_database_that_cannot_be_written_is_a_mistake(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for where in (f"{tmp_path}/file/x.db", f"{tmp_path}"):
        with pytest.raises(Mistake, match=f"tracking.uri=sqlite:///{where}: cannot be written: "):
            tracking.resolve_uri(f"sqlite:///{where}", "o")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}")
    with pytest.raises(Mistake, match=r"MLFLOW_TRACKING_URI=.*: cannot be written: Is a directory"):
        tracking.resolve_uri(None, "o")


def test_looking_at_a_database_leaves_its_locks(tmp_path):
    """A process that opens and closes a file loses all locks it holds on it."""
    path = tmp_path / "x.db"
    lock = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN EXCLUSIVE')"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE t (x)")
        database.execute("BEGIN EXCLUSIVE")
        tracking.resolve_uri(f"sqlite:///{path}", "o")
        other = subprocess.run(
            [sys.executable, "-c", lock, str(path)], capture_output=True, text=True
        )
        assert "database is locked" in other.stderr


@pytest.mark.parametrize(
    "uri", ["mlruns", "/tmp/x", "file:///tmp/x", "C", "http://", "https:", "sqlite:///"]
)
def test_what_mlflow_does_not_take_is_a_mistake(uri, monkeypatch):
    with pytest.raises(Mistake, match=f"tracking.uri={uri}: .*sqlite:///"):
        tracking.resolve_uri(uri, "o")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(Mistake, match=f"MLFLOW_TRACKING_URI={uri}: "):
        tracking.resolve_uri(None, "o")


def test_an_experiment_needs_a_name():
    with pytest.raises(Mistake, match=r"tracking.experiment=' ': must be a name"):
        tracking.start(experiment=" ")


def test_the_trainer_imports_no_mlflow():
    code = "import sys, dlrun.tracking.sync; print('mlflow' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
