import logging
import sqlite3

import pytest

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


def test_a_store_that_refuses_is_one_line(begin, tmp_path, database, monkeypatch, capsys, caplog):
    run = begin(3)

    def full(*where):
        log = logging.getLogger("mlflow.store.db.utils")
        if log.isEnabledFor(logging.ERROR):  # as MLflow does before it raises
            print("Traceback")
        raise sqlite3.OperationalError("database or disk is full\nand more")

    monkeypatch.setattr(store, "connect", full)
    assert sync(tmp_path, [run.id], database) == 1
    assert capsys.readouterr().out == f"{run.id}  not delivered: database or disk is full\n"


def test_damaged_points_do_not_keep_back_the_others(begin, tmp_path, database, capsys, history):
    run = begin(3)
    path = run.directory / "metrics.jsonl"
    first, _, last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + b"garbage\n" + last)
    run.set_status(record.FINISHED)
    run.close()
    assert sync(tmp_path, [run.id], database) == 0
    assert "complete: 2 points, 2 of them delivered now" in capsys.readouterr().out
    known = record.read_json(run.directory / "tracking.json")
    assert [step for step, _ in history(database, known["run_id"])] == [0, 2]
