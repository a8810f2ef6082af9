"""Reads CSV files: the features and the target."""

import csv
import difflib
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlrun import shell
from dlrun.data.tables import cells, columns
from dlrun.data.tables.columns import Column
from dlrun.data.tables.targets import read_target
from dlrun.errors import Mistake

_SNIFFED = 100  # lines searched for the separator
_LISTED = 10  # the most columns in a word that is proposed
_INFINITE = ("inf", "infinity")
_LARGEST = float(np.finfo(np.float32).max)


def read_table(
    file: Path,
    target: str | None,
    features: Sequence[str] | None,
    group: str | None = None,
    task: str = "auto",
    missing: Sequence[object] | None = None,
    decimal: str | None = None,
) -> tuple[NDArray[np.float64], NDArray[Any], NDArray[np.int64] | None, tuple[str, ...], list[str]]:
    """The features, (n, columns), the target, (n,) int64, float64 or strings, groups, names, notes.

    features: the columns to use, in this order;
    None takes all but the target, the group and those that `columns.why_useless` finds. Only
    columns that are used must be complete. group: the column whose texts are groups; they are
    numbered, (n,) int64, or None. missing: see `cells.find_missing`. decimal: point, comma, or
    None for what the columns show. Names: of the features. Notes: which column was left out and
    why, a sentence each.
    Raises Mistake where there is no such column, a value is missing, or a feature holds words.
    """
    texts, nameless = _read_columns(file)
    if target is None:
        raise Mistake(f"data.target=null: name the column to predict: {some(list(texts))}")
    _require_column("data.target", target, texts)
    notes: list[str] = []
    groups = None
    if group is not None:
        groups = _read_groups(texts, group, target, missing)
        notes.append(
            f"the column {group} makes {groups.max() + 1:,} groups, each of which stays in one "
            "split; it is no feature"
        )
    used = [name for name in texts if name not in (target, group)]
    if features is not None:
        only = nameless[0] if len(nameless) == 1 else ""
        used = [name or only for name in features]
        _require_features(used, {target: "data.target", group: "data.group"}, texts)
    if not used:
        raise Mistake(f"it has no column besides {' and '.join(filter(None, (target, group)))}")
    missing_rows = _find_missing_rows({name: texts[name] for name in (target, *used)}, missing)
    if decimal is None:
        decimal, more = _guess_decimal(texts, missing_rows)
        notes += more
    found = {}
    for name, rows in missing_rows.items():
        numbers = None if rows else columns.read_feature(texts[name], decimal)
        found[name] = Column(name, texts[name], rows, numbers)
    _require_complete(found[target], missing is None)
    y, what = read_target(found[target], task, decimal)
    if what:
        notes.append(f"the column {target} {what}")
    kept = [found[name] for name in used]
    if features is None:
        kept, more = _choose(kept, found[target], decimal, nameless)
        notes += more
    return _as_features(kept, decimal), y, groups, tuple(each.name for each in kept), notes


def _read_groups(
    texts: Mapping[str, Sequence[str]], group: str, target: str, missing: Sequence[object] | None
) -> NDArray[np.int64]:
    """The number of each row's group; rows with the same text are one."""
    _require_column("data.group", group, texts)
    if group == target:
        raise Mistake(f"data.group={group}: is data.target, which is to be predicted")
    rows = _find_missing_rows({group: texts[group]}, missing)[group]
    _require_complete(Column(group, texts[group], rows, None), missing is None)
    return np.unique(texts[group], return_inverse=True)[1].astype(np.int64)


def _find_missing_rows(
    texts: Mapping[str, Sequence[str]], missing: Sequence[object] | None
) -> dict[str, list[int]]:
    """The rows that lack a value, by column."""
    is_missing = cells.find_missing(missing)
    return {
        name: [row for row, text in enumerate(column) if is_missing(text)]
        for name, column in texts.items()
    }


