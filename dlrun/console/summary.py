"""What the terminal shows when a run has ended: results, where they are, what to type next."""

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dlrun import duration, format, record, shell
from dlrun.console import screen
from dlrun.errors import Mistake
from dlrun.record import expected, test_set
from dlrun.report import closing, findings, rates, results
from dlrun.report.curves import curve
from dlrun.report.steps import PAGE

Point = Mapping[str, Any]


def show(console: Console, directory: Path, uri: str | None) -> None:
    """Print a table of results, where they are, and what to type next."""
    if not directory.is_dir():
        return  # deleted during training; the error says so
    status, info = record.read_status(directory), record.read_json(directory / "run.json")
    points = record.read_points(directory)
    console.print()
    if info.get("table"):
        console.print(closing.tables(info["table"]))
    else:
        for line in _runs(directory, info):
            screen.say(console, line)
    if info.get("text"):
        screen.say(console, info["text"])
    if points and info.get("kind") != "procedure":
        table = _table(points, info)
        if table.row_count:
            console.print(table)
        tested = test_set.warning(info.get("tested_recipes", 0))
        for line in (_best(points), _stopped(points, info), _course(points), tested):
            if line:
                screen.say(console, line)
    found = record.findings_of(directory)
    findings.show(console, found)
    show_expected(console, info)
    state = record.said(status)
    joined = ", kept in " if state == "stopped" else ": "  # why is said apart, on stderr
    screen.say(console, f"{state}{joined}{shell.near(directory)}")
    for what, command in _next(directory, status, uri, info):
        console.print(Text.assemble((f"  {what:<22}", "dim"), command), soft_wrap=True)


def show_expected(console: Console, info: Mapping[str, Any]) -> None:
    """Print what was expected beside what was got, where a record says so."""
    if rows := expected.table(info):
        console.print()
        console.print(closing.table(rows))
        if unjudged := info["expected"]["unjudged"]:
            screen.say(console, unjudged)
        console.print()


def _runs(directory: Path, info: Mapping[str, Any]) -> list[str]:
    """The runs that a procedure has made, each with its best value, and the procedure's."""
    lines = []
    for name in info.get("runs", ()):
        run = directory.with_name(name)
        points = record.read_points(run)
        said = _best(points) if points else ""
        lines.append(f"{record.read_json(run / 'run.json').get('name', name)}: {said}")
    if info.get("value") is not None:
        lines.append(f"value {format.cell(info['value'])}")
    return lines


def _table(points: Sequence[Point], info: Mapping[str, Any]) -> Table:
    """The latest values, the best validation, and what is measured at the end.

    Each with the epoch of its weights.
    """
    columns = results.columns(points, info)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for each in columns:
        table.add_column(f"{each.name}\n{_when(each.point, points[-1])}", justify="right")
    for name, row in results.rows(columns):
        table.add_row(name, *("" if number is None else format.cell(number) for number in row))
    return table


def _when(point: Point, end: Point) -> str:
    """Where a point lies in a run that ended at `end`; in steps where the run is very short."""
    if end["epoch"] < 1 and "step" in point:
        return f"step {point['step']:,}"
    return f"epoch {format.epoch(point['epoch'])}"


def _best(points: Sequence[Point]) -> str:
    """The best value and when it was reached; empty where the run did not finish."""
    values = record.last_values(points)
    for name, value in values.items():
        if name.startswith("best/") and name != "best/epoch":
            what = name.removeprefix("best/").replace("_", "/", 1)
            if math.isnan(value):
                return f"{what} was nan at every validation, so the last weights are the result"
            at = results.at_epoch(points, values["best/epoch"]) or {"epoch": values["best/epoch"]}
            return f"best {what} {format.cell(value)} at {_when(at, points[-1])}"
    return ""


def _stopped(points: Sequence[Point], info: Mapping[str, Any]) -> str:
    """When and why a run stopped early; empty where it did not."""
    why = info.get("stopped")
    if not why or "best/epoch" not in record.last_values(points):
        return ""
    since = next((point for point in points if point["step"] == why["since"]), None)
    last = f" since {_when(since, points[-1])}" if since else ""
    return f"stopped at {_when(points[-1], points[-1])}: no improvement of {why['metric']}{last}"


def _course(points: list[dict[str, Any]]) -> str:
    """The learning rate as a line of small bars, if nothing else was recorded."""
    if any(set(point["values"]) != {"lr"} for point in points):
        return ""
    return rates.course(curve(points, "lr"))


def _next(
    directory: Path, status: Mapping[str, Any], uri: str | None, info: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """What the user may want to type now."""
    tips = []
    if (directory / PAGE).is_file():
        tips.append(("the page", shell.near(directory / PAGE)))
    if status.get("status") == record.FINISHED:
        if record.has(directory, "figures"):
            tips.append(("the figures", shell.near(directory / "figures")))
        if longer := _longer(directory, info):
            tips.append(("train on", shell.resume(directory, longer)))
    elif _goes_on(info) and not record.diverged(directory):
        tips.append(("go on with it", shell.resume(directory)))
    if uri is not None:
        web = uri.startswith("http") or shell.HIDDEN in uri  # an address, no command
        browse = uri if web else shell.line(["mlflow", "ui", "--backend-store-uri", uri])
        tips.append(("compare in MLflow", browse))
    return tips


def _goes_on(info: Mapping[str, Any]) -> bool:
    """Whether a record can go on by its id: of a training, or of a procedure, whatever it does.

    Not where what was asked of it cannot be.
    """
    can = info.get("trains", True) or info.get("kind") == "procedure"
    return bool(can) and not info.get("mistake")


def _longer(directory: Path, info: Mapping[str, Any]) -> str:
    """The setting that doubles the length of a run; empty where it could not train on."""
    with suppress(OSError, Mistake):
        recipe = (directory / "recipe.yaml").read_text(encoding="utf-8")
        length = re.search(r"^epochs: (.+)$", recipe, re.MULTILINE)
        trains = info.get("trains", True) and info.get("kind") != "procedure"
        chosen = (info.get("training") or {}).get("length")  # by a procedure
        if length and trains and not chosen and not info.get("ended_by_rule"):
            twice = duration.times(length[1].strip("'\""), 2)
            return f"epochs={twice}"
    return ""
