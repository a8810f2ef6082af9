"""A database is there whole or not at all, and one experiment stays one."""

import sqlite3
from contextlib import closing

import pytest

from dlrun.tracking import store


def test_a_fresh_database_is_made_whole(tmp_path):
    (tmp_path / ".x.db.1.part").write_text("of a process that was killed")
    client, experiment = store.connect(f"sqlite:///{tmp_path}/x.db", "mine")
    found = client.get_experiment(experiment)
    assert found.name == "mine"
    assert found.artifact_location == str(tmp_path / "artifacts")
    with closing(sqlite3.connect(tmp_path / "x.db")) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert not list(tmp_path.glob(".*"))


def test_a_failed_migration_leaves_no_database(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no space")

    monkeypatch.setattr(store, "SqlAlchemyStore", fail)
    with pytest.raises(OSError, match="no space"):
        store.connect(f"sqlite:///{tmp_path}/x.db", "mine")
    assert not (tmp_path / "x.db").exists()


def test_an_experiment_that_was_thrown_away_comes_back(database):
    client, experiment = store.connect(database, "thrown away")
    client.delete_experiment(experiment)
    assert store.connect(database, "thrown away")[1] == experiment
    assert client.get_experiment(experiment).lifecycle_stage == "active"
