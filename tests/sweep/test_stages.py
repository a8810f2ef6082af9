"""Stages of a sweep: one after another, and what is said after each."""

import json
import shlex
import signal

import pytest

from dlrun import record
from dlrun.__main__ import main
from dlrun.errors import Interrupted
from dlrun.sweep import command
from dlrun.sweep.command import read_stage
from tests.sweep.conftest import QUICK

FEW = ("data.samples=200", "model.hidden=[4]", "preflight=off")
RATE = "optimizer.lr=tag(log,interval(1e-4,1))"


@pytest.mark.proof
def test_the_table_and_the_advice_come_after_the_last_stage(sweep, capsys):
    stages = "sweep.stages=[{epochs: 1, trials: 3}, {epochs: 2, trials: 3, around: 2}]"
    assert sweep("sweep=random", RATE, stages) == 0
    first, second = capsys.readouterr().out.split("stage 2 of 2: ")
    assert "\n1 " in first
    assert "\n2 " not in first
    assert "too few to say much" not in first
    assert "\n3 " in second
    assert "too few to say much" in second


@pytest.mark.proof
def test_a_point_that_fails_does_not_keep_the_next_stage_from_its_turn(sweep, tmp_path, capsys):
    stages = "sweep.stages=[{}, {epochs: 2, around: 1}]"
    assert sweep("optimizer.lr=0.1,1e30,0.2", stages) == 1
    out, err = capsys.readouterr()
    assert err.splitlines()[-1] == "error: 1 of 4 points failed"
    again = next(line for line in out.splitlines() if line.startswith("stage 2 of 2: "))
    assert "optimizer.lr=1e30" not in shlex.split(again)
    assert len(record.all_runs(tmp_path / "outputs")) == 4


def test_nothing_is_narrowed_around_what_has_failed(sweep, capsys):
    assert sweep("optimizer.lr=1e28,1e29", "sweep.stages=[{}, {epochs: 2}]") == 1
    assert "so there is no best one" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("stage", "what"),
    [
        ("{epoch: 2}", "epoch=2"),
        ("{epochs: abc}", "epochs=abc"),
        ("{trials: 0}", "sweep.trials=0: must be greater than 0"),
        ("{optimizer.momentum: x}", "optimizer.momentum=x: expected a number"),
        ("{optimizer: adamm}", "did you mean"),
    ],
)
def test_what_is_wrong_with_a_later_stage_is_said_first(sweep, tmp_path, capsys, stage, what):
    assert sweep("sweep=random", RATE, f"sweep.stages=[{{trials: 2}}, {stage}]") == 2
    err = capsys.readouterr().err
    assert err.startswith("error: stage 2 of 2: ")
    assert what in err
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("setting", "right"),
    [
        ("around=x", "a whole number above 0"),
        ("around=2.5", "a whole number above 0"),
        ("around=0", "a whole number above 0"),
        ("around=true", "a whole number above 0"),
        ("margin=-1", "a number, not below 0"),
    ],
)
def test_the_settings_of_a_later_stage_are_read_first(sweep, tmp_path, capsys, setting, right):
    stages = f"sweep.stages=[{{trials: 2}}, {{{setting.replace('=', ': ')}}}]"
    assert sweep("sweep=random", RATE, stages) == 2
    assert f"{setting}: must be {right}" in capsys.readouterr().err
    assert not (tmp_path / "outputs").exists()


def _trained(*words):
    """A run of the recipe of these tests."""
    assert main([*QUICK, *FEW, *words]) == 0
    return record.all_runs("outputs")[-1]


def test_the_weights_of_a_later_stage_are_looked_for_first(sweep, tmp_path, capsys):
    stages = "sweep.stages=[{{}}, {{epochs: 2, weights: {}}}]"
    assert sweep("optimizer.lr=0.1,0.2", stages.format("nosuch")) == 2
    assert "error: stage 2 of 2: weights=nosuch: no run" in capsys.readouterr().err
    assert not (tmp_path / "outputs").exists()
    run = _trained()
    assert sweep("optimizer.lr=0.1,0.2", stages.format("last")) == 2
    said = capsys.readouterr().err
    assert "error: stage 2 of 2: weights=last: is another run when this command is typed" in said
    assert record.all_runs("outputs") == [run]