def _guess_decimal(
    texts: Mapping[str, Sequence[str]], missing_rows: Mapping[str, Sequence[int]]
) -> tuple[str, list[str]]:
    """The decimal mark that the columns show, and a note where it is the comma."""
    present = {name: texts[name] for name in missing_rows}
    for name, rows in missing_rows.items():
        if rows:
            without = set(rows)
            present[name] = [t for row, t in enumerate(texts[name]) if row not in without]
    decimal, name, text = cells.guess_decimal(present)
    if not name:
        return decimal, []
    return decimal, [
        f"{text} in the column {name} is read as {text.replace(',', '.')}, with a decimal comma; "
        "data.decimal=point says otherwise"
    ]


def some(names: Sequence[str]) -> str:
    """The first ten names, for a message."""
    return ", ".join(map(shell.name, names[:10])) + (", ..." if len(names) > 10 else "")


def _choose(
    found: Sequence[Column], target: Column, decimal: str, nameless: Collection[str]
) -> tuple[list[Column], list[str]]:
    """The columns that may be features, and notes on the others."""
    why = {
        one.name: columns.why_useless(one, target, decimal, one.name in nameless) for one in found
    }
    kept = [one for one in found if not why[one.name]]
    notes: list[str] = []
    for reason in dict.fromkeys(filter(None, why.values())):
        left = [one for one in found if why[one.name] == reason]
        if len(left) > _LISTED:
            names = some([one.name for one in left])
            notes.append(f"{len(left)} columns are left out: of each, {reason}: {names}")
            continue
        for one in left:
            subject = f"the column {one.name}"
            if one.name in nameless:
                subject = f"the column without a name, here {one.name},"
            with_it = [each.name for each in found if each in kept or each is one]
            short = len(with_it) <= _LISTED
            word = columns.features(with_it) if short else "naming it in data.features"
            more = f"; {word} takes it in" if one.numbers is not None else ""
            notes.append(f"{subject} is left out: {reason}{more}")
    if not kept:
        reasons = some([f"{name}: {reason}" for name, reason in why.items()])
        usable = [one.name for one in found if one.numbers is not None]
        word = f"; {columns.features(usable)} takes them all the same" if usable else ""
        raise Mistake(f"it leaves no column to predict {target.name} from ({reasons}){word}")
    return kept, notes


def _as_features(kept: Sequence[Column], decimal: str) -> NDArray[np.float64]:
    """The columns side by side. Raises Mistake for what is not a number, or not one of 32 bits."""
    good = [column.name for column in kept if column.numbers is not None]
    out = columns.features(good) if 0 < len(good) <= _LISTED else "data.features"
    for column in kept:
        _require_complete(column, out=out)
    for column in kept:
        if column.numbers is None:
            raise Mistake(f"{_explain(column, decimal, out)}")
        large = np.abs(column.numbers) > _LARGEST
        if large.any():
            row = int(np.argmax(large))
            held = f"holds {cells.shown(column.texts[row])} in row {row + 1}"
            raise Mistake(f"the column {column.name} {held}; numbers end at {_LARGEST:.2g}")
    return np.stack([column.numbers for column in kept if column.numbers is not None], 1)


def _require_complete(column: Column, usual: bool = False, out: str = "") -> None:
    """Raise Mistake where a column lacks values.

    usual: whether the usual words were taken for missing values.

    out: the word that leaves the column out.
    """
    if not column.missing_rows:
        return
    row = column.missing_rows[0]
    marks = [column.texts[row] for row in column.missing_rows]
    word = next(filter(None, marks), "")
    more = f", or leave the column out with {out}" if out else ""
    if word and usual:
        without = "'data.missing=[\"\"]'" if "" in marks else "data.missing=[]"
        more += f"; where {word!r} is a value, {without}"
    first = f"row {row + 1}" + (f" ({cells.shown(marks[0])})" if marks[0] else "")
    raise Mistake(
        f"the column {column.name} lacks {len(column.missing_rows)} of "
        f"{len(column.texts)} values, first in {first}; fill them in or leave those rows out{more}"
    )


