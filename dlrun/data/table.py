"""CSV files as columns of numbers or strings, and as features beside a target."""

import csv
import difflib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlrun.errors import Mistake

MISSING = frozenset(["", "na", "n/a", "nan", "null", "none", "?"])
"""How files write a missing value, in lower case."""


def read_table(
    path: str, file: Path, target: str | None, features: Sequence[str] | None
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """The features, (n, columns), and the target, (n,) int64, float64 or strings.

    path: as the user typed it, for messages. features: the columns to use, in this order;
    None takes all but the target. Only columns that are used must be complete.
    Raises Mistake for a name that is no column, for a value that is missing, and for a
    feature that holds words.
    """
    columns = _read_columns(path, file)
    if target is None:
        raise Mistake(f"data.target=null: name the column to predict: {some(list(columns))}")
    _require_column(path, "data.target", target, columns)
    if features is not None and not features:
        raise Mistake(f"data.features=[]: name at least one of {some(list(columns))}")
    for name in features or []:
        _require_column(path, "data.features", name, columns)
    if features is not None and target in features:
        raise Mistake(f"data.features: has {target}, which is data.target; leave it out")
    if features is not None and len(set(features)) < len(features):
        twice = next(name for name in features if features.count(name) > 1)
        raise Mistake(f"data.features: names {twice} twice")
    used = [name for name in columns if name != target] if features is None else features
    if not used:
        raise Mistake(f"data.path={path} has no column besides {target}")
    x = {name: _column(path, name, columns[name]) for name in used}
    numbers = [name for name, values in x.items() if values.dtype.kind != "U"]
    words = [name for name in used if name not in numbers]
    if words:
        odd = next(value for value in x[words[0]].tolist() if _numbers([value]) is None)
        out = f"data.features=[{','.join(numbers)}]" if 0 < len(numbers) <= 10 else "data.features"
        raise Mistake(
            f"data.path={path}: the column {words[0]} holds {odd!r}; "
            f"features must be numbers: leave it out with {out}, or encode it"
        )
    y = _column(path, target, columns[target])
    return np.stack([values.astype(np.float64) for values in x.values()], 1), y


def some(names: Sequence[str]) -> str:
    """The first ten of them, for a message."""
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")


def _require_column(path: str, key: str, name: str, columns: Collection[str]) -> None:
    if name not in columns:
        near = difflib.get_close_matches(name, columns, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {some(list(columns))}"
        raise Mistake(f"{key}={name}: {path} has no such column; {hint}")


def _read_columns(path: str, file: Path) -> dict[str, tuple[str, ...]]:
    """The columns by name, as written.

    The first line names them; the separator is the one of comma, semicolon and tab that it
    has most of. Raises Mistake where a line has too few values or too many, or the first
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
    return dict(zip(header, zip(*rows, strict=True), strict=True))


def _column(path: str, name: str, values: tuple[str, ...]) -> NDArray[Any]:
    """int64, else float64, else strings."""
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
