"""The record that a word names: a run, the best of a sweep, or what a procedure comes to."""

import difflib
from pathlib import Path
from typing import Any

from dlrun import record, shell
from dlrun.errors import Mistake
from dlrun.metric import known
from dlrun.metric import score as as_score
from dlrun.record import sweep as sweeps


def sweep_folder(outputs: str | Path, which: str) -> Path | None:
    """The directory of the sweep that has this id, the start of one, or this path.

    Raises Mistake where ids of several begin so, or those of a sweep and of runs.
    """
    named = shell.path(which, "run")
    if (named / sweeps.SWEEP).is_file():
        return named.absolute()
    found = [each for each in _sweeps(outputs) if which and each.name.startswith(which)]
    exact = [each for each in found if which == each.name]
    if exact or not found:
        return exact[0] if exact else None
    runs = [run.name for run in record.all_runs(outputs) if run.name.startswith(which)]
    if which in runs or len(found) + len(runs) == 1:
        return None if runs else found[0]
    kinds = (("run", runs), ("sweep", [each.name for each in found]))
    meant = [f"{kind} {shell.some(names, 5)}" for kind, names in kinds if names]
    raise Mistake(f"{which!r} could be {' or '.join(meant)}; write more of the id")


def find(outputs: str | Path, which: str = "last") -> Path:
    """The directory of one trained run; of a sweep its best, of a procedure its result.

    Raises Mistake where there is none, or none that has been trained, or its record is damaged.
    """
    return found(outputs, which)[0]


def found(outputs: str | Path, which: str) -> tuple[Path, str]:
    """The same, and what to say of the choice where the word names more than that run."""
    sweep = sweep_folder(outputs, which) if which != "last" else None
    if sweep is not None:
        asked = sweeps.read(sweep)
        best = asked.best_run
        if best is None or not best.directory:
            raise Mistake(f"{which}: no run of this sweep has ended with a result")
        run = sweep.parents[1] / best.directory
        if not run.is_dir():
            again = f"; typed again, this trains it: {asked.command}" if asked.command else ""
            raise Mistake(f"{which}: the best run of this sweep, {run.name}, is gone{again}")
        record.check(run, which)
        return run, f"sweep {sweep.name}: the best run is {shell.near(run)}"
    try:
        directory = record.find(outputs, which)
    except Mistake as mistake:
        raise Mistake(f"{mistake}{_sweeps_near(outputs, which)}") from None
    if not is_procedure(directory):
        return directory, ""
    run, why = result_of(directory)
    record.check(run, which)
    return run, f"procedure {directory.name}: {why} is {shell.near(run)}{_own_model(directory)}"


def is_procedure(directory: Path) -> bool:
    """Whether a record is that of a procedure of several runs."""
    return bool(record.read_json(directory / "run.json").get("kind") == "procedure")


def children(directory: Path) -> list[Path]:
    """The runs of a procedure that are still there, the first trained first."""
    info = record.read_json(directory / "run.json")
    runs = [directory.with_name(str(name)) for name in info.get("runs", ())]
    return [run for run in runs if run.is_dir()]


def result_of(directory: Path) -> tuple[Path, str]:
    """The run that a procedure comes to, and what that one is to it.

    The one that the procedure says, else the best of those that monitor what its first run does,
    the last of equals. Raises Mistake where none has been trained.
    """
    runs = children(directory)
    said = record.read_json(directory / "run.json").get("result")
    if said in [run.name for run in runs]:
        return directory.with_name(str(said)), "the result"
    measured = {run: value for run in runs if (value := best(run)) is not None}
    if not measured:
        raise Mistake(f"{shell.near(directory)}: this procedure has made no run that has trained")
    monitor = next(iter(measured.values()))[0]
    alike = [run for run, (key, _) in measured.items() if key == monitor]
    return max(reversed(alike), key=lambda run: score(run) or 0.0), "the best run"


def best(directory: Path) -> tuple[str, float] | None:
    """The monitored value of a run and its name; None where none has been measured."""
    monitor = record.read_json(directory / "run.json").get("monitor")
    values = record.last_values(record.read_points(directory)) if monitor else {}
    value = values.get(f"best/{str(monitor).replace('/', '_')}")
    return (str(monitor), float(value)) if isinstance(value, int | float) else None


def score(directory: Path) -> float | None:
    """The same, so that more is better."""
    info, value = record.read_json(directory / "run.json"), best(directory)
    return as_score(*value, known(info.get("metrics"))) if value else None


def finished(directory: Path) -> dict[str, Any]:
    """What run.json says of a run that has been trained. Raises Mistake of any other."""
    info = record.read_json(directory / "run.json")
    if not (directory / "checkpoints").is_dir():
        raise Mistake(f"{shell.near(directory)}: has no checkpoint, and so no weights")
    return info


def _own_model(directory: Path) -> str:
    """Where a procedure keeps a model of its own, such as an ensemble's."""
    model = directory / "model"
    return f"; the model of all its runs together is {shell.near(model)}" if model.is_dir() else ""


def _sweeps(outputs: str | Path) -> list[Path]:
    """The directories of all sweeps that have begun."""
    folder = shell.path(outputs, "outputs").absolute() / "sweeps"
    return [each.parent for each in sorted(folder.glob(f"*/{sweeps.SWEEP}"))]


def _sweeps_near(outputs: str | Path, which: str) -> str:
    names = [each.name for each in _sweeps(outputs)]
    near = difflib.get_close_matches(which, names, n=2, cutoff=0.5)
    return f"; sweeps: {', '.join(near)}" if near else ""
