"""Claims on recipes: while one process trains a recipe, others wait and use its result.

    <outputs>/claims/<hash>     locked while a process trains; names the last run that finished

The lock ends with the process that holds it, however that ends.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from dlrun import record
from dlrun.console import screen
from dlrun.errors import Mistake


@dataclass(frozen=True)
class Claim:
    """The exclusive right to train a recipe."""

    _runs: Path
    _file: int

    def found(self) -> Path | None:
        """The last run of this recipe that finished under a claim; None if there is none."""
        name = os.pread(self._file, 256, 0).decode(errors="replace").strip()
        directory = self._runs / name
        return directory if name and (directory / "run.json").exists() else None

    def finished(self, directory: Path) -> None:
        """Let other processes find this run."""
        with record.guard(self._runs):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, directory.name.encode(), 0)


@contextmanager
def held(outputs: Path, hash: str, what: str, console: Console) -> Iterator[Claim]:
    """Inside, no other process trains this recipe.

    what: is waited for, as the console says once. Raises Mistake where the directory cannot be
    written.
    """
    with _opened(outputs, hash) as file:
        if not _is_locked(file):
            screen.say(console, f"waiting for {what}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield Claim(outputs / "runs", file)


@contextmanager
def free(outputs: Path, hash: str) -> Iterator[Claim | None]:
    """The same without waiting: None where another process trains the recipe.

    Who holds several claims must not wait for one more: its holder may wait for them.
    """
    with _opened(outputs, hash) as file:
        yield Claim(outputs / "runs", file) if _is_locked(file) else None


@contextmanager
def _opened(outputs: Path, hash: str) -> Iterator[int]:
    folder = outputs / "claims"
    with record.guard(folder, Mistake):
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / hash, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield file
    finally:
        os.close(file)


def _is_locked(file: int) -> bool:
    """Lock a file, unless another process has."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
