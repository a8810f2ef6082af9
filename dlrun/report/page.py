"""The report of a sweep as one page of HTML that needs no network and no script."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from dlrun import format, record
from dlrun.finding import Finding
from dlrun.record.sweep import WITHOUT, Point, Sweep, named
from dlrun.report import evidence, html, plots
from dlrun.report.curves import Curve

ROWS = 200
"""Rows of the ranking; what lies behind is counted."""


def page(
    sweep: Sweep,
    importance: Mapping[str, float],
    curves: Mapping[int, Sequence[Curve]],
    findings: Sequence[Finding],
    told: Mapping[str, Mapping[str, Any]],
) -> str:
    """The whole page.

    The arguments are those of `critic.findings`, what it said, and what `runs.told` gives.
    """
    advice = html.section("What to do next", html.findings(findings)) if findings else ""
    parts = [_head(sweep), advice, _ranking(sweep), _told(told), _troubles(sweep)]
    if sweep.whole:
        parts.insert(1, _gains(sweep))
    elif sweep.ranked and sweep.dimensions:
        shape = html.wide if len(sweep.dimensions) == 1 else html.figure
        each = [shape(plots.against(sweep, one)) for one in sweep.dimensions]
        parts.append(
            html.section(
                "All points at once",
                html.wide(plots.coordinates(sweep), len(sweep.dimensions) + 1),
                "Each line is a point, the darker the better; the thick one is the best. "
                + ("Dotted ones failed." if sweep.counts().get(record.FAILED) else ""),
            )
        )
        parts.append(
            html.section("One by one", f'<div class="plots">{"".join(each)}</div>', _signs(sweep))
        )
    if importance:
        why = "A random forest's mean decrease in impurity, by Optuna, over the finished points."
        parts.append(html.section("What mattered", html.wide(plots.bars(importance)), why))
    if any(curves.values()):
        parts.append(
            html.section("Learning curves", html.wide(plots.learning(sweep, curves)), _kinds(sweep))
        )
    return html.document(f"Sweep {sweep.id}", parts)


def drawn(sweep: Sweep, learning_rates: Mapping[str, Curve]) -> str:
    """The page of a sweep that drew learning rates and trained nothing."""
    head = _title(sweep) + f"<section>{html.typed(sweep.command)}</section>"
    figure = html.wide(plots.rates(learning_rates))
    return html.document(
        f"Sweep {sweep.id}", [head, html.section("Learning rates", figure), _troubles(sweep)]
    )


Column = tuple[str, bool, list[str]]
"""Its name, whether it holds numbers, and a cell for each point."""


def listed(sweep: Sweep, rows: int) -> list[Point]:
    """The finished points that are shown, so many at most: the best first, those unscored last.

    Of an ablation the whole recipe, then the points by what their ingredient gives.
    """
    gains = [point for point, _ in evidence.gains(sweep)]
    return [sweep.whole, *gains][:rows] if sweep.whole else ended(sweep)[:rows]


def ended(sweep: Sweep) -> list[Point]:
    """The finished points in their order, then those that have no value of the objective."""
    return sweep.ranked + sweep.unscored


def ranking(sweep: Sweep, rows: int) -> list[Column]:
    """The finished points that are shown, as a table."""
    points = listed(sweep, rows)
    places = [str(place) for place in range(1, len(points) + 1)]
    columns = [("", True, places), (sweep.objective, True, [score(point) for point in points])]
    if sweep.whole:
        columns = [*_gives(sweep, points), columns[1]]
    if sweep.tied and not sweep.whole:  # it decides their order
        losses = [f"{p.loss:.4g}" if math.isfinite(p.loss) else "" for p in points]
        columns.append(("val/loss", True, losses))
    for key in sweep.others:
        others = (point.other(key) for point in points)
        columns.append((key, True, ["" if math.isnan(one) else format.cell(one) for one in others]))
    if sweep.test_metric in sweep.test and not sweep.whole:
        test = format.cell(sweep.test[sweep.test_metric])
        columns.append((sweep.test_metric, True, [test, *[""] * (len(points) - 1)]))
    for one in () if sweep.whole else sweep.dimensions:
        values = [named(point.values.get(one.key)) for point in points]
        columns.append((one.key, one.numeric, values))
    return columns


def _gives(sweep: Sweep, points: Sequence[Point]) -> list[Column]:
    """What each point of an ablation goes without, and what that gives, with its interval."""
    apart = {point.trial: each for point, each in evidence.gains(sweep)}
    known = [apart.get(point.trial) for point in points]
    columns = [
        (WITHOUT, False, [str(point.values[WITHOUT]) for point in points]),
        ("gives", True, ["" if each is None else _gift(each) for each in known]),
    ]
    if any(each and math.isfinite(each.error) for each in known):
        ends = ["" if each is None else " to ".join(map(_signed, each.ends)) for each in known]
        columns.append((_level(known), True, ends))
    return columns


def _gift(apart: evidence.Difference) -> str:
    return _signed(apart.mean, apart.error if math.isfinite(apart.error) else None)


def _signed(value: float, error: float | None = None) -> str:
    return f"{'-' if value < 0 else '+'}{format.mean(abs(value), error)}"


def _level(known: Sequence[evidence.Difference | None]) -> str:
    """What the intervals are: Student's of paired seeds, or two standard errors."""
    paired = any(one and one.pairs for one in known)
    return f"{evidence.LEVEL:.0%} interval" if paired else f"{evidence.ERRORS:g} errors"


