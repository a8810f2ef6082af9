import errno
import logging
import sqlite3

import pytest
from filelock import FileLock

from dlrun import record
from dlrun.errors import Mistake
from dlrun.tracking import store
from dlrun.tracking.sync import sync


def test_a_file_in_place_of_outputs_is_a_mistake(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Mistake, match=r"^outputs=.*file: is a file"):
        sync(tmp_path / "file", [])


def test_no_runs_at_all(tmp_path, capsys):
    assert sync(tmp_path, []) == 0
    assert capsys.readouterr().out == f"no tracked runs in {tmp_path / 'runs'}\n"


def test_a_store_that_refuses_is_named_with_a_way_out(
    begin, tmp_path, database, monkeypatch, capsys, caplog
):
    run = begin(3)

    def full(*where):
        log = logging.getLogger("mlflow.store.db.utils")
        if log.isEnabledFor(logging.ERROR):  # as MLflow does before it raises
            print("Traceback")
        raise sqlite3.OperationalError("database or disk is full\nand more")

    monkeypatch.setattr(store, "connect", full)
    assert sync(tmp_path, [run.id], database) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{run.id}  not delivered to {database}: database or disk is full",
        f"to another server or database: dlrun sync {run.id} outputs={tmp_path} "
        f"tracking.uri=sqlite:///{tmp_path}/mlflow.db",
    ]


def test_points_of_one_step_are_counted_each(begin, tmp_path, database, capsys):
    run = begin(2)
    run.append(2, 2.0, {"test/loss": 0.5})
    run.set_status(record.FINISHED)
    run.close()
    assert sync(tmp_path, [run.id], database) == 0
    assert "complete: 3 points, 3 of them delivered now" in capsys.readouterr().out


def test_a_store_is_made_ready_once_for_all_runs(
    begin, tmp_path, database, monkeypatch, assert_each_once
):
    runs, made, connect = [begin(2, f"run {n}") for n in range(3)], [], store.connect
    monkeypatch.setattr(store, "connect", lambda *where: made.append(where) or connect(*where))
    for run in runs:
        run.set_status(record.FINISHED)
        run.close()
    assert sync(tmp_path, [run.id for run in runs], database) == 0
    assert len(made) == 1
    for run in runs:
        assert_each_once(database, run, record.read_json(run.directory / "tracking.json")["run_id"])


DEAD = "http://127.0.0.1:9"


def test_a_dead_server_is_named_and_the_run_can_go_elsewhere(
    begin, tmp_path, database, capsys, history, monkeypatch
):
    run = begin(3)
    run.set_status(record.FINISHED)
    run.close()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    record.write_json(run.directory / "tracking.json", {"uri": DEAD, "experiment": "dlrun"})
    assert sync(tmp_path, []) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{run.id}  not delivered to {DEAD}: Connection refused",
        f"to another server or database: dlrun sync {run.id} outputs={tmp_path} "
        f"tracking.uri=sqlite:///{tmp_path}/mlflow.db",
    ]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)  # the run stays with its own server
    assert sync(tmp_path, []) == 1
    assert DEAD in capsys.readouterr().out
    assert sync(tmp_path, [run.id], database) == 0
    assert "complete: 3 points, 3 of them delivered now" in capsys.readouterr().out
    known = record.read_json(run.directory / "tracking.json")
    assert len(history(database, known["run_id"])) == 3


def test_what_is_no_server_is_a_mistake(begin, tmp_path):
    begin(1).close()
    with pytest.raises(Mistake, match=r"^tracking.uri=nowhere: MLflow takes"):
        sync(tmp_path, ["last"], "nowhere")


def test_damaged_points_do_not_keep_back_the_others(begin, tmp_path, database, capsys, history):
    run = begin(3)
    path = run.directory / "metrics.jsonl"
    first, _, last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + b"garbage\n" + last)
    run.set_status(record.FINISHED)
    run.close()
    assert sync(tmp_path, [run.id], database) == 0
    said = "complete but for damaged points: 2 points, 2 of them delivered now"
    assert said in capsys.readouterr().out
    known = record.read_json(run.directory / "tracking.json")
    assert [step for step, _ in history(database, known["run_id"])] == [0, 2]


def test_what_the_record_lacks_is_said_with_what_brings_it(begin, tmp_path, database, capsys):
    run = begin(2, closing=["figures", "model"])
    run.set_status(record.FINISHED)
    run.close()
    assert sync(tmp_path, [run.id], database) == 0
    brings = f"`dlrun resume={run.id} outputs={tmp_path}` brings them"
    said = f"complete but for figures/ and model/ ({brings}): 2 points"
    assert said in capsys.readouterr().out


def test_a_run_that_may_not_be_written_is_not_sent_to_another_store(
    begin, tmp_path, database, monkeypatch, capsys
):
    run = begin(2)
    run.set_status(record.FINISHED)
    run.close()

    def refuse(lock):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    assert sync(tmp_path, [run.id], database) == 1
    assert capsys.readouterr().out == (
        f"{run.id}  not delivered: cannot write {run.directory}: Permission denied\n"
    )
