"""What has been run comes to, by flat names, and the same set beside what was expected of it."""

from collections.abc import Iterable, Mapping
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any

from dlrun import finding
from dlrun.record import findings_of, read_json, read_points, write_json
from dlrun.record import sweep as sweeps

FOUND = "finding/"
"""What the names of findings begin with; the value of one that was made is 1."""


def reached(directory: str | Path) -> dict[str, float]:
    """The last value of everything that a record has points of, and its findings.

    Of a run also `epochs`, how long it was trained.
    """
    points = read_points(directory)
    values = {key: value for point in points for key, value in point["values"].items()}
    if read_json(Path(directory) / "run.json").get("kind") != "procedure":
        values["epochs"] = float(points[-1]["epoch"]) if points else 0.0
    return values | _found(directory)


def reached_by_all(values: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The means over several runs; a finding that one of them has not counts as 0."""
    each = list(values)
    keys = dict.fromkeys(key for one in each for key in one)
    held = {key: [one.get(key, 0.0 if FOUND in key else None) for one in each] for key in keys}
    known = {key: [v for v in some if v is not None] for key, some in held.items()}
    return {key: fmean(some) for key, some in known.items()}


def reached_by_sweep(directory: str | Path) -> dict[str, float]:
    """The best of a sweep, `<words of a point> <key>` for all that its runs come to, its findings.

    The words of a point are those that it differs in from others, as typed.
    """
    sweep = sweeps.read(directory)
    outputs = Path(directory).absolute().parents[1]
    values = {"best": sweep.ranked[0].mean} if sweep.ranked else {}
    for point in sweep.points:
        found = reached_by_all(reached(outputs / run) for run in point.directories)
        values |= {" ".join((*point.overrides, key)): each for key, each in found.items()}
    return values | dict(sweep.test) | _found(directory)


def compared(expect: Mapping[str, Any], got: Mapping[str, float]) -> list[dict[str, Any]]:
    """Each expected value beside the one that was got, and whether it lies within its tolerance."""
    rows = []
    for name, asked in expect.items():
        value, tolerance = asked if isinstance(asked, list) else (asked, 0.0)
        there = got.get(name, _unfound(name, got))
        slack = tolerance + 1e-9 * max(1.0, abs(value))  # of what rounding leaves
        within = there is not None and isfinite(there) and abs(there - value) <= slack
        row = {"name": name, "expected": value, "tolerance": tolerance}
        rows.append({**row, "got": there, "within": within})
    return rows


def keep(directory: str | Path, rows: list[dict[str, Any]], unjudged: str) -> None:
    """Write the rows into a record. unjudged: why they are shown alone; "" where they judge."""
    path = Path(directory) / "run.json"
    write_json(path, read_json(path) | {"expected": {"rows": rows, "unjudged": unjudged}})


def table(info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of a record as they are shown; none where nothing was expected."""
    return [
        {
            "expectation": row["name"],
            "expected": f"{row['expected']:g}"
            + f" ± {row['tolerance']:g}" * bool(row["tolerance"]),
            "got": "not measured" if row["got"] is None else f"{row['got']:.4g}",
            "within": "yes" if row["within"] else "no",
        }
        for row in (info.get("expected") or {}).get("rows", ())
    ]


def _found(directory: str | Path) -> dict[str, float]:
    return {FOUND + each.name: 1.0 for each in findings_of(Path(directory))}


def _unfound(name: str, got: Mapping[str, float]) -> float | None:
    """0 for a finding that was not made of what was run; None for what was not measured."""
    before, _, what = name.rpartition(FOUND)
    there = not before or any(key.startswith(before) for key in got)
    return 0.0 if FOUND in name and what in finding.NAMES and there else None
