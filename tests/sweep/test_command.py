"""`dlrun -m` as it is typed: what it refuses, trains, marks, prints and takes up again."""

import math
import re
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dlrun import record
from dlrun.engine.run import Run
from dlrun.sweep import dry_run
from tests.conftest import sparsely
from tests.sweep.typed import points

NET = """
from pathlib import Path
import torch

def net(depth):
    if depth == 1 and not Path("mended").exists():
        raise ValueError("not today")
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
"""
OWN = ("model=custom", "model._target_=net_of_mine.net", "+model.depth=0,1,2")


def runs(folder: Path) -> list[Path]:
    return record.all_runs(folder / "outputs")


def test_a_test_metric_is_refused_with_the_reason(sweep, tmp_path, capsys):
    assert sweep("seed=0,1", "sweep.objective=test/accuracy") == 2
    err = capsys.readouterr().err
    assert err.startswith("error: sweep.objective=test/accuracy: the test split is for one")
    assert err.endswith("Use val/accuracy\n")
    assert not (tmp_path / "outputs").exists()


def test_what_failed_is_retried_as_often_as_asked(sweep, tmp_path, capsys):
    (tmp_path / "net_of_mine.py").write_text(NET)
    assert sweep(*OWN, "sweep.retries=1") == 1
    first = [point.status for point in points(tmp_path)]
    assert first == ["FINISHED", "FAILED", "FINISHED"]
    assert sweep(*OWN, "sweep.retries=1") == 1, "the one retry fails too"
    assert points(tmp_path)[1].runs[0].tries == 2
    (tmp_path / "mended").touch()
    before = len(runs(tmp_path))
    assert sweep(*OWN, "sweep.retries=1") == 1, "no tries are left"
    assert len(runs(tmp_path)) == before
    assert sweep(*OWN, "sweep.retries=2") == 0
    assert [point.status for point in points(tmp_path)] == 3 * ["FINISHED"]
    assert len(points(tmp_path)[1].runs) == 1
    assert capsys.readouterr().err.count("+model.depth=1: ") == 2


def test_fail_fast_stops_at_the_first_failure(sweep, tmp_path, capsys):
    words = ["model.hidden=[10],[1000],[20]", "model.max_parameters=10000"]
    assert sweep(*words, "sweep.fail_fast=true") == 1
    out, err = capsys.readouterr()
    assert err.splitlines()[-1].startswith("error: stopped at the first failure")
    assert [point.status for point in points(tmp_path)] == ["FINISHED", "FAILED"]
    assert "1 finished, 1 failed" in out, "the closing table is there"
    assert sweep(*words) == 1
    assert [point.status for point in points(tmp_path)] == ["FINISHED", "FAILED", "FINISHED"]


def test_a_dry_run_builds_every_point_and_trains_none(sweep, tmp_path, capsys):
    words = ["model.hidden=[10],[20,30]", "optimizer.lr=0.1,0.2", "sweep.dry_run=true"]
    assert sweep(*words, "sweep.repeats=3") == 0
    said = capsys.readouterr().out
    assert "4 points, 12 runs; all can be built" in said
    small, large = 64 * 10 + 10 + 10 * 10 + 10, 64 * 20 + 20 + 20 * 30 + 30 + 30 * 10 + 10
    assert f"parameters   {small:,} to {large:,}" in said
    assert "memory" in said
    assert "time" in said
    assert not (tmp_path / "outputs").exists()
    words = ["model.hidden=[10],[1000]", "model.max_parameters=10000"]
    assert sweep(*words, "sweep.dry_run=true") == 1
    out, err = capsys.readouterr()
    assert "1 of the points cannot be built" in out
    assert "this model has 75,010 parameters" in err


@pytest.mark.parametrize(
    "words", [["+experiment=a,b", "optimizer=sgd"], ["optimizer=sgd,momentum", "+experiment=a,b"]]
)
def test_what_each_of_several_experiments_leaves_out_is_said_once(words, sweep, tmp_path, capsys):
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    for name, rate in (("a", 0.5), ("b", 0.25)):
        text = f"# @package _global_\noptimizer:\n  lr: {rate}\n"
        (folder / f"{name}.yaml").write_text(text)
    assert sweep("--config-dir=mine", *words, "sweep.dry_run=true") == 0
    said = "warning: optimizer=sgd: replaces the option of experiment={}, whose settings are "
    warned = [line for line in capsys.readouterr().err.splitlines() if "replaces" in line]
    assert warned == [
        said.format(name) + f"left out: optimizer.lr={rate}"
        for name, rate in (("a", 0.5), ("b", 0.25))
    ]


