"""Runs of a procedure that train at once come to what they come to one after another."""

import gc
import os

import pytest

from dlrun import record
from dlrun.__main__ import main
from dlrun.job.stacked import KEPT, Decision, Stacks
from dlrun.stack import worth
from tests.states import timeless

COMMON = ("tracking=none", "threads=1", "epochs=3", "data.samples=25%")
THIRDS = "procedure._target_=tests.job.thirds.train_thirds"
CASES = {
    "cross_validate": ("procedure=cross_validate", "procedure.folds=4"),
    "bagging": ("procedure=bagging", "procedure.models=4"),
    "ensemble": ("procedure=ensemble", "procedure.seeds=3"),
    "thirds": (THIRDS,),
}


def found(where):
    """The procedure's outcome and its runs' points, without the clock."""
    infos = {run: record.read_json(run / "run.json") for run in record.all_runs(where / "outputs")}
    [own] = [run for run, info in infos.items() if info.get("kind") == "procedure"]
    points = {infos[run]["name"]: timeless(record.read_points(run)) for run in infos if run != own}
    return infos[own], points


def assert_alike(one, other):
    assert one.keys() == other.keys()
    for name, points in one.items():
        assert [step for step, _ in points] == [step for step, _ in other[name]]
        for (_, values), (_, same) in zip(points, other[name], strict=True):
            assert list(values) == list(same)
            loss = {key: value for key, value in values.items() if key.endswith("loss")}
            assert {key: same[key] for key in loss} == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_a_procedure_finds_what_it_finds_one_by_one(name, tmp_path, monkeypatch, stacks):
    results = []
    for way in ("off", "8"):
        where = tmp_path / way
        where.mkdir()
        monkeypatch.chdir(where)
        assert main([*COMMON, *CASES[name], f"sweep.stack={way}"]) == 0
        results.append(found(where))
    assert stacks, "some trained at once"
    (info, points), (again, siblings) = results
    assert_alike(points, siblings)
    assert again["value"] == pytest.approx(info["value"], abs=0.01)
    assert len(again["runs"]) == len(info["runs"])


BROKEN_OFF = [*COMMON, *CASES["ensemble"], "sweep.stack=8", "checkpoint_every='2 steps'"]


@pytest.fixture
def broken_off(here, interrupted):
    """The runs of a stack that is interrupted in its second validation, by their names."""
    with interrupted():
        assert main(BROKEN_OFF) == 130
    runs = record.all_runs(here / "outputs")
    return [run for run in runs if (run / "checkpoints").exists()]


def whole(tmp_path, monkeypatch):
    """What becomes of the same runs where nothing interrupts them."""
    (tmp_path / "whole").mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    assert main(BROKEN_OFF) == 0
    return found(tmp_path / "whole")[1]


def test_interrupted_and_typed_again_it_trains_what_is_left(
    broken_off, tmp_path, monkeypatch, stacks
):
    assert main(BROKEN_OFF) == 0
    assert stacks == [3]
    assert len(record.all_runs(tmp_path / "outputs")) == 4
    assert found(tmp_path)[1] == whole(tmp_path, monkeypatch)


def test_one_that_has_lost_points_trains_apart(broken_off, tmp_path, monkeypatch, stacks, capsys):
    (broken_off[1] / "metrics.jsonl").write_bytes(b"")
    capsys.readouterr()
    assert main(BROKEN_OFF) == 0
    assert stacks == [2]
    said = "points of metrics.jsonl are lost; going on from the beginning"
    assert capsys.readouterr().err == f"warning: {broken_off[1]}/checkpoints: {said}\n"
    assert_alike(found(tmp_path)[1], whole(tmp_path, monkeypatch))


def test_where_a_checkpoint_is_damaged_all_go_on_from_the_one_before(
    broken_off, tmp_path, monkeypatch, stacks, capsys
):
    os.truncate(broken_off[1] / "checkpoints" / "last.pt", 5000)
    capsys.readouterr()
    assert main(BROKEN_OFF) == 0
    assert stacks == [3]
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith(f"warning: {broken_off[1]}/checkpoints: last.pt is damaged (")
    assert said.endswith("; going on from the checkpoint before it")
    assert found(tmp_path)[1] == whole(tmp_path, monkeypatch)


def test_auto_is_the_default(tmp_path, monkeypatch, stacks, capsys):
    monkeypatch.setattr(worth, "gain", lambda runs: 3.21)
    monkeypatch.setattr("dlrun.job.stacked.SOON", 0)
    monkeypatch.chdir(tmp_path)
    assert main([*COMMON, *CASES["ensemble"]]) == 0
    assert stacks == [3]
    assert "3 runs at once as one network, 3.2 times as fast" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["sweep.stack=4"], ["sweep.stack=off", "procedure=find_lr"]])
def test_one_run_has_nobody_to_train_with(words, capsys, here):
    code = main([*COMMON, *words])
    if "procedure=find_lr" in words:
        assert code == 0
    else:
        assert code == 2
        said = f"error: {words[0]}: is about several runs, of a sweep (-m) or a procedure"
        assert said in capsys.readouterr().err


def test_a_stack_holds_no_more_files_open_than_it_may(tmp_path, monkeypatch, stacks):
    monkeypatch.setattr("resource.getrlimit", lambda kind: (109, 200))
    monkeypatch.chdir(tmp_path)
    assert main([*COMMON, "procedure=ensemble", "procedure.seeds=4", "sweep.stack=8"]) == 0
    assert stacks == [2, 2]


def test_what_was_decided_holds_as_far_as_files_may_be_open_now(tmp_path, monkeypatch):
    monkeypatch.setattr("resource.getrlimit", lambda kind: (109, 200))
    kept = tmp_path / KEPT
    record.write_json(kept, {"auto kin": {"size": 80, "gain": 9.5, "why": ""}})
    assert Stacks("auto", kept).decision("kin", []) == Decision(2, 9.5)


def test_old_garbage_is_looked_for_before_and_after(tmp_path, monkeypatch, stacks):
    usual, told = gc.get_threshold(), []
    monkeypatch.setattr(gc, "set_threshold", lambda *values: told.append((values, [*stacks])))
    monkeypatch.chdir(tmp_path)
    words = ("procedure=ensemble", "procedure.seeds=3", "sweep.stack=3", "epochs=1")
    assert main([*words, "tracking=none", "threads=1"]) == 0
    assert told == [((*usual[:2], 2**30), []), (usual, [3])]
