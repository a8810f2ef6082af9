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
    """Medians over `repeats` sweeps: the time of all against the sum of their training times.

    Also between the first and the last run, which leaves out what is opened once, and the
    same runs as commands of their own, of which a few stand for all.
    """
    found = [_sweep(tracking) for _ in range(repeats) for tracking in ("mlflow", "none")]
    rows = []
    for tracking in ("mlflow", "none"):
        mine = [one for one in found if one["tracking"] == tracking]
        apart = median(_alone(tracking) for _ in range(repeats))
        rows.append(
            {
                "case": f"{RUNS} runs of one epoch on the digits, tracking={tracking}",
                "training, sum (s)": median(one["training"] for one in mine),
                "sweep (s)": median(one["sweep"] for one in mine),
                "ratio": median(one["sweep"] / one["training"] for one in mine),
                "at most": AT_MOST,
                "a run in the sweep (s)": median(one["between"] for one in mine),
                "a run as a command (s)": apart,
                "times faster": median(apart * RUNS / one["sweep"] for one in mine),
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
            "tracking": tracking,
            "sweep": seconds,
            "training": sum(at[0]["values"]["time/elapsed"] for at in points),
            "between": (ends[-1] - ends[0]) / (RUNS - 1),
        }


def _alone(tracking: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        begun = perf_counter()
        _type([*WORDS, f"tracking={tracking}"], folder)
        return perf_counter() - begun


def _type(words: list[str], folder: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "dlrun", *words],
        cwd=folder,
        env=os.environ | {"DLRUN_DEBUG": ""},
        check=True,
        stdout=subprocess.DEVNULL,
    )
