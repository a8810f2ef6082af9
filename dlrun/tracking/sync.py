"""Deliver on request what a tracking store has missed: `dlrun sync [run ...]`."""

import logging
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any

from filelock import BaseFileLock, Timeout

from dlrun import record, shell
from dlrun.errors import Mistake
from dlrun.tracking import ENVIRONMENT, cursor, default_experiment, known_uri, resolve_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

    from dlrun.tracking.delivery import Delivery


class _Elsewhere(Exception):
    """Another process delivers the run, and to another store than the one that was asked for."""


@dataclass
class _Asked:
    """What was typed, and the stores as they were found, or why they were not."""

    outputs: str | Path
    uri: str | None
    named: bool
    stores: dict[tuple[str, str], Any] = field(default_factory=dict)

    def settings(self, run: Path) -> dict[str, Any]:
        """The cursor of a run, begun anew where it goes to another store."""
        known = cursor.read(run)
        target = known_uri(run, self.outputs)
        if self.uri or target is None:
            target = resolve_uri(self.uri, self.outputs)
        fresh = {"experiment": default_experiment(), "checkpoints": True, "model": True}
        if known.get("uri") == target:
            return fresh | known
        kept = {key: known[key] for key in fresh if key in known}
        return fresh | kept | {"uri": target, "run_id": None, "delivered": 0, "done": False}

    def look(self, settings: dict[str, Any]) -> "tuple[MlflowClient, Experiment | None] | None":
        """The store; one that does not answer is asked once for all runs."""
        from dlrun.tracking import store

        key = settings["uri"], settings["experiment"]
        if key not in self.stores:
            try:
                self.stores[key] = store.look(*key)
            except Exception as error:
                self.stores[key] = error
        found: Any = self.stores[key]
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[no-any-return]

    def in_time(self) -> AbstractContextManager[None]:
        """Inside, no server can hold a request for longer than it may take."""
        from dlrun.tracking import deadline

        return deadline.every_request()

    def close(self) -> None:
        """Close the connections to databases, so that each is one file again."""
        for (uri, _), found in self.stores.items():
            if not isinstance(found, Exception):
                from dlrun.tracking import store

                with suppress(Exception):
                    store.disconnect(uri)


def sync(outputs: str | Path, which: list[str], uri: str | None = None) -> int:
    """Deliver the named runs, or all that were ever tracked; prints a line for each.

    which: as `record.find` takes them, or ids of sweeps, for their summaries; what was
    recorded with `tracking=none` must be named. What somebody has deleted in MLflow comes
    back where it is named.
    uri: another store than the one a run was tracked in. Returns the exit code, 1 where
    something could not be delivered. Raises Mistake where there is no such run, and where
    `uri` is of no kind that MLflow takes.
    """
    outputs = shell.path(outputs, "outputs")
    if outputs.exists() and not outputs.is_dir():
        raise Mistake(f"outputs={outputs}: is a file; write the directory that runs/ is in")
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    if which:
        runs = [_find(outputs, each) for each in which]
    else:
        recorded = [*record.all_runs(outputs), *_sweeps(outputs).values()]
        runs = [run for run in recorded if (run / cursor.NAME).exists()]
    if not runs:
        _say(f"no tracked runs in {outputs / 'runs'}")
    if uri:
        resolve_uri(uri, outputs)
    asked = _Asked(outputs, uri, bool(which))
    with asked.in_time() if runs else nullcontext():
        return _each(runs, asked)


def _each(runs: list[Path], asked: "_Asked") -> int:
    """Deliver one run after another; the exit code."""
    failed: dict[Path, str] = {}  # and the store of each
    waits = False
    for run in runs:
        target = asked.settings(run)["uri"]
        try:
            _say(f"{run.name}  {_deliver(run, asked)}")
        except _Elsewhere as other:
            _say(f"{run.name}  not delivered to {target}: {other}")
            waits = True
        except Exception as error:  # one run that fails must not keep back the others
            from dlrun.tracking.ship import reason

            _say(f"{run.name}  not delivered to {target}: {reason(error)}")
            failed[run] = target
    asked.close()
    if failed:
        _say(f"to another server or database: {_elsewhere(failed, Path(asked.outputs))}")
    return 1 if failed or waits else 0


def _say(line: str) -> None:
    print(shell.clean(line), flush=True)