def _explain(column: Column, decimal: str, out: str) -> str:
    """Why a column cannot be a feature, and what to do; out: the word that leaves it out."""
    odd = [(row, text) for row, text in enumerate(column.texts) if cells.not_number(text, decimal)]
    row, text = odd[0]
    infinite = [text for _, text in odd if text.lower().lstrip("+-") in _INFINITE]
    if len(infinite) == len(odd):
        return (
            f"the column {column.name} has missing or infinite values in {len(odd)} samples, "
            f"first {text!r} in row {row + 1}"
        )
    todo = cells.advice(text, decimal) or f"leave it out with {out}, or encode it"
    return f"the column {column.name} holds {cells.shown(text)}; features must be numbers: {todo}"


def _require_features(
    features: Sequence[str], taken: Mapping[str | None, str], texts: Collection[str]
) -> None:
    """taken: columns that cannot be features, each with the setting that names it."""
    if not features:
        raise Mistake(f"data.features=[]: name at least one of {some(list(texts))}")
    for name in features:
        _require_column("data.features", name, texts)
    for name in features:
        if name in taken:
            raise Mistake(f"data.features: has {name}, which is {taken[name]}; leave it out")
    if len(set(features)) < len(features):
        twice = next(name for name in features if features.count(name) > 1)
        raise Mistake(f"data.features: names {twice} twice")


def _require_column(key: str, name: str, columns: Collection[str]) -> None:
    if name not in columns:
        near = difflib.get_close_matches(name, columns, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {some(list(columns))}"
        raise Mistake(f"{key}={name}: there is no such column; {hint}")


def _read_columns(file: Path) -> tuple[dict[str, list[str]], list[str]]:
    """The columns by name, without spaces around their texts, and those that had no name.

    The first line names them; one without a name is called after its place: column_1.
    Raises Mistake where a line has too few values or too many, or the first line holds numbers.
    """
    try:
        # utf-8-sig: spreadsheets put a mark at the start.
        with file.open(encoding="utf-8-sig", newline="") as stream:
            separator = _separator(list(islice(stream, _SNIFFED)))
            stream.seek(0)
            lines = csv.reader(stream, delimiter=separator, skipinitialspace=True, strict=True)
            header = [_typable(name) for name in next(lines, [])]
            rows = []
            for row in lines:
                if not row:
                    continue
                if len(row) != len(header):
                    raise Mistake(
                        f"line {lines.line_num} has {len(row)} values, "
                        f"the first line names {len(header)} columns"
                    )
                rows.append(row)
    except (csv.Error, UnicodeDecodeError) as error:
        raise Mistake(f"it cannot be read as CSV in UTF-8: {error}") from error
    if not rows:
        raise Mistake("it has no data below its first line")
    if not all(cells.not_number(name, "point") for name in header):
        raise Mistake("its first line must name the columns, it holds numbers")
    names = [name or f"column_{place}" for place, name in enumerate(header, 1)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Mistake(f"two columns have the name {twice!r}")
    texts = {
        name: [text.strip() for text in column]
        for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }
    return texts, [name for name, given in zip(names, header, strict=True) if not given]


def _typable(name: str) -> str:
    """The name of a column without control characters and line breaks, which nobody can type."""
    return "".join(filter(str.isprintable, " ".join(name.split())))


def _separator(lines: Sequence[str]) -> str:
    """Tab, semicolon or comma: the one that most lines have as often as the first line."""

    def fit(separator: str) -> tuple[bool, int, int]:
        parsed = csv.reader(lines, delimiter=separator, skipinitialspace=True)
        widths = [len(row) for row in parsed if row] or [0]
        return widths[0] > 1, widths.count(widths[0]), widths[0]

    return max("\t;,", key=fit)
