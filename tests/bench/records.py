"""What a run of a sweep costs beside its training steps, by parts: CPU time in one process."""

import gc
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from time import process_time
from typing import Any

from omegaconf import DictConfig

from dlrun import record
from dlrun.data import Data
from dlrun.engine.train import train
from dlrun.job import recording
from dlrun.job.recording import Invocation, Silent
from dlrun.job.session import Session
from dlrun.procedure import BuiltRun
from dlrun.procedure.train import Ending, conclude
from dlrun.recipe import build, compose
from dlrun.record import Record
from tests.bench import folder

RUNS = 32
AT_MOST = 10.0
"""Milliseconds that building, opening and closing may take each."""
RECIPE = ("epochs=20", "tracking=none", "threads=1")


@dataclass
class Parts:
    """The CPU time of the parts of each run, in milliseconds."""

    found: dict[str, list[float]] = field(default_factory=dict)

    def time(self, part: str, do: Callable[[], Any]) -> Any:
        """What `do` gives, whose time is of that part."""
        begun = process_time()
        value = do()
        self.found.setdefault(part, []).append(1000 * (process_time() - begun))
        return value


def compare(repeats: int) -> list[dict[str, Any]]:
    """Medians over the runs of the default recipe on the digits, but for the first, which warms.

    building: from a composed recipe to a run. opening: its record and the state to begin with.
    closing: what comes after the last step, its checkpoint apart. delivering: all of its record
    into a fresh database of MLflow, by the second process.
    """
    parts = Parts()
    with compose.composer([]) as composer:
        config = composer.recipe(RECIPE)
    for _ in range(repeats):
        config.outputs = folder.new()
        data = Session().data(config)
        kept = [_run(config, data, seed, parts) for seed in range(RUNS + 1)]
        _deliver(config.outputs, kept, parts)
    rows = []
    for part, times in parts.found.items():
        warm = [each for place, each in enumerate(times) if place % (RUNS + 1)]
        wanted = AT_MOST if part != "delivering" else ""
        rows.append({"part": part, "CPU (ms a run)": median(warm), "wanted": wanted})
    return rows


def _run(composed: DictConfig, data: Data, seed: int, parts: Parts) -> Record:
    """Train a run, and time what comes before and after."""
    config = compose.copied(composed)
    config.seed = seed
    gc.collect()
    run = parts.time("building", lambda: build.build(config, data))
    asked = Invocation([f"seed={seed}"], ["dlrun", f"seed={seed}"], {})
    kept, state = parts.time("opening", lambda: recording.begin(config, run, asked))
    built = BuiltRun(run, state, kept, Silent())
    with ExitStack() as ends:
        ends.enter_context(recording.status_of(kept))
        train(run, state, kept, built.show)

        def close() -> None:
            conclude(built, Ending())
            ends.close()
            kept.close()

        parts.time("closing", close)
    return kept


def _deliver(outputs: str, runs: list[Record], parts: Parts) -> None:
    """Deliver runs that have ended."""
    from dlrun.tracking import cursor, store
    from dlrun.tracking.delivery import Delivery

    settings = {"uri": f"sqlite:///{outputs}/mlflow.db", "experiment": "dlrun", "checkpoints": True}
    client, experiment = store.connect(settings["uri"], "dlrun")
    for kept in runs:
        cursor.settle(kept.directory, settings, since=0.0)
        delivery = Delivery(client, experiment, kept.directory)
        parts.time("delivering", partial(delivery.deliver, live=False))
        assert record.read_json(kept.directory / cursor.NAME)["done"]
    store.disconnect(settings["uri"])
