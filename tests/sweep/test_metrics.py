"""Sweeps judged by a metric that was asked for: its direction, its table, its mistakes."""

import json
from pathlib import Path

import pytest

from dlrun import record
from dlrun.__main__ import main
from dlrun.errors import Mistake
from dlrun.record.sweep import read
from tests.sweep.typed import directory, points

RATES = "optimizer.lr=0.001,0.1"


def values(run, key):
    return [p["values"][key] for p in record.read_points(run) if key in p["values"]]


@pytest.mark.parametrize(("name", "better"), [("brier", min), ("auroc", max)])
def test_the_direction_is_that_of_the_metric(name, better, sweep, tmp_path, capsys):
    words = (RATES, "metric=[brier,auroc]", f"sweep.objective=val/{name}", "epochs=2")
    assert sweep(*words) == 0
    shown = capsys.readouterr().out
    found = read(directory(tmp_path))
    assert found.maximize is (better is max)
    told = json.loads((directory(tmp_path) / "sweep.json").read_text())
    assert told["metrics"][name]["higher_is_better"] is (better is max)
    best = {}
    for point in found.points:
        [run] = point.runs
        reached = values(tmp_path / "outputs" / run.directory, f"val/{name}")
        assert run.value == better(reached)
        best[point.trial] = run.value
    assert [point.mean for point in found.ranked] == sorted(best.values(), reverse=better is max)
    other = {"brier": "auroc", "auroc": "brier"}[name]
    assert f"val/{name}  val/{other}  test/{name}" in shown
    assert f"test/{name} " in shown
    assert f"points  ·  val/{name}" in shown
    assert sweep(*words) == 0  # all is there: the direction comes from sweep.json
    assert "2 done already" in capsys.readouterr().out


def test_what_the_recipe_monitors_is_the_objective(sweep, tmp_path):
    words = (RATES, "metric=[calibration_error]", "monitor=val/calibration_error")
    assert sweep(*words) == 0
    found = read(directory(tmp_path))
    assert found.objective == "val/calibration_error"
    assert not found.maximize
    [best] = found.ranked[0].runs
    end = record.last_values(record.read_points(tmp_path / "outputs" / best.directory))
    assert end["best/val_calibration_error"] == best.value


def test_a_search_with_a_pruner_goes_the_right_way(sweep, tmp_path):
    """The worst rate is stopped, although its number is the highest."""
    words = ("optimizer.lr=0.05,0.000001", "metric=[brier]", "sweep.objective=val/brier")
    pruning = ("sweep.pruner=median", "sweep.pruning.startup=1", "epochs=3")
    assert sweep(*words, *pruning) == 0
    assert [point.status for point in points(tmp_path)] == ["FINISHED", "PRUNED"]


def test_the_best_rate_by_a_search(sweep, tmp_path):
    words = ("sweep=tpe", "sweep.trials=3", "optimizer.lr=tag(log,interval(1e-5,0.1))")
    assert sweep(*words, "metric=[brier]", "sweep.objective=val/brier") == 0
    found = read(directory(tmp_path))
    assert found.direction == "minimize"
    assert found.ranked[0].mean == min(point.mean for point in found.points)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweep.objective=val/auroc"], "sweep.objective=val/auroc: is not measured; add metric="),
        (["sweep.objective=val/auc"], r"did you mean metric=\[auroc\] sweep.objective=val/auroc\?"),
        (
            ["sweep.objective=train/auroc", "metric=[auroc]"],
            "did you mean sweep.objective=val/auro",
        ),
        (["sweep.objective=test/auroc", "metric=[auroc]"], "the very end.*Use val/auroc"),
        (["sweep.objective=val/recal", "metric=[recall]"], "did you mean val/recall"),
    ],
)
def test_one_that_is_not_measured_is_a_mistake(planned, words, message):
    with pytest.raises(Mistake, match=message):
        planned(RATES, *words)


def test_each_point_must_measure_it(sweep, capsys):
    assert sweep("metric=[auroc],[recall]", "sweep.objective=val/auroc") == 2
    assert "add metric=[recall,auroc]" in capsys.readouterr().err


