"""A sweep goes on where its own files are damaged: the runs on disk tell what is done."""

import json
from pathlib import Path

import pytest

from dlrun import record
from dlrun.errors import Failure
from dlrun.record.files import FULL
from tests.conftest import in_suite, sparsely
from tests.sweep.typed import directory, table

WORDS = ("optimizer.lr=0.1,0.05,0.01",)
GARBAGE = {
    "no JSON": "garbage\n",
    "null": "null\n",
    "a line that says nothing": "{}\n",
    "NUL bytes": "\0" * 64,
    "NUL bytes in a line": "\0" * 64 + "\n",
    "a list": "[1, 2]\n",
    "values of the wrong type": '{"trial": 0, "hash": 1, "values": [], "overrides": {}, '
    '"runs": 3, "status": "FINISHED"}\n',
    "a run of the wrong type": '{"trial": 0, "hash": "a", "values": {"optimizer.lr": 0.1}, '
    '"overrides": [], "runs": [{"seed": "x"}], "status": "FINISHED"}\n',
    "a dimension too many": '{"trial": 0, "hash": "a", "values": {"seed": 1}, '
    '"overrides": [], "runs": [], "status": "FINISHED"}\n',
    "a value that is not on the list": '{"trial": 0, "hash": "a", "values": {"optimizer.lr": 7}, '
    '"overrides": [], "runs": [], "status": "FINISHED"}\n',
    "a trial from nowhere": '{"trial": 123456789, "hash": "a", "values": {"optimizer.lr": 0.1}, '
    '"overrides": [], "runs": [], "status": "RUNNING"}\n',
}


def trained(folder: Path) -> list[str]:
    return [run.name for run in record.all_runs(folder / "outputs")]


@pytest.mark.parametrize("damage", in_suite([*GARBAGE][::8], GARBAGE))
def test_a_damaged_line_is_passed_over(sweep, tmp_path, capsys, damage):
    assert sweep(*WORDS) == 0
    found, before = table(tmp_path), trained(tmp_path)
    ledger = directory(tmp_path) / "ledger.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(lines[:4]) + GARBAGE[damage])
    capsys.readouterr()
    assert sweep(*WORDS) == 0
    said = capsys.readouterr().err
    assert said.count("ledger.jsonl: 1 line is damaged") == (damage != "NUL bytes")
    assert table(tmp_path) == found
    assert trained(tmp_path) == before, "nothing was trained twice"
    assert sweep(*WORDS) == 0
    assert capsys.readouterr().err == "", "the ledger is whole again"


@pytest.mark.parametrize(
    "words", sparsely([WORDS, ("sweep=qmc", "sweep.trials=3", "batch_size=16,32,64")], 2, names=1)
)
def test_a_trial_whose_lines_are_lost_is_asked_for_in_its_place(sweep, tmp_path, words):
    assert sweep(*words) == 0
    found, before = table(tmp_path), trained(tmp_path)
    ledger = directory(tmp_path) / "ledger.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(line for line in lines if json.loads(line)["trial"] != 1))
    for _ in range(2):
        assert sweep(*words) == 0
        assert table(tmp_path) == found
        assert trained(tmp_path) == before


@pytest.mark.parametrize(
    "content", sparsely(["", "null", "[]", '{"objective": 3, "started": [1], "dimensions": 7}'], 4)
)
def test_a_damaged_description_is_written_anew(sweep, tmp_path, content):
    assert sweep(*WORDS) == 0
    told = directory(tmp_path) / "sweep.json"
    before = record.read_json(told)
    told.write_text(content)
    assert sweep(*WORDS) == 0
    ignored = {"started": ""}
    assert record.read_json(told) | ignored == before | ignored
    assert len(trained(tmp_path)) == 3


def test_outputs_that_cannot_be_written_are_one_line(sweep, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").touch()
    assert sweep(*WORDS, "outputs=file/out") == 2
    said = "error: outputs=file/out: cannot be written: file is a file; name another directory\n"
    assert capsys.readouterr().err == said
    assert sweep(*WORDS) == 0
    lock = directory(tmp_path) / "lock"
    lock.unlink(missing_ok=True)
    lock.mkdir()
    assert sweep(*WORDS) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: cannot write ")
    assert "Traceback" not in err


def test_a_disk_that_is_full_at_the_start_is_refused(sweep, capsys, monkeypatch):
    def full(path, content, durable=True):
        raise Failure(f"cannot write {path}: {FULL}")

    monkeypatch.setattr(record, "write_json", full)
    assert sweep(*WORDS) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: cannot write ")
    assert said.endswith(f"sweep.json: {FULL}\n")


def test_a_sweep_that_is_refused_leaves_nothing(sweep, tmp_path, capsys):
    assert sweep("batch_size=16,0,32") == 2
    assert "batch_size=0" in capsys.readouterr().err
    assert not (tmp_path / "outputs").exists()
