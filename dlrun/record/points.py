"""The points of a run, one JSON object a line: written, read, checked, cut.

Each line ends with a checksum of what stands before it, so that a digit that a disk has
changed is noticed, wherever the file was cut.
"""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

from dlrun.record.files import read_bytes, read_json

NAME = "metrics.jsonl"

_KINDS: dict[str, type | tuple[type, ...]] = {"step": int, "epoch": (int, float), "values": dict}
_KEYS = {*_KINDS, "time"}
_SUM = b', "crc32": "'
_log = logging.getLogger("dlrun")


def line(point: Mapping[str, Any]) -> bytes:
    """A point as a line, with the checksum (CRC-32) of the line as it is without one."""
    plain = json.dumps(point).encode()
    return plain[:-1] + _SUM + b'%08x"}\n' % crc32(plain)


def parse(line: bytes) -> dict[str, Any] | None:
    """What a line says; None where it is damaged. One that somebody else wrote has no checksum."""
    plain, found, told = line.rstrip(b"\r\n").rpartition(_SUM)
    if found:
        line = plain + b"}"
        if told != b'%08x"}' % crc32(line):
            return None
    try:
        point = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(point, dict) or not point.keys() <= _KEYS:
        return None
    fits = all(isinstance(point.get(key), kind) for key, kind in _KINDS.items())
    return point if fits and all(map(_is_number, point["values"].values())) else None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def read_points(directory: str | Path) -> list[dict[str, Any]]:
    """All points of a run, oldest first, without a last one that a killed run has half written.

    A damaged line is passed over, and said once; so is an end that is lost.
    """
    found, lost = _parsed(directory)
    points = [point for point in found if point is not None]
    if lost or len(points) < len(found):
        _say_damaged(Path(directory) / NAME, len(found) - len(points), lost)
    return points


def last_values(points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The values at the last step of a run, which may have several points there; a later wins.

    The best and the test of a run that has ended are among them.
    """
    step = points[-1]["step"] if points else None
    last = [point["values"] for point in points if point["step"] == step]
    return {name: value for values in last for name, value in values.items()}


def is_whole(directory: str | Path) -> bool:
    """Whether no line of a run's points is damaged, and none of one that has ended is lost."""
    found, lost = _parsed(directory)
    return not lost and None not in found


def is_begun(directory: str | Path) -> bool:
    """Whether a run has a point that can be read."""
    return any(parse(line) is not None for line in _content(directory).split(b"\n")[:-1])


def count(directory: str | Path) -> int:
    """How many lines a run's points have, without a half one."""
    return _content(directory).count(b"\n")


def recorded(directory: str | Path) -> int:
    """The length of a run's points when it ended, in bytes; 0 while it runs, or was killed."""
    told = read_json(Path(directory) / "status.json").get("recorded")
    return told if isinstance(told, int) else 0


def _parsed(directory: str | Path) -> tuple[list[dict[str, Any] | None], bool]:
    """What each line of a run's points says, and whether their end is lost.

    A half line is damaged in a run that has ended: only a killed one leaves it.
    """
    content, whole = _content(directory), recorded(directory)
    lines = content.split(b"\n")
    lost = len(content) < whole
    half = bool(whole and lines[-1] and not lost)
    return [parse(line) for line in lines[: None if half else -1]], lost


def _content(directory: str | Path) -> bytes:
    return read_bytes(Path(directory) / NAME)


def holds(directory: Path, position: int) -> bool:
    """Whether a run's points reach to `position`, every line up to there whole."""
    content = _content(directory)[:position]
    whole = len(content) == position and (not content or content.endswith(b"\n"))
    return whole and all(parse(line) is not None for line in content.split(b"\n")[:-1])


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


@cache
def _say_damaged(path: Path, count: int, lost: bool) -> None:
    lines = "1 line is" if count == 1 else f"{count} lines are"
    said = [f"{lines} damaged and left out"] if count else []
    said += ["its end is lost, and points with it"] if lost else []
    _log.warning(f"{path}: {'; '.join(said)}")
