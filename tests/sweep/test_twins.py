"""Points with one recipe are trained once and count once, whichever sweep has trained them."""

import pytest

from dlrun import record
from dlrun.record.sweep import read
from dlrun.sweep import driver
from tests.sweep.typed import LR, directory, points

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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optimizer=sgd,sgd"], "optimizer: a value that is typed again counts once; of 2 "),
        (["seed=1,1"], "seed: a value that is typed again counts once; of 2 points 1"),
        (["optimizer.lr=0.1,1e-1", "seed=0,1"], "counts once; of 4 points 2 left out"),
        (
            ["sweep.zip=[optimizer,seed]", "optimizer=sgd,adam,sgd", "seed=0,1,0"],
            "optimizer, seed: a value that is typed again counts once; of 3 points 1",
        ),
        (["sweep=random", "sweep.trials=2", "optimizer=sgd,sgd,adam", LR], "optimizer: a value"),
    ],
    ids=str,
)
def test_what_is_typed_again_is_said_to_count_once(sweep, capsys, words, said):
    assert sweep(*words, "epochs='2 steps'", "sweep.dry_run=true") == 0
    out = capsys.readouterr().out
    assert out.count(" typed again ") == 1
    assert said in out


def test_what_is_typed_again_is_said_where_it_trains(sweep, tmp_path, capsys):
    assert sweep("seed=1,1", "epochs='2 steps'") == 0
    assert "of 2 points 1 left out" in capsys.readouterr().out
    assert len(record.all_runs(tmp_path / "outputs")) == 1
    assert sweep("seed=1,2", "epochs='2 steps'") == 0
    assert "typed again" not in capsys.readouterr().out


def test_a_dry_run_counts_twins_that_are_typed_differently(sweep, capsys):
    assert sweep("loss=auto,cross_entropy", "epochs='2 steps'", "sweep.dry_run=true") == 0
    out = capsys.readouterr().out
    assert "2 points, 1 of them different, 1 run; all can be built" in out


def test_one_that_failed_is_not_tried_again_by_its_twins(sweep, tmp_path, capsys):
    words = ["model.hidden=[10],[1000]", "model.max_parameters=10000"]
    assert sweep("sweep=random", "sweep.trials=5", *words) == 1
    assert capsys.readouterr().err.count("this model has 75,010 parameters") == 1
    assert len(record.all_runs(tmp_path / "outputs")) == 2
    assert {point.status for point in points(tmp_path)} == {"FINISHED", "FAILED"}


def test_of_points_with_several_runs_those_that_failed_are_counted(sweep, capsys):
    assert sweep("model.hidden=[10],[1000]", "model.max_parameters=10000", "seed=0,1") == 1
    out, err = capsys.readouterr()
    assert "4 runs; points, each with all its seeds: 1 finished, 1 failed" in out
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
    shown = {}
    monkeypatch.setattr(
        driver, "replay", lambda judge, run, objective: shown.update({judge: run.name})
    )
    assert sweep("optimizer.lr=0.05") == 0
    [before] = [run.name for run in record.all_runs(tmp_path / "outputs")]
    words = ["sweep=random", "optimizer.lr=0.05,0.1", "sweep.trials=5", "sweep.pruner=median"]
    assert sweep(*words) == 0
    once = [*shown.values()]
    shown.clear()
    assert sweep(*words) == 0
    assert len(shown) == 5
    [own] = {run.name for run in record.all_runs(tmp_path / "outputs")} - {before}
    assert sorted([*once, own]) == sorted(shown.values()), (
        "but for the one that it judged in training"
    )


def test_options_that_do_not_fit_together_are_a_failed_point_wherever_it_stands(
    sweep, tmp_path, capsys
):
    needs = "momentum_rise=switch needs a momentum_start"
    for starts in ("null,0.5", "0.5,null"):
        words = [f"optimizer.momentum_start={starts}", "optimizer.momentum_rise=line,switch"]
        assert sweep(*words) == 1
        out, err = capsys.readouterr()
        assert "3 finished, 1 failed" in out
        assert needs in err
        assert err.splitlines()[-1] == "error: 1 of 4 points failed"


@pytest.mark.parametrize(
    "words",
    [
        ["optimizer.momentum=0.5,1"],
        ["optimizer.momentum=1,0.5"],
        ["optimizer=adam", "optimizer.betas=[0.9,0.9],[0.9,1]"],
        ["optimizer=sgd,rmsprop", "optimizer.weight_decay=0,-1"],
        ["regularization=[early_stopping]", "regularization.early_stopping.patience=1,0"],
        ["regularization=[dropout]", "regularization.dropout.hidden=0.1,1", "seed=0,1"],
        ["schedule=step", "schedule.factor=0.5,-1"],
        ["augmentation=[rotate]", "augmentation.rotate.degrees=5,-5"],
        ["preprocessing=[pca]", "preprocessing.pca.components=4,0"],
        ["model.hidden=[4],[0]", "optimizer.lr=0.1,0.2"],
        ["loss=huber", "loss.delta=1,-1"],
        ["initializer=normal", "initializer.std=0.1,-1"],
        ["sweep=random", "sweep.trials=3", "optimizer.momentum=tag(interval(-1,0.5))"],
    ],
)
def test_a_value_that_no_recipe_can_have_is_refused_before_any_training(
    words, sweep, tmp_path, capsys
):
    assert sweep(*words) == 2
    [said] = capsys.readouterr().err.splitlines()
    key = next(word for word in words if "." in word and not word.startswith("sweep")).split("=")[0]
    assert said.startswith(f"error: {key}=")
    assert "must" in said
    assert not record.all_runs(tmp_path / "outputs")


def test_all_points_that_no_recipe_can_have_are_refused(sweep, capsys):
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
