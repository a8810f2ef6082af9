"""Runs killed with SIGKILL at random moments go on to the weights and points of whole ones."""

import json
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dlrun import record
from dlrun.engine import checkpoint
from tests.conftest import in_suite
from tests.states import differences, without_clock

QUICK = ("tracking=none", "threads=1", "epochs=30", "checkpoint_every='7 steps'")
RECIPES = {
    "momentum, cosine, warm-up": ["optimizer=momentum", "schedule=cosine", "warmup=10%"],
    "adam, dropout, l1 and l2": ["optimizer=adam", "regularization=[dropout,l1,l2]"],
    "adamw, augmentation, early stopping": [
        *("optimizer=adamw", "optimizer.lr=0.003", "augmentation=[flip,crop]"),
        *("augmentation.crop.padding=1", "regularization=[early_stopping,dropout]", "epochs=40"),
        *("regularization.early_stopping.patience='12 epochs'",),
        *("data.samples=80%", "data.train_dev=5%"),
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
    "frozen, then set free, rates by name and depth": [
        *("optimizer=adamw", "model=mlp", "model.norm=batch", "freeze=[backbone]"),
        *("unfreeze_at=50%", "lr_of={head:3}", "layer_decay=0.8", "log_every='9 steps'"),
        "regularization=[l2,dropout]",
    ],
    "drawn with replacement, rates by fan-in, a sigmoid": [
        *("sampling=replacement", "batch_size=50", "layer_lr=fan_in", "optimizer.lr=0.02"),
        *("data.classes=[3,8]", "loss=bce", "loss.one_logit=true"),
        *("regularization=[dropconnect]", "regularization.dropconnect.inference=gaussian"),
        "regularization.dropconnect.linear=0.2",
        *("on_divergence=backoff", "divergence=[explosion,oscillation]", "epochs=120"),
    ],
    "a table with texts and holes": ["data=arrays", "data.path=../t.csv", "data.target=kind"],
}
QUICKEST = ("adamw, augmentation, early stopping",)
PRELOAD = ("dlrun.cli.launch", "dlrun.recipe.build", "dlrun.report.curves", "sklearn.datasets")
SERVER = multiprocessing.get_context("forkserver" if sys.platform != "win32" else "spawn")


def _train(words: Sequence[str], folder: Path, kill: Any = None) -> None:
    """What a child process does: one command, as typed in `folder`, ended when `kill` returns.

    The child kills itself, so that a busy machine slows the training and the kill alike.
    """
    os.chdir(folder)
    sys.stdout = sys.stderr = open(folder / "output.txt", "a", encoding="utf-8")  # noqa: SIM115
    from dlrun.__main__ import main

    def wait() -> None:
        kill(folder)
        os.kill(os.getpid(), signal.SIGKILL)

    if kill:
        threading.Thread(target=wait, daemon=True).start()
    os._exit(main(list(words)))


@dataclass
class After:
    """Waits for so many seconds of the process's own time."""

    seconds: float

    def __call__(self, folder: Path) -> None:
        while time.process_time() < self.seconds:
            time.sleep(0.002)


@dataclass
class Beyond:
    """Waits until the record holds so many bytes, and a little longer."""

    size: float
    seconds: float

    def __call__(self, folder: Path) -> None:
        while _recorded(folder) < self.size:
            time.sleep(0.001)
        time.sleep(self.seconds)


def _recorded(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("outputs/runs/*/metrics.jsonl"))


def _run(words: Sequence[str], folder: Path, kill: Any = None) -> int:
    """The exit code of one command."""
    SERVER.set_forkserver_preload([*PRELOAD])
    child = SERVER.Process(target=_train, args=(words, folder, kill))
    child.start()
    child.join()
    return int(child.exitcode)


def _table() -> str:
    """A CSV in which a number has holes, and a text more values than inputs."""
    chance = random.Random(0)
    rows = ["age,town,kind"]
    for _ in range(400):
        age = chance.choice(["", f"{chance.gauss(40, 10):.1f}"])
        rows.append(f"{age},t{chance.randrange(70)},{chance.choice('ab')}")
    return "\n".join(rows)


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
@pytest.mark.parametrize("recipe", in_suite(QUICKEST, RECIPES))
def test_killed_runs_end_as_whole_ones_do(recipe, tmp_path):
    words = [*QUICK, *RECIPES[recipe]]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    (tmp_path / "t.csv").write_text(_table())
    assert _run(words, whole) == 0, (whole / "output.txt").read_text()
    expected_points, expected_state, expected_best = _result(whole)

    # The first comes while the run starts; the others in a step, a validation, a checkpoint.
    chance = random.Random(recipe)
    size, length = _recorded(whole), expected_state["position"]["elapsed"]
    kills = [After(chance.uniform(0.0, 1.0))]
    kills += [
        Beyond(share * size, chance.uniform(0.0, length / 50))
        for share in sorted(chance.uniform(0.05, 0.9) for _ in range(4))
    ]
    for kill in kills:
        begun = list(killed.glob("outputs/runs/*/run.json"))
        code = _run(["resume=last"] if begun else words, killed, kill)
        assert code == -signal.SIGKILL, (killed / "output.txt").read_text()
    assert _run(["resume=last"], killed) == 0, (killed / "output.txt").read_text()

    points, state, best = _result(killed)
    assert points == expected_points
    steps = [(p["step"], name) for p in points for name in p["values"]]
    assert len(steps) == len(set(steps))
    assert not differences(without_clock(state), without_clock(expected_state))
    assert not differences(best, expected_best)
