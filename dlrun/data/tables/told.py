"""What was done to the columns of a table, from its reading: in few lines, or by column."""

from collections.abc import Mapping, Sequence
from typing import Any

from dlrun import shell

_LISTED = 6  # columns of a kind that are named in a line

Column = Mapping[str, Any]


def summary(reading: Mapping[str, Any], inputs: int) -> list[str]:
    """At most five lines; none for a table of numbers that lacks nothing.

    inputs: how many the network has.
    """
    columns = reading.get("columns") or ()
    if not any(column["kind"] in ("text", "date") or column["absent"] for column in columns):
        return []
    kinds = {kind: [each for each in columns if each["kind"] == kind] for kind in _SAID}
    lines = [
        f"{len(found)} {_SAID[kind][len(found) != 1]}: {_listed(found, kind)}"
        for kind, found in kinds.items()
        if found
    ]
    out = reading["out"]
    if out:
        lines.append(f"{len(out)} left out: {shell.some(out, _LISTED)}")
    lines[0] = f"columns  {lines[0]}"
    lines[1:] = [f"         {line}" for line in lines[1:]]
    return [*lines, f"         {inputs} inputs in all"]


def listed(reading: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each column: as what it is read, how many values are missing, what it becomes.

    None for a table of numbers that lacks nothing, all of whose columns are taken.
    """
    if not summary(reading, 0) and not reading.get("out"):
        return []
    rows = [
        {
            "from the table": column["name"],
            "read as": _read_as(column),
            "missing": column["absent"],
            "becomes": _becomes(column),
        }
        for column in reading.get("columns") or ()
    ]
    rows += [
        {"from the table": name, "read as": "left out", "missing": "", "becomes": why}
        for name, why in (reading.get("out") or {}).items()
    ]
    return rows


_SAID = {
    "number": ("number", "numbers"),
    "boolean": ("true or false, as 1 or 0", "true or false, as 1 or 0"),
    "date": ("date, as days", "dates, as days"),
    "text": ("text, one-hot", "texts, one-hot"),
}


def _read_as(column: Column) -> str:
    if column["kind"] == "text":
        return f"text, {column['values']:,} values"
    return f"date, {column['format']}" if column["kind"] == "date" else str(column["kind"])


def _becomes(column: Column) -> str:
    """What the training rows make of a column."""
    if column["kind"] == "text":
        kept, rare = len(column["kept"]), bool(column["rare"])
        others = column["values"] - kept
        said = f"{kept + rare} inputs"
        if rare:
            return f"{said}, the last for {shell.counted(others, 'rare value')}"
        return said + _unseen(others)
    flag = ", and a flag" if column["flag"] else ""
    gaps = f"; missing ones {column['fill']:.6g}{flag}" if column["absent"] else ""
    return ("days since 1970" if column["kind"] == "date" else "itself") + gaps


def _listed(found: Sequence[Column], kind: str) -> str:
    """The columns of a kind: those with something to say, or the first ones."""
    if kind == "text":
        return shell.some((f"{each['name']} ({_values(each)})" for each in found), _LISTED)
    lacking = [each for each in found if each["absent"]]
    if len(found) <= _LISTED or not lacking:
        return shell.some((each["name"] + _missing(each) for each in found), _LISTED)
    names = (each["name"] + _missing(each) for each in lacking)
    return f"{len(lacking)} with missing values: {shell.some(names, _LISTED)}"


def _values(column: Column) -> str:
    """How many values training tells apart, and what becomes of the others of the table."""
    kept = len(column["kept"])
    others = column["values"] - kept
    if column["rare"]:
        return f"{column['values']:,}, {others:,} rare as one"
    return f"{kept:,}{_unseen(others)}"


def _unseen(values: int) -> str:
    """What the inputs of a column are for values that no training row has."""
    return f", all 0 for {shell.counted(values, 'value')} outside training" if values else ""


def _missing(column: Column) -> str:
    return f" ({column['absent']:,} missing: median)" if column["absent"] else ""
