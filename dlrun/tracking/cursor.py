"""`tracking.json` in a run's directory: where the run is delivered, and how much has arrived.

Only the process that holds `tracking.lock` writes it, so that it never mixes two stores.
"""

from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from dlrun import record

NAME = "tracking.json"


def hold(directory: Path) -> BaseFileLock | None:
    """The lock of the run's delivery, acquired; None while another process holds it."""
    lock = FileLock(directory / "tracking.lock", timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        return None
    return lock


def read(directory: Path) -> dict[str, Any]:
    """The cursor; empty where there is none."""
    return record.read_json(directory / NAME)


def fits(directory: Path, settings: dict[str, Any]) -> bool:
    """Whether the cursor is about the store and experiment that the settings name."""
    known = read(directory)
    return all(known.get(key) == settings[key] for key in ("uri", "experiment"))


def settle(directory: Path, settings: dict[str, Any]) -> None:
    """Go on with the cursor, or begin a new one where it was about another store."""
    known = read(directory) if fits(directory, settings) else {}
    cursor = {"run_id": None, "delivered": 0} | known | settings | {"done": False}
    record.write_json(directory / NAME, cursor)


def keep(directory: Path, **changes: Any) -> None:
    """Change or add entries."""
    record.write_json(directory / NAME, read(directory) | changes)
