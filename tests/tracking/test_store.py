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


def test_only_what_is_being_made_does_not_wait_for_the_disk(tmp_path, monkeypatch):
    levels, real = [], store.SqlAlchemyStore

    def watched(*where):
        made = real(*where)
        with made.engine.connect() as connection:
            levels.append(connection.exec_driver_sql("PRAGMA synchronous").scalar())
        return made

    monkeypatch.setattr(store, "SqlAlchemyStore", watched)
    store.connect(f"sqlite:///{tmp_path}/x.db", "mine")
    assert levels == [0, 2]  # off while its tables are made, and full as ever from then on


def test_a_failed_migration_leaves_no_database(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no space")

    monkeypatch.setattr(store, "SqlAlchemyStore", fail)
    with pytest.raises(OSError, match="no space"):
        store.connect(f"sqlite:///{tmp_path}/x.db", "mine")
    assert not (tmp_path / "x.db").exists()


@pytest.mark.parametrize(("journal", "level"), [("wal", 1), ("delete", 2)])
def test_a_write_waits_for_the_disk_only_where_the_journal_asks_for_it(tmp_path, journal, level):
    uri = f"sqlite:///{tmp_path}/x.db"
    store.connect(uri, "mine")
    store.disconnect(uri)
    with closing(sqlite3.connect(tmp_path / "x.db")) as database:
        database.execute(f"PRAGMA journal_mode={journal}")
    client, _ = store.connect(uri, "mine")
    with client._tracking_client.store.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == level


def test_an_experiment_that_was_thrown_away_comes_back(database):
    client, experiment = store.connect(database, "thrown away")
    client.delete_experiment(experiment)
    assert store.connect(database, "thrown away")[1] == experiment
    assert client.get_experiment(experiment).lifecycle_stage == "active"
