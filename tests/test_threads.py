"""How many threads a run trains with: from the recipe, kept by the record."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dlrun import preprocessing, record
from dlrun.__main__ import main, wait_briefly
from dlrun.engine import device
from dlrun.engine.device import worthwhile
from dlrun.stack import StackedStep, worth
from tests.states import timeless

WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
SHORT = ("tracking=none", "epochs='2 steps'", "test=false")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory on a machine of four cores."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(device, "CORES", 4)
    return tmp_path


def threads(here: Path) -> int:
    directory = record.find(here / "outputs", "last")
    return int(json.loads((directory / "run.json").read_text())["threads"])


def points(here: Path) -> list[object]:
    """What the runs have recorded, without the clock."""
    return [timeless(record.read_points(run)) for run in record.all_runs(here / "outputs")]


def claim(here: Path, count: object) -> None:
    """Let the last run say that it was trained with so many threads."""
    path = record.find(here / "outputs", "last") / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"threads": count}))


def test_a_thread_for_each_2_million_operations():
    million = 1_000_000
    asked = [1, 2 * million, 2 * million + 1, 5 * million, 100 * million]
    assert [worthwhile(operations, 4) for operations in asked] == [1, 1, 2, 3, 4]
    assert worthwhile(0, 4) == 4  # nothing is known


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ([], 1),  # 2·(64·64 + 64·10)·32 = 0.3 million
        (["batch_size=full"], 4),  # 1,150 samples or so
        (["model.hidden=[1024]"], 3),  # 2·(64·1024 + 1024·10)·32 = 4.8 million
        (["threads=2"], 2),
    ],
)
def test_the_network_and_the_batch_decide(here, words, count):
    assert main([*SHORT, *words]) == 0
    assert threads(here) == count


@pytest.mark.parametrize(("words", "count"), [([], 1), (["threads=3"], 3)])
def test_few_samples_are_fitted_by_one_thread(here, monkeypatch, words, count):
    """Another process may have the other cores, and a pass by all threads waits for them."""
    seen, fit = [], preprocessing.fit

    def watched(*arguments):
        seen.append(torch.get_num_threads())
        fit(*arguments)

    monkeypatch.setattr(preprocessing, "fit", watched)
    assert main([*SHORT, "preprocessing=[standardize]", *words]) == 0
    assert seen == [count]


def test_a_resumed_run_keeps_its_number(here, capsys):
    main([*SHORT])
    claim(here, 3)
    capsys.readouterr()
    assert main(["resume=last", "epochs='3 steps'"]) == 0
    assert threads(here) == 3
    assert capsys.readouterr().err == ""


@pytest.mark.proof
def test_a_number_that_is_typed_wins(here, capsys):
    main([*SHORT])
    claim(here, 3)
    capsys.readouterr()
    assert main(["resume=last", "epochs='3 steps'", "threads=2"]) == 0
    assert threads(here) == 2
    assert "threads=2: was 3 so far; sums differ in their last digits" in capsys.readouterr().err
    assert main(["resume=last", "epochs='4 steps'"]) == 0  # it was typed for all that follows
    assert threads(here) == 2


def test_more_threads_than_the_machine_has_are_said(here, capsys):
    main([*SHORT])
    claim(here, 6)
    assert main(["resume=last", "epochs='3 steps'"]) == 0
    assert "6 threads as before, and this machine has 4; threads=4" in capsys.readouterr().err


@pytest.mark.parametrize("damaged", ["many", [2]])
def test_a_damaged_number_is_named(here, damaged, capsys):
    main([*SHORT])
    claim(here, damaged)
    assert main(["resume=last", "epochs='3 steps'"]) == 2
    assert "threads is" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"GOMP_SPINCOUNT": "10000"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
        ({"GOMP_SPINCOUNT": "0"}, {"GOMP_SPINCOUNT": "0"}),
    ],
)
def test_threads_wait_briefly_unless_the_user_has_said_how(before, after):
    wait_briefly(before)
    assert before == after


def test_it_is_settled_before_torch_is_imported():
    code = (
        "import os, sys, dlrun.__main__ as command\n"
        "command.main = lambda: print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules) or 0\n"
        "command.console()"
    )
    unset = {key: value for key, value in os.environ.items() if key not in WAITING}
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, env=unset, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["10000", "False"]


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ([], 2),  # 32 times 0.3 million, a quarter of them
        (["threads=3"], 3),
    ],
)
def test_runs_at_once_have_those_of_all_their_operations(here, monkeypatch, words, count):
    real, seen = StackedStep.__call__, set()

    def watched(step, *args):
        seen.add(torch.get_num_threads())
        return real(step, *args)

    monkeypatch.setattr(StackedStep, "__call__", watched)
    many = ["-m", "seed=range(0,32)", "sweep.stack=32", *SHORT]
    assert main([*many, *words]) == 0
    assert seen == {count}
    found = points(here)
    (here / "again").mkdir()
    monkeypatch.chdir(here / "again")
    assert main([*many, "threads=1"]) == 0
    assert seen == {count, 1}
    assert points(here / "again") == found, "each sum is one thread's"


def test_runs_at_once_leave_the_others_their_threads(here):
    assert main(["-m", "seed=range(0,32)", "sweep.stack=32", *SHORT]) == 0
    assert threads(here) == torch.get_num_threads() == 1


def test_few_at_once_have_no_fewer_threads_than_one_alone(monkeypatch):
    monkeypatch.setattr(device, "CORES", 4)
    lengths, train = SimpleNamespace(batch_size=100), SimpleNamespace(rows=range(1000))
    run = SimpleNamespace(lengths=lengths, train=train, flops=50_000)  # 5 million operations
    counts = [worth.threads([run] * many, None, None) for many in (1, 2, 4, 8)]
    assert counts == [3, 3, 3, 4]
    assert worth.threads([run] * 8, None, 2) == 2
    assert worth.threads([run] * 8, 3, 2) == 3
