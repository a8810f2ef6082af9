"""The points of a run, one JSON object a line: read, checked, cut."""

import json
import logging
import os
from functools import cache
from pathlib import Path
from typing import Any

NAME = "metrics.jsonl"

_KINDS: dict[str, type | tuple[type, ...]] = {"step": int, "epoch": (int, float), "values": dict}
_log = logging.getLogger("dlrun")


def read_points(directory: str | Path) -> list[dict[str, Any]]:
    """All points of a run, oldest first, without a half-written last one.

    A damaged line is passed over, and said once.
    """
    path = Path(directory) / NAME
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    found = [_point(line) for line in lines if line.endswith(b"\n")]
    points = [point for point in found if point is not None]
    if len(points) < len(found):
        _say_damaged(path, len(found) - len(points))
    return points


def holds(directory: Path, position: int) -> bool:
    """Whether a run's points reach to `position`, every line up to there whole."""
    try:
        with (directory / NAME).open("rb") as file:
            content = file.read(position)
    except FileNotFoundError:
        content = b""
    whole = len(content) == position and (not content or content.endswith(b"\n"))
    return whole and all(_point(line) is not None for line in content.splitlines())


def cut(path: Path, to: int | None = None) -> int:
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


def _point(line: bytes) -> dict[str, Any] | None:
    """What a line says; None where it is damaged."""
    try:
        point = json.loads(line)
    except ValueError:
        return None
    if not isinstance(point, dict):
        return None
    fits = all(isinstance(point.get(key), kind) for key, kind in _KINDS.items())
    return point if fits else None


@cache
def _say_damaged(path: Path, count: int) -> None:
    lines = "1 line is" if count == 1 else f"{count} lines are"
    _log.warning(f"{path}: {lines} damaged and left out")
