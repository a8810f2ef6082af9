"""What the runs of a sweep say of themselves, as findings of the sweep: each once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dlrun import record
from dlrun.finding import NOTE, Finding
from dlrun.record.sweep import OF_INPUTS, Point, Sweep

_AFTER = {"retrain": ("procedure.strategy", "procedure.count")}
"""Settings of procedures that act after the value is known."""
_NAMED = 3  # points that are named, where more are concerned


def set_up(sweep: Sweep, outputs: Path) -> list[Finding]:
    """What preflight has found, with the points that it concerns.

    Recipes that differ in numbers alone are checked once, so that what is found of one concerns
    all that have its structure.
    """
    structures: dict[str, list[Point]] = {}
    found: dict[tuple[str, str], tuple[Finding, list[str]]] = {}
    for point in sweep.points:
        for directory in _runs(point, outputs):
            info = record.read_json(directory / "run.json")
            structure, names = str(info.get("structure")), info.get("set_up", ())
            alike = structures.setdefault(structure, [])
            alike += [point] if point not in alike[-1:] else []
            for each in record.findings_of(directory) if names else ():
                if each.name in names:
                    known = found.setdefault((each.name, each.level), (each, []))
                    known[1].append(structure)
    said = []
    for finding, which in found.values():
        trials = {point.trial for structure in which for point in structures[structure]}
        points = [point for point in sweep.points if point.trial in trials]
        numbers = {**finding.numbers, "points": len(points)}
        text = f"{finding.text.rstrip('.')} ({_which(points, len(sweep.points))})."
        said.append(replace(finding, text=text, numbers=numbers))
    return said


def measured_apart(sweep: Sweep, outputs: Path) -> list[Finding]:
    """Points that were measured on different validation samples, whose order is no verdict.

    Settings that change what a network sees of a sample, or how many it learns from, make none.
    """
    swept = [one.key.partition(".") for one in sweep.dimensions]
    keys = [
        f"{group}{dot}{name}"
        for group, dot, name in swept
        if group == "data" and not name.startswith(("samples", *OF_INPUTS))
    ]
    runs = [outputs / point.directories[0] for point in sweep.ranked if point.directories]
    told = [record.read_json(run / "run.json").get("data") or {} for run in runs]
    measured = {(each["digest"], each["splits"].get("val")) for each in told if "splits" in each}
    if not keys or len(measured) < 2:
        return []
    text = (
        f"Points that differ in {' and '.join(keys)} were measured on different validation "
        "samples: their order doesn't say which recipe is better."
    )
    return [Finding("inconclusive", NOTE, text, {"sets": len(measured)})]


def unjudged(sweep: Sweep, outputs: Path) -> list[Finding]:
    """What was swept and is not judged by what the points are ranked by, so no critic speaks.

    Procedures have values of their own, and some of their settings act after theirs is known.
    """
    if (best := sweep.best_run) is None:
        return []
    choices = record.read_json(outputs / str(best.directory) / "run.json").get("choices", {})
    after = _AFTER.get(str(choices.get("procedure")), ())
    keys = [one.key for one in sweep.dimensions]
    idle = [key for key in keys if key in after]
    if "procedure" in keys:
        text = (
            "Each procedure is judged by a value of its own, such as validation, held-out folds or "
            "rows out of the bag: their order doesn't say which is better."
        )
    elif idle:
        text = (
            f"{' and '.join(idle)} cannot change {sweep.objective}, which is the first training's: "
            "the order of the points says nothing of it."
        )
    else:
        return []
    return [Finding("inconclusive", NOTE, text)]


def guessing(sweep: Sweep, outputs: Path) -> dict[str, float]:
    """What guessing gives on the validation split: `undecided` and `guess` of its examination.

    Empty where the best run was not examined.
    """
    best = sweep.best_run
    info = record.read_json(outputs / str(best.directory) / "run.json") if best else {}
    seen = info.get("examined") or {}
    return {key: float(seen[key]) for key in ("undecided", "guess") if key in seen}


def verdicts(sweep: Sweep, outputs: Path) -> list[Finding]:
    """The diagnosis of the best run, and what the procedures of all points have found."""
    best = sweep.best_run
    found: dict[tuple[str, str], tuple[Finding, dict[str, list[str]]]] = {}
    for point in sweep.points:
        recorded = {str(run.seed): run.directory for run in point.runs if run.directory}
        for seed, name in recorded.items():
            info = record.read_json(outputs / name / "run.json")
            procedure = info.get("kind") == "procedure" or not info.get("trains", True)
            if not procedure and (best is None or name != best.directory):
                continue
            several = procedure and len(recorded) > 1
            which = point.label if procedure else f"the best run, {name.rpartition('/')[2]}"
            which = which if point.values or not several else ""  # there is one point alone
            for each in record.findings_of(outputs / name):
                if each.name not in info.get("set_up", ()):
                    _, whose = found.setdefault((each.name, each.text), (each, {}))
                    whose.setdefault(which, []).extend([seed] if several else [])
    said = []
    for each, whose in found.values():
        which = "; ".join(_seeded(label, seeds) for label, seeds in whose.items())
        said.append(replace(each, text=f"{each.text.rstrip('.')} ({which})."))
    return said


def told(sweep: Sweep, outputs: Path) -> dict[str, Mapping[str, Any]]:
    """What the records of procedures say, by the point, where no value ranks them.

    A procedure with findings of its own has said it in these.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for point in sweep.points:
        done = [run for run in point.runs if run.directory and run.status == record.FINISHED]
        for run in done:
            directory = outputs / str(run.directory)
            info = record.read_json(directory / "run.json")
            own = {each.name for each in record.findings_of(directory)} - {*info.get("set_up", ())}
            if run.value is None and not own and (info.get("table") or info.get("text")):
                seeds = [str(run.seed)] if len(point.runs) > 1 else []
                which = point.label if point.values or not seeds else ""
                found[_seeded(which, seeds)] = info
    return found


def _seeded(which: str, seeds: Sequence[str]) -> str:
    """A point, with the seeds that something is said of where it has several runs."""
    many = f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}" if seeds else ""
    return ", ".join(filter(None, (which, many)))


def _runs(point: Point, outputs: Path) -> Iterator[Path]:
    """The records of a point's runs, and of the runs of its procedures."""
    for name in point.directories:
        directory = outputs / name
        yield directory
        for run in record.read_json(directory / "run.json").get("runs", ()):
            yield directory.with_name(run)


def _which(points: list[Point], all_: int) -> str:
    """Some points, in words."""
    if len(points) == all_:
        return {1: "the only point", 2: "both points"}.get(all_, f"all {all_} points")
    labels = [point.label for point in points[:_NAMED]]
    more = len(points) - len(labels)
    return "; ".join(labels) + (f"; and {more} more points" if more else "")
