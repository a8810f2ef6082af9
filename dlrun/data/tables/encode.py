"""The columns of a table as inputs of a network, and the same again for other tables.

    number, boolean   its value; where it is missing, the median, and a flag says so
    date              days since 1970, then as a number
    text              one-hot, missing values as a class; of more than 50 values the rarest are one

How a table was read are plain values, its `reading`:

    columns   of each feature its name, its kind, and once it is fitted what was learned: `fill`,
              the median; `flag`, whether training rows lack it; `kept`, the texts with an input
              of their own; `rare`, one of the texts that share an input, where there are any
    missing   the texts that mean a missing value, None for the usual ones
    decimal   the decimal mark of numbers
    target    the column that was to be predicted
    target_format   the form of its dates, where days are predicted

This module and `cells` are copied into saved models, with `served`: they import nothing of dlrun.
"""

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from . import cells

MOST = 50
"""Inputs for a text at most; with more values, the rarest share the last."""

_CHUNK = 2**16  # rows that are transformed at a time
_EPOCH = pd.Timestamp(0, tz="UTC")
_DAY = pd.Timedelta(days=1)
_LARGEST = float(np.finfo(np.float32).max)
_UNNAMED = re.compile(r"Unnamed: ([0-9]+)")  # what pandas calls a column without a name

Reading = Mapping[str, Any]
Columns = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Encoded:
    """Rows of a table as a network takes them.

    x: (n, features) float32.
    unread: how many values of a column are not of its kind, and are taken for missing.
    read: how many values of a column of numbers or dates are.
    unknown: how many texts of a column no training row has; they are none of its classes.
    """

    x: NDArray[np.float32]
    unread: Mapping[str, int]
    unknown: Mapping[str, int]
    read: Mapping[str, int]


def fit(frame: pd.DataFrame, columns: Columns) -> list[dict[str, Any]]:
    """What the training rows say of each column.

    frame: as `typed` gives it.
    """
    numbers, texts = _by_kind(columns)
    many = [name for name in texts if frame[name].nunique() > MOST]
    made = _made(numbers, texts, many).fit(frame)
    learned: dict[str, dict[str, Any]] = {}
    if numbers:
        imputer = made.named_transformers_["numbers"]
        flagged = set(imputer.indicator_.features_.tolist())
        for place, name in enumerate(numbers):
            median = float(imputer.statistics_[place])
            learned[name] = {"fill": median, "flag": place in flagged}
    for place, name in enumerate(texts):
        encoder = made.named_transformers_[f"text {place}"]
        (values,), (few,) = encoder.categories_, encoder.infrequent_categories_
        rare = [] if few is None else few.tolist()
        learned[name] = {"kept": sorted(set(values.tolist()) - set(rare)), "rare": rare[:1]}
    return [{**column, **learned[column["name"]]} for column in columns]


def transformer(columns: Columns) -> ColumnTransformer:
    """The ColumnTransformer that was fitted, made from what it had learned.

    It is fitted on a few rows that say the same: each text of its own twice, a rare one once.
    So no record holds a pickle, which could run anything and fits one release of scikit-learn.
    """
    told = {
        column["name"]: [*column["kept"], *column["kept"], *column["rare"]]
        if column["kind"] == "text"
        else [column["fill"], *([np.nan] if column["flag"] else [])]
        for column in columns
    }
    rows = max(map(len, told.values()))
    full = {name: some + some[:1] * (rows - len(some)) for name, some in told.items()}
    many = [column["name"] for column in columns if column.get("rare")]
    return _made(*_by_kind(columns), many).fit(_frame(full, columns))


def names(columns: Columns) -> tuple[str, ...]:
    """The inputs, in the order in which the ColumnTransformer gives them."""
    numbers = [column for column in columns if column["kind"] != "text"]
    found = [column["name"] for column in numbers]
    found += [f"{column['name']} is missing" for column in numbers if column["flag"]]
    for column in columns:
        if column["kind"] == "text":
            name = column["name"]
            found += [f"{name}={text}" if text else f"{name} is missing" for text in column["kept"]]
            found += [f"{name} is rare"] * len(column["rare"])
    return tuple(found)


