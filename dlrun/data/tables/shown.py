"""The rows of an encoded table as its file has them, for people to read."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

ABSENT, RARE = "–", "(rare)"
"""What is shown for a missing value, and for a text that shares its input with others."""

_EXACT = 2**24  # below, every whole number is a float32
_EPOCH = datetime(1970, 1, 1)
_DAY = 24 * 60 * 60  # seconds
_STEPS = (_DAY, 60 * 60, 60, 1)  # that times are written in


def origins(columns: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The column that each input of a table is made of, in the order of `encode.names`."""
    numbers = [column for column in columns if column["kind"] != "text"]
    flags = [column for column in numbers if column["flag"]]
    texts = [column for column in columns if column["kind"] == "text"]
    return [*numbers, *flags, *(one for one in texts for _ in [*one["kept"], *one["rare"]])]


def as_written(
    x: NDArray[np.float32],
    columns: Sequence[Mapping[str, Any]],
    unfilled: NDArray[np.float32] | None = None,
) -> tuple[list[str], NDArray[np.str_]]:
    """The names of the columns, and (n, columns) texts.

    x: (n, features) as `encode.transform` makes them of these columns, which are fitted.
    unfilled: the same rows as in `Source`: the median of a column that lacks no value in training
    may stand for a missing one. None where none is missing.
    """
    found: dict[str, list[str]] = {}
    absent = None if unfilled is None else np.isnan(unfilled)
    values, flags = iter(x.T), 0
    for place, column in enumerate(columns):
        if column["kind"] != "text":
            cells = [_written(value, column) for value in next(values)]
            for row in () if absent is None else np.flatnonzero(absent[:, place]):
                cells[row] = ABSENT
            found[column["name"]], flags = cells, flags + column["flag"]
    start = len(found) + flags
    for column in columns:
        if column["kind"] == "text":
            texts = [*(text or ABSENT for text in column["kept"]), *([RARE] * bool(column["rare"]))]
            part, start = x[:, start : start + len(texts)], start + len(texts)
            found[column["name"]] = [texts[row.argmax()] if row.any() else ABSENT for row in part]
    names = [column["name"] for column in columns]
    return names, np.array([found[name] for name in names], str).T


def _written(value: np.float32, column: Mapping[str, Any]) -> str:
    if column["kind"] == "boolean":
        return "true" if value >= 0.5 else "false"
    if column["kind"] == "date":
        return _date(value, column["format"])
    whole = value == np.round(value) and abs(value) < _EXACT
    return f"{value:.0f}" if whole else f"{value:.7g}"


def _date(days: np.float32, form: str) -> str:
    """In its form; to the day, hour or minute where float32 knows it no better."""
    error = float(np.spacing(np.abs(days))) * _DAY / 2
    seconds = float(days) * _DAY
    near = (step * round(seconds / step) for step in _STEPS)
    seconds = next((each for each in near if abs(each - seconds) <= error), round(seconds))
    when = _EPOCH + timedelta(seconds=seconds)
    if form != "ISO8601":
        return when.strftime(form)
    return when.strftime("%Y-%m-%d %H:%M:%S").removesuffix(" 00:00:00")