def tested(sweep: Sweep) -> str:
    """What the test split has been measured for; empty where it has not."""
    run = sweep.best_run
    if not sweep.test or run is None:
        return ""
    values = ", ".join(f"{key} {format.cell(value)}" for key, value in sweep.test.items())
    run_id = str(run.directory).rpartition("/")[2]
    if sweep.tested > 1:  # another run was the best before the sweep went on
        return (
            f"{values}: of the best point, by its run {run_id}; {sweep.tested} runs of this sweep "
            "have been measured on the test split by now"
        )
    return f"{values}: measured once, only for the best point, by its run {run_id}"


def score(point: Point) -> str:
    """The mean of a point and its standard error; "none" without a value."""
    return "none" if point.value is None else format.mean(point.mean, point.stderr)


def counted(sweep: Sweep) -> str:
    """How many points ended in which way, e.g. `3 finished, 1 failed`, and with how many runs."""
    runs = _runs(sweep)
    several = f"{runs} runs; points, each with all its seeds: " if runs > len(sweep.points) else ""
    without = len(sweep.unscored)
    has = f"; {without} {'has' if without == 1 else 'have'} no {sweep.objective}" if without else ""
    return several + _counts(sweep) + has


def _counts(sweep: Sweep) -> str:
    counts = [f"{count} {status.lower()}" for status, count in sweep.counts().items()]
    return ", ".join(counts) or "no points"


def _runs(sweep: Sweep) -> int:
    return sum(len(point.runs) for point in sweep.points)


def _head(sweep: Sweep) -> str:
    ranked = sweep.ranked
    numbers = {f"best {sweep.objective}": score(ranked[0])} if ranked else {}
    numbers |= {
        "points": _counts(sweep),
        "runs": str(_runs(sweep)),
        "search": sweep.sampler + (f", {sweep.repeats} seeds each" if sweep.repeats > 1 else ""),
    }
    changed = f"<p>The best point</p>{html.code(ranked[0].label)}" if ranked else ""
    return (
        f"{_title(sweep)}<section>{html.typed(sweep.command)}"
        f"{html.numbers(numbers)}{changed}</section>"
    )


def _title(sweep: Sweep) -> str:
    started = escape(sweep.started[:16].replace("T", " "))
    return f'<h1>Sweep {escape(sweep.id)}</h1><p class="soft">{started}</p>'


def _signs(sweep: Sweep) -> str:
    """What the marks of the small figures mean."""
    signs = {record.FINISHED: "●", record.PRUNED: "◇", record.FAILED: "×"}
    marks = [f"{sign} {s.lower()}" for s, sign in signs.items() if s in sweep.counts()]
    return ", ".join(["★ best", *marks]) + "; bars are standard errors, boxes quartiles."


def _kinds(sweep: Sweep) -> str:
    """What the lines of the learning curves mean."""
    kinds = {record.PRUNED: "dashed ones were pruned", record.FAILED: "dotted ones failed"}
    others = [said for status, said in kinds.items() if status in sweep.counts()]
    told = ["Every run", "the darker the better", "the thick one is the best point's", *others]
    return ", ".join(told) + "."


def _ranking(sweep: Sweep) -> str:
    points = listed(sweep, ROWS)
    if not points:
        return ""
    runs = [" ".join(run.rpartition("/")[2] for run in p.directories) for p in points]
    columns = ranking(sweep, ROWS)
    columns += [("epochs", True, [f"{p.epochs:.4g}" for p in points]), ("run", False, runs)]
    names, numeric, cells = zip(*columns, strict=True)
    rows = [
        html.row(row, numeric, "td", ' class="best"' if point in sweep.ranked[:1] else "")
        for point, row in zip(points, zip(*cells, strict=True), strict=True)
    ]
    left = len(ended(sweep)) - ROWS
    notes = [f"{left} more finished points are in ledger.jsonl"] if left > 0 else []
    notes += filter(None, [tested(sweep)])
    table = f"<table>{html.row(names, numeric, 'th')}{''.join(rows)}</table>"
    return html.section("Ranking", f'<div class="scroll tall">{table}</div>', "; ".join(notes))


def _told(told: Mapping[str, Mapping[str, Any]]) -> str:
    """What the procedure of each point comes to."""
    parts = [
        f"{html.code(name)}{html.table(info.get('table', ()))}"
        f"{html.paragraphs(info.get('text', ''))}"
        for name, info in told.items()
    ]
    return html.section("What each point comes to", "".join(parts)) if parts else ""


_GREY = "grey where they contain 0, so the effect may be chance."


def _gains(sweep: Sweep) -> str:
    """The figure of an ablation; empty where the recipe alone has a result."""
    gains = evidence.gains(sweep)
    if not gains:
        return ""
    better = "falls" if sweep.maximize else "rises"
    note = f"By how much {sweep.objective} {better} without it"
    known = [each for _, each in gains]
    if any(each.pairs for each in known):
        note += f", the mean over the same seeds. Lines are {_level(known)}s; {_GREY}"
    elif any(math.isfinite(each.error) for each in known):
        note += f". Lines reach {evidence.ERRORS:g} standard errors to either side; {_GREY}"
    else:
        note += ", with one seed each. All are grey, as one seed does not show what may be chance."
    figure = html.wide(plots.gains(sweep.objective, gains))
    return html.section("What each ingredient gives", figure, note)


def _troubles(sweep: Sweep) -> str:
    troubles = sweep.troubles()
    if not troubles:
        return ""
    rows = [
        f'<tr><td class="number">{len(points)}</td><td class="message">{escape(message)}</td>'
        f'<td class="message">{escape(points[0].label)}</td></tr>'
        for message, points in troubles.items()
    ]
    head = '<tr><th class="number">points</th><th>message</th><th>the first of them</th></tr>'
    return html.section("What failed", f"<table>{head}{''.join(rows)}</table>")
