"""The pieces of a page of HTML that needs no network and no script."""

import base64
import shlex
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from dlrun import record, shell
from dlrun.finding import Finding
from dlrun.report import plots


def document(title: str, parts: Sequence[str]) -> str:
    """The whole page."""
    style = files("dlrun.report").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>\n{style}</style></head>\n<body>{''.join(parts)}</body></html>\n"
    )


def heading(title: str) -> str:
    """What stands on top."""
    return f"<h1>{escape(title)}</h1>"


def section(title: str, content: str, note: str = "") -> str:
    """A part of the page with its heading; the note stands below it."""
    return f"<section><h2>{escape(title)}</h2>{content}{soft(note)}</section>"


def soft(text: str) -> str:
    """A paragraph that stands back."""
    return f'<p class="soft">{escape(text)}</p>' if text else ""


def paragraphs(text: str) -> str:
    """A paragraph for each line."""
    return "".join(f"<p>{escape(line)}</p>" for line in text.splitlines())


def code(command: str) -> str:
    """A command to type."""
    return f"<code>{escape(command)}</code>" if command else ""


def typed(command: str) -> str:
    """A command as a record keeps it, in the quotes of those that are printed."""
    return code(shell.line(shlex.split(command)))


def numbers(shown: Mapping[str, str]) -> str:
    """Values side by side, each above its name."""
    each = "".join(f"<div><b>{escape(b)}</b>{escape(a)}</div>" for a, b in shown.items())
    return f'<div class="numbers">{each}</div>'


def findings(found: Sequence[Finding]) -> str:
    """Findings with what to type next."""
    items = [
        f"<li><b>{each.name}</b>: {escape(each.text)}{code(each.command)}</li>" for each in found
    ]
    return f'<ol class="findings">{"".join(items)}</ol>' if items else ""


def figure(svg: str, small: bool = False) -> str:
    """A figure. small: no wider than it is read well, however wide the page."""
    kind = ' class="small"' if small else ""
    return f"<figure{kind}>{svg}</figure>"


def wide(svg: str, axes: int = 1) -> str:
    """A figure as wide as the page, which scrolls rather than have text too small to read."""
    width = 4.2 * plots.across(axes)
    return f'<div class="scroll"><figure style="min-width:{width:g}rem">{svg}</figure></div>'


def image(path: Path, said: str) -> str:
    """A PNG, inside the page, at its own size. said: what it shows."""
    return f'<div class="scroll">{_img(path, said)}</div>'


def picture(path: Path, said: str) -> str:
    """A PNG, inside the page, no wider than there is room for."""
    return f"<figure>{_img(path, said)}</figure>"


def _img(path: Path, said: str) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    return f'<img src="data:image/png;base64,{content}" alt="{escape(said)}">'


def table(rows: Sequence[Mapping[str, Any]], best: int | None = None, numbers: bool = True) -> str:
    """Tables of rows of values by their column. best: the row that stands out.

    numbers: whether all columns but the first hold some.
    """
    return "".join(_table(part, best, numbers) for part in record.tables(rows))


def _table(rows: Sequence[Mapping[str, Any]], best: int | None, numbers: bool) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    numeric = [numbers and place > 0 for place in range(len(columns))]
    lines = [row(columns, numeric, "th")]
    for place, values in enumerate(rows):
        kind = ' class="best"' if place == best else ""
        lines.append(row([_cell(values.get(name)) for name in columns], numeric, "td", kind))
    return f'<div class="scroll tall"><table>{"".join(lines)}</table></div>'


def row(cells: Sequence[str], numeric: Sequence[bool], tag: str, kind: str = "") -> str:
    """A row of a table. numeric: of each cell, whether it holds a number."""
    shown = [
        f"<{tag}{' class=number' if right else ''}>{escape(cell)}</{tag}>"
        for cell, right in zip(cells, numeric, strict=True)
    ]
    return f"<tr{kind}>{''.join(shown)}</tr>"


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
