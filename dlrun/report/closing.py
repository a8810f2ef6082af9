"""The closing tables of procedures on the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from dlrun import format, record


def tables(rows: Sequence[Mapping[str, Any]]) -> Group:
    """All of them, with a line between two; `record.tables` parts the rows."""
    made = [table(part) for part in record.tables(rows)]
    return Group(*[part for each in made for part in (each, "")][:-1])


def table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A closing table of a procedure, without columns that have nothing to say."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    columns = list(dict.fromkeys(name for row in rows for name in row if _cell(row[name])))
    for place, name in enumerate(columns):
        # A head that does not fit goes on below: cut off, those of one split would look the same.
        head = Text(name, overflow="fold")
        made.add_column(head, justify="right" if place else "left")
    for row in rows:
        made.add_row(*(Text(_cell(row.get(name))) for name in columns))
    return made


def _cell(value: Any) -> str:
    """A value of a closing table; numbers that were chosen look as they are typed."""
    if isinstance(value, float):
        return format.cell(value)
    return "" if value is None else str(value)
