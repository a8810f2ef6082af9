"""Sweeps at the same time: each point that they share is trained once, by whoever comes first."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from dlrun import record
from tests.conftest import in_suite
from tests.sweep.typed import start

SLOW = """
import os, time, torch
from pathlib import Path

class Net(torch.nn.Sequential):
    def __init__(self, width):
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(64, width), torch.nn.Linear(width, 10))

    def forward(self, x):
        states = [path.read_text() for path in Path("outputs").glob("runs/*/status.json")]
        if any(str(os.getpid()) in state for state in states):  # no look before training
            Path(f"training-{os.getpid()}").touch()
            while Path("hold").exists():
                time.sleep(0.01)
        return super().forward(x)
"""
WORDS = ["model=custom", "model._target_=slow_net.Net", "tracking=none", "threads=1"]
WORDS += ["epochs='3 steps'", "test=false"]
LEFT, RIGHT = "+model.width=4,5,6", "+model.width=5,6,7"


def trained(folder: Path) -> list[str]:
    """The widths that were trained to the end, a run each."""
    runs = record.all_runs(folder / "outputs")
    done = [run for run in runs if record.read_status(run)["status"] == record.FINISHED]
    words = [record.read_json(run / "run.json")["overrides"] for run in done]
    return sorted(word for each in words for word in each if "width" in word)


def ledgers(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """What each sweep says of its points, by its command."""
    found = {}
    for path in (folder / "outputs" / "sweeps").glob("*/ledger.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        last = {line["trial"]: line for line in lines}
        found[path.parent.name] = [(p["overrides"][0], p["status"]) for p in last.values()]
    return found


def until(what: Any, child: Any) -> None:
    end = time.monotonic() + 120
    while not what():
        assert child.exitcode is None, "it has ended too early"
        assert time.monotonic() < end
        time.sleep(0.02)


def begin(words: list[str], folder: Path) -> Any:
    """A sweep that has begun to train, and is held there."""
    child = start(words, folder)
    until(lambda: list(folder.glob(f"training-{child.pid}")), child)
    return child


@pytest.mark.slow
@pytest.mark.parametrize("launcher", in_suite(["basic"], ["basic", "joblib"]))
def test_what_two_sweeps_share_is_trained_once(launcher, tmp_path):
    (tmp_path / "slow_net.py").write_text(SLOW)
    (tmp_path / "hold").touch()
    words = [*WORDS, f"hydra/launcher={launcher}"]
    words += ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    left = start([*words, LEFT.replace("4,5,6", "5,4,6")], tmp_path)
    until(lambda: list(tmp_path.glob("training-*")), left)
    right = start([*words, RIGHT], tmp_path)
    until(lambda: len(ledgers(tmp_path)) == 2, right)
    (tmp_path / "hold").unlink()
    for child in (left, right):
        child.join()
        assert child.exitcode == 0, (tmp_path / "output.txt").read_text()
    assert trained(tmp_path) == [f"+model.width={width}" for width in (4, 5, 6, 7)]
    assert len(record.all_runs(tmp_path / "outputs")) == 4
    said = ledgers(tmp_path)
    assert len(said) == 2
    assert all(len(points) == 3 for points in said.values())
    assert {status for points in said.values() for _, status in points} == {"FINISHED"}
    assert "as run 20" in (tmp_path / "output.txt").read_text()


@pytest.mark.proof
@pytest.mark.slow
def test_a_claim_ends_with_its_process(tmp_path):
    (tmp_path / "slow_net.py").write_text(SLOW)
    (tmp_path / "hold").touch()
    left = begin([*WORDS, "+model.width=5,4"], tmp_path)
    right = start([*WORDS, "+model.width=5,7"], tmp_path)
    until(lambda: "waiting for +model.width=5" in (tmp_path / "output.txt").read_text(), right)
    os.kill(left.pid, signal.SIGKILL)
    left.join()
    (tmp_path / "hold").unlink()
    right.join()
    assert right.exitcode == 0, (tmp_path / "output.txt").read_text()
    assert trained(tmp_path) == ["+model.width=5", "+model.width=7"]
    again = start([*WORDS, "+model.width=5,4"], tmp_path)
    again.join()
    assert again.exitcode == 0
    assert trained(tmp_path) == [f"+model.width={width}" for width in (4, 5, 7)], "5 was taken over"


@pytest.mark.slow
def test_waiting_ends_at_ctrl_c(tmp_path):
    (tmp_path / "slow_net.py").write_text(SLOW)
    (tmp_path / "hold").touch()
    left = begin([*WORDS, "+model.width=5,4"], tmp_path)
    right = start([*WORDS, "+model.width=5,7"], tmp_path)
    until(lambda: "waiting for +model.width=5" in (tmp_path / "output.txt").read_text(), right)
    os.kill(right.pid, signal.SIGINT)
    right.join()
    assert right.exitcode == 130
    assert "Traceback" not in (tmp_path / "output.txt").read_text()
    (tmp_path / "hold").unlink()
    left.join()
    assert left.exitcode == 0
    assert trained(tmp_path) == ["+model.width=4", "+model.width=5"]
