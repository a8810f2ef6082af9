"""`dlrun list`: what has been recorded."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from dlrun import format, record, shell
from dlrun.record import named
from dlrun.record import sweep as sweeps
from dlrun.verb.asked import Asked

Row = Mapping[str, Any]
_ORDERS: dict[str, Callable[[Row], Any]] = {
    "when": lambda row: row["started"],
    "name": lambda row: row["name"],
    "status": lambda row: row["status"],
    "value": lambda row: (row["score"] is not None, row["score"] or 0.0),
}

_BETWEEN, _OF_NAME = 2, 8
"""Blanks between columns, and letters of a name that must have room."""


def run(asked: Asked) -> int:
    """Print a line for each record, or all of them as JSON."""
    order = asked.choice("sort", "when")
    chosen = _chosen(asked)
    record.warn_of_damaged(asked.outputs)
    rows = [row(directory) for directory in chosen]
    rows.sort(key=lambda each: each["started"])
    rows.sort(key=_ORDERS[order])
    if "--json" in asked.flags:
        print(json.dumps([{k: v for k, v in each.items() if k != "score"} for each in rows]))
    elif rows:
        _show(rows)
    else:
        print(shell.clean(f"no runs in {asked.outputs / 'runs'}"))
    return 0


def row(directory: Path) -> dict[str, Any]:
    """What is listed of a record."""
    info = record.read_json(directory / "run.json")
    found = named.best(directory)
    return {
        "id": directory.name,
        "name": info.get("name") or "",
        "kind": info.get("kind", "run"),
        "status": record.said(record.mark_killed(directory)),
        "started": info.get("started", ""),
        "metric": found and found[0],
        "value": found[1] if found else info.get("value"),
        "score": named.score(directory),
        "sweep": (info.get("tags") or {}).get("dlrun.sweep"),
        "parent": info.get("parent"),
        "directory": str(directory),
    }


def _chosen(asked: Asked) -> list[Path]:
    """The records that are asked for: all of them, or those named."""
    everything = record.all_runs(asked.outputs)
    if not asked.names:
        return everything
    found: list[Path] = []
    for name in asked.names:
        sweep = named.sweep_folder(asked.outputs, name) if name != "last" else None
        if sweep is not None:
            runs = [run for point in sweeps.read(sweep).points for run in point.runs]
            found += [sweep.parents[1] / run.directory for run in runs if run.directory]
            continue
        directory = record.find(asked.outputs, name)
        found += [directory, *named.children(directory)]
    return [each for each in dict.fromkeys(found) if not record.lost(each, ("run.json",))]


def _show(rows: Sequence[Row]) -> None:
    """A table, as wide as its content where nobody watches."""
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    from dlrun.console import screen

    console = screen.wide()
    cells = [_cells(each) for each in rows]
    widths = {
        name: max(cell_len(name), *(cell_len(each[name]) for each in cells)) for name in cells[0]
    }
    room = console.width - 1  # rich 14.0 pads the last column too
    left_out = _left_out(widths, room)
    table = Table(box=None, pad_edge=False, header_style="bold")
    shown = [name for name in widths if name not in left_out]
    room -= sum(widths[name] + _BETWEEN for name in shown if name != "name")
    for name in shown:
        width = min(widths[name], room) if name == "name" else widths[name]
        table.add_column(name, overflow="ellipsis", no_wrap=True, width=width)
    for each in cells:
        table.add_row(*(Text(each[name]) for name in shown))
    console.print(table)
    if left_out:
        console.print(f"a wider terminal also shows: {', '.join(left_out)}", style="dim")


def _cells(each: Row) -> dict[str, str]:
    """What is shown of a record, by the heads of the columns."""
    started = str(each["started"])
    when = datetime.fromisoformat(started).astimezone() if started else None
    value = "" if each["value"] is None else format.cell(each["value"])
    inside = "  " if each["parent"] or each["sweep"] else ""
    return {
        "id": str(each["id"]),
        "started": f"{when:%Y-%m-%d %H:%M}" if when else "",
        "status": str(each["status"]),
        "best value": f"{each['metric'] or 'value'} {value}" if value else "",
        "name": inside + shell.name(str(each["name"])),
    }


def _left_out(widths: Mapping[str, int], room: int) -> list[str]:
    """The columns that a narrow terminal has no room for, beside ids and a little of the names."""
    found: list[str] = []
    needed = sum(widths.values()) + _BETWEEN * (len(widths) - 1)
    needed -= max(0, widths["name"] - _OF_NAME)
    for name in ("started", "best value", "status", "name"):
        if needed <= room:
            break
        found.append(name)
        needed -= _BETWEEN + (widths[name] if name != "name" else min(widths[name], _OF_NAME))
    return found