def test_repeats_give_the_mean_and_its_standard_error(sweep, tmp_path, capsys):
    assert sweep("optimizer.lr=0.1,0.01", "sweep.repeats=3") == 0
    for point in points(tmp_path):
        values = [run.value or 0.0 for run in point.runs]
        assert [run.seed for run in point.runs] == [0, 1, 2]
        assert [run.samples for run in point.runs] == 3 * [360]
        assert len(set(values)) > 1
        assert point.value == pytest.approx(statistics.mean(values))
        assert point.stderr == pytest.approx(statistics.stdev(values) / math.sqrt(3))
    assert " ± " in capsys.readouterr().out
    assert sweep("optimizer.lr=0.1,0.01", "sweep.repeats=4") == 0
    assert len(runs(tmp_path)) == 8, "only the fourth seed was trained"


def test_a_pruned_run_is_marked_so(sweep, tmp_path, capsys):
    words = ["epochs=4", "optimizer.lr=0.1,0.05,1e-7", "sweep.pruner=median"]
    assert sweep(*words, "sweep.pruning.startup=2", "sweep.pruning.warmup=2") == 0
    *good, bad = points(tmp_path)
    assert [point.status for point in good] == 2 * ["FINISHED"]
    assert (bad.status, bad.runs[0].status) == ("PRUNED", "PRUNED")
    assert bad.runs[0].epochs < 4
    directory = tmp_path / "outputs" / str(bad.runs[0].directory)
    assert record.read_status(directory)["status"] == "PRUNED"
    out, err = capsys.readouterr()
    assert "pruned" in out
    assert err == ""


def test_a_run_that_fails_before_its_first_point_is_no_matter_for_a_pruner(sweep, tmp_path, capsys):
    assert sweep("optimizer.lr=0.1,1e30", "sweep.pruner=median") == 1
    assert [point.status for point in points(tmp_path)] == ["FINISHED", "FAILED"]
    assert "did not foresee" not in capsys.readouterr().err


def test_a_run_that_came_to_its_end_is_not_pruned(sweep, tmp_path):
    words = ["epochs=2", "optimizer.lr=0.1,0.05,1e-7", "sweep.pruner=median"]
    assert sweep(*words, "sweep.pruning.startup=2", "sweep.pruning.warmup=2") == 0
    assert [point.status for point in points(tmp_path)] == 3 * ["FINISHED"]


@pytest.mark.parametrize("best", sparsely([True, False], 2))
def test_the_model_of_the_best_point_has_the_weights_that_were_tested(sweep, tmp_path, best):
    rule = "regularization.early_stopping.patience='99 epochs'"
    words = ["regularization=[early_stopping]", rule, "epochs=6", "optimizer.lr=0.5"]
    kept = f"regularization.early_stopping.restore_best={str(best).lower()}"
    store = f"tracking.uri=sqlite:///{tmp_path}/store.db"
    assert sweep(*words, kept, "schedule=constant", "seed=0,1", "tracking=mlflow", store) == 0
    [model] = (tmp_path / "outputs").glob("runs/*/model")
    exported = torch.export.load(model / "data" / "model.pt2").state_dict
    folder = model.parent / "checkpoints"
    state = torch.load(folder / "last.pt", weights_only=True)
    assert state["position"]["best_step"] < state["position"]["step"], "they differ"
    weights = torch.load(folder / "best.pt", weights_only=True) if best else state["model"]
    for name, value in weights.items():
        assert torch.equal(exported[f"1.{name}"], value)


def test_stages_go_on_around_the_best_and_can_be_typed_alone(sweep, tmp_path, capsys):
    rate = "optimizer.lr=tag(log,interval(1e-4,1))"
    stages = "sweep.stages=[{epochs: 1, trials: 4}, {epochs: 2, trials: 3, around: 2}]"
    assert sweep("sweep=random", rate, stages) == 0
    said = capsys.readouterr().out.splitlines()
    typed = [line.partition(": dlrun -m ")[2] for line in said if line.startswith("stage ")]
    assert len(typed) == 2
    sweeps = {path.name for path in (tmp_path / "outputs" / "sweeps").iterdir()}
    assert len(sweeps) == 2
    many = len(runs(tmp_path))
    assert many == 7
    import shlex

    from dlrun.__main__ import main

    for line, count in zip(typed, (4, 3), strict=True):
        assert main(["-m", *shlex.split(line)]) == 0
        assert f"{count} done already" in capsys.readouterr().out
    assert len(runs(tmp_path)) == many, "each stage is the sweep that the one command ran"
    assert {path.name for path in (tmp_path / "outputs" / "sweeps").iterdir()} == sweeps


