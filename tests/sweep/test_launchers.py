"""Launchers of Hydra, really run: what they find, what they say of failures, and SIGINT."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest

from dlrun import record
from dlrun.errors import Failure, Mistake
from dlrun.sweep import launchers, samplers
from dlrun.sweep.launchers import Jobs
from dlrun.sweep.search import Search, journal
from tests.conftest import in_suite
from tests.sweep.typed import LR, points, start, table

LAUNCHERS = {
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "submitit": ["hydra/launcher=submitit_local", "sweep.parallel=3"],
    "ray": ["hydra/launcher=ray", "hydra.launcher.ray.init.num_cpus=2"],
}
COMMON = ["tracking=none", "threads=1", "checkpoint_every='40 steps'"]
SIZES = ["model.hidden=[50],[40],[1000],[30],[20]", "model.max_parameters=10000"]
POINTS = [*COMMON, "epochs=2", *SIZES]
FAILS = "model.max_parameters=10,000: this model has 75,010 parameters"
ERRORS = [f"error: model.hidden=[1000]: {FAILS}", "error: 1 of 5 points failed"]

DEADLY = """
import os, sys, torch

def net():
    if "loky" in " ".join(sys.orig_argv):
        os._exit(9)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
"""

SLOW = """
import os, sys, time, torch
from pathlib import Path

def net():
    if "loky" in " ".join(sys.orig_argv) and not Path("fast").exists():
        Path(f"worker-{os.getpid()}").touch()
        time.sleep(300)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
"""


def type_(words: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    """`dlrun -m` in a process and a directory of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "dlrun", "-m", *words],
        cwd=folder,
        env=os.environ | {"DLRUN_DEBUG": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def in_one_process(words: Sequence[str], folder: Path) -> int:
    """The same in one process; the exit code."""
    folder.mkdir()
    child = start(words, folder)
    child.join()
    return int(child.exitcode)


@pytest.mark.slow
def test_joblib_with_one_job_trains_in_this_process(tmp_path):
    words = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=1", "optimizer.lr=0.1,0.2"]
    folder = tmp_path / "one"
    assert in_one_process([*COMMON, *words, "epochs='1 steps'"], folder) == 0
    assert [point.status for point in points(folder)] == ["FINISHED", "FINISHED"]


@pytest.mark.slow
@pytest.mark.parametrize("name", in_suite(["joblib"], LAUNCHERS))
def test_a_launcher_finds_what_one_process_finds(name, tmp_path):
    one, many = tmp_path / "one", tmp_path / "many"
    assert in_one_process(POINTS, one) == 1
    many.mkdir()
    child = type_([*POINTS, *LAUNCHERS[name]], many)
    out, err = child.communicate()
    assert child.returncode == 1, err
    assert [line for line in err.splitlines() if line.startswith("error")] == ERRORS
    assert "Traceback" not in err
    assert len(re.findall(r"^ *\d/5 ", out, re.MULTILINE)) == 5, out
    assert table(many) == table(one)
    assert [run.message for point in points(many) for run in point.runs] == [
        *("", "", FAILS, "", "")
    ]
    told = [record.read_status(run) for run in record.all_runs(many / "outputs")]
    assert sorted(status["status"] for status in told) == ["FAILED"] + 4 * ["FINISHED"]
    assert len({status["pid"] for status in told}) > 1, "more than one process has trained"


@pytest.mark.proof
def test_sigint_ends_a_joblib_sweep_and_the_command_goes_on(tmp_path):
    words = [*COMMON, "epochs=60", "optimizer.lr=0.1,0.03,0.01,0.003,0.001,0.0003"]
    one, many = tmp_path / "one", tmp_path / "many"
    assert in_one_process([*words, "sweep.stack=off"], one) == 0
    many.mkdir()
    typed = [*words, *LAUNCHERS["joblib"]]
    child = type_(typed, many)
    while child.poll() is None and not finished(many):
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate()
    assert child.returncode == 130, err
    assert err == "stopped: by SIGINT\n"
    assert "goes on from here" in out
    before = record.all_runs(many / "outputs")
    assert not any(map(record.is_running, before)), "its jobs have ended too"
    done = finished(many)
    assert 0 < done < 6

    child = type_(typed, many)
    out, err = child.communicate()
    assert child.returncode == 0, err
    assert f"{done} done already" in out
    assert table(many) == table(one)
    hashes = [record.read_json(run / "run.json")["sweep"]["hash"] for run in runs(many)]
    assert len(hashes) == len(set(hashes)) == 6, "no recipe was trained twice"


def runs(folder: Path) -> list[Path]:
    """The runs below a working directory."""
    return record.all_runs(folder / "outputs")


def finished(folder: Path) -> int:
    """How many of them have ended, as the ledger has it."""
    sweeps = list((folder / "outputs" / "sweeps").glob("*/ledger.jsonl"))
    if not sweeps:
        return 0
    return sum(run.status == record.FINISHED for point in points(folder) for run in point.runs)


@pytest.fixture
def jobs(planned, tmp_path):
    """jobs("hydra/launcher=joblib") is what runs the jobs of that command."""

    def made(*words: str) -> Jobs:
        from dlrun.recipe import compose

        with compose.composer([]) as composer:
            return Jobs(planned(*words).composed, composer, tmp_path)

    return made


def test_what_keeps_a_result_from_being_taken_ends_the_sweep(tmp_path):
    task = SimpleNamespace(id="0-0")

    def done(task, run):
        raise Failure("the disk is full")

    inbox = launchers._Inbox(tmp_path, [task], done)
    inbox.start()
    record.write_json(tmp_path / "0-0.json", {"seed": 0, "hash": "h"})
    inbox.join(timeout=10)
    assert not inbox.is_alive()
    assert (tmp_path / "stop").exists(), "no other job begins"
    with pytest.raises(Failure, match="disk is full"):
        inbox.stop()


def test_slurm_is_refused_where_there_is_none(jobs, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(Mistake, match=r"submitit_slurm: this machine has no srun.*submitit_local"):
        jobs("hydra/launcher=submitit_slurm", "seed=0,1")
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/srun")
    assert jobs("hydra/launcher=submitit_slurm", "seed=0,1").at_once == 32


@pytest.mark.parametrize(
    ("words", "at_once"),
    [
        (["seed=0,1"], 1),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=3", "seed=0,1"], 3),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=-1", "seed=0,1"], 8),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=-2", "seed=0,1"], 7),
        (["hydra/launcher=submitit_local", "seed=0,1"], 8),
    ],
)
def test_how_many_run_at_once(jobs, monkeypatch, words, at_once):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert jobs(*words).at_once == at_once


