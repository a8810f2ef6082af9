"""What a sweep costs beside training: twenty runs of one epoch on the digits."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from dlrun import record

RUNS = 20
WORDS = ("epochs=1", "threads=1")
AT_MOST = 1.3


def compare(repeats: int) -> list[dict[str, Any]]:
    """Medians over `repeats` sweeps, in seconds of wall clock from the shell to the shell.

    training: the sum of what the runs' own loops took; sweep: the one command, which beside
    them starts Python, imports torch, composes, records and reports; by hand: a script that
    imports, builds and trains the same runs and keeps nothing. a run: from the end of one run
    to the end of the next, inside the sweep; command: one such run as a command of its own.
    """
    by_hand = median(_by_hand() for _ in range(repeats))
    rows = []
    for tracking in ("mlflow", "none"):
        found = [_sweep(tracking) for _ in range(repeats)]
        apart = median(_alone(tracking) for _ in range(repeats))
        training = median(one["training"] for one in found)
        whole = median(one["sweep"] for one in found)
        rows.append(
            {
                "case": tracking,
                "training (s)": training,
                "sweep (s)": whole,
                "sweep / training": whole / training,
                "wanted": AT_MOST,
                "by hand (s)": by_hand,
                "sweep / by hand": whole / by_hand,
                "a run (s)": median(one["between"] for one in found),
                "its training (s)": training / RUNS,
                "command (s)": apart,
                f"{RUNS} such / sweep": apart * RUNS / whole,
            }
        )
    return rows


def _sweep(tracking: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        seeds = ",".join(map(str, range(RUNS)))
        begun = perf_counter()
        _type(["-m", *WORDS, f"tracking={tracking}", f"seed={seeds}"], folder)
        seconds = perf_counter() - begun
        runs = record.all_runs(Path(folder) / "outputs")
        points = [record.read_points(run) for run in runs]
        assert len(runs) == RUNS, "not all runs were made"
        ends = sorted(at[-1]["time"] / 1000 for at in points)
        return {
            "sweep": seconds,
            "training": sum(at[0]["values"]["time/elapsed"] for at in points),
            "between": (ends[-1] - ends[0]) / (RUNS - 1),
        }


def _alone(tracking: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        begun = perf_counter()
        _type([*WORDS, f"tracking={tracking}"], folder)
        return perf_counter() - begun


def _by_hand() -> float:
    with tempfile.TemporaryDirectory() as folder:
        begun = perf_counter()
        _run(["tests.bench.by_hand", str(RUNS), *WORDS, "tracking=none"], folder)
        return perf_counter() - begun


def _type(words: list[str], folder: str) -> None:
    _run(["dlrun", *words], folder)


def _run(module: list[str], folder: str) -> None:
    subprocess.run(
        [sys.executable, "-m", *module],
        cwd=folder,
        env=os.environ | {"DLRUN_DEBUG": "", "PYTHONPATH": str(Path(__file__).parents[2])},
        check=True,
        stdout=subprocess.DEVNULL,
    )
