"""The weights that a word names: those of a file, of a run, or of the best run of a sweep."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dlrun import record, shell
from dlrun.errors import Mistake
from dlrun.metric import known, score
from dlrun.record import sweep
from dlrun.record.points import last_values, read_points

_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")
_RETRAINS = "retrain"
"""The procedure whose result is its last run, which no validation judges."""


@dataclass(frozen=True)
class Trained:
    """A file of weights. run: the directory of the run that they are of; None where of none."""

    file: Path
    run: Path | None = None

    @property
    def info(self) -> dict[str, Any]:
        """What the `run.json` of the run says; empty where there is none."""
        return record.read_json(self.run / "run.json") if self.run else {}

    @property
    def digest(self) -> str:
        """A short hash of the file."""
        stat = self.file.stat()
        return _digest(self.file, stat.st_size, stat.st_mtime_ns)


def find(outputs: str | Path, which: str) -> Trained:
    """The weights of a file; of a run or a procedure, `last`, an id or a directory; of a sweep.

    Of a run those that count, of a sweep and a procedure those of the best run.
    Raises Mistake where there are none.
    """
    named = shell.path(which, "weights")
    if named.is_file():
        run = named.absolute().parents[1]
        own = named.parent.name == "checkpoints" and (run / "run.json").is_file()
        return Trained(named, run if own else None)
    if named.suffix in _SUFFIXES:
        raise Mistake(f"there is no file {which}")
    run = _run(Path(shell.path(outputs, "outputs")), which, named)
    file = run / "checkpoints" / ("last.pt" if _keeps_last(run) else "best.pt")
    if not file.is_file():
        raise Mistake(f"run {run.name} has no weights yet; go on with it: {shell.resume(run)}")
    return Trained(file, run)


def said(facts: Mapping[str, Any]) -> str:
    """In one line what became of the weights that a run has begun with, as its record says."""
    source = f"run {facts['run']}" if "run" in facts else facts["from"]
    anew = [f"{name} ({shapes})" for name, shapes in facts["anew"].items()]
    parts = [
        f"weights of {source}: {facts['loaded']} tensors with {facts['numbers']:,} numbers loaded",
        f"drawn anew: {_listed(anew)}",
        f"left out: {_listed(facts['left_out'])}",
    ]
    if "preprocessing" in facts:
        parts.append(f"preprocessing: {facts['preprocessing']}")
    return "; ".join(parts)


def _listed(names: Sequence[str], most: int = 3) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "none"


def _run(outputs: Path, which: str, named: Path) -> Path:
    """The directory of the run that is meant."""
    folders = [named, outputs / "sweeps" / which] if which else []
    searched = next((each for each in folders if (each / sweep.SWEEP).is_file()), None)
    if searched is not None:
        best = sweep.read(searched).best_run
        if best is None:
            raise Mistake(f"sweep {searched.name} has no run that has ended")
        return searched.absolute().parents[1] / str(best.directory)
    run = record.find(outputs, which)
    info = record.read_json(run / "run.json")
    if info.get("kind") != "procedure":
        return run
    members = [run.with_name(name) for name in info.get("runs") or ()]
    members = [each for each in members if (each / "checkpoints" / "best.pt").is_file()]
    if not members:
        raise Mistake(f"run {run.name} is a procedure, and has no run that has ended")
    retrains = (info.get("choices") or {}).get("procedure") == _RETRAINS
    return members[-1] if retrains else _best(members)


def _best(runs: Sequence[Path]) -> Path:
    """The best by what it monitors."""

    def judged(run: Path) -> float:
        info = record.read_json(run / "run.json")
        key = str(info.get("monitor"))
        value = last_values(read_points(run)).get(f"best/{key.replace('/', '_')}")
        return -float("inf") if value is None else score(key, value, known(info.get("metrics")))

    return max(runs, key=judged)


def _keeps_last(run: Path) -> bool:
    """Whether the last weights of a run are its result, and not those of its best point."""
    result, points = record.read_json(run / "run.json").get("result_step"), read_points(run)
    best = last_values(points).get("best/epoch")
    if result is None or best is None:
        return False
    end = points[-1]
    return bool(result == end["step"] and best < end["epoch"])


@cache
def _digest(file: Path, size: int, changed: int) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:16]
