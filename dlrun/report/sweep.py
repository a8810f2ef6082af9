"""What a sweep found: the table at its end, the critic's words, and `report.html`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dlrun import record
from dlrun.report import critic, importance, page, rates, results
from dlrun.report.commands import Remark
from dlrun.report.results import Curve, Sweep, named

ROWS = 10
"""Points in the table on the terminal; the report has the others."""


def summarize(directory: str | Path, console: Console, goes_on: bool = False) -> Path:
    """Show what the sweep in `<outputs>/sweeps/<id>` found, and write its report.

    goes_on: another stage follows, so its best point is enough, and there is nothing to type.
    Returns the path of `report.html`. Raises Failure where it cannot be written.
    """
    directory = Path(directory)
    sweep, outputs = results.read(directory), directory.absolute().parent.parent
    path = directory / "report.html"
    drawn = rates.drawn(sweep, outputs)
    if drawn:
        record.write(path, page.drawn(sweep, drawn))
        _show_drawn(sweep, drawn, console)
    else:
        curves = results.curves(sweep, outputs)
        shares = importance.importances(sweep)
        remarks = critic.remarks(sweep, shares, curves)
        record.write(path, page.page(sweep, shares, curves, remarks))
        if goes_on:
            show(sweep, {}, [], console, rows=1)
        else:
            show(sweep, shares, remarks, console)
    console.print(Text.assemble(("report: ", "dim"), str(_near(path))), soft_wrap=True)
    return path


def show(
    sweep: Sweep,
    shares: Mapping[str, float],
    remarks: Sequence[Remark],
    console: Console,
    rows: int = ROWS,
) -> None:
    """The closing table, what failed, and what to type next."""
    _show_title(sweep, console)
    if sweep.ranked:
        console.print(_table(sweep, rows))
        left = len(sweep.ranked) - rows
        if left > 0:
            console.print(f"… and {left} more", style="dim")
    _show_troubles(sweep, console)
    if shares:
        most = ", ".join(f"{key} {share:.0%}" for key, share in list(shares.items())[:5])
        console.print(Text.assemble(("what mattered: ", "dim"), most), soft_wrap=True)
    for remark in remarks:
        console.print()
        # A terminal breaks lines between words; elsewhere they are as long as they are.
        console.print(Text(remark.text), soft_wrap=not console.is_terminal)
        console.print(Text(f"  {remark.command}", style="cyan"), soft_wrap=True)
    console.print()


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
    table.add_column("", justify="right", style="dim")
    table.add_column(Text(sweep.objective), justify="right", no_wrap=True)
    if sweep.tied:
        table.add_column("val/loss", justify="right", no_wrap=True)
    for dimension in sweep.dimensions:
        table.add_column(Text(dimension.key), justify="right" if dimension.numeric else "left")
    for place, point in enumerate(sweep.ranked[:rows], start=1):
        values = [Text(named(point.values.get(one.key))) for one in sweep.dimensions]
        style = "bold" if place == 1 else ""
        losses = [page.loss(point)] if sweep.tied else []
        table.add_row(str(place), page.score(point), *losses, *values, style=style)
    return table


def _near(path: Path) -> Path:
    """The path as seen from here, if it is below."""
    here, path = Path.cwd(), path.absolute()
    return path.relative_to(here) if path.is_relative_to(here) else path
