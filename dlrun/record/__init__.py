"""The record of a run on disk, which comes before any tracking server.

    <outputs>/runs/<id>/
        run.json         who, when, where, with which versions and data
        recipe.yaml      the resolved recipe, and a checksum
        metrics.jsonl    one point a line: step, epoch, time (ms), values, and a checksum
        status.json      RUNNING, FINISHED, PRUNED, FAILED or KILLED, and why; the length of
                         the points when it ended
        tracking.json    how much of it a tracking server has (written by `dlrun.tracking`)
        findings.txt     what was found out about the run; run.json has it as `findings`
        predictions.npz  what the model says of samples, where a procedure keeps that
        validation.npz   a little of what the best weights say of the validation split
        checkpoints/  figures/  model/

A checkpoint stores `Record.size`; resuming cuts the points after it off, and so does a
return after a divergence, so that no point is there twice. Reading needs no lock.

points.py, files.py, bounds.py, origin.py   its lines, its files, what is too much to read, versions
sweep.py   a sweep on disk: its points, their ranking, the best of them
expected.py, test_set.py   what was expected of a command; when test splits were measured
whole.py   whether a record is whole, and its recipe
named.py, trained.py   the run that a word names, and its weights
"""

import difflib
import logging
import os
import platform
import re
import secrets
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from time import time
from typing import Any, BinaryIO

from filelock import BaseFileLock

from dlrun import finding, shell
from dlrun.errors import Failure, Mistake
from dlrun.finding import Finding
from dlrun.record import points
from dlrun.record.files import (
    durable_together,
    guard,
    held,
    hold,
    is_held,
    overwrite,
    overwrite_json,
    read_arrays,
    read_json,
    replacing,
    text,
    the_arrays,
    unwritable,
    write,
    write_arrays,
    write_json,
)
from dlrun.record.origin import git, provenance, version, versions
from dlrun.record.points import is_whole, last_values, read_points
from dlrun.record.whole import FILES, TO_GO_ON, check, lost, recipe, write_recipe

__all__ = ["FAILED", "FINISHED", "KILLED", "PRUNED", "RUNNING", "Record"]
__all__ += ["all_runs", "create", "find", "is_running", "mark_killed", "open_existing"]
__all__ += ["overwrite_json", "read_json", "read_points", "read_status", "replacing", "text"]
__all__ += ["write", "write_json"]
__all__ += ["git", "guard", "held", "hold", "is_whole", "last_values", "provenance", "versions"]
__all__ += ["findings_of", "keep_findings", "read_arrays", "version", "write_arrays"]
__all__ += ["FILES", "TO_GO_ON", "check", "damaged", "durable_together", "warn_of_damaged"]
__all__ += ["never_begun"]
__all__ += ["lost", "recipe", "the_arrays", "unwritable", "write_recipe"]

RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
_UNEXPECTED = "the process ended unexpectedly"
MANUAL = "dlrun.schedule.manual"
"""What a recipe names as its schedule where a table gives the rates."""
PREDICTIONS, VALIDATION = "predictions.npz", "validation.npz"
PRUNED = "PRUNED"  # stopped by a sweep that had better runs; MLflow calls it KILLED

_NAMED = 10  # damaged runs, at most
_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")  # as `_new_directory` makes them
_FIRST = re.compile(r"recipe\.yaml|lock|\..*\.part")  # what `create` writes before run.json
_MAKING = 3600.0  # seconds in which `create`, which takes less than one, is surely over

_log = logging.getLogger("dlrun")


