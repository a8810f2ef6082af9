"""What `dlrun sync` does with a run: deliver it to its store, unless the store has all of it."""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Experiment, Run

from dlrun import record, shell
from dlrun.tracking import (
    artifacts,
    cursor,
    default_experiment,
    history,
    known_uri,
    resolve_uri,
    store,
)
from dlrun.tracking.delivery import Delivery
from dlrun.tracking.late import Unanswered


class Elsewhere(Exception):
    """Another process delivers the run, to another store than the one that was asked for."""


class CatchUp:
    """Delivers runs one after another, each to the store that was typed or to its own."""

    def __init__(
        self, outputs: Path, uri: str | None, named: bool, say: Callable[[str], None]
    ) -> None:
        """named: whether the runs were, so that deleted ones come back. say: prints a line."""
        self._outputs, self._uri, self._named, self._say = outputs, uri, named, say
        self._found: dict[tuple[str, str], Any] = {}  # stores, or why they do not answer
        self._made: dict[tuple[str, str], tuple[MlflowClient, str]] = {}  # and ready
        if os.environ.get("DLRUN_DEBUG") != "1":  # it logs a traceback where the disk is full
            logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)

    def settings(self, run: Path) -> dict[str, Any]:
        """The cursor of a run, begun anew where it goes to another store."""
        known = cursor.read(run)
        target = known_uri(run, self._outputs)
        if self._uri or target is None:
            target = resolve_uri(self._uri, self._outputs)
        fresh = {"experiment": default_experiment(), "checkpoints": True, "model": True}
        if known.get("uri") == target:
            return fresh | known
        kept = {key: known[key] for key in fresh if key in known}
        return fresh | kept | {"uri": target, "run_id": None, "delivered": 0, "done": False}

    def deliver(self, run: Path) -> str:
        """Deliver a run; what came of it. Reads nothing of the cursor before it holds the run."""
        with cursor.held(run) as free:
            if free:
                return self._deliver(run)
        known = cursor.read(run).get("uri")
        if known in (None, self.settings(run)["uri"]):
            return "is being delivered by another process"
        raise Elsewhere(
            f"another process delivers it to {known}; type the command again when it has ended"
        )

    def close(self) -> None:
        """Close the connections to databases, so that each is one file again."""
        for (uri, _), found in self._found.items():
            if not isinstance(found, Exception):
                with suppress(Exception):
                    store.disconnect(uri)

    def _deliver(self, run: Path) -> str:
        settings = self.settings(run)
        told = shell.counted(len(record.read_points(run)), "point")
        complete = _completeness(run)
        there = self._look(settings)
        if there is not None:
            client, experiment = there
            found = _standing(client, experiment, run, settings)
            deleted = experiment is not None and experiment.lifecycle_stage != "active"
            deleted |= found is not None and history.is_deleted(found)
            if deleted and not self._named:
                return f"deleted in MLflow; `{shell.sync(run)}` brings it back"
            if found is not None and _is_complete(client, found, run, settings):
                return f"{complete}: {told}"
        delivery = Delivery(*self._connect(settings["uri"], settings["experiment"]), run)
        cursor.settle(run, settings)
        live = record.is_running(run)
        self._wait_for_answers(delivery, live)
        delivery.deliver(live)
        state = "still running" if live else complete
        return f"{state}: {told}, {delivery.new_points:,} of them delivered now"

    def _look(self, settings: dict[str, Any]) -> tuple[MlflowClient, Experiment | None] | None:
        """The store; one that does not answer is asked only once for all runs."""
        key = settings["uri"], settings["experiment"]
        if key not in self._found:
            try:
                self._found[key] = store.look(*key)
            except Exception as error:
                self._found[key] = error
        found = self._found[key]
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[no-any-return]

    def _connect(self, uri: str, experiment: str) -> tuple[MlflowClient, str]:
        """The store and the experiment to deliver to, made ready once for all runs."""
        key = uri, experiment
        if key not in self._made:
            self._made[key] = store.connect(*key)
        return self._made[key]

    def _wait_for_answers(self, delivery: Delivery, live: bool) -> None:
        """Begin; wait while a server may still carry out an earlier request."""
        said = False
        while True:
            try:
                return delivery.begin(live)
            except Unanswered as late:
                if not said:
                    self._say(f"{delivery.directory.name}  waiting: {late}")
                said = True
                sleep(1)


def _completeness(run: Path) -> str:
    """Whether a record has all that it was to have."""
    if not record.is_whole(run):
        return "complete but for damaged points"
    if lacks := [f"{name}/" for name in record.unclosed(run)]:
        brings = "brings it" if len(lacks) == 1 else "brings them"
        return f"complete but for {' and '.join(lacks)} (`{shell.resume(run)}` {brings})"
    return "complete"


def _standing(
    client: MlflowClient, experiment: Experiment | None, run: Path, settings: dict[str, Any]
) -> Run | None:
    """The run in the store that stands for a record; None where there is none, or two."""
    uid = record.read_json(run / "run.json").get("uid", "")
    where = experiment.experiment_id if experiment is not None else ""
    found = history.runs(client, where, uid, settings.get("run_id"))
    active = [each for each in found if not history.is_deleted(each)]
    return found[0] if found and len(active) < 2 else None


def _is_complete(client: MlflowClient, found: Run, run: Path, settings: dict[str, Any]) -> bool:
    """Whether the store has all of a run; the store is asked, whatever the cursor says."""
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
