"""The report of a sweep as one page of HTML that needs no network and no script."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files

from dlrun import record
from dlrun.report import drawing, parallel, plots, rates
from dlrun.report.commands import Remark
from dlrun.report.results import Curve, Point, Sweep, named

ROWS = 200
"""Rows of the ranking; what lies behind is counted."""


def page(
    sweep: Sweep,
    importance: Mapping[str, float],
    curves: Mapping[int, Sequence[Curve]],
    remarks: Sequence[Remark],
) -> str:
    """The whole page. The arguments are those of `critic.remarks`, and what it said."""
    parts = [_head(sweep), _critic(remarks), _ranking(sweep), _troubles(sweep)]
    if sweep.ranked and sweep.dimensions:
        shape = _wide if len(sweep.dimensions) == 1 else _figure
        each = [shape(plots.against(sweep, one)) for one in sweep.dimensions]
        parts.append(
            _section(
                "All points at once",
                _wide(parallel.coordinates(sweep), len(sweep.dimensions) + 1),
                "Each line is a point, the darker the better; the thick one is the best. "
                + ("Dotted ones failed." if sweep.counts().get(record.FAILED) else ""),
            )
        )
        parts.append(
            _section("One by one", f'<div class="plots">{"".join(each)}</div>', _signs(sweep))
        )
    if importance:
        why = "A random forest's mean decrease in impurity, by Optuna, over the finished points."
        parts.append(_section("What mattered", _wide(plots.bars(importance)), why))
    if any(curves.values()):
        parts.append(
            _section("Learning curves", _wide(plots.learning(sweep, curves)), _kinds(sweep))
        )
    return _document(sweep, parts)


def drawn(sweep: Sweep, learning_rates: Mapping[str, Curve]) -> str:
    """The page of a sweep that drew learning rates and trained nothing."""
    head = _title(sweep) + f"<section><code>{escape(sweep.command)}</code></section>"
    figure = _wide(rates.figure(learning_rates))
    return _document(sweep, [head, _section("Learning rates", figure), _troubles(sweep)])


def _document(sweep: Sweep, parts: Sequence[str]) -> str:
    style = files("dlrun.report").joinpath("sweep.css").read_text(encoding="utf-8")
    title = escape(f"Sweep {sweep.id}")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>\n{style}</style></head>\n<body>{''.join(parts)}</body></html>\n"
    )


def score(point: Point) -> str:
    """The mean of a point and its standard error, to the digits that it allows."""
    if point.stderr is None:
        return f"{point.mean:.4f}" if abs(point.mean) < 10 else f"{point.mean:.5g}"
    return f"{point.mean:.4f} ± {point.stderr:.4f}"


def loss(point: Point) -> str:
    """The mean val/loss of a point, where it is known."""
    return f"{point.loss:.4g}" if point.losses else ""


def counted(sweep: Sweep) -> str:
    """How many points ended in which way, e.g. `12 runs of 4 points: 3 finished, 1 failed`."""
    runs, points = _runs(sweep), len(sweep.points)
    several = f"{runs} runs of {points} point{'s' * (points != 1)}: " if runs > points else ""
    return several + _counts(sweep)


def _counts(sweep: Sweep) -> str:
    counts = [f"{count} {status.lower()}" for status, count in sweep.counts().items()]
    return ", ".join(counts) or "no points"


def _runs(sweep: Sweep) -> int:
    return sum(len(point.runs) for point in sweep.points)


def _head(sweep: Sweep) -> str:
    ranked = sweep.ranked
    best = score(ranked[0]) if ranked else "none"
    numbers = {
        f"best {sweep.objective}": best,
        "points": _counts(sweep),
        "runs": str(_runs(sweep)),
        "search": sweep.sampler + (f", {sweep.repeats} seeds each" if sweep.repeats > 1 else ""),
    }
    shown = "".join(f"<div><b>{escape(b)}</b>{escape(a)}</div>" for a, b in numbers.items())
    changed = f"<p>The best point</p><code>{escape(ranked[0].label)}</code>" if ranked else ""
    return (
        f"{_title(sweep)}<section><code>{escape(sweep.command)}</code>"
        f'<div class="numbers">{shown}</div>{changed}</section>'
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


def _critic(remarks: Sequence[Remark]) -> str:
    if not remarks:
        return ""
    items = [
        f"<li>{escape(remark.text)}<code>{escape(remark.command)}</code></li>" for remark in remarks
    ]
    return _section("What to do next", f'<ol class="remarks">{"".join(items)}</ol>')


def _ranking(sweep: Sweep) -> str:
    ranked = sweep.ranked
    if not ranked:
        return ""
    more = ["val/loss"] if sweep.tied else []  # it decides their order
    names = ["", sweep.objective, *more, *(one.key for one in sweep.dimensions), "epochs", "run"]
    numeric = [True, True, *(True for _ in more), *(one.numeric for one in sweep.dimensions)]
    numeric += [True, False]
    rows = []
    for place, point in enumerate(ranked[:ROWS], start=1):
        values = [named(point.values.get(one.key)) for one in sweep.dimensions]
        runs = " ".join(run.rpartition("/")[2] for run in point.runs)
        losses = [loss(point) for _ in more]
        cells = [str(place), score(point), *losses, *values, f"{point.epochs:.4g}", runs]
        rows.append(_row(cells, numeric, "td", ' class="best"' if place == 1 else ""))
    left = len(ranked) - ROWS
    table = f"<table>{_row(names, numeric, 'th')}{''.join(rows)}</table>"
    rest = f"{left} more finished points are in ledger.jsonl." if left > 0 else ""
    return _section("Ranking", f'<div class="scroll tall">{table}</div>', rest)


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
    return _section("What failed", f"<table>{head}{''.join(rows)}</table>")


def _section(title: str, content: str, note: str = "") -> str:
    said = f'<p class="soft">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{content}{said}</section>"


def _figure(svg: str) -> str:
    return f"<figure>{svg}</figure>"


def _wide(svg: str, axes: int = 1) -> str:
    """A figure as wide as the page, which scrolls rather than have text too small to read."""
    width = 4.2 * drawing.across(axes)
    return f'<div class="scroll"><figure style="min-width:{width:g}rem">{svg}</figure></div>'


def _row(cells: Sequence[str], numeric: Sequence[bool], tag: str, kind: str = "") -> str:
    shown = [
        f"<{tag}{' class=number' if right else ''}>{escape(cell)}</{tag}>"
        for cell, right in zip(cells, numeric, strict=True)
    ]
    return f"<tr{kind}>{''.join(shown)}</tr>"
