"""The one run in MLflow that stands for a whole sweep and holds its report.

It has the sweep's settings as params, the best value so far as a metric, and the tag
`dlrun.sweep` that all runs of the sweep carry. The sweep's directory becomes its record, of
the form that every run has, so that it is delivered as one: created once, each point once.
"""

import json
import os
import platform
import secrets
from pathlib import Path
from time import time
from typing import Any

from dlrun import record
from dlrun.record import points
from dlrun.record.sweep import Dimension, Sweep, named, read


def prepare(directory: str | Path) -> None:
    """Write the sweep's record beside its ledger: run.json, recipe.yaml, metrics, status."""
    directory = Path(directory)
    sweep = read(directory)
    known = record.read_json(directory / "run.json")
    info = {
        "id": sweep.id,
        "uid": known.get("uid") or secrets.token_hex(16),
        "name": f"sweep {sweep.id}",
        "started": sweep.started,
        "command": sweep.command,
        "cwd": sweep.cwd,
        "host": platform.node(),
        "sealed": True,
        "versions": record.versions(),
        "tags": {"dlrun.sweep": sweep.id, "dlrun.summary": "true"} | _best(sweep),
    }
    info |= {key: known[key] for key in ("findings", "expected") if key in known}
    record.write_json(directory / "run.json", info)
    # JSON is YAML too.
    record.write_recipe(directory, json.dumps(_settings(sweep), indent=2) + "\n")
    _append(directory, sweep)
    record.write_json(directory / "status.json", _status(sweep))


def _settings(sweep: Sweep) -> dict[str, Any]:
    """What becomes the params."""
    given = dict(sweep.settings or {})
    drawing = given.pop("sampler", None) or {}
    return {
        "sweep": {
            **given,
            "sampler": sweep.sampler,
            "drawing": {key: value for key, value in drawing.items() if key != "_target_"},
            "objective": sweep.objective,
            "direction": sweep.direction,
            "trials": sweep.trials,
            "repeats": sweep.repeats,
        },
        "search": {dimension.key: _range(dimension) for dimension in sweep.dimensions},
        "fixed": " ".join(sweep.overrides),
    }


def _range(dimension: Dimension) -> str:
    if not dimension.ranged:
        return ", ".join(map(named, dimension.choices))
    low, high = (named(end) for end in dimension.ends)
    return f"{low} to {high}{', log' if dimension.log else ''}"


def _best(sweep: Sweep) -> dict[str, str]:
    """The values of the best point as tags: unlike params, they may change."""
    if not sweep.ranked:
        return {}
    return {f"best.{key}": named(value) for key, value in sweep.ranked[0].values.items()}


def _append(directory: Path, sweep: Sweep) -> None:
    """A point with the best value so far, its step the number of runs that have ended.

    Points of before that no longer hold, because runs on changed data count no more, go.
    """
    if not sweep.ranked:
        return
    ended = sum(len(point.scores) for point in sweep.points)
    best, key = sweep.ranked[0], f"best/{sweep.objective.replace('/', '_')}"
    before = [one for one in record.read_points(directory) if one["step"] <= ended]
    last = before.pop()["values"] if before and before[-1]["step"] == ended else {}
    if last.get(key) == best.mean:
        values = last | dict(sweep.test)
        if values == last:
            return
    else:
        errors = {} if best.stderr is None else {"best/stderr": best.stderr}
        counts = sweep.counts()
        states = (record.FINISHED, record.PRUNED, record.FAILED)
        many = {f"points/{status.lower()}": float(counts.get(status, 0)) for status in states}
        values = {key: best.mean} | errors | many | dict(sweep.test)
    point = {"step": ended, "epoch": ended, "time": round(time() * 1000), "values": values}
    lines = b"".join(map(points.line, [*before, point]))
    record.write(directory / points.NAME, lines.decode())


def _status(sweep: Sweep) -> dict[str, Any]:
    counts = sweep.counts()
    failed, total = counts.get(record.FAILED, 0), len(sweep.points)
    left = counts.get(record.RUNNING, 0) + counts.get(record.KILLED, 0)
    status = record.KILLED if left else record.FAILED if failed else record.FINISHED
    message = f"{failed} of {total} points failed" if failed else ""
    return {"status": status, "message": message, "pid": os.getpid()}
