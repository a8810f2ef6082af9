"""What has been run comes to, by flat names, so that it can be set beside what was expected."""

from pathlib import Path

from dlrun.record import findings_of, read_json, read_points

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
    return values | {FOUND + each.name: 1.0 for each in findings_of(Path(directory))}
