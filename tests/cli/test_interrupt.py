"""SIGINT at any moment of a command: one line, exit code 130, and nothing goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import in_suite

# Blocks where the signal is to come, and says so; the module is imported by the command.
POINTS = {
    "flags": "dlrun.recipe.flags",
    "hydra": "hydra.core.plugins",
    "optuna": "optuna",
    "torch": "torch",
    "digits": "sklearn.datasets",
}
CONSOLE = """
import os, sys, time
from importlib.abc import MetaPathFinder
sys.argv[0] = "dlrun"

class Slow(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["AT"]:
            os.open("there", os.O_CREAT)
            end = time.monotonic() + 3
            while time.monotonic() < end:
                pass
        return None

sys.meta_path.insert(0, Slow())
from dlrun.__main__ import console
sys.exit(console())
"""


@pytest.mark.parametrize("at", in_suite(["torch"], POINTS))
def test_sigint_during_imports_is_one_line(at, tmp_path):
    words = ["epochs=100000", "tracking=none"]
    words = ["-m", "seed=0,1", *words] if at == "optuna" else words
    child = subprocess.Popen(
        [sys.executable, "-c", CONSOLE, *words],
        cwd=tmp_path,
        env=os.environ | {"AT": POINTS[at], "DLRUN_DEBUG": "", "DLRUN_CACHE": str(tmp_path / "c")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 60
    while not (tmp_path / "there").exists() and time.monotonic() < end:
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=120)
    # Training may have begun by the time that the import has ended.
    assert err in ("stopped: by SIGINT\n", "stopped: the state is saved\n")
    assert child.returncode == 130


def test_sigint_reaches_no_process_that_delivers(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-m", "dlrun", "epochs='20 steps'"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
    end = time.monotonic() + 60
    while not (found := children.read_text().split()) and time.monotonic() < end:
        time.sleep(0.005)
    for _ in range(3):
        os.kill(int(found[0]), signal.SIGINT)
        time.sleep(0.1)
    _, err = child.communicate(timeout=120)
    assert (err, child.returncode) == ("", 0)
