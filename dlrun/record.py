"""The record of a run on disk, which comes before any tracking server.

    <outputs>/runs/<id>/
        run.json         who, when, where, with which versions and data
        recipe.yaml      the resolved recipe
        metrics.jsonl    one point a line: step, epoch, time (ms), values
        status.json      RUNNING, FINISHED, PRUNED, FAILED or KILLED, and why
        tracking.json    how much of it a tracking server has (written by `dlrun.tracking`)
        checkpoints/  figures/  model/

A checkpoint stores `Record.position()`; resuming cuts the points after it off, so
that no point is there twice. Reading needs no lock.
"""

import difflib
import errno
import json
import os
import platform
import secrets
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from time import time
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from dlrun.errors import DlrunError, Failure, Mistake

RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
PRUNED = "PRUNED"  # stopped by a sweep that had better runs; MLflow calls it KILLED
PACKAGES = ("dlrun", "torch", "torchvision", "mlflow", "hydra-core", "numpy")

_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass
class Record:
    """A run's directory, held by this process alone until `close`."""

    directory: Path
    _lock: FileLock
    _file: BinaryIO
    _size: int
    _info: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The run's id, which is the name of its directory."""
        return self.directory.name

    @property
    def info(self) -> dict[str, Any]:
        """What `run.json` says."""
        return self._info

    def append(self, step: int, epoch: float, values: dict[str, float]) -> None:
        """Add one point. Raises Failure where the disk refuses it; no half line stays."""
        point = {"step": step, "epoch": epoch, "time": round(time() * 1000), "values": values}
        line = json.dumps(point).encode() + b"\n"
        with guard(self.directory / "metrics.jsonl"):
            try:
                written = 0
                while written < len(line):
                    written += os.write(self._file.fileno(), line[written:])
            except BaseException:
                with suppress(OSError):
                    os.ftruncate(self._file.fileno(), self._size)
                raise
        self._size += len(line)

    def position(self) -> int:
        """The length of the points so far, in bytes; a checkpoint keeps it."""
        return self._size

    def truncate(self, to: int) -> None:
        """Cut off every point after the position `to`."""
        with guard(self.directory / "metrics.jsonl"):
            self._size = _cut(self.directory / "metrics.jsonl", to)

    def points(self) -> list[dict[str, Any]]:
        """All points, oldest first."""
        return read_points(self.directory)

    def update(self, **changes: Any) -> None:
        """Change or add entries of `run.json`."""
        self._info |= changes
        write_json(self.directory / "run.json", self._info)

    def set_status(self, status: str, message: str = "") -> None:
        """Say how the run is doing, and why."""
        new = {"status": status, "message": message, "pid": os.getpid()}
        if read_status(self.directory) != new:
            write_json(self.directory / "status.json", new)

    def close(self) -> None:
        """Let go of the run; another process may resume it."""
        self._file.close()
        self._lock.release()


def create(outputs: str | Path, name: str, info: dict[str, Any], recipe: str) -> Record:
    """Begin a new run under `outputs`, with the status RUNNING.

    `info` goes into `run.json` beside what is known here; its entries win.
    Raises Mistake where the directory cannot be written.
    """
    with guard(Path(outputs), Mistake):
        started = datetime.now(UTC)
        directory = _new_directory(Path(outputs).absolute() / "runs", started)
        known = {
            "id": directory.name,
            "uid": secrets.token_hex(16),
            "name": name,
            "started": started.isoformat(timespec="microseconds"),
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "cwd": os.getcwd(),
            "host": platform.node(),
            "versions": info["versions"] if "versions" in info else versions(),
            "git": info["git"] if "git" in info else git(),
        }
        write(directory / "recipe.yaml", recipe)
        write_json(directory / "run.json", known | info)
        record = open_existing(directory)
        record.set_status(RUNNING)
    return record