def test_an_objective_of_another_task_is_said_before_training(sweep, capsys):
    assert sweep(RATES, "sweep.objective=val/mae") == 2
    shown = capsys.readouterr().err
    assert "sweep.objective=val/mae: is not measured, because there are classes" in shown
    assert not Path("outputs/runs").exists()


def test_a_metric_of_ones_own_is_searched_by_its_own_word(here, monkeypatch, capsys):
    """Reports know no code of the user's: the record says that lower is better."""
    monkeypatch.syspath_prepend(str(here))
    Path("owncosts.py").write_text(
        "from dlrun.metric import mean, metric\n\n"
        "@metric(False, of_sums=mean, label='cost of errors')\n"
        "def cost(predicted, y):\n"
        "    return ((predicted.argmax(1) - y).abs() ** 2).sum()\n"
    )
    own = Path("mine/metric")
    own.mkdir(parents=True)
    (own / "cost.yaml").write_text("# Cost\ncost:\n  _target_: owncosts.cost\n  _partial_: true\n")
    words = ["--config-dir", "mine", "-m", RATES, "metric=[cost]", "sweep.objective=val/cost"]
    assert main([*words, "tracking=none", "threads=1", "epochs=1"]) == 0
    shown = capsys.readouterr().out
    found = read(directory(here))
    assert not found.maximize
    first, second = (point.mean for point in found.ranked)
    assert first < second
    assert f"\n1    {first:.4f} " in shown
    [again] = [line for line in shown.splitlines() if "sweep.repeats=3" in line]
    assert "'metric=[cost]'" in again
    assert "sweep.objective=val/cost" in again


def test_losses_are_not_compared_by_themselves(sweep, tmp_path, capsys):
    words = ["data=toy", "data.kind=sine", "data.samples=60", "loss=mse,mae"]
    assert sweep(*words, "sweep.objective=val/loss") == 2
    err = capsys.readouterr().err
    assert "sweep.objective=val/loss: of different losses cannot be compared" in err
    assert err.endswith("use sweep.objective=val/mae\n")
    assert not (tmp_path / "outputs").exists()
    assert sweep(*words) == 0
    out = capsys.readouterr().out
    assert "sweep.objective=val/mae, as val/loss of different losses cannot be compared" in out
    assert "its weights are those with the best val/loss; monitor=val/mae chooses both" in out
    found = read(directory(tmp_path))
    assert found.objective == "val/mae"
    assert found.ranked[0].mean == min(point.mean for point in found.points)


def test_the_settings_of_a_loss_make_other_losses(planned):
    assert planned("loss=huber", "loss.delta=0.1,1").space.of_losses
    assert planned("sweep=random", "loss=huber", "loss.delta=interval(0.1,1)").space.of_losses
    assert not planned("loss=mse", "seed=0,1").space.of_losses


def test_weights_of_another_metric_than_the_objective_are_said(sweep, capsys):
    words = ["data.samples=60", "seed=0", "sweep.objective=val/loss"]
    assert sweep(*words) == 0
    line = (
        "ranked by each run's best val/loss; its weights are those with the best val/accuracy; "
        "monitor=val/loss chooses both by it"
    )
    assert line in capsys.readouterr().out
    assert sweep(*words, "monitor=val/loss") == 0
    assert "ranked by" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "apart"),
    [
        (["data.split_seed=0,1"], "data.split_seed"),
        (["data.classes=[0,1],[2,3]"], "data.classes"),
        (["data=digits,toy"], "data"),
        (["data.samples=60,90"], ""),
        (["optimizer.lr=0.1,0.01"], ""),
    ],
)
def test_points_on_other_samples_are_not_compared(sweep, tmp_path, capsys, words, apart):
    few = [] if "samples" in words[0] else ["data.samples=60"]
    assert sweep(*words, *few, "model=linear") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert ("measured on different validation samples" in out) is bool(apart)
    assert not apart or f"Points that differ in {apart} were" in out
    assert not apart or "The best point" not in out
