"""Whole commands from start to end: what they leave behind, signals, and going on."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy
import pytest
import torch

from dlrun import record
from dlrun.__main__ import main
from dlrun.engine import checkpoint
from dlrun.engine.feed import PreparedSplit
from dlrun.engine.run import Run, Weights
from dlrun.job import recording
from tests.conftest import sparsely

FAST = ("tracking=none", "threads=1", "epochs=2")


def last(here: Path) -> Path:
    return record.find(here / "outputs", "last")


def start(here: Path, *words: str) -> "subprocess.Popen[str]":
    """The command as a user starts it, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "dlrun", *words],
        cwd=here,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_points(here: Path, count: int, process: "subprocess.Popen[str]") -> None:
    """Until the run of `process` has recorded so many points."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for path in here.glob("outputs/runs/*/metrics.jsonl"):
            if path.read_bytes().count(b"\n") >= count:
                return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    raise AssertionError("no points")


@pytest.mark.figures
@pytest.mark.proves("procedure=train")
def test_what_a_run_leaves(here, capsys):
    assert main([*FAST, "optimizer=adam", "seed=3"]) == 0
    directory = last(here)
    info = record.read_json(directory / "run.json")
    assert info["name"] == "epochs=2 optimizer=adam seed=3"
    assert info["parameters"] == 64 * 64 + 64 + 64 * 10 + 10
    assert info["data"]["samples"] == {"train": 1078, "val": 360, "test": 359}
    assert record.read_status(directory)["status"] == "FINISHED"
    points = record.read_points(directory)
    assert {"test/accuracy", "test/loss", "best/val_accuracy"} <= points[-1]["values"].keys()
    assert not any(name.startswith("test/") for point in points[:-1] for name in point["values"])
    assert {path.name for path in (directory / "checkpoints").iterdir()} == {"last.pt", "best.pt"}
    assert (directory / "figures" / "loss.png").is_file()
    output = capsys.readouterr().out
    assert f"{points[-1]['values']['test/accuracy']:.4f}" in output
    assert f"dlrun resume={directory.name}" in output


def test_a_mistake_leaves_nothing(here):
    assert main([*FAST, "optimizer.lr=-1"]) == 2
    assert not (here / "outputs" / "runs").exists()


def test_a_failed_run_says_so_in_its_record(here, capsys):
    assert main([*FAST, "optimizer.lr=1e30", "schedule=constant"]) == 1
    status = record.read_status(last(here))
    assert status["status"] == "FAILED"
    assert "rate of 1e+30" in status["message"]
    assert "Traceback" not in capsys.readouterr().err


def test_going_on_for_longer(here):
    """A finished run goes on from its end in the same record; each point is there once."""
    assert main([*FAST, "schedule=constant"]) == 0
    first = last(here)
    before = record.read_points(first)
    assert main(["resume=last", "epochs=5"]) == 0
    assert last(here) == first
    after = record.read_points(first)
    assert after[:2] == before[:2]
    assert [point["step"] for point in after[:-1]] == [34, 68, 102, 136, 170]
    info = record.read_json(first / "run.json")
    assert info["resumed"][0]["new"] == ["epochs=5"]
    assert info["name"] == "schedule=constant epochs=5", "what it is trained with now"

    whole = here / "whole"
    assert (
        main(["tracking=none", "threads=1", "epochs=5", "schedule=constant", f"outputs={whole}"])
        == 0
    )
    others = record.read_points(record.find(whole, "last"))
    assert [p["values"].get("train/loss") for p in after] == [
        p["values"].get("train/loss") for p in others
    ]


def test_another_rate_from_here_on(here):
    assert main([*FAST, "schedule=constant", "optimizer=adam"]) == 0
    assert main(["resume=last", "epochs=3", "optimizer.lr=0.0001"]) == 0
    points = record.read_points(last(here))
    assert [p["values"]["lr"] for p in points[:3]] == [0.001, 0.001, 0.0001]


@pytest.mark.proof
def test_a_name_that_was_given_stays(here):
    assert main([*FAST, "name=mine"]) == 0
    assert main(["resume=last", "epochs=3"]) == 0
    assert record.read_json(last(here) / "run.json")["name"] == "mine"


def test_another_model_does_not_fit(here, capsys):
    assert main([*FAST]) == 0
    assert main(["resume=last", "epochs=3", "model.hidden=[8]"]) == 2
    assert "checkpoint does not fit the model" in capsys.readouterr().err
    assert record.read_status(last(here))["status"] == "FINISHED"


def test_another_seed_is_said_to_change_little(here, capsys):
    assert main([*FAST]) == 0
    assert "seed=" not in capsys.readouterr().err
    assert main(["resume=last", "seed=3"]) == 0
    assert "warning: seed=3 (was 0): leaves the run as it was" in capsys.readouterr().err
    assert main(["resume=last", "epochs=3"]) == 0
    assert "seed=" not in capsys.readouterr().err


@pytest.mark.proof
def test_going_on_with_another_split_is_refused(here, capsys):
    assert main([*FAST]) == 0
    before = record.read_points(last(here))
    assert main(["resume=last", "epochs=3", "data.split_seed=3"]) == 2
    assert "error: data.split_seed=3 (was 0): splits the data" in capsys.readouterr().err
    assert record.read_points(last(here)) == before
    assert main(["resume=last", "epochs=3"]) == 0


def test_going_on_in_other_steps_is_refused(here, capsys):
    assert main([*FAST, "batch_size=64"]) == 0
    before = (last(here) / "metrics.jsonl").read_bytes()
    assert main(["resume=last", "epochs=4", "batch_size=16"]) == 2
    assert "error: batch_size=16: a resumed run keeps its batch_size=64" in capsys.readouterr().err
    assert (last(here) / "metrics.jsonl").read_bytes() == before
    assert main(["resume=last", "epochs=3"]) == 0
    assert record.read_points(last(here))[-1]["epoch"] == 3


def test_going_on_without_the_averages_keeps_the_best_of_them(here):
    """What is called the best measures what it is said to, whatever comes after it."""
    assert main([*FAST, "regularization=[weight_average]", "monitor=val/loss"]) == 0
    claimed = [p["values"].get("val/loss", 9.0) for p in record.read_points(last(here))]
    best = last(here) / "checkpoints" / "best.pt"
    before = checkpoint.read(best)
    assert main(["resume=last", "epochs=3", "regularization=none", "optimizer.lr=10"]) == 0
    after = checkpoint.read(best)
    assert record.read_points(last(here))[-1]["values"]["best/val_loss"] == min(claimed)
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.proof
def test_going_on_by_another_measure(here, capsys):
    assert main([*FAST]) == 0
    assert main(["resume=last", "epochs=3", "monitor=val/loss"]) == 0
    assert "chosen by val/accuracy and is by val/loss" in capsys.readouterr().err
    *_, third, end = record.read_points(last(here))
    assert end["values"]["best/val_loss"] == third["values"]["val/loss"]
    assert main(["resume=last", "epochs=4"]) == 0
    assert capsys.readouterr().err == ""


def test_going_on_with_more_to_measure(here):
    assert main([*FAST]) == 0
    assert main(["resume=last", "epochs=3", "metric=[brier]"]) == 0
    points = record.read_points(last(here))
    *_, third, end = points
    assert sum("val/brier" in point["values"] for point in points) == 1
    assert third["values"]["val/brier"] > 0
    assert end["values"]["test/brier"] > 0
    told = record.read_json(last(here) / "run.json")["metrics"]
    assert told["brier"]["higher_is_better"] is False


@pytest.mark.proof
def test_going_on_with_a_metric_that_is_measured_in_another_way(here, capsys):
    words = ["metric=[calibration_error,brier]", "monitor=val/calibration_error"]
    assert main([*FAST, *words]) == 0
    assert main(["resume=last", "epochs=3", "metric.calibration_error.bins=5"]) == 0
    assert "val/calibration_error is measured in another way" in capsys.readouterr().err
    *_, third, end = record.read_points(last(here))
    best = end["values"]["best/val_calibration_error"]
    assert best == third["values"]["val/calibration_error"]
    assert main(["resume=last", "epochs=4", "metric=[calibration_error]"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["resume=last", "epochs=5", "metric=none"]) == 2
    assert "monitor=val/calibration_error: is not measured; add" in capsys.readouterr().err


def test_going_on_without_a_regularizer(here):
    rules = ["regularization=[l2]", "regularization.l2.strength=0.001"]
    assert main([*FAST, *rules]) == 0
    assert main(["resume=last", "epochs=3", "regularization=none"]) == 0
    *_, third, _ = record.read_points(last(here))
    assert "train/l2" not in third["values"]
    info = record.read_json(last(here) / "run.json")
    assert info["overrides"] == [*FAST[:2], "epochs=3", "regularization=none"]


def test_going_on_with_a_record_that_misses_facts(here):
    """As that of a job of a sweep which was refused."""
    assert main([*FAST]) == 0
    info = record.read_json(last(here) / "run.json")
    missing = {key: info.pop(key) for key in ("data", "parameters", "flops", "device", "name")}
    record.write_json(last(here) / "run.json", info)
    assert main(["resume=last", "epochs=3"]) == 0
    info = record.read_json(last(here) / "run.json")
    assert info["name"]
    assert {key: info[key] for key in missing if key != "name"} == {
        key: value for key, value in missing.items() if key != "name"
    }


def test_going_on_from_another_directory(here, monkeypatch):
    (here / "otherwhere").mkdir()
    (here / "theirnet.py").write_text("from torch.nn import *\nNet = Linear\n")
    rows = [f"{a},{b},{3 * a - 2 * b + 1}" for a in range(20) for b in range(20)]
    (here / "plane.csv").write_text("\n".join(["a,b,height", *rows]))
    words = ["data=arrays", "data.path=plane.csv", "data.target=height", "loss=mse"]
    words += ["data.task=regression", "data.cache=decoded", "+model.in_features=2"]
    words += ["model=custom", "model._target_=theirnet.Net", "+model.out_features=1"]
    assert main([*FAST, *words]) == 0
    sys.modules.pop("theirnet")
    monkeypatch.chdir(here / "otherwhere")
    assert main([f"resume={last(here)}", "epochs=3"]) == 0
    assert record.read_points(last(here))[-1]["epoch"] == 3
    assert not list(Path.cwd().iterdir())


@pytest.mark.proves("model=custom")
def test_the_users_own_model(here):
    (here / "ournet.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, width: int, outputs: int = 10):\n"
        "        super().__init__()\n"
        "        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(),\n"
        "                                    nn.Linear(width, outputs))\n"
        "    def forward(self, x):\n"
        "        return self.layers(x)\n"
    )
    words = [
        "model=custom",
        "model._target_=ournet.Net",
        "+model.width=32",
        "regularization=[dropout]",
    ]
    assert main([*FAST, *words]) == 0
    assert record.read_json(last(here) / "run.json")["parameters"] == 65 * 32 + 33 * 10


def test_regression_from_a_table(here):
    rows = [f"{a},{b},{3 * a - 2 * b + 1}" for a in range(20) for b in range(20)]
    (here / "plane.csv").write_text("\n".join(["a,b,height", *rows]))
    words = ["data=arrays", "data.path=plane.csv", "data.target=height", "loss=mse"]
    assert main([*FAST, *words, "data.task=regression", "model=linear", "epochs=30"]) == 0
    values = {k: v for point in record.read_points(last(here)) for k, v in point["values"].items()}
    assert values["test/mae"] < 0.5
    assert "val/accuracy" not in values


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.proof)],
)
def test_a_signal_saves_the_state(here, number, code):
    """Stopped in the middle, then resumed: the points of an uninterrupted run."""
    words = ["threads=1", "epochs=150", "tracking=none"]
    process = start(here, *words)
    wait_for_points(here, 3, process)
    process.send_signal(number)
    output = process.communicate(timeout=30)[0]
    assert process.returncode == code, output
    assert "Traceback" not in output
    assert record.read_status(last(here))["status"] == "KILLED"
    assert (last(here) / "checkpoints" / "last.pt").is_file()
    assert main(["resume=last"]) == 0
    assert main([*words, f"outputs={here / 'whole'}"]) == 0
    a, b = (
        record.read_points(record.find(at, "last")) for at in (here / "outputs", here / "whole")
    )
    assert [p["values"].get("train/loss") for p in a] == [p["values"].get("train/loss") for p in b]
    assert record.read_status(last(here))["status"] == "FINISHED"


@pytest.mark.slow
def test_a_signal_after_the_run_was_deleted_saves_nothing(here):
    process = start(here, "threads=1", "epochs=5000", "tracking=none", "log_every='100 epochs'")
    wait_for_points(here, 1, process)
    process.send_signal(signal.SIGSTOP)  # what writes meanwhile would fill the folders anew
    shutil.rmtree(here / "outputs")
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 1, output
    assert "Traceback" not in output
    assert "metrics.jsonl has been deleted" in output
    assert "the state is saved" not in output
    assert not (here / "outputs").exists()


@pytest.mark.proof
@pytest.mark.slow
def test_the_input_example_of_a_model_is_drawn(here, monkeypatch):
    """Of two classes that stand one after the other in the file, it has one sample each."""
    monkeypatch.setenv("DLRUN_CACHE", str(here / "cache"))
    y = numpy.arange(200) // 100
    numpy.savez(here / "sorted.npz", x=numpy.stack([y, y + 5], 1).astype("float32"), y=y)
    assert main(["data=arrays", "data.path=sorted.npz", "threads=1", "epochs=1"]) == 0
    saved = json.loads((last(here) / "model" / "serving_input_example.json").read_text())
    assert sorted(row[0] for row in saved["inputs"]) == [0, 1]


@pytest.mark.proof
@pytest.mark.slow
def test_killed_runs_are_in_mlflow_once(here):
    """Twice killed and resumed: one MLflow run, FINISHED, with every point of the record once."""
    command = ["threads=1", "epochs=120", "checkpoint_every='20 steps'", "tracking.model=false"]
    points = 5
    for _ in range(2):
        process = start(here, *command)
        wait_for_points(here, points, process)
        process.kill()
        process.communicate()
        command, points = ["resume=last"], 40
    assert main(["resume=last"]) == 0
    with sqlite3.connect(here / "outputs" / "mlflow.db") as database:
        runs = database.execute("select run_uuid, status from runs").fetchall()
        rows = database.execute("select key, step, value from metrics").fetchall()
    assert [status for _, status in runs] == ["FINISHED"]
    delivered = Counter((key, step) for key, step, _ in rows)
    assert set(delivered.values()) == {1}
    expected = {
        (key, point["step"]): value
        for point in record.read_points(last(here))
        for key, value in point["values"].items()
    }
    assert delivered.keys() == expected.keys()
    for key, step, value in rows:
        if not key.startswith("time/"):
            assert value == expected[key, step]


def test_names():
    assert recording.name([]) == "default"
    assert (
        recording.name(["model=cnn", "device=cpu", "tracking=none", "seed=1"]) == "model=cnn seed=1"
    )
    assert len(recording.name([f"model.hidden=[{'1,' * 500}]"])) <= 250


VALIDATED = ["regularization=[early_stopping]", "regularization.early_stopping.patience='30 steps'"]
VALIDATED += ["epochs='60 steps'", "validate_every='10 steps'", "log_every='10 steps'"]


@pytest.fixture
def scores(monkeypatch):
    """scores([(loss, accuracy), ...]) are what the validations find; gives the weights at each."""

    def plan(found: Sequence[tuple[float, float]]) -> list[Weights]:
        seen: list[Weights] = []

        def measured(run: Run, feed: PreparedSplit) -> dict[str, float]:
            seen.append({name: value.clone() for name, value in run.model.state_dict().items()})
            loss, accuracy = found[len(seen) - 1]
            return {"accuracy": accuracy, "loss": loss}

        monkeypatch.setattr("dlrun.engine.step.measure", measured)
        return seen

    return plan


def of(weights: Weights, seen: list[Weights]) -> int:
    """Which of the validated weights these are, counted from 1."""
    same = [all(torch.equal(weights[name], one[name]) for name in one) for one in seen]
    return same.index(True) + 1


@pytest.mark.parametrize(
    ("rule", "best", "result"),
    sparsely(
        [
            ([], 4, 4),
            (["regularization.early_stopping.min_improvement=0.2"], 1, 1),
            (["regularization.early_stopping.min_improvement=0.2", "monitor=val/loss"], 2, 2),
            (
                [
                    "regularization.early_stopping.min_improvement=0.2",
                    "regularization.early_stopping.restore_best=false",
                ],
                *(4, 4),
            ),
            (
                [
                    "regularization.early_stopping.min_improvement=0.2",
                    "regularization.early_stopping.restore_best=false",
                    "monitor=val/loss",
                ],
                *(3, 5),
            ),
        ],
        3,
    ),
)
def test_early_stopping_returns_the_step_that_its_patience_counts_from(
    here, scores, monkeypatch, rule, best, result
):
    """best.pt, best/epoch, the test and what is saved mean the step of its own best."""
    losses = [2.0, 1.5, 1.4, 1.45, 1.5, 1.6]
    seen = scores(list(zip(losses, [0.5, 0.55, 0.6, 0.65, 0.6, 0.5], strict=True)))
    tested: list[Weights] = []

    def test(run: Run, split: str) -> dict[str, float]:
        tested.append({name: value.clone() for name, value in run.model.state_dict().items()})
        return {"test/loss": 1.0}

    monkeypatch.setattr("dlrun.procedure.train.measured", test)
    assert main([*FAST, *VALIDATED, *rule]) == 0
    directory = last(here)
    end = record.read_points(directory)[-1]
    info = record.read_json(directory / "run.json")
    assert end["values"]["best/epoch"] == best * 10 / 34
    assert of(checkpoint.read(directory / "checkpoints" / "best.pt"), seen) == best
    assert info["result_step"] == result * 10
    assert of(tested[0], seen) == result


TIED = [(0.5, 0.9), (0.4, 0.9), (0.45, 0.9), (0.6, 0.8), (0.6, 0.8), (0.6, 0.8)]


@pytest.mark.parametrize("monitor", ["val/accuracy", "val/loss"])
def test_a_tie_is_broken_by_the_loss_and_is_no_improvement(here, scores, monitor):
    """The third accuracy equals the best at a higher loss; patience counts from the first."""
    seen = scores(TIED)
    plateau = ["schedule=plateau", "schedule.patience='20 steps'", "optimizer.lr=0.1"]
    assert main([*FAST, *VALIDATED, *plateau, f"monitor={monitor}"]) == 0
    directory = last(here)
    *points, end = record.read_points(directory)
    assert end["values"]["best/epoch"] == 20 / 34
    assert of(checkpoint.read(directory / "checkpoints" / "best.pt"), seen) == 2
    since, stop = (1, 40) if monitor == "val/accuracy" else (2, 50)
    assert points[-1]["step"] == stop
    assert record.read_json(directory / "run.json")["stopped"]["since"] == since * 10
    cut = next(p["step"] for p in points if p["values"]["lr"] < 0.1)
    assert cut == (since + 2) * 10 + 10, "the step after the patience is over"


def test_a_tie_does_not_halve_the_rate(here, scores):
    scores(TIED)
    words = [*VALIDATED[2:], "schedule=halve_on_worse", "optimizer.lr=0.1"]
    assert main([*FAST, *words]) == 0
    *points, _ = record.read_points(last(here))
    assert [p["values"]["lr"] for p in points] == 4 * [0.1] + 2 * [0.05]


@pytest.mark.parametrize(("loss", "best"), sparsely([(0.45, 2), (0.39, 3)], 2))
def test_what_breaks_a_tie_survives_going_on(here, scores, loss, best):
    seen = scores([*TIED[:2], (loss, 0.9)])
    words = [*FAST, *VALIDATED[3:]]
    assert main([*words, "epochs='20 steps'"]) == 0
    assert main(["resume=last", "epochs='30 steps'"]) == 0
    assert of(checkpoint.read(last(here) / "checkpoints" / "best.pt"), seen) == best
    assert record.read_points(last(here))[-1]["values"]["best/epoch"] == best * 10 / 34
