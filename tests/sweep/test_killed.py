"""Sweeps killed with SIGKILL at random moments end with the table of whole ones."""

import os
import random
import signal
from pathlib import Path

import pytest

from dlrun import record
from dlrun.errors import Interrupted
from dlrun.sweep.ledger import Ledger
from dlrun.sweep.search import Pruner
from tests.conftest import in_suite
from tests.sweep.typed import LR, directory, points, start, table

COMMON = ("tracking=none", "threads=1", "checkpoint_every='40 steps'", "sweep.stack=off")
SWEEPS = {
    "grid": (10, ["epochs=15", "optimizer=sgd,momentum,adam", "optimizer.lr=0.3,0.1,0.03,0.01"]),
    "random, twice": (4, ["epochs=6", "sweep=random", "sweep.trials=6", "sweep.repeats=2", LR]),
    "tpe, pruned": (
        5,
        [
            *("epochs=8", "sweep=tpe", "sweep.trials=12", "sweep.sampler.n_startup_trials=4"),
            *("sweep.pruner=median", "sweep.pruning.startup=3", LR, "optimizer=sgd,momentum"),
        ],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", in_suite(["random, twice"], SWEEPS))
def test_a_killed_sweep_ends_as_a_whole_one_does(name, tmp_path):
    kills, words = SWEEPS[name]
    words = [*COMMON, *words]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    child = start(words, whole)
    child.join()
    assert child.exitcode == 0, (whole / "output.txt").read_text()
    expected = table(whole)
    trained = sum(_elapsed(run) for run in record.all_runs(whole / "outputs"))

    chance = random.Random(name)
    done = 0
    for _ in range(kills):
        child = start(words, killed)
        before = _size(killed)
        while child.exitcode is None and _size(killed) == before:
            child.join(0.002)
        child.join(chance.uniform(0.0, 1.5 * trained / kills))
        if child.exitcode is None:
            os.kill(child.pid, signal.SIGKILL)
            child.join()
            done += 1
    assert done > kills // 2, "too few of the kills came in time"
    child = start(words, killed)
    child.join()
    assert child.exitcode == 0, (killed / "output.txt").read_text()

    assert table(killed) == expected
    runs = record.all_runs(killed / "outputs")
    steps = [_steps(run) for run in runs]
    assert all(len(run) == len(set(run)) for run in steps), "no point is there twice"
    hashes = [record.read_json(run / "run.json")["sweep"]["hash"] for run in runs]
    assert len(hashes) == len(set(hashes)), "no recipe was trained twice"
    known = {run.hash for point in points(killed) for run in point.runs}
    assert known == set(hashes), "no run is lost"


def _size(folder: Path) -> int:
    """How much of anything is written down: it grows when the child is at work."""
    outputs = folder / "outputs"
    found = [*outputs.glob("runs/*/[!.]*.json*"), *outputs.glob("sweeps/*/ledger.jsonl")]
    return sum(path.stat().st_size for path in found)


def _elapsed(directory: Path) -> float:
    values = [at["values"] for at in record.read_points(directory)]
    return max(value.get("time/elapsed", 0.0) for value in values)


def _steps(directory: Path) -> list[tuple[int, str]]:
    return [(at["step"], key) for at in record.read_points(directory) for key in at["values"]]


@pytest.fixture
def both(sweep, tmp_path, monkeypatch):
    """The tables of a sweep that nobody stops, and of one that a method stops, which goes on."""

    def tables(words, owner, name, stopping):
        whole, stopped = tmp_path / "whole", tmp_path / "stopped"
        for folder in (whole, stopped):
            folder.mkdir()
        monkeypatch.chdir(whole)
        assert sweep(*words) == 0
        monkeypatch.chdir(stopped)
        monkeypatch.setattr(owner, name, stopping)
        assert sweep(*words) == 128 + signal.SIGTERM
        assert sweep(*words) == 0
        return table(whole), table(stopped)

    return tables


def test_a_sweep_that_is_asked_for_more_has_not_ended_before_that_is_done(
    sweep, tmp_path, monkeypatch
):
    words = ["sweep=random", LR]
    assert sweep(*words, "sweep.trials=1") == 0
    status = directory(tmp_path) / "status.json"
    assert record.read_json(status)["status"] == record.FINISHED

    def killed(*_):
        raise Interrupted(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "ran", killed)
        assert sweep(*words, "sweep.trials=2") == 128 + signal.SIGTERM
    assert record.mark_killed(status.parent)["status"] == record.KILLED
    assert sweep(*words, "sweep.trials=2") == 0
    assert record.read_json(status)["status"] == record.FINISHED


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        (1, ["sweep.repeats=2", "sweep.pruner=halving"]),
        (4, ["sweep.parallel=4", "sweep.stack=4", "sweep.pruner=halving"]),
    ],
)
def test_a_pruner_hears_of_runs_whose_point_had_not_ended(both, runs, words):
    words = [*words, "epochs=3", "sweep=random", "sweep.trials=8", LR]
    keep, left = Ledger.ran, [runs]

    def killed(self, trial, run):
        keep(self, trial, run)
        left[0] -= 1
        if left[0] == 0:
            raise Interrupted(signal.SIGTERM)

    whole, stopped = both(words, Ledger, "ran", killed)
    assert [row[:4] for row in stopped] == [row[:4] for row in whole]


def test_a_pruner_hears_of_a_batch_before_any_of_it_counts_as_complete(both):
    words = ["sweep=random", "sweep.trials=8", "sweep.pruner=hyperband", "epochs=9", LR]
    words += ["sweep.parallel=4", "sweep.stack=4"]
    judge, left = Pruner.should_stop, [4 * 9 + 6]  # in the second epoch of the second batch

    def stopping(self, score, step):
        left[0] -= 1
        if left[0] == 0:
            signal.raise_signal(signal.SIGTERM)
        return judge(self, score, step)

    whole, stopped = both(words, Pruner, "should_stop", stopping)
    assert [row[:4] for row in stopped] == [row[:4] for row in whole]


def test_a_search_is_asked_for_as_many_at_once_as_before(both):
    words = ["sweep=tpe", "sweep.trials=12", "sweep.sampler.n_startup_trials=2", "epochs=1", LR]
    words += ["sweep.parallel=4"]
    end, left = Ledger.end, [6]

    def killed(self, trial):
        found = end(self, trial)
        left[0] -= 1
        if left[0] == 0:
            raise Interrupted(signal.SIGTERM)
        return found

    whole, stopped = both(words, Ledger, "end", killed)
    assert stopped == whole
