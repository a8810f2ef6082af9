"""The default run as a command, from the shell to the shell, against a bare script."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

SCRIPT = Path(__file__).with_name("bare_script.py")
DLRUN = (sys.executable, "-m", "dlrun")
CASES = {
    "bare script": (sys.executable, str(SCRIPT)),
    "dlrun": DLRUN,
    "tracking=none": (*DLRUN, "tracking=none"),
    "fresh database": DLRUN,
}
SECONDS_AT_MOST = {"dlrun": 1.0, "tracking=none": 0.7, "fresh database": 1.3}
CPU_AT_MOST = {"dlrun": 2.0}


def compare(repeats: int) -> list[dict[str, Any]]:
    """Medians over `repeats` processes of each case, taken in turn.

    seconds: of wall clock; CPU seconds: of the command and of the processes that it starts.
    """
    found: dict[str, list[tuple[float, float]]] = {case: [] for case in CASES}
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:  # warm: the files that are read, the database
            _measure(case, Path(folder))
        for _ in range(repeats):
            for case, values in found.items():
                values.append(_measure(case, Path(folder)))
    seconds = {case: median(wall for wall, _ in values) for case, values in found.items()}
    cpu = {case: median(busy for _, busy in values) for case, values in found.items()}
    return [
        {
            "case": case,
            "seconds": seconds[case],
            "of the bare script": seconds[case] / seconds["bare script"],
            "wanted": SECONDS_AT_MOST.get(case, ""),
            "CPU seconds": cpu[case],
            "CPU of the bare script": cpu[case] / cpu["bare script"],
            "CPU wanted": CPU_AT_MOST.get(case, ""),
        }
        for case in CASES
    ]


def _measure(case: str, folder: Path) -> tuple[float, float]:
    """Seconds of wall clock and of the processors for one process and its children."""
    place = folder / ("fresh" if case == "fresh database" else "known")
    if case == "fresh database":
        shutil.rmtree(place, ignore_errors=True)
    place.mkdir(exist_ok=True)
    before, begin = _busy(), perf_counter()
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    subprocess.run(CASES[case], cwd=place, env=environment, check=True, capture_output=True)
    return perf_counter() - begin, _busy() - before


def _busy() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