@pytest.mark.proof
@pytest.mark.slow
def test_a_lost_job_is_one_line(tmp_path):
    (tmp_path / "deadly.py").write_text(DEADLY)
    words = ["model=custom", "model._target_=deadly.net", *COMMON, "epochs=1", "seed=0,1"]
    child = type_([*words, *LAUNCHERS["joblib"]], tmp_path)
    _, err = child.communicate()
    assert child.returncode == 1, err
    [line] = [line for line in err.splitlines() if line.startswith("error")]
    assert line.startswith("error: hydra/launcher=joblib: lost a job: A worker process")
    assert "Traceback" not in err


@pytest.mark.proof
@pytest.mark.slow
def test_workers_end_with_the_process_that_drives_them(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    words = ["model=custom", "model._target_=slow.net", *COMMON, "epochs=1", "seed=0,1,2"]
    child = type_([*words, *LAUNCHERS["joblib"]], tmp_path)
    while child.poll() is None and len(list(tmp_path.glob("worker-*"))) < 2:
        time.sleep(0.01)
    child.kill()
    child.communicate(timeout=120)  # as long as a worker is there, the same pipes are open
    (tmp_path / "fast").touch()
    child = type_([*words, *LAUNCHERS["joblib"]], tmp_path)
    _, err = child.communicate()
    assert child.returncode == 0, err
    hashes = [record.read_json(run / "run.json")["sweep"]["hash"] for run in runs(tmp_path)]
    assert len(hashes) == len(set(hashes)) == 3, "no recipe was trained twice"


def test_a_job_that_goes_on_shows_the_pruner_what_its_run_has_come_to(sweep, planned, tmp_path):
    assert sweep("optimizer.lr=0.1", "epochs=2") == 0
    [run] = record.all_runs(tmp_path / "outputs")
    plan = planned("sweep=random", "sweep.pruner=median", LR)
    path, pruner = tmp_path / "journal.log", samplers.pruner(plan.settings)
    search = Search(plan.space, samplers.sampler(plan.settings), pruner, "val/loss", "test", path)
    search.ask(0)
    watch = launchers.Watch(path, "test", pruner, {0: search.id(0)})
    task = SimpleNamespace(first=True, trial=0, resume=str(run), objective="val/accuracy")
    launchers.Remote([task], tmp_path, None, False, watch)._stopping(task)
    study = optuna.load_study(study_name="test", storage=journal(path))
    assert list(study.trials[0].intermediate_values) == [1, 2]