def test_the_same_command_again_trains_nothing(sweep, tmp_path, capsys):
    words = ["optimizer=sgd,adam", "optimizer.lr=0.1,0.01", "sweep.zip=[optimizer,optimizer.lr]"]
    assert sweep(*words) == 0
    told = [point.values for point in points(tmp_path)]
    assert told == [
        {"optimizer": "sgd", "optimizer.lr": 0.1},
        {"optimizer": "adam", "optimizer.lr": 0.01},
    ]
    capsys.readouterr()
    assert sweep(*words) == 0
    assert "2 done already" in capsys.readouterr().out
    assert len(runs(tmp_path)) == 2


def test_what_was_trained_when_more_was_asked_for_stays_and_is_said(sweep, capsys):
    words = ["sweep=random", "optimizer.lr=interval(0.01,0.1)", "data.samples=60"]
    assert sweep(*words, "sweep.trials=3", "sweep.repeats=2") == 0
    assert "counts too" not in capsys.readouterr().out
    assert sweep(*words, "sweep.trials=1") == 0
    out = capsys.readouterr().out
    assert "1 point  ·  val/accuracy  ·  1 done already" in out
    assert "sweep.trials=1: was 3 before, and what was trained then counts too" in out
    assert "sweep.repeats=1: was 2 before, and what was trained then counts too" in out
    assert "6 runs; points, each with all its seeds: 3 finished" in out


def test_a_wrong_value_in_a_list_is_said_before_anything_is_trained(sweep, tmp_path, capsys):
    assert sweep("optimizer.lr=0.1,0.2,abc") == 2
    assert "optimizer.lr=abc: expected a number" in capsys.readouterr().err
    assert runs(tmp_path) == []


def test_a_dry_run_counts_the_steps_of_every_point(sweep, monkeypatch, capsys):
    def a_second(run: Run) -> float:
        run.lengths = replace(run.lengths, total_steps=1)  # as timing leaves it
        return 1.0

    monkeypatch.setattr(dry_run, "_step_time", a_second)
    assert sweep("seed=0,1", "epochs='50 steps'", "sweep.dry_run=true") == 0
    assert "time         1 min 40 s of training" in capsys.readouterr().out


@pytest.fixture
def validated(monkeypatch):
    """validated((loss, accuracy), ...) are what the validations of a sweep's runs find in turn."""

    def plan(*found: tuple[float, float]) -> None:
        left = (dict(zip(("loss", "accuracy"), each, strict=True)) for each in found)
        monkeypatch.setattr("dlrun.engine.step.measure", lambda run, feed: next(left))

    return plan


@pytest.mark.proof
def test_points_that_tie_are_ranked_by_their_loss(sweep, tmp_path, validated, capsys):
    validated((0.227, 0.95), (0.049, 0.95), (0.01, 0.9))
    store = f"tracking.uri=sqlite:///{tmp_path}/store.db"
    assert sweep("optimizer.lr=0.1,0.05,0.01", "test=false", "tracking=mlflow", store) == 0
    [directory] = (tmp_path / "outputs" / "sweeps").iterdir()
    said = capsys.readouterr().out
    table = [line.split() for line in said.splitlines() if re.match(r" *[123]  +0\.9", line)]
    assert table == [
        ["1", "0.9500", "0.049", "0.05"],
        ["2", "0.9500", "0.227", "0.1"],
        ["3", "0.9000", "0.01", "0.01"],
    ]
    assert "differ only in val/loss, 0.049 and 0.227" in said
    ledger = [point.runs[0].loss for point in points(tmp_path)]
    assert ledger == [0.227, 0.049, 0.01]
    [model] = (tmp_path / "outputs").glob("runs/*/model")
    assert model.parent.name == str(points(tmp_path)[1].runs[0].directory).rpartition("/")[2]
    page = (directory / "report.html").read_text()
    assert page.index("<td class=number>0.049</td>") < page.index("<td class=number>0.227</td>")
    summary = record.read_json(directory / "run.json")
    assert summary["tags"]["best.optimizer.lr"] == "0.05"


def test_the_value_of_a_run_is_that_of_the_weights_it_keeps(sweep, tmp_path, validated):
    """Two validations tie, and one that is better by less than asked for is no new best."""
    validated((0.5, 0.7), (0.3, 0.7), (0.2, 0.75))
    rule = "regularization.early_stopping.{}"
    words = ["epochs=3", "regularization=[early_stopping]", rule.format("patience='9 epochs'")]
    assert sweep("seed=0", *words, rule.format("min_improvement=0.2")) == 0
    [point] = points(tmp_path)
    assert (point.value, point.runs[0].loss) == (0.7, 0.3)
