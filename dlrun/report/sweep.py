"""What a sweep found: the table at its end, the critic's words, and `report.html`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dlrun import record, shell
from dlrun.finding import Finding
from dlrun.record import test_set
from dlrun.record.sweep import Sweep, read
from dlrun.report import closing, critic, evidence, page, rates, runs
from dlrun.report import findings as shown
from dlrun.report.curves import Curve, of_runs

ROWS = 10
"""Points in the table on the terminal; the report has the others."""


def summarize(directory: str | Path, console: Console, goes_on: bool = False) -> Path:
    """Show what the sweep in `<outputs>/sweeps/<id>` found, and write its report.

    goes_on: another stage follows, so its best point is enough, and there is nothing to type.
    Returns the path of `report.html`. Raises Failure where it cannot be written.
    """
    directory = Path(directory)
    sweep, outputs = read(directory), directory.absolute().parent.parent
    path = directory / "report.html"
    drawn = rates.drawn(sweep, outputs)
    if drawn:
        record.write(path, page.drawn(sweep, drawn))
        _show_drawn(sweep, drawn, console)
    else:
        curves = of_runs(sweep, outputs)
        shares = evidence.importances(sweep)
        verdicts = runs.verdicts(sweep, outputs)
        said = [each.name for each in verdicts]
        guessing = runs.guessing(sweep, outputs)
        apart = runs.measured_apart(sweep, outputs) + runs.unjudged(sweep, outputs)
        findings = [
            *runs.set_up(sweep, outputs),
            *(apart or critic.findings(sweep, shares, curves, said, guessing)),
            *verdicts,
        ]
        record.keep_findings(directory, findings)
        told = runs.told(sweep, outputs)
        record.write(path, page.page(sweep, shares, curves, findings, told))
        if goes_on:
            show(sweep, {}, [], {}, console, rows=1)
        else:
            show(sweep, shares, findings, told, console)
        if warning := _tested(sweep, outputs):
            console.print(warning, soft_wrap=True)
    console.print(Text.assemble(("report: ", "dim"), shell.near(path.absolute())), soft_wrap=True)
    return path


def _tested(sweep: Sweep, outputs: Path) -> str:
    """What is to be said where its best point is not the only recipe on its test split by now."""
    run = sweep.best_run
    if not sweep.test or run is None:
        return ""
    return test_set.warning(test_set.beside(outputs / str(run.directory)))


def show(
    sweep: Sweep,
    shares: Mapping[str, float],
    findings: Sequence[Finding],
    told: Mapping[str, Mapping[str, Any]],
    console: Console,
    rows: int = ROWS,
) -> None:
    """The closing table, what each procedure has told, what failed, and what to type next."""
    _show_title(sweep, console)
    if page.listed(sweep, rows):
        console.print(_table(sweep, rows))
        left = len(page.ended(sweep)) - rows
        if left > 0:
            _say_more(left, console)
    _show_told(told, rows, console)
    if sweep.test:
        console.print(Text(page.tested(sweep), style="dim"), soft_wrap=True)
    _show_troubles(sweep, console)
    if shares:
        most = ", ".join(f"{key} {share:.0%}" for key, share in list(shares.items())[:5])
        console.print(Text.assemble(("what mattered: ", "dim"), most), soft_wrap=True)
    shown.show(console, findings)
    console.print()


def _show_told(told: Mapping[str, Mapping[str, Any]], rows: int, console: Console) -> None:
    """What the procedure of each point says at its end when it is typed alone."""
    for name, info in list(told.items())[:rows]:
        console.print(Text(f"\n{name}", style="bold"), soft_wrap=True)
        if info.get("table"):
            console.print(closing.tables(info["table"]))
        if info.get("text"):
            console.print(Text(info["text"]), soft_wrap=True)
    if len(told) > rows:
        _say_more(len(told) - rows, console)


def _say_more(left: int, console: Console) -> None:
    console.print(f"… and {left} more", style="dim")


def _show_drawn(sweep: Sweep, learning_rates: Mapping[str, Curve], console: Console) -> None:
    """Learning rates that were drawn, one below another: there is nothing to rank."""
    _show_title(sweep, console)
    for name, rates_of_one in learning_rates.items():
        console.print(f"\n{name}\n{rates.course(rates_of_one)}", markup=False, soft_wrap=True)
    console.print()
    _show_troubles(sweep, console)


def _show_title(sweep: Sweep, console: Console) -> None:
    console.print()
    title = f"sweep {sweep.id}: {page.counted(sweep)}"
    console.print(title, markup=False, soft_wrap=True, style="bold")


def _show_troubles(sweep: Sweep, console: Console) -> None:
    for message, points in sweep.troubles().items():
        first = points[0].label + (" …" if len(points) > 1 else "")
        line = Text.assemble((f"{len(points)} failed: ", "bold"), message, (f"  ({first})", "dim"))
        console.print(line, soft_wrap=True)


def _table(sweep: Sweep, rows: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = page.ranking(sweep, rows)
    for place, (name, numeric, _) in enumerate(columns):
        justify: Literal["left", "right"] = "right" if numeric else "left"
        style = "" if place else "dim"
        whole = place == 1 or (numeric and sweep.whole is not None)
        table.add_column(Text(name), justify=justify, no_wrap=whole, style=style)
    cells = zip(*(cells for *_, cells in columns), strict=True)
    for place, row in enumerate(cells):
        table.add_row(*map(Text, row), style="" if place else "bold")
    return table