@dataclass
class Record:
    """A run's directory, held by this process alone until `close`.

    info: what `run.json` says; `update` changes it.
    """

    directory: Path
    _lock: BaseFileLock
    _file: BinaryIO
    _size: int
    info: dict[str, Any]

    @property
    def id(self) -> str:
        """The run's id, which is the name of its directory."""
        return self.directory.name

    @property
    def size(self) -> int:
        """The length of the points so far, in bytes; a power cut may take some of them away."""
        return self._size

    def append(self, step: int, epoch: float, values: dict[str, float]) -> None:
        """Add one point. Raises Failure where the disk refuses it; no half line stays."""
        self.check_there()
        point = {"step": step, "epoch": epoch, "time": round(time() * 1000), "values": values}
        line = points.line(point)
        with guard(self.directory / points.NAME):
            try:
                written = 0
                while written < len(line):
                    written += os.write(self._file.fileno(), line[written:])
            except BaseException:
                with suppress(OSError):
                    os.ftruncate(self._file.fileno(), self._size)
                raise
        self._size += len(line)

    def settle(self) -> None:
        """Wait until the points are safely on the disk. Raises Failure where it refuses them."""
        self.check_there()
        with guard(self.directory / points.NAME):
            os.fsync(self._file.fileno())

    def truncate(self, to: int) -> None:
        """Cut off every point after the position `to`; the run has not ended then."""
        if to < self._size:
            self.set_status(RUNNING)  # else who is killed here is taken for damaged
        with guard(self.directory / points.NAME):
            self._size = points.cut(self.directory / points.NAME, to)

    def points(self) -> list[dict[str, Any]]:
        """All points, oldest first."""
        return read_points(self.directory)

    def update(self, **changes: Any) -> None:
        """Change or add entries of `run.json`."""
        self.info |= changes
        write_json(self.directory / "run.json", self.info)

    def brings(self, folder: str, can: bool = True) -> None:
        """Say whether the end of the run brings a folder; see `unclosed`."""
        others = [name for name in self.info.get("closing", ()) if name != folder]
        self.update(closing=[*others, *([folder] if can else [])])

    def keep_findings(self, findings: Sequence[Finding], **changes: Any) -> None:
        """Say what was found out, the worst first, in place of what was said before.

        changes: other entries of `run.json`, written with it.
        """
        self.update(**changes, **_in_words(self.directory, findings))

    def set_status(self, status: str, message: str = "") -> None:
        """Say how the run is doing, and why.

        Raises Failure where the disk refuses it; not for FAILED and KILLED, because then
        an error that tells more is on its way.
        """
        new = {"status": status, "message": message, "pid": os.getpid()}
        if status != RUNNING:
            new["recorded"] = self._size
        path = self.directory / "status.json"
        if read_status(self.directory) == new:
            return
        try:
            write_json(path, new)
        except Failure as failure:
            if status not in (FAILED, KILLED):
                raise
            if not overwrite(path, text(shell.redacted_values(new)) + "\n"):
                _log.warning(str(failure))

    def close(self) -> None:
        """Let go of the run; another process may resume it."""
        self._file.close()
        self._lock.release()

    def check_there(self) -> None:
        """Raise Failure where the record has been deleted meanwhile."""
        if not os.fstat(self._file.fileno()).st_nlink:
            raise Failure(f"{self.directory / points.NAME} has been deleted; nothing is recorded")


def create(outputs: str | Path, name: str, info: dict[str, Any], recipe: str) -> Record:
    """Begin a new run under `outputs`, with the status RUNNING.

    `info` goes into `run.json` beside what is known here; its entries win.
    Raises Mistake where the directory cannot be written; nothing of it stays then.
    """
    with guard(shell.path(outputs, "outputs"), Mistake, f"outputs={outputs}"), ExitStack() as ends:
        started = datetime.now(UTC)
        directory = _new_directory(shell.path(outputs, "outputs").absolute() / "runs", started)
        ends.callback(shutil.rmtree, directory, ignore_errors=True)
        known = {
            "id": directory.name,
            "uid": secrets.token_hex(16),
            "name": name,
            "started": started.isoformat(timespec="microseconds"),
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "cwd": os.getcwd(),
            "host": platform.node(),
            "sealed": True,
        }
        write_recipe(directory, recipe)
        write_json(directory / "run.json", known | provenance(os.getcwd()) | info)
        record = open_existing(directory)
        ends.callback(record.close)
        record.set_status(RUNNING)
        ends.pop_all()
    return record


def check_outputs(outputs: str | Path) -> None:
    """Raise Mistake where no record can be made, before anything else goes there."""
    runs = shell.path(outputs, "outputs").absolute() / "runs"
    with guard(runs.parent, Mistake, f"outputs={outputs}"):
        there = next(above for above in (runs, *runs.parents) if os.path.lexists(above))
        tempfile.TemporaryFile(dir=there).close()


def open_existing(directory: str | Path) -> Record:
    """Take hold of a run to go on with it; what a killed process has half-written is removed.

    Raises Mistake where another process still writes it, and where its run.json is damaged,
    which an update would write anew.
    """
    directory = Path(directory).absolute()
    path = directory / points.NAME
    check(directory, needed=("run.json",))
    with guard(directory, Mistake), ExitStack() as ends:
        lock = hold(directory / "lock", timeout=0.5)
        if lock is None:
            pid = read_status(directory).get("pid", "?")
            raise Mistake(f"run {directory.name} is still running (pid {pid})")
        ends.callback(lock.release)
        _remove_parts(directory)
        file = ends.enter_context(path.open("ab", buffering=0))
        found = Record(directory, lock, file, points.cut(path), read_json(directory / "run.json"))
        ends.pop_all()
    return found