def open_existing(directory: str | Path) -> Record:
    """Take hold of a run to go on with it; a half-written last line is cut off.

    Raises Mistake where another process still writes it.
    """
    directory = Path(directory).absolute()
    path = directory / "metrics.jsonl"
    with guard(directory, Mistake):
        lock = FileLock(directory / "lock", timeout=0.5, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            pid = read_status(directory).get("pid", "?")
            raise Mistake(f"run {directory.name} is still running (pid {pid})") from None
        file = path.open("ab", buffering=0)
        return Record(directory, lock, file, _cut(path), read_json(directory / "run.json"))


def is_running(directory: str | Path) -> bool:
    """Whether a living process holds the run."""
    lock = FileLock(Path(directory) / "lock", timeout=0)
    try:
        with lock:
            return False
    except Timeout:
        return True


def mark_killed(directory: str | Path) -> None:
    """Call a run KILLED that says it is RUNNING while no process holds it."""
    if read_status(directory).get("status") != RUNNING:
        return
    lock = FileLock(Path(directory) / "lock", timeout=0.5)
    with suppress(Timeout), lock:
        if read_status(directory).get("status") == RUNNING:
            status = {"status": KILLED, "message": "the process ended unexpectedly"}
            write_json(Path(directory) / "status.json", status)


def all_runs(outputs: str | Path) -> list[Path]:
    """The directories of all runs under `outputs`, the first started first."""
    found = [path.parent for path in (Path(outputs).absolute() / "runs").glob("*/run.json")]
    return sorted(found, key=lambda run: (read_json(run / "run.json").get("started", ""), run.name))


def find(outputs: str | Path, which: str) -> Path:
    """The directory of a run: `last`, an id or the start of one, MLflow's id, or a directory.

    Raises Mistake, with the nearest ids, where there is none or more than one.
    """
    if (Path(which) / "run.json").is_file():
        return Path(which).absolute()
    runs = {run.name: run for run in all_runs(outputs)}
    if not runs:
        raise Mistake(f"no run {which!r}: there are no runs in {Path(outputs) / 'runs'}")
    if which == "last":
        return list(runs.values())[-1]
    if which in runs:
        return runs[which]
    matches = [id for id in runs if which and id.startswith(which)]
    if len(matches) == 1:
        return runs[matches[0]]
    if matches:
        raise Mistake(f"{which!r} could be {_some(matches)}; write more of the id")
    for run in runs.values():
        if read_json(run / "tracking.json").get("run_id") == which:
            return run
    near = difflib.get_close_matches(which, runs, n=3, cutoff=0.5) or list(runs)[-3:]
    raise Mistake(f"no run {which!r} in {Path(outputs) / 'runs'}; there are last, {_some(near)}")


def read_points(directory: str | Path) -> list[dict[str, Any]]:
    """All points of a run, oldest first, without a half-written last one."""
    with suppress(FileNotFoundError):
        lines = (Path(directory) / "metrics.jsonl").read_bytes().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith(b"\n")]
    return []


def read_status(directory: str | Path) -> dict[str, Any]:
    """`status`, `message` and the `pid` that wrote them; empty where there is none."""
    return read_json(Path(directory) / "status.json")


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty where it is missing or damaged."""
    with suppress(OSError, ValueError):
        content = json.loads(path.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    write(path, json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")


def write(path: Path, content: str) -> None:
    """Write a text file whole or not at all. Raises Failure where the disk refuses it."""
    with replacing(path) as part, part.open("w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` to write; it takes the place of `path` when all went well."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with guard(path):
        try:
            yield part
            part.replace(path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise


@contextmanager
def guard(path: Path, kind: type[DlrunError] = Failure) -> Iterator[None]:
    """Turn an error of the file system into one short message that names the path."""
    try:
        yield
    except OSError as error:
        why = "the disk is full" if error.errno in _FULL else error.strerror or str(error)
        raise kind(f"cannot write {path}: {why}") from error
    except Failure as failure:
        raise kind(str(failure)) from failure


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide what a run computes; imports none of them."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def git(directory: str | Path = ".") -> dict[str, Any]:
    """The commit of the working directory, and whether tracked files differ from it.

    Empty outside a repository, and where git is missing or slow.
    """
    command = ["git", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    lines = done.stdout.splitlines()
    heads = [line.removeprefix("# branch.oid ") for line in lines if "branch.oid" in line]
    if done.returncode or not heads:
        return {}
    return {"commit": heads[0], "dirty": any(not line.startswith("#") for line in lines)}


def _new_directory(runs: Path, started: datetime) -> Path:
    runs.mkdir(parents=True, exist_ok=True)
    while True:
        stamp = started.astimezone().strftime("%Y%m%d-%H%M%S")
        directory = runs / f"{stamp}-{secrets.token_hex(2)}"
        with suppress(FileExistsError):
            directory.mkdir()
            return directory


def _cut(path: Path, to: int | None = None) -> int:
    """Cut a file to at most `to` bytes and to whole lines; its new length."""
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        keep = end if to is None else min(to, end)
        file.seek(max(keep - 1, 0))
        if keep and file.read(1) != b"\n":
            file.seek(0)
            keep = file.read(keep).rfind(b"\n") + 1
        if keep != end:
            file.truncate(keep)
        return keep


def _some(ids: list[str]) -> str:
    return ", ".join(ids[:5]) + (" …" if len(ids) > 5 else "")
