"""The record that a word names: a run, the best of a sweep, or what a procedure has made."""

import difflib
from pathlib import Path
from typing import Any

from dlrun import record, shell
from dlrun.errors import Mistake
from dlrun.record import sweep as sweeps


def sweep_folder(outputs: Path, which: str) -> Path | None:
    """The directory of the sweep that has this id, the start of one, or this path."""
    named = shell.path(which, "run")
    if (named / sweeps.SWEEP).is_file():
        return named.absolute()
    folder = outputs.absolute() / "sweeps"
    found = [each.parent for each in sorted(folder.glob(f"*/{sweeps.SWEEP}"))]
    exact = [each for each in found if which == each.name]
    begun = [each for each in found if which and each.name.startswith(which)]
    return exact[0] if exact else begun[0] if len(begun) == 1 else None


def find(outputs: Path, which: str = "last") -> Path:
    """The directory of one trained run; of a sweep its best, of a procedure its only or best.

    Raises Mistake where there is none, or none that has been trained.
    """
    sweep = sweep_folder(outputs, which) if which != "last" else None
    if sweep is not None:
        best = sweeps.read(sweep).best_run
        if best is None or not best.directory:
            raise Mistake(f"{which}: no run of this sweep has ended with a result")
        return sweep.parents[1] / best.directory
    try:
        directory = record.find(outputs, which)
    except Mistake as mistake:
        raise Mistake(f"{mistake}{_sweeps_near(outputs, which)}") from None
    return _of_procedure(directory) if is_procedure(directory) else directory


def is_procedure(directory: Path) -> bool:
    """Whether a record is that of a procedure of several runs."""
    return bool(record.read_json(directory / "run.json").get("kind") == "procedure")


def children(directory: Path) -> list[Path]:
    """The runs of a procedure that are still there, the first trained first."""
    info = record.read_json(directory / "run.json")
    runs = [directory.with_name(str(name)) for name in info.get("runs", ())]
    return [run for run in runs if run.is_dir()]


def _of_procedure(directory: Path) -> Path:
    """The run of a procedure whose monitored value is the best, the last of equals."""
    runs = [run for run in children(directory) if score(run) is not None]
    if not runs:
        raise Mistake(f"{shell.near(directory)}: this procedure has made no run that has trained")
    return max(reversed(runs), key=lambda run: score(run) or 0.0)


def best(directory: Path) -> tuple[str, float] | None:
    """The monitored value of a run and its name; None where none has been measured."""
    monitor = record.read_json(directory / "run.json").get("monitor")
    values = record.last_values(record.read_points(directory)) if monitor else {}
    value = values.get(f"best/{str(monitor).replace('/', '_')}")
    return (str(monitor), float(value)) if isinstance(value, int | float) else None


def score(directory: Path) -> float | None:
    """The same, so that more is better."""
    from dlrun import metric

    info, found = record.read_json(directory / "run.json"), best(directory)
    return metric.score(*found, metric.known(info.get("metrics"))) if found else None


def finished(directory: Path) -> dict[str, Any]:
    """What run.json says of a run that has been trained. Raises Mistake of any other."""
    info = record.read_json(directory / "run.json")
    if not (directory / "checkpoints").is_dir():
        raise Mistake(f"{shell.near(directory)}: has no checkpoint, and so no weights")
    return info


def _sweeps_near(outputs: Path, which: str) -> str:
    names = [each.name for each in (outputs.absolute() / "sweeps").glob("*") if each.is_dir()]
    near = difflib.get_close_matches(which, names, n=2, cutoff=0.5)
    return f"; sweeps: {', '.join(near)}" if near else ""