def _elsewhere(failed: Mapping[Path, str], outputs: Path) -> str:
    """The command that brings what could not be delivered into a database of its own."""
    names = ("mlflow.db", "mlflow-2.db")  # the first may be what has failed
    databases = (outputs.absolute() / name for name in names)
    free = next(path for path in databases if f"sqlite:///{path}" not in failed.values())
    where = shell.setting("tracking.uri", f"sqlite:///{shell.near(free)}")
    return f"{shell.sync(*failed)} {shell.quote(where)}"


def _find(outputs: str | Path, which: str) -> Path:
    return _sweeps(outputs).get(which) or record.find(outputs, which)


def _sweeps(outputs: str | Path) -> dict[str, Path]:
    """The directories of the sweeps that have a summary, by their ids."""
    found = sorted((Path(outputs).absolute() / "sweeps").glob("*/run.json"))
    return {path.parent.name: path.parent for path in found}


def _deliver(run: Path, asked: _Asked) -> str:
    """What came of it. Nothing is read that is to be written before the run is held."""
    lock = cursor.lock(run)
    try:
        with lock:
            return _deliver_held(run, asked, lock)
    except Timeout:
        known = cursor.read(run).get("uri")
        if known in (None, asked.settings(run)["uri"]):
            return "is being delivered by another process"
        raise _Elsewhere(
            f"another process delivers it to {known}; type the command again when it has ended"
        ) from None


def _deliver_held(run: Path, asked: _Asked, lock: BaseFileLock) -> str:
    settings = asked.settings(run)
    total = len(record.read_points(run))
    if os.environ.get("DLRUN_DEBUG") != "1":  # else it shows the traceback of a full disk
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    there = asked.look(settings)
    if there is not None:
        client, experiment = there
        found = _standing(client, experiment, run, settings)
        if not asked.named and _is_deleted(experiment, found):
            return f"deleted in MLflow; `{shell.sync(run)}` brings it back"
        if found is not None and _is_complete(client, found, run, settings):
            return f"complete: {total} points"
    from dlrun.tracking import store
    from dlrun.tracking.delivery import Delivery

    client, experiment_id = store.connect(settings["uri"], settings["experiment"])
    cursor.settle(run, settings)
    record.mark_killed(run)
    live = record.is_running(run)
    delivery = Delivery(client, experiment_id, run, lambda patience: None, lock)
    _begin(delivery, live)
    delivery.points()
    if not live:
        delivery.finish()
    state = "still running" if live else "complete"
    return f"{state}: {total} points, {delivery.new_points} of them delivered now"


def _begin(delivery: "Delivery", live: bool) -> None:
    """Begin, and wait where a server may still answer what it was asked before."""
    from dlrun.tracking.late import Unanswered

    said = False
    while True:
        try:
            delivery.begin(live)
            return
        except Unanswered as late:
            if not said:
                print(f"{delivery.directory.name}  waiting: {late}", flush=True)
            said = True
            sleep(1)


def _standing(
    client: "MlflowClient", experiment: "Experiment | None", run: Path, settings: dict[str, Any]
) -> "Run | None":
    """The run in the store that stands for a record; None where there is none, or two."""
    from dlrun.tracking import history

    uid = record.read_json(run / "run.json").get("uid", "")
    where = experiment.experiment_id if experiment is not None else ""
    found = history.runs(client, where, uid, settings.get("run_id"))
    active = [each for each in found if not history.is_deleted(each)]
    return found[0] if found and len(active) < 2 else None


def _is_deleted(experiment: "Experiment | None", found: "Run | None") -> bool:
    from dlrun.tracking import history

    if experiment is not None and experiment.lifecycle_stage != "active":
        return True
    return found is not None and history.is_deleted(found)


def _is_complete(client: "MlflowClient", found: "Run", run: Path, settings: dict[str, Any]) -> bool:
    """Whether the store has all of a run: what the cursor says is asked of the store."""
    from dlrun.tracking import artifacts, history

    points = record.read_points(run)
    return (
        bool(settings.get("done"))
        and settings.get("delivered", 0) >= len(points)
        and settings.get("run_id") == found.info.run_id
        and not history.is_deleted(found)
        and found.info.status != record.RUNNING
        and history.ends_as(found, points)
        and not artifacts.lacking(run, settings, artifacts.there(client, found.info.run_id))
        and not artifacts.lacks_model(client, run, settings)
    )