def _remove_parts(directory: Path) -> None:
    """Remove the files that never took their place, of those that the holder of a run writes."""
    own = tuple(f".{name}." for name in FILES)
    for folder, starts in ((directory, own), (directory / "checkpoints", ".")):
        for name in os.listdir(folder) if folder.is_dir() else ():
            if name.startswith(starts) and name.endswith(".part"):
                (folder / name).unlink(missing_ok=True)


def is_running(directory: str | Path) -> bool:
    """Whether a living process holds the run."""
    return is_held(Path(directory) / "lock")


def mark_killed(directory: str | Path) -> dict[str, Any]:
    """The status of a run; one that says RUNNING while no process holds it is called KILLED.

    That is written down where it can be: who looks need not be able to write. So is one called
    that has no status yet, which may just be being made: of that nothing is written.
    """
    found, killed = read_status(directory), {"status": KILLED, "message": _UNEXPECTED}
    path, lock = Path(directory) / "status.json", Path(directory) / "lock"
    if not path.exists():
        return found if is_held(lock) else killed
    if found.get("status") != RUNNING:
        return found
    with suppress(OSError, Failure), held(lock, timeout=0.5) as free:
        found = read_status(directory)
        if free and found.get("status") == RUNNING:
            write_json(path, killed)
            found = killed
    return killed if found.get("status") == RUNNING and not is_held(lock) else found


def said(status: Mapping[str, Any]) -> str:
    """The status in a word: `killed` only where nobody asked for the end."""
    word, message = str(status.get("status", "")).lower(), status.get("message")
    return "stopped" if word == "killed" and message not in (None, "", _UNEXPECTED) else word


def all_runs(outputs: str | Path) -> list[Path]:
    """The directories of all runs under `outputs` that say what they are, the first one first."""
    return [run for run, info in _told(outputs).items() if info]


def _told(outputs: str | Path) -> dict[Path, dict[str, Any]]:
    """What run.json says of each run under `outputs`, the first started first; {} where damaged.

    A directory that has no points yet either is only being made.
    """
    folder = shell.path(outputs, "outputs").absolute() / "runs"
    found = {file.parent for name in ("run.json", points.NAME) for file in folder.glob(f"*/{name}")}
    told = {run: read_json(run / "run.json") for run in found}
    ordered = sorted(told, key=lambda run: (str(told[run].get("started", "")), run.name))
    return {run: told[run] for run in ordered}


def never_begun(outputs: str | Path) -> list[Path]:
    """The folders that killed processes have made for runs, and left before their run.json.

    None that a living process may just be making: nobody holds them, and nothing in them is of
    the last hour. None with files that a run does not begin with.
    """
    folder = shell.path(outputs, "outputs").absolute() / "runs"
    found = []
    for run in sorted(each for each in folder.glob("*") if _ID.fullmatch(each.name)):
        with suppress(OSError):  # gone by now
            inside = list(os.scandir(run))
            written = max(os.lstat(each).st_mtime for each in (run, *inside))
            if all(_FIRST.fullmatch(each.name) for each in inside) and not is_running(run):
                found += [run] if time() - written > _MAKING else []
    return found


def damaged(outputs: str | Path) -> dict[Path, str]:
    """The directories of runs under `outputs` that have lost a file, each with what is wrong."""
    found = {run: lost(run) for run in sorted(_told(outputs))}
    return {run: why for run, why in found.items() if why}


def warn_of_damaged(outputs: str | Path) -> None:
    """Say in one line which runs have lost a file."""
    if found := damaged(outputs):
        said = [f"{run.name} ({why})" for run, why in found.items()]
        _log.warning(f"damaged: {', '.join(said[:_NAMED])}{shell.more(len(said) - _NAMED)}")


def warn_of_newer(outputs: str | Path, chosen: Path) -> None:
    """Say which runs after a chosen one are passed over, as their run.json cannot be read.

    Their names tell when they began.
    """
    found = [run.name for run, info in _told(outputs).items() if not info and run > chosen]
    if found:
        names = ", ".join(found[-_NAMED:]) + shell.more(len(found) - _NAMED)
        _log.warning(f"passed over, as run.json is damaged: {names}")


def find(outputs: str | Path, which: str, needed: Sequence[str] = FILES) -> Path:
    """The directory of a run: `last`, an id or the start of one, MLflow's id, or a directory.

    `last` is the last one that has trained, or was about to: `trains: false` in `run.json`
    says that a run never does. Of the runs of a procedure and the procedure itself, `last` is
    the procedure.

    Raises Mistake, with the nearest ids, where there is none or more than one, and where one of
    the files that are `needed` is missing or damaged.
    """
    found = _find(outputs, which)
    check(found, which, needed)
    return found