def transform(
    frame: pd.DataFrame, columns: Columns, made: ColumnTransformer | None = None
) -> NDArray[np.float32]:
    """(n, features) of rows as `typed` gives them; made: the transformer of the columns."""
    made = made or transformer(columns)
    x = np.empty((len(frame), len(names(columns))), np.float32)
    for start in range(0, len(frame), _CHUNK):
        x[start : start + _CHUNK] = made.transform(frame.iloc[start : start + _CHUNK])
    return x


def encode(raw: pd.DataFrame, reading: Reading, made: ColumnTransformer | None = None) -> Encoded:
    """The rows of another table in the terms of a fitted one.

    raw: texts as in a file, or numbers, booleans and times as pandas reads them, a number where
    dates are expected being one of their form, 20010131; other columns and their order don't
    matter. made: the transformer of the columns, where it is there.
    Raises ValueError, which names them, where columns are missing.
    """
    frame, unread = typed(raw, reading)
    unknown: dict[str, int] = {}
    numbers, _ = _by_kind(reading["columns"])
    for column in reading["columns"]:
        if column["kind"] == "text" and not column["rare"]:
            count = int((~frame[column["name"]].isin(column["kept"])).sum())
            unknown |= {column["name"]: count} if count else {}
    read = {name: int(frame[name].notna().sum()) for name in numbers}
    return Encoded(transform(frame, reading["columns"], made), unread, unknown, read)


def typed(raw: pd.DataFrame, reading: Reading) -> tuple[pd.DataFrame, dict[str, int]]:
    """Each column of the reading as float64, nan where missing, or as texts, "" where missing.

    Also how many values of a column could not be read. Raises ValueError as `encode`.
    """
    there = _by_name(raw)
    columns = reading["columns"]
    lacking = [column["name"] for column in columns if column["name"] not in there]
    if lacking:
        more = ", ..." if len(lacking) > 10 else ""
        columns = "column" if len(lacking) == 1 else "columns"
        raise ValueError(f"the table lacks the {columns} {', '.join(lacking[:10])}{more}")
    found: dict[str, NDArray[Any]] = {}
    unread: dict[str, int] = {}
    for column in columns:
        name, values = column["name"], there[column["name"]]
        if column["kind"] == "text":
            found[name] = _as_texts(values, reading)
            continue
        found[name], count = _as_numbers(values, column, reading)
        unread |= {name: count} if count else {}
    return _frame(found, columns), unread


def read_dates(texts: Sequence[str], form: str) -> NDArray[np.float64]:
    """Days since 1970 in UTC, nan for a text of another form: `ISO8601`, or as strptime has it."""
    found = pd.to_datetime(pd.Series(texts, dtype=object), format=form, errors="coerce", utc=True)
    days: NDArray[np.float64] = ((found - _EPOCH) / _DAY).to_numpy(np.float64)
    return days


def example(reading: Reading) -> pd.DataFrame:
    """A row that such a table could have: medians, and the first of the texts."""
    row: dict[str, Any] = {}
    for column in reading["columns"]:
        if column["kind"] == "text":
            row[column["name"]] = next(filter(None, column["kept"]), "")
        elif column["kind"] == "boolean":
            row[column["name"]] = column["fill"] >= 0.5
        elif column["kind"] == "date":
            when = _EPOCH + column["fill"] * _DAY
            iso = column["format"] == "ISO8601"
            row[column["name"]] = when.isoformat() if iso else when.strftime(column["format"])
        else:
            row[column["name"]] = column["fill"]
    return pd.DataFrame([row])


def _by_kind(columns: Columns) -> tuple[list[str], list[str]]:
    """The names of those that are numbers to scikit-learn, and of the texts."""
    texts = [column["name"] for column in columns if column["kind"] == "text"]
    return [column["name"] for column in columns if column["kind"] != "text"], texts


