"""What a sweep costs beside training: twenty runs of one epoch on the digits, one by one."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from dlrun import record
from tests.bench import folder

RUNS = 20
RECIPES = {
    "MLP, tracking=none": ("tracking=none",),
    "MLP": (),
    "ResNet-20, batches of 4": ("model=resnet", "batch_size=4"),
}
ALL = ("epochs=1", "threads=1")
AT_MOST = 1.3


def compare(repeats: int) -> list[dict[str, Any]]:
    """Medians over `repeats` sweeps, in seconds of wall clock from the shell to the shell.

    training: the sum of what the runs' own loops took; sweep: the one command, which beside
    them starts Python, imports torch, composes, records, exports the best model and reports;
    by hand: a script that imports, builds and trains the same runs and keeps nothing.
    from run to run: inside the sweep; a command: one such run as a command of its own.
    """
    rows = []
    for case, words in RECIPES.items():
        found = [_sweep(words) for _ in range(repeats)]
        by_hand = median(_by_hand(words) for _ in range(repeats))
        apart = median(_alone(words) for _ in range(repeats))
        training = median(one["training"] for one in found)
        whole = median(one["sweep"] for one in found)
        between = median(one["between"] for one in found)
        rows.append(
            {
                "case": case,
                f"training of {RUNS} runs (s)": training,
                "sweep (s)": whole,
                "sweep / training": whole / training,
                "wanted": AT_MOST,
                "by hand (s)": by_hand,
                "sweep / by hand": whole / by_hand,
                "training of a run (s)": training / RUNS,
                "from run to run (s)": between,
                "from run to run / training": between * RUNS / training,
                "a command (s)": apart,
                f"{RUNS} commands / sweep": apart * RUNS / whole,
            }
        )
    return rows


def _sweep(words: Sequence[str]) -> dict[str, Any]:
    place, seeds = folder.new(), ",".join(map(str, range(RUNS)))
    begun = perf_counter()
    _type(["-m", *ALL, *words, f"seed={seeds}", "sweep.stack=off"], place)
    seconds = perf_counter() - begun
    runs = record.all_runs(Path(place) / "outputs")
    points = [record.read_points(run) for run in runs]
    assert len(runs) == RUNS, "not all runs were made"
    ends = sorted(at[-1]["time"] / 1000 for at in points)
    return {
        "sweep": seconds,
        "training": sum(at[0]["values"]["time/elapsed"] for at in points),
        "between": (ends[-1] - ends[0]) / (RUNS - 1),
    }


def _alone(words: Sequence[str]) -> float:
    place, begun = folder.new(), perf_counter()
    _type([*ALL, *words], place)
    return perf_counter() - begun


def _by_hand(words: Sequence[str]) -> float:
    place, begun = folder.new(), perf_counter()
    _run(["tests.bench.by_hand", str(RUNS), *ALL, *words, "tracking=none"], place)
    return perf_counter() - begun


def _type(words: list[str], place: str) -> None:
    _run(["dlrun", *words], place)


def _run(module: list[str], place: str) -> None:
    subprocess.run(
        [sys.executable, "-m", *module],
        cwd=place,
        env=os.environ | {"DLRUN_DEBUG": "", "PYTHONPATH": str(Path(__file__).parents[2])},
        check=True,
        stdout=subprocess.DEVNULL,
    )
