"""dlrun's way to wait for threads, alone and beside busy processes, against other ways.

Each setting trains in a process of its own, because OpenMP reads its variables once; the
settings take turns, so that what else the machine does hits all alike.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CASES = {
    "64-64-10 MLP, batch 32": ["epochs=150"],
    "small CNN, batch 32": ["model=cnn", "model.channels=[16,32]", "epochs=10"],
}
_SPIN = "300000"  # as often as OpenMP spins when nothing is set
_PROCESSES = 4


def compare(repeats: int) -> list[dict[str, float | str]]:
    """Samples a second of every case, alone and beside four busy processes, and two ratios."""
    rows = []
    for case, recipe in CASES.items():
        for beside in (0, _PROCESSES):
            with busy(beside):
                speeds = _speeds(recipe, repeats)
            before, passive = "all cores, as torch waits", "all cores, passive"
            rows.append(
                {"case": case, "beside busy processes": str(beside)}
                | speeds
                | {
                    "dlrun / as torch waits (alone at least 0.95)": speeds["dlrun"]
                    / speeds[before],
                    "dlrun / passive (busy at least 0.5)": speeds["dlrun"] / speeds[passive],
                }
            )
    return rows


def _speeds(recipe: list[str], repeats: int) -> dict[str, float]:
    """The median speed of every setting, in samples a second."""
    cores = f"threads={os.cpu_count()}"
    settings: dict[str, tuple[dict[str, str], list[str]]] = {
        "dlrun": ({}, []),
        "all cores, as torch waits": ({"GOMP_SPINCOUNT": _SPIN}, [cores]),
        "all cores, 1,000 turns": ({"GOMP_SPINCOUNT": "1000"}, [cores]),
        "all cores, 10,000 turns": ({"GOMP_SPINCOUNT": "10000"}, [cores]),
        "all cores, passive": ({"OMP_WAIT_POLICY": "PASSIVE"}, [cores]),
        "one thread": ({}, ["threads=1"]),
    }
    measured: dict[str, list[float]] = {name: [] for name in settings}
    for _ in range(repeats):
        for name, (variables, words) in settings.items():
            measured[name].append(_speed([*recipe, *words], variables))
    return {name: statistics.median(speeds) for name, speeds in measured.items()}


def _speed(recipe: list[str], variables: dict[str, str]) -> float:
    """The median speed of the epochs of one command, without the first of them."""
    ours = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")
    environment = {key: value for key, value in os.environ.items() if key not in ours}
    with tempfile.TemporaryDirectory() as outputs:
        subprocess.run(
            [sys.executable, "-m", "dlrun", *recipe, "tracking=none", f"outputs={outputs}"],
            env=environment | variables,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        (points,) = Path(outputs).glob("runs/*/metrics.jsonl")
        values = [json.loads(line)["values"] for line in points.read_text().splitlines()]
    speeds = [each["time/samples_per_second"] for each in values if "train/loss" in each]
    return statistics.median(speeds[1:])


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Inside, so many other processes compute all the time."""
    working = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)
    ]
    try:
        yield
    finally:
        for process in working:
            process.kill()
            process.wait()
