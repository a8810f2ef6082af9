"""Runs killed with SIGKILL at random moments go on to the weights and points of whole ones."""

import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dlrun import checkpoint, record
from tests.states import differences, without_clock

QUICK = ("tracking=none", "threads=1", "epochs=30", "checkpoint_every='7 steps'")
KILLS = 5
RECIPES = {
    "momentum, cosine, warm-up": ["optimizer=momentum", "schedule=cosine", "warmup=10%"],
    "adam, dropout, l1 and l2": ["optimizer=adam", "regularization=[dropout,l1,l2]"],
    "adamw, augmentation, early stopping": [
        *("optimizer=adamw", "optimizer.lr=0.003", "augmentation=[flip,crop]"),
        *("augmentation.crop.padding=1", "regularization=[early_stopping,dropout]", "epochs=40"),
        *("regularization.early_stopping.patience='12 epochs'",),
    ],
    "nesterov, step, accumulation, clipping": [
        *("optimizer=nesterov", "schedule=step", "accumulate=3", "clip_norm=1", "batch_size=20"),
        *("validate_every='5 steps'", "log_every='3 steps'"),
    ],
    "sgd, batch norm, averages, label smoothing": [
        *("optimizer=sgd", "model=mlp", "model.norm=batch", "batch_size=48"),
        *("regularization=[weight_average,label_smoothing,l2]", "log_every='31 steps'"),
        *("regularization.weight_average.form=swa", "regularization.weight_average.start=30%"),
    ],
}
PRELOAD = ("dlrun.command.launch", "dlrun.build", "dlrun.report.curves", "sklearn.datasets")
SERVER = multiprocessing.get_context("forkserver" if sys.platform != "win32" else "spawn")


def _train(words: Sequence[str], folder: Path, code: Any = None) -> None:
    """What a child process does: one command, as typed in `folder`."""
    os.chdir(folder)
    sys.stdout = sys.stderr = open(folder / "output.txt", "a", encoding="utf-8")  # noqa: SIM115
    from dlrun.__main__ import main

    os._exit(main(list(words)))


def _start(words: Sequence[str], folder: Path) -> Any:
    SERVER.set_forkserver_preload([*PRELOAD])
    child = SERVER.Process(target=_train, args=(words, folder))
    child.start()
    return child


def _wait_for_training(child: Any, folder: Path) -> None:
    """Until the record grows: the child has gone on from where the one before it was."""

    def size() -> int:
        return sum(path.stat().st_size for path in folder.glob("outputs/runs/*/metrics.jsonl"))

    before = -1
    while child.exitcode is None and not size() > before >= 0:
        before = size()
        time.sleep(0.002)


def _finish(words: Sequence[str], folder: Path) -> int:
    child = _start(words, folder)
    child.join()
    return int(child.exitcode)


def _result(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]]:
    """The points without what the clock says, the last checkpoint, and the best weights."""
    directory = record.find(folder / "outputs", "last")
    points = []
    for line in (directory / "metrics.jsonl").read_text().splitlines():
        point = json.loads(line)
        values = {k: v for k, v in point["values"].items() if not k.startswith("time/")}
        points.append({"step": point["step"], "epoch": point["epoch"], "values": values})
    last, best = (checkpoint.read(directory / "checkpoints" / f"{n}.pt") for n in ("last", "best"))
    return points, last, best


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_killed_runs_end_as_whole_ones_do(recipe: str, tmp_path: Path) -> None:
    words = [*QUICK, *RECIPES[recipe]]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    assert _finish(words, whole) == 0, (whole / "output.txt").read_text()
    expected_points, expected_state, expected_best = _result(whole)
    length = expected_state["position"]["elapsed"]

    chance = random.Random(recipe)
    command, kills = words, 0
    while kills < KILLS:
        child = _start(command, killed)
        if kills:
            _wait_for_training(child, killed)
        # At first at any moment, then while it trains: in a step, a validation, a checkpoint.
        child.join(chance.uniform(0.0, length / 2) if kills else chance.uniform(0.5, 2.0))
        if child.exitcode is not None:  # it was faster than the whole one
            break
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        kills += 1
        if list(killed.glob("outputs/runs/*/run.json")):
            command = ["resume=last"]
    assert kills > 1, "ended before it was killed twice"
    code = _finish(command, killed) if kills == KILLS else child.exitcode
    assert code == 0, (killed / "output.txt").read_text()

    points, state, best = _result(killed)
    assert points == expected_points
    steps = [(p["step"], name) for p in points for name in p["values"]]
    assert len(steps) == len(set(steps))
    assert not differences(without_clock(state), without_clock(expected_state))
    assert not differences(best, expected_best)
