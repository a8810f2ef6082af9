"""CSV files as columns of numbers or strings."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlrun.errors import Mistake

MISSING = frozenset(["", "na", "n/a", "nan", "null", "none", "?"])
"""How files write a missing value, in lower case."""


def read_csv(path: str, file: Path) -> dict[str, NDArray[Any]]:
    """The columns by name: int64, else float64, else strings.

    path: as the user typed it, for messages. The first line names the columns; the
    separator is the one of comma, semicolon and tab that it has most of.
    Raises Mistake where a value is missing, a line has too few or too many, or the first
    line holds numbers.
    """
    try:
        # utf-8-sig: spreadsheets put a mark at the start.
        with file.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            stream.seek(0)
            separator = max(",;\t", key=first.count)
            lines = csv.reader(stream, delimiter=separator, skipinitialspace=True, strict=True)
            header = [name.strip() for name in next(lines, [])]
            rows = []
            for row in lines:
                if not row:
                    continue
                if len(row) != len(header):
                    raise Mistake(
                        f"data.path={path}: line {lines.line_num} has {len(row)} values, "
                        f"the first line names {len(header)} columns"
                    )
                rows.append(row)
    except (csv.Error, UnicodeDecodeError) as error:
        raise Mistake(f"data.path={path} cannot be read as CSV in UTF-8: {error}") from error
    if not rows:
        raise Mistake(f"data.path={path} has no data below its first line")
    if any(_numbers([name]) is not None for name in header):
        raise Mistake(f"data.path={path}: its first line must name the columns, it holds numbers")
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise Mistake(f"data.path={path}: two columns have the name {twice!r}")
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    return {name: _column(path, name, values) for name, values in columns.items()}


def _column(path: str, name: str, values: tuple[str, ...]) -> NDArray[Any]:
    stripped = [value.strip() for value in values]
    missing = [i for i, value in enumerate(stripped) if value.lower() in MISSING]
    if missing:
        raise Mistake(
            f"data.path={path}: the column {name} lacks {len(missing)} of {len(values)} values, "
            f"first in row {missing[0] + 1}; fill them in or leave those rows out"
        )
    numbers = _numbers(stripped)
    return np.array(stripped) if numbers is None else numbers


def _numbers(texts: list[str]) -> NDArray[Any] | None:
    for kind in (int, float):
        try:
            return np.array([kind(text) for text in texts], np.int64 if kind is int else np.float64)
        except (ValueError, OverflowError):
            continue
    return None
