"""The sweeps of the README are sweeps: read, composed and counted, none trained."""

import shlex
import shutil

import pytest

from dlrun.recipe import compose
from dlrun.sweep.command import read_stage
from dlrun.sweep.launchers import Jobs
from tests.conftest import sparsely
from tests.readme import README

SECTION = README.read_text(encoding="utf-8").partition("\n## Sweeps\n")[2].partition("\n## ")[0]
COMMANDS = [line for line in SECTION.splitlines() if line.startswith("dlrun ")]
COUNTS = {"sweep.trials=50": 50, "sweep.trials=40": 40, "sweep.zip": 2, "+experiment": 22}


@pytest.mark.parametrize("command", sparsely(COMMANDS, 3))
def test_it_can_be_planned(command, planned, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: name)  # as if srun were there
    words = [word for word in shlex.split(command, comments=True)[1:] if word != "-m"]
    made = planned(*words)
    made.check()
    assert made.total() == next((n for key, n in COUNTS.items() if key in command), made.total())
    assert made.total() >= 2
    for stage in made.settings.stages:
        read_stage(dict(stage))
    with compose.composer([]) as composer:
        assert Jobs(made.composed, composer, tmp_path).at_once >= 1


def test_every_way_is_shown():
    shown = " ".join(COMMANDS)
    ways = ["sweep=random", "sweep=tpe", "sweep.zip", "sweep.repeats", "sweep.pruner"]
    ways += ["sweep.stages", "sweep.dry_run", "joblib", "submitit_slurm", "ray", "+experiment"]
    assert [way for way in ways if way not in shown] == []