def test_clean_keeps_what_later_stages_begin_with(sweep, monkeypatch):
    begun = [_trained(f"seed={seed}") for seed in range(3)]
    all_of_them, second, third = (run.name for run in begun)
    stages = f"sweep.stages=[{{}}, {{epochs: 2}}, {{weights: '{second},{third}'}}]"
    words = [*FEW, "optimizer.lr=0.1,0.01", f"weights={all_of_them}", stages]

    def killed(*_):
        raise Interrupted(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(command, "_narrowed", killed)
        assert sweep(*words) == 128 + signal.SIGTERM
    assert main(["clean", "--yes"]) == 0
    assert all((run / "checkpoints").exists() for run in begun)
    assert sweep(*words) == 0
    assert main(["clean", "--yes"]) == 0
    assert not any((run / "checkpoints").exists() for run in begun)


def test_a_dry_run_shows_all_stages(sweep, tmp_path, capsys):
    stages = "sweep.stages=[{trials: 2}, {epochs: 2, trials: 3}]"
    assert sweep("sweep=random", RATE, stages, "sweep.dry_run=true") == 0
    said = capsys.readouterr().out
    assert "stage 1 of 2: " in said
    assert "stage 2 of 2: " in said
    assert "2 points, 2 runs" in said
    assert "3 points, 3 runs" in said
    assert not (tmp_path / "outputs").exists()


def test_a_seed_of_a_stage_is_that_of_the_recipe():
    assert read_stage({"epochs": 1, "seed": 7, "sweep.seed": 8, "trials": 2}).changes == [
        "epochs=1",
        "seed=7",
        "sweep.seed=8",
        "sweep.trials=2",
    ]


def test_a_stage_says_what_it_narrows_and_what_stays_whole(sweep, capsys):
    stages = "sweep.stages=[{epochs: 1}, {epochs: 1, around: 1}]"
    pairs = ("optimizer=sgd,adam", "optimizer.lr=0.1,0.001", "sweep.zip=[optimizer,optimizer.lr]")
    assert sweep(*pairs, stages, "sweep.dry_run=true") == 0
    said = capsys.readouterr().out
    assert "optimizer, optimizer.lr: not narrowed, as they are zipped" in said
    assert "narrowed to" not in said
    assert sweep(RATE, "sweep=random", "sweep.trials=1", stages, "sweep.dry_run=true") == 0
    assert "optimizer.lr: narrowed to what was best" in capsys.readouterr().out


STAGED = """
# @package _global_
defaults:
  - override /sweep: grid
sweep:
  params: {optimizer.lr: "0.01,0.1"}
  stages: [{epochs: 1}, {epochs: 2, around: 1, refine: true}]
hydra: {mode: MULTIRUN}
expect: {best: [0.5, 0.5]}
"""


@pytest.mark.proof
def test_what_follows_the_stages_of_an_experiment_has_none(tmp_path, sweep, capsys):
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    (folder / "staged.yaml").write_text(STAGED)
    assert sweep("--config-dir", "mine", "+experiment=staged") == 0
    out = capsys.readouterr().out
    outputs = tmp_path / "outputs"
    last = max(outputs.glob("sweeps/*/run.json"), key=lambda file: file.stat().st_mtime)
    told = [json.loads(last.read_text())]
    told += [record.read_json(run / "run.json") for run in record.all_runs(outputs)]
    found = [each["command"] for info in told for each in info.get("findings", [])]
    stages = [line.partition(": ")[2] for line in out.splitlines() if line.startswith("stage ")]
    assert len(stages) == 2
    several = [line for line in filter(None, found) if " -m " in line]
    alone = [line for line in filter(None, found) if " -m " not in line]
    assert several
    assert alone
    for line in (*stages, *several):
        assert main([*shlex.split(line)[1:], "sweep.dry_run=true"]) == 0
        assert "stage" not in capsys.readouterr().out
    assert len(record.all_runs(outputs)) == 6
    for line in alone[:1]:
        assert main([*shlex.split(line)[1:], "epochs=1", "tracking=none"]) == 0
        assert "expectation" not in capsys.readouterr().out
        assert len(record.all_runs(outputs)) == 7
