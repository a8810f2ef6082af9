"""A table that nobody has trained on, in the terms of one that somebody has."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer

from dlrun import shell
from dlrun.data.tables import cells
from dlrun.data.tables import encode as encoding
from dlrun.data.tables.encode import Encoded
from dlrun.data.tables.file import read_file
from dlrun.errors import Mistake

Reading = Mapping[str, Any]
_KINDS = {"date": "dates", "boolean": "values that are true or false"}


def read_frame(path: Path) -> pd.DataFrame:
    """The columns of a table as texts. Raises Mistake where the file holds none."""
    return as_frame(read_file(path).texts)


def as_frame(texts: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Columns of texts by their names."""
    return pd.DataFrame({name: pd.Series(column, dtype=object) for name, column in texts.items()})


def encode(raw: pd.DataFrame, reading: Reading, made: ColumnTransformer | None = None) -> Encoded:
    """The rows as a trained network takes them; see `encode.Encoded`.

    raw: of `read_frame` or of pandas. made: the transformer of the columns, where it is there.
    Raises Mistake where columns are missing.
    """
    try:
        return encoding.encode(raw, reading, made)
    except ValueError as error:
        raise Mistake(str(error)) from None


def refuse_unread(unread: Mapping[str, int], read: Mapping[str, int], reading: Reading) -> None:
    """Raise Mistake where a column has values and none that can be read, by how many are so."""
    for column in reading["columns"]:
        name, kind = column["name"], _KINDS.get(column["kind"], "numbers")
        if unread.get(name) and not read.get(name):
            kind += f" of the form {column['format']}" if column["kind"] == "date" else ""
            raise Mistake(
                f"the column {name} has no value that can be read, of {unread[name]:,}; the run "
                f"was trained on {kind} there"
            )


def notes(unread: Mapping[str, int], unknown: Mapping[str, int]) -> list[str]:
    """What is said of values that are not as in training, by how many of a column are so."""
    return [
        f"the column {name} has {shell.counted(count, 'value')} that could not be read, and "
        f"count{'s' * (count == 1)} as missing"
        for name, count in unread.items()
    ] + [
        f"the column {name} has {shell.counted(count, 'value')} that could not be known from "
        "training"
        for name, count in unknown.items()
    ]


def targets(
    raw: pd.DataFrame, reading: Reading, classes: Sequence[str]
) -> tuple[NDArray[np.int64] | NDArray[np.float32], NDArray[np.int64]]:
    """The targets of the rows that have one, and these rows.

    classes: those of the trained network, whose places the targets are, (m,) int64; without any
    they are numbers, dates as days since 1970, (m, 1) float32.
    Raises Mistake where there is no target, or another class.
    """
    try:
        return _places(raw, reading, classes) if classes else _numbers(raw, reading)
    except ValueError as error:
        raise Mistake(f"{error}, which is the target") from None


def _numbers(raw: pd.DataFrame, reading: Reading) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    name = str(reading["target"])
    form = reading.get("target_format")
    asked = {"name": name, "kind": "date" if form else "number", "format": form}
    frame, unread = encoding.typed(raw, {**reading, "columns": [asked]})
    if unread:
        many = shell.counted(unread[name], "value")
        are, s = ("is no", "") if unread[name] == 1 else ("are no", "s")
        what = f"date{s} of the form {form}" if form else f"number{s}"
        raise Mistake(f"the column {name} has {many} that {are} {what}")
    found = frame[name].to_numpy()
    rows = np.flatnonzero(~np.isnan(found))
    return found[rows, None].astype(np.float32), rows


def _places(
    raw: pd.DataFrame, reading: Reading, classes: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    name = str(reading["target"])
    asked = {**reading, "missing": [], "columns": [{"name": name, "kind": "text"}]}
    texts = encoding.typed(raw, asked)[0][name].tolist()
    if {text.lower() for text in classes} == {"false", "true"}:  # however they are written
        texts = [text.capitalize() if _is_boolean(text) else text for text in texts]
    places = {text: place for place, text in enumerate(classes)}
    # pandas reads TRUE as True
    places |= {text.capitalize(): place for text, place in places.items() if _is_boolean(text)}
    is_missing = cells.find_missing(reading["missing"])
    usual = reading["missing"] is None  # a class is none of these: None beside Some
    known = {text for text in set(texts) if (usual and text in places) or not is_missing(text)}
    known -= {""} - places.keys()
    rows = np.array([row for row, text in enumerate(texts) if text in known], np.int64)
    if strange := sorted(known - places.keys()):
        raise Mistake(
            f"the column {name} holds {cells.shown(strange[0])}, none of the {len(classes)} classes"
        )
    return np.array([places[texts[row]] for row in rows], np.int64), rows


def _is_boolean(text: str) -> bool:
    return cells.read_booleans([text]) is not None
