"""What has been found on other data, or with other code, does not count any more."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from dlrun import record
from tests.sweep.typed import points, table

WORDS = ("data=arrays", "data.path=mine.npz", "model=linear", "optimizer.lr=0.1,0.01")


def write(folder: Path, seed: int) -> None:
    """Two classes of 60 samples, drawn from a seed."""
    draw = np.random.default_rng(seed)
    y = np.arange(60) % 2
    np.savez(folder / "mine.npz", x=draw.normal(size=(60, 3)) + y[:, None], y=y)


def test_changed_data_are_trained_on_anew(sweep, tmp_path, capsys):
    write(tmp_path, 0)
    assert sweep(*WORDS) == 0
    first = table(tmp_path)
    shutil.copy(tmp_path / "mine.npz", tmp_path / "copy.npz")
    (tmp_path / "mine.npz").unlink()
    shutil.copy(tmp_path / "copy.npz", tmp_path / "mine.npz")
    assert sweep(*WORDS) == 0
    assert len(record.all_runs(tmp_path / "outputs")) == 2, "the same content, if newer"
    assert capsys.readouterr().err == ""

    write(tmp_path, 1)
    assert sweep(*WORDS) == 0
    said = capsys.readouterr().err
    assert said.startswith("warning: data.path=mine.npz: has changed since 2 points of the sweep")
    assert len(record.all_runs(tmp_path / "outputs")) == 4
    assert table(tmp_path) != first
    digests = {
        record.read_json(tmp_path / "outputs" / str(run.directory) / "run.json")["data"]["digest"]
        for point in points(tmp_path)
        for run in point.runs
    }
    assert len(digests) == 1, "the table is of one data set"

    assert sweep(*WORDS) == 0
    out, err = capsys.readouterr()
    assert "2 done already" in out
    assert err == ""
    assert len(record.all_runs(tmp_path / "outputs")) == 4


@pytest.mark.figures
def test_data_that_are_gone_leave_what_was_found(sweep, tmp_path, capsys):
    write(tmp_path, 0)
    assert sweep(*WORDS) == 0
    (tmp_path / "mine.npz").unlink()
    assert sweep(*WORDS) == 0
    assert "2 done already" in capsys.readouterr().out


@pytest.mark.proof
def test_changed_code_of_the_user_is_trained_anew(sweep, tmp_path, capsys, monkeypatch):
    code = (
        "from torch.nn import *\ndef net():\n    return Sequential(Flatten(), Linear(64, 10{}))\n"
    )
    words = ("model=custom", "model._target_=presentnet.net", "optimizer.lr=0.1,0.01")
    file = tmp_path / "presentnet.py"
    file.write_text(code.format(""))
    assert sweep(*words) == 0
    assert sweep(*words) == 0
    assert "2 done already" in capsys.readouterr().out
    file.write_text(code.format(", bias=False"))
    monkeypatch.delitem(sys.modules, "presentnet")  # another command is another process
    assert sweep(*words) == 0
    said = capsys.readouterr().err
    assert said.startswith("warning: presentnet: has changed since 2 points of the sweep had been")
    sizes = [record.read_json(run / "run.json")["parameters"] for run in all_runs(tmp_path)]
    assert sizes == [650, 650, 640, 640]
    assert sweep(*words) == 0
    assert "2 done already" in capsys.readouterr().out


def all_runs(folder: Path) -> list[Path]:
    return record.all_runs(folder / "outputs")


def test_what_says_more_of_a_run_is_not_lost_silently_on_one_that_is_done(sweep, capsys):
    words = ("epochs='2 steps'", "seed=0,1", "preflight=off")
    assert sweep(*words) == 0
    assert sweep(*words) == 0
    assert "as they were recorded" not in capsys.readouterr().out
    assert sweep(*words, "watch=layers", "target_error=5%") == 0
    said = capsys.readouterr().out
    assert "2 done already" in said
    for word in ("watch=layers", "target_error=5%"):
        assert f"{word}: leaves the runs that are done already as they were recorded" in said
    assert "preflight=off: leaves" not in said
