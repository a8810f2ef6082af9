"""Points with one recipe are trained once and count once, whichever sweep has trained them."""

import pytest

from dlrun import record
from dlrun.record.sweep import read
from dlrun.sweep import driver
from tests.sweep.typed import directory, points

TWICE = ("sweep=random", "sweep.trials=6", "optimizer=sgd,adam")


def test_a_point_that_is_drawn_again_is_taken_over(sweep, tmp_path, capsys):
    assert sweep(*TWICE) == 0
    said = capsys.readouterr().out
    assert len(record.all_runs(tmp_path / "outputs")) == 2
    assert said.count("  as point ") == 4
    assert "6 points, 2 of them different" in said
    assert ": 2 finished" in said
    assert "no effect" not in said
    assert "may be chance" not in said
    assert {point.status for point in points(tmp_path)} == {"FINISHED"}
    found = read(directory(tmp_path))
    assert len(found.points) == 2
    assert len({point.mean for point in found.ranked}) == 2


def test_one_that_failed_is_not_tried_again_by_its_twins(sweep, tmp_path, capsys):
    words = ["sweep=random", "sweep.trials=5", "optimizer.lr=0.1,-1"]
    assert sweep(*words) == 1
    assert capsys.readouterr().err.count("optimizer.lr=-1: must be at least 0") == 1
    assert len(record.all_runs(tmp_path / "outputs")) == 2
    assert {point.status for point in points(tmp_path)} == {"FINISHED", "FAILED"}


def test_of_points_with_several_runs_those_that_failed_are_counted(sweep, capsys):
    assert sweep("optimizer.lr=0.1,-1", "seed=0,1") == 1
    out, err = capsys.readouterr()
    assert "4 runs; points: 1 finished, 1 failed" in out
    assert err.splitlines()[-1] == "error: 2 of 4 runs failed"


def test_what_another_sweep_has_trained_is_taken_over(sweep, tmp_path, capsys):
    assert sweep("optimizer.lr=0.1,0.05,0.01") == 0
    before = {run.name for run in record.all_runs(tmp_path / "outputs")}
    capsys.readouterr()
    assert sweep("optimizer.lr=0.05,0.1", "sweep.repeats=2") == 0, "as the critic proposes"
    assert capsys.readouterr().out.count("  as run ") == 2
    after = [run.name for run in record.all_runs(tmp_path / "outputs")]
    assert len(after) == 5, "the second seeds alone were trained"
    assert before < set(after)


def test_a_pruner_sees_what_was_taken_over_as_it_does_when_the_sweep_goes_on(
    sweep, tmp_path, monkeypatch
):
    shown = []
    monkeypatch.setattr(driver, "replay", lambda judge, run, objective: shown.append(run.name))
    assert sweep("optimizer.lr=0.05") == 0
    [before] = [run.name for run in record.all_runs(tmp_path / "outputs")]
    words = ["sweep=random", "optimizer.lr=0.05,0.1", "sweep.trials=5", "sweep.pruner=median"]
    assert sweep(*words) == 0
    once = sorted(shown)
    shown.clear()
    assert sweep(*words) == 0
    assert len(shown) == 5
    [own] = {run.name for run in record.all_runs(tmp_path / "outputs")} - {before}
    assert sorted([*once, own]) == sorted(shown), "but for the one that it judged in training"


def test_a_constructor_that_fails_is_a_failed_point_wherever_it_stands(sweep, tmp_path, capsys):
    for words in (["optimizer.lr=-1,0.1"], ["optimizer.lr=0.1,-1"]):
        assert sweep(*words) == 1
        out, err = capsys.readouterr()
        assert "1 finished, 1 failed" in out
        assert err.splitlines()[-1] == "error: 1 of 2 points failed"
    assert sweep("optimizer.lr=-1,-2") == 2
    assert capsys.readouterr().err.startswith("error: optimizer.lr=-1: must be at least 0")


@pytest.mark.parametrize("order", ["digits,imagefolder", "imagefolder,digits"])
def test_a_setting_that_is_missing_is_a_mistake_wherever_it_stands(sweep, tmp_path, capsys, order):
    assert sweep(f"data={order}") == 2
    assert capsys.readouterr().err.startswith("error: data.root is required")
    assert record.all_runs(tmp_path / "outputs") == []


@pytest.mark.proof
def test_the_loss_of_the_task_and_the_one_that_it_is_are_one_recipe(sweep, tmp_path, capsys):
    assert sweep("loss=auto,cross_entropy", "sweep.repeats=2") == 0
    runs = record.all_runs(tmp_path / "outputs")
    assert len(runs) == 2, "one for each seed"
    out = capsys.readouterr().out
    assert "2 points, 1 of them different" in out
    assert {record.read_json(run / "run.json")["choices"]["loss"] for run in runs} == {
        "cross_entropy"
    }
    assert sweep("optimizer.lr=0.1,0.05") == 0
    assert sweep("optimizer.lr=0.05", "loss=cross_entropy") == 0
    assert len(record.all_runs(tmp_path / "outputs")) == 3, "the rate 0.05 is the default one"
