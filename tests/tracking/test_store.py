"""A database is there whole or not at all, and one experiment stays one."""

import shutil
import sqlite3
from contextlib import closing

import pytest
from mlflow.tracking._tracking_service import utils

from dlrun.tracking import store
from dlrun.tracking.address import artifacts


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


@pytest.mark.parametrize("move", [shutil.move, shutil.copytree], ids=["moved", "copied"])
@pytest.mark.parametrize("name", ["then", "100% then?"])
def test_a_database_finds_the_files_that_went_with_it(tmp_path, move, name):
    before, now = tmp_path / "before", tmp_path / name
    client, experiment = store.connect(f"sqlite:///{before}/x.db", "mine")
    run = client.create_run(experiment).info.run_id
    client.log_text(run, "first", "a.txt")
    elsewhere = client.create_experiment("other", artifact_location=f"{tmp_path}/else/artifacts")
    other = client.create_run(elsewhere).info.run_id
    client.log_text(other, "of others", "a.txt")
    store.disconnect(f"sqlite:///{before}/x.db")
    move(before, now)
    utils._artifact_repos_cache.clear()  # as in another process

    there = store.look(f"sqlite:///{now}/x.db", "mine")
    assert there is not None
    client, found = there
    assert found.artifact_location == artifacts(now / "x.db")
    assert [each.path for each in client.list_artifacts(run)] == ["a.txt"]
    again, same = store.connect(f"sqlite:///{now}/x.db", "mine")
    assert same == experiment
    again.log_text(run, "second", "b.txt")
    new = again.create_run(same).info.run_id
    again.log_text(new, "third", "c.txt")
    written = {file.name for file in (now / "artifacts").rglob("*.txt")}
    assert written == {"a.txt", "b.txt", "c.txt"}
    assert before.exists() == (move is shutil.copytree)
    assert [each.path for each in again.list_artifacts(other)] == ["a.txt"]
    store.disconnect(f"sqlite:///{now}/x.db")


def test_a_database_that_is_named_by_a_link_stays_as_it_is(tmp_path):
    client, experiment = store.connect(f"sqlite:///{tmp_path}/real/x.db", "mine")
    client.log_text(client.create_run(experiment).info.run_id, "first", "a.txt")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    client, same = store.connect(f"sqlite:///{tmp_path}/link/x.db", "mine")
    assert client.get_experiment(same).artifact_location == f"{tmp_path}/real/artifacts"


def test_a_database_that_may_not_be_written_stays_as_it_is(tmp_path, monkeypatch):
    client, experiment = store.connect(f"sqlite:///{tmp_path}/before/x.db", "mine")
    client.log_text(client.create_run(experiment).info.run_id, "first", "a.txt")
    store.disconnect(f"sqlite:///{tmp_path}/before/x.db")
    (tmp_path / "before").rename(tmp_path / "now")
    real = sqlite3.connect
    monkeypatch.setattr(
        sqlite3,
        "connect",
        lambda path, **more: real(f"{path.as_uri()}?mode=ro", uri=True, **more),
    )
    store._find_files(tmp_path / "now" / "x.db")
    monkeypatch.undo()
    with closing(real(tmp_path / "now" / "x.db")) as database:
        [where] = database.execute(
            "SELECT artifact_location FROM experiments WHERE experiment_id = ?", (experiment,)
        ).fetchone()
    assert where == f"{tmp_path}/before/artifacts"
