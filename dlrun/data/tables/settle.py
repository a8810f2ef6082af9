"""From the columns of a table to samples, fitted on the rows that are trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from dlrun.data import Source
from dlrun.errors import Mistake

if TYPE_CHECKING:
    from pandas import DataFrame

Columns = Sequence[Mapping[str, Any]]


def settle(
    source: Source,
    values: Mapping[str, Sequence[str]],
    rows: Mapping[str, NDArray[np.int64]],
    fitted: Mapping[str, Any] | None = None,
) -> Source:
    """The samples as a network takes them.

    source: its x are the columns as `read.Table` has them. values: the texts of columns.
    rows: of each split; what is learned, is learned of those under "fit". fitted: the reading of
    another run, which is taken instead.
    A table of numbers alone that lacks none stays as it is, and imports nothing heavy.
    Raises Mistake where the fitted table has other columns.
    """
    x, columns = source.x.numpy(), source.reading["columns"]
    numbers = all(column["kind"] in ("number", "boolean") for column in columns)
    complete = numbers and not any(column["absent"] for column in columns)
    if fitted is not None:
        return _as_fitted(source, values, fitted, complete)
    if complete:
        medians = _medians(x[rows["fit"]])
        fit = [
            {**column, "fill": float(median), "flag": False}
            for column, median in zip(columns, medians, strict=True)
        ]
        return _settled(source, fit, None)
    from dlrun.data.tables import encode  # imports pandas and scikit-learn

    fit = encode.fit(_frame(x[rows["fit"]], columns, values), columns)
    return _settled(source, fit, encode.transform(_frame(x, columns, values), fit))


def _as_fitted(
    source: Source, values: Mapping[str, Sequence[str]], fitted: Mapping[str, Any], complete: bool
) -> Source:
    """The samples with what another run has learned."""
    here, there = (
        [(column["name"], column["kind"]) for column in columns]
        for columns in (source.reading["columns"], fitted["columns"])
    )
    if here == there and complete and not any(column.get("flag") for column in fitted["columns"]):
        return _settled(source, fitted["columns"], None)
    from dlrun.data.tables import encode

    frame = _frame(source.x.numpy(), source.reading["columns"], values)
    both = {name for name, kind in set(here) & set(there) if kind == "date"}
    columns = [  # dates are days already
        {**column, "kind": "number"} if column["name"] in both else column
        for column in fitted["columns"]
    ]
    try:
        found = encode.encode(frame, {"columns": columns, "decimal": "point", "missing": []})
    except ValueError as error:
        raise Mistake(f"data: {error}, which the run was trained on") from None
    return _settled(source, fitted["columns"], found.x)


def _settled(source: Source, fit: Columns, x: NDArray[np.float32] | None) -> Source:
    """The same source with the samples x; None: with its own, which are numbers."""
    reading = {**source.reading, "columns": list(fit)}
    if x is None:
        return replace(source, settle=None, reading=reading)
    from dlrun.data.tables.encode import names

    places = {column["name"]: place for place, column in enumerate(source.reading["columns"])}
    order = [places[column["name"]] for column in fit]
    unfilled = source.x if order == list(range(len(places))) else source.x[:, order]
    settled = replace(source, x=torch.from_numpy(x), unfilled=unfilled, settle=None)
    return replace(settled, reading=reading, columns=names(fit))


def _medians(x: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.median(x.astype(np.float64), axis=0) if len(x) else np.zeros(x.shape[1])


def _frame(
    x: NDArray[np.float32], columns: Columns, values: Mapping[str, Sequence[str]]
) -> "DataFrame":
    """The columns by name: numbers as float64, texts as they are."""
    import pandas as pd

    found: dict[str, Any] = {}
    for place, column in enumerate(columns):
        name = column["name"]
        if column["kind"] == "text":
            texts = np.array(values[name], object)
            found[name] = pd.Series(texts[x[:, place].astype(np.int64)], dtype=object)
        else:
            found[name] = pd.Series(x[:, place].astype(np.float64))
    return pd.DataFrame(found)
