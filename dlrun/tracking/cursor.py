"""`tracking.json` in a run's directory: where the run is delivered, and how much has arrived.

Only the process that holds `tracking.lock` writes it, so that it never mixes two stores.
"""

from contextlib import AbstractContextManager, suppress
from datetime import datetime
from math import inf
from pathlib import Path
from typing import Any

from filelock import BaseFileLock

from dlrun import record, shell
from dlrun.record import points

NAME = "tracking.json"
_LOCK = "tracking.lock"


def hold(directory: Path) -> BaseFileLock | None:
    """The lock of the run's delivery, acquired; None while another process holds it."""
    return record.hold(directory / _LOCK)


def held(directory: Path) -> AbstractContextManager[bool]:
    """Inside, the run's delivery is held; gives False where another process holds it."""
    return record.held(directory / _LOCK)


def read(directory: Path) -> dict[str, Any]:
    """The cursor; empty where there is none."""
    return record.read_json(directory / NAME)


def fits(directory: Path, settings: dict[str, Any]) -> bool:
    """Whether the cursor is about the store and experiment that the settings name."""
    known = read(directory)
    return all(known.get(key) == settings[key] for key in ("uri", "experiment"))


def settle(directory: Path, settings: dict[str, Any], since: float = inf) -> None:
    """Go on with the cursor, or begin a new one where it was about another store.

    since: when the caller began to follow records. One that was created after that, and has no
    cursor, is in no store: `unasked` saves looking for it there.
    """
    known = read(directory) if fits(directory, settings) else {}
    if not (directory / NAME).exists() and _created(directory) > since:
        known = {"unasked": True}
    cursor = {"run_id": None, "delivered": 0} | known | settings | {"done": False}
    record.write_json(directory / NAME, cursor, durable=False)


def _created(directory: Path) -> float:
    """When a record was, by the clock; 0 where it does not say."""
    with suppress(ValueError):
        started = str(record.read_json(directory / "run.json").get("started"))
        return datetime.fromisoformat(started).timestamp()
    return 0.0


def missing(directory: Path, settings: dict[str, Any]) -> str:
    """What the store lacks of a run, in words; empty where that is nothing, or the run deleted."""
    if not (directory / "run.json").exists():
        return ""
    known = read(directory) if fits(directory, settings) else {}
    left = points.count(directory) - known.get("delivered", 0)
    if left > 0:
        return shell.counted(left, "point")
    return "" if known.get("done") else "the end"


def keep(directory: Path, **changes: Any) -> None:
    """Change or add entries; without them the store is asked."""
    record.overwrite_json(directory / NAME, read(directory) | changes)
