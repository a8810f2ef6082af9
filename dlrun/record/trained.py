"""The weights that a word names: those of a file, of a run, or of the best run of a sweep."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dlrun import record, shell
from dlrun.errors import Mistake
from dlrun.record import named
from dlrun.record.points import last_values, read_points

_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")


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

    Of a run those that count, of a sweep those of its best run, of a procedure of its result.
    Raises Mistake where there are none.
    """
    path = shell.path(which, "weights")
    if path.is_file():
        run = path.absolute().parents[1]
        own = path.parent.name == "checkpoints" and (run / "run.json").is_file()
        if own:
            record.check(run, which, record.TO_GO_ON)
        return Trained(path, run if own else None)
    if path.suffix in _SUFFIXES:
        raise Mistake(f"there is no file {which}")
    run = named.find(shell.path(outputs, "outputs"), which)
    file = run / "checkpoints" / ("last.pt" if _keeps_last(run) else "best.pt")
    if not file.is_file():
        if record.diverged(run):
            raise Mistake(f"run {run.name} has no weights: its loss diverged; name another run")
        if record.read_status(run).get("status") == record.FINISHED:
            right = anew(file) or "; name another run"
            raise Mistake(f"{shell.near(file)} is missing{right}")
        raise Mistake(f"run {run.name} has no weights yet; go on with it: {shell.resume(run)}")
    return Trained(file, run)


def anew(file: Path) -> str:
    """What writes the best weights of a run again, for the end of a message: last.pt has them too.

    Empty for any other file, and where that is lost as well.
    """
    run = file.absolute().parents[1]
    known = file.name == "best.pt" and (run / "run.json").is_file()
    there = known and file.with_name("last.pt").is_file()
    return f"; {shell.resume(run)} writes it anew" if there else ""


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
    return ", ".join(names[:most]) + shell.more(len(names) - most) or "none"


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
