"""Deliver on request what a tracking store has missed: `dlrun sync [run ...]`."""

import logging
import os
from pathlib import Path
from typing import Any

from dlrun import record
from dlrun.errors import Mistake
from dlrun.tracking import ENVIRONMENT, resolve_uri


def sync(outputs: str | Path, which: list[str], uri: str | None = None) -> int:
    """Deliver the named runs, or all that were ever tracked; prints a line for each.

    which: as `record.find` takes them, or ids of sweeps, for their summaries; what was
    recorded with `tracking=none` must be named.
    uri: another store than the one a run was tracked in. Returns the exit code, 1 where
    something could not be delivered. Raises Mistake where there is no such run, and where
    `uri` is of no kind that MLflow takes.
    """
    if Path(outputs).exists() and not Path(outputs).is_dir():
        raise Mistake(f"outputs={outputs}: is a file; write the directory that runs/ is in")
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    if which:
        runs = [_find(outputs, each) for each in which]
    else:
        recorded = [*record.all_runs(outputs), *_sweeps(outputs).values()]
        runs = [run for run in recorded if (run / "tracking.json").exists()]
    if not runs:
        print(f"no tracked runs in {Path(outputs) / 'runs'}")
    if uri:
        resolve_uri(uri, outputs)
    stores: dict[tuple[str, str], Any] = {}
    failed = []
    for run in runs:
        settings = _settings(run, outputs, uri)
        try:
            print(f"{run.name}  {_deliver(run, settings, stores)}", flush=True)
        except Exception as error:  # one run that fails must not keep back the others
            from dlrun.tracking.ship import reason

            print(f"{run.name}  not delivered to {settings['uri']}: {reason(error)}", flush=True)
            failed.append(run.name)
    if failed:
        words = failed[0] if len(failed) == 1 else " ".join(which)
        print(f"to another server or database: dlrun sync tracking.uri=http://... {words}".rstrip())
    return 1 if failed else 0


def _find(outputs: str | Path, which: str) -> Path:
    return _sweeps(outputs).get(which) or record.find(outputs, which)


def _sweeps(outputs: str | Path) -> dict[str, Path]:
    """The directories of the sweeps that have a summary, by their ids."""
    found = sorted((Path(outputs).absolute() / "sweeps").glob("*/run.json"))
    return {path.parent.name: path.parent for path in found}


def _settings(run: Path, outputs: str | Path, uri: str | None) -> dict[str, Any]:
    """The cursor of a run, begun anew where it goes to another store."""
    known = record.read_json(run / "tracking.json")
    target = resolve_uri(uri, outputs) if uri or not known.get("uri") else known["uri"]
    if known.get("uri") == target:
        return known
    kept = {key: known[key] for key in ("experiment", "checkpoints", "model") if key in known}
    fresh = {"experiment": "dlrun", "checkpoints": True, "model": True, "delivered": 0}
    return fresh | kept | {"uri": target, "run_id": None, "done": False}


def _deliver(run: Path, settings: dict[str, Any], stores: dict[tuple[str, str], Any]) -> str:
    total = len(record.read_points(run))
    if settings.get("done") and settings.get("delivered") == total:
        return f"complete: {total} points"
    from dlrun.tracking import store
    from dlrun.tracking.delivery import Delivery

    if os.environ.get("DLRUN_DEBUG") != "1":  # else it shows the traceback of a full disk
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    key = settings["uri"], settings["experiment"]
    client, experiment = stores[key] = stores.get(key) or store.connect(*key)
    record.write_json(run / "tracking.json", settings)
    record.mark_killed(run)
    live = record.is_running(run)
    delivery = Delivery(client, experiment, run, lambda patience: None)
    if not delivery.begin(live):
        return "is being delivered by another process"
    try:
        delivery.points()
        if not live:
            delivery.finish()
    finally:
        delivery.close()
    state = "still running" if live else "complete"
    return f"{state}: {total} points, {delivery.new_points} of them delivered now"