def _made(numbers: Sequence[str], texts: Sequence[str], many: Sequence[str]) -> ColumnTransformer:
    """Not fitted yet; many: the texts with more values than get an input each."""
    filled = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    steps: list[tuple[str, Any, list[str]]] = (
        [("numbers", filled, list(numbers))] if numbers else []
    )
    for place, name in enumerate(texts):
        one_hot = OneHotEncoder(
            # It counts an input for rare texts even where there are none.
            max_categories=MOST if name in many else MOST + 1,
            handle_unknown="infrequent_if_exist",
            sparse_output=False,
            dtype=np.float32,
        )
        steps.append((f"text {place}", one_hot, [name]))
    return ColumnTransformer(steps, sparse_threshold=0)


def _frame(found: Mapping[str, Any], columns: Columns) -> pd.DataFrame:
    """Numbers as float64, texts as objects whatever the release of pandas makes of them."""
    kinds = {column["name"]: column["kind"] for column in columns}
    return pd.DataFrame(
        {
            name: pd.Series(values, dtype=object if kinds[name] == "text" else np.float64)
            for name, values in found.items()
        }
    )


def _by_name(raw: pd.DataFrame) -> dict[str, pd.Series]:
    """The columns under the names that they have in a reading."""
    found: dict[str, pd.Series] = {}
    for place, given in enumerate(raw.columns):
        name = cells.typable(str(given)) or f"column_{place + 1}"
        found.setdefault(name, raw.iloc[:, place])
        if unnamed := _UNNAMED.fullmatch(name):
            found.setdefault(f"column_{int(unnamed[1]) + 1}", raw.iloc[:, place])
    return found


def _as_texts(values: pd.Series, reading: Reading, form: str = "") -> NDArray[np.object_]:
    """The values as texts, "" where missing; form: of times, and of dates that are numbers."""
    is_missing = cells.find_missing(reading["missing"])
    places, different = pd.factorize(values.astype(object))
    texts = [_as_date(each, form) if form else cells.text_of(each) for each in different]
    texts = ["" if is_missing(text) else text for text in texts]
    found: NDArray[np.object_] = np.array([*texts, ""], object)[places]  # -1 where there is none
    return found


def _as_date(value: object, form: str) -> str:
    """A value as a file has it where pandas has read a time, or a number: 1022001 is 01022001."""
    text = cells.text_of(value)
    if form == "ISO8601":
        return text
    if isinstance(value, datetime.date):  # as times are
        return value.strftime(form)
    if isinstance(value, str) or not text.isdigit() or form.startswith("%Y"):
        return text
    return text.zfill(len(_EPOCH.strftime(form)))


def _as_numbers(
    values: pd.Series, column: Mapping[str, Any], reading: Reading
) -> tuple[NDArray[np.float64], int]:
    """The values, nan where missing, and how many there are that could not be read."""
    types, dates = pd.api.types, column["kind"] == "date"
    # true is no 1, in a column and among what means a missing value; nor is 20010131 a day
    if types.is_numeric_dtype(values.dtype) and not (dates or types.is_bool_dtype(values.dtype)):
        there = values.to_numpy(np.float64, na_value=np.nan)
        markers = [m for m in reading["missing"] or () if type(m) is not bool]
        markers = [m for m in markers if isinstance(m, int | float)]
        numbers = np.where(np.isin(there, markers), np.nan, there)
        missing = np.isnan(numbers)
    else:
        texts = _as_texts(values, reading, column["format"] if dates else "").tolist()
        missing = np.array([not text for text in texts], bool)
        if dates:
            numbers = read_dates(texts, column["format"])
        else:
            numbers = cells.read_each(texts, reading["decimal"])
    numbers = np.where(np.abs(numbers) <= _LARGEST, numbers, np.nan)  # infinite ones are unread
    return numbers, int((np.isnan(numbers) & ~missing).sum())
