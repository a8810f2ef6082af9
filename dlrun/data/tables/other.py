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


def targets(
    raw: pd.DataFrame, reading: Reading, classes: Sequence[str]
) -> tuple[NDArray[np.int64] | NDArray[np.float32], NDArray[np.int64]]:
    """The targets of the rows that have one, and these rows.

    classes: those of the trained network, whose places the targets are, (m,) int64; without any
    they are numbers, (m, 1) float32. Raises Mistake where there is no target, or another class.
    """
    name = str(reading["target"])
    kind = "text" if classes else "number"
    asked = {**reading, "columns": [{"name": name, "kind": kind}]}
    try:
        frame, unread = encoding.typed(raw, asked)
    except ValueError as error:
        raise Mistake(f"{error}, which is the target") from None
    found = frame[name].to_numpy()
    if not classes:
        if unread:
            many = shell.counted(unread[name], "value")
            are = "is no number" if unread[name] == 1 else "are no numbers"
            raise Mistake(f"the column {name} has {many} that {are}")
        rows = np.flatnonzero(~np.isnan(found))
        return found[rows, None].astype(np.float32), rows
    rows = np.flatnonzero(found != "")
    places = {text: place for place, text in enumerate(classes)}
    # pandas reads TRUE as True
    places |= {text.capitalize(): place for text, place in places.items() if _is_boolean(text)}
    strange = sorted({text for text in found[rows] if text not in places})
    if strange:
        raise Mistake(
            f"the column {name} holds {cells.shown(strange[0])}, none of the {len(classes)} classes"
        )
    return np.array([places[text] for text in found[rows]], np.int64), rows


def _is_boolean(text: str) -> bool:
    return cells.read_booleans([text]) is not None
