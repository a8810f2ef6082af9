"""The page of a procedure that goes through several steps: what each has found, in their order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlrun import record
from dlrun.finding import Finding
from dlrun.report import chart, html
from dlrun.report.chart import Charts

PAGE = "report.html"
"""Its name, in the record's directory."""


@dataclass(frozen=True)
class Step:
    """A step of the page.

    command: that does it alone; "" where there is none. best: the row of the table that stands
    out. images: PNGs.
    """

    title: str
    command: str = ""
    text: str = ""
    table: Sequence[Mapping[str, Any]] = ()
    findings: Sequence[Finding] = ()
    chart: Charts = None
    images: Sequence[Path] = ()
    best: int | None = None


@dataclass(frozen=True)
class Head:
    """What stands on top: the command that was typed, values by name, and what follows from all.

    again: the command that checks what was mended; "" where nothing needs mending.
    """

    title: str
    command: str
    numbers: Mapping[str, str] = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    again: str = ""


def write(directory: Path, head: Head, steps: Sequence[Step]) -> None:
    """Write the page into a record."""
    parts = [
        html.heading(head.title),
        f"<section>{html.code(head.command)}{html.numbers(head.numbers)}</section>",
    ]
    said = html.findings(head.findings)
    if head.again:
        said += html.paragraphs("When it is mended, check it again:") + html.code(head.again)
    parts.append(html.section("What to do next", said))
    parts += [_shown(number, step) for number, step in enumerate(steps, 1)]
    record.write(directory / PAGE, html.document(head.title, parts))


def _shown(number: int, step: Step) -> str:
    content = [html.code(step.command), html.paragraphs(step.text), html.findings(step.findings)]
    if drawn := chart.panels(step.chart):
        content.append(html.figure(chart.svg(drawn), small=len(drawn) == 1))
    content += [html.image(path, step.title) for path in step.images if path.is_file()]
    content.append(html.table(step.table, step.best))
    return html.section(f"{number}. {step.title}", "".join(content))