def _find(outputs: str | Path, which: str) -> Path:
    named = shell.path(which, "run")
    if any((named / name).is_file() for name in ("run.json", points.NAME)):
        return named.absolute()
    told = _told(outputs)
    runs = {run.name: run for run in told}
    if not runs:
        raise Mistake(f"no run {which!r}: there are no runs in {Path(outputs) / 'runs'}")
    if which == "last":
        warn_of_newer(outputs, chosen := last(told))
        return chosen
    if which in runs:
        return runs[which]
    matches = [id for id in runs if which and id.startswith(which)]
    if len(matches) == 1:
        return runs[matches[0]]
    if matches:
        raise Mistake(f"{which!r} could be {shell.some(matches, 5)}; write more of the id")
    for run in runs.values():
        if read_json(run / "tracking.json").get("run_id") == which:
            return run
    near = difflib.get_close_matches(which, runs, n=3, cutoff=0.5) or list(runs)[-3:]
    raise Mistake(
        f"no run {which!r} in {Path(outputs) / 'runs'}; there are last, {shell.some(near)}"
    )


def last(told: Mapping[Path, Mapping[str, Any]]) -> Path:
    """The run that `last` names; told: what run.json says of each, the first started first."""
    readable = [run for run in told if told[run]] or list(told)
    own = [run for run in readable if "parent" not in told[run]] or readable
    trained = [run for run in own if told[run].get("trains", True)]
    return (trained or own)[-1]


def untrained_since(outputs: str | Path, directory: Path) -> list[Path]:
    """The runs after one that `last` passes over, as they never train; the oldest first."""
    runs = all_runs(outputs)
    later = runs[runs.index(directory) + 1 :] if directory in runs else []
    told = {run: read_json(run / "run.json") for run in later}
    return [run for run in later if "parent" not in told[run] and not told[run].get("trains", True)]


def keep_findings(directory: Path, findings: Sequence[Finding]) -> None:
    """Write findings into a record, the worst first, in place of what was said before."""
    path = directory / "run.json"
    write_json(path, read_json(path) | _in_words(directory, findings))


def _in_words(directory: Path, findings: Sequence[Finding]) -> dict[str, Any]:
    """Write findings as text, the worst first; gives what `run.json` says of them."""
    found = finding.by_level(findings)
    if found:
        write(directory / "findings.txt", finding.text(found))
    else:
        (directory / "findings.txt").unlink(missing_ok=True)
    return {"findings": [each.plain() for each in found]}


def tables(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """The closing rows of a procedure, table by table: each has another first column."""
    parts = groupby(rows, key=lambda row: next(iter(row), ""))
    return [list(part) for _, part in parts]


def findings_of(directory: Path) -> list[Finding]:
    """What was found out about a run, the worst first; its commands train where the run lies."""
    found = map(finding.of, read_json(directory / "run.json").get("findings", ()))
    return [replace(each, command=shell.placed(each.command, directory)) for each in found]


def has(directory: Path, folder: str) -> bool:
    """Whether a folder of a record is there, with something in it."""
    return any((directory / folder).glob("*"))


def unclosed(directory: Path) -> list[str]:
    """The folders that the end of a run was to bring and has not, as after a full disk.

    `closing` in run.json names them; the run has them once somebody has gone on with it.
    """
    info, ended = read_json(directory / "run.json"), read_status(directory).get("status")
    if info.get("cleaned") or ended not in (FINISHED, PRUNED):
        return []
    return [name for name in info.get("closing", ()) if not has(directory, name)]


def diverged(directory: Path) -> bool:
    """Whether a run has ended because its loss diverged, as it would again if it went on.

    A procedure has where one of its runs has, and it says the same.
    """
    status, info = read_status(directory), read_json(directory / "run.json")
    if status.get("status") != FAILED:
        return False
    if info.get("kind") != "procedure":
        return any(each.name == "diverged" for each in findings_of(directory))
    return any(
        read_status(run).get("message") == status.get("message") and diverged(run)
        for run in all_runs(directory.parents[1])
        if read_json(run / "run.json").get("parent") == directory.name
    )


def read_status(directory: str | Path) -> dict[str, Any]:
    """`status`, `message` and the `pid` that wrote them; empty where there is none."""
    return read_json(Path(directory) / "status.json")


def _new_directory(runs: Path, started: datetime) -> Path:
    runs.mkdir(parents=True, exist_ok=True)
    stamp = started.astimezone().strftime("%Y%m%d-%H%M%S")
    while True:
        directory = runs / f"{stamp}-{secrets.token_hex(2)}"
        with suppress(FileExistsError):
            directory.mkdir()
            return directory
