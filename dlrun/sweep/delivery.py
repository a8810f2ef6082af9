"""What a sweep leaves behind its runs: a model of the best one, and all of it in MLflow."""

import copy
from collections.abc import Iterable
from pathlib import Path

from dlrun import record
from dlrun.job import factory
from dlrun.job.session import Session
from dlrun.sweep.book import Book
from dlrun.sweep.plan import Plan
from dlrun.sweep.task import TRAIN


def export(plan: Plan, book: Book, shared: Session) -> None:
    """Figures and a model of the best run, where they are asked for and not there yet."""
    best = book.best_run()
    if best is None or plan.settings.export != "best":
        return
    point, run = best
    directory = plan.outputs / str(run.directory)
    if (directory / "figures").exists() or not directory.exists():
        return
    made = plan.composer.recipe([*point.overrides, f"seed={run.seed}"])
    if made.recipe.procedure.get("_target_") == TRAIN:
        factory.export(copy.deepcopy(made.recipe), directory, shared)


def deliver(plan: Plan, shared: Session, earlier: Iterable[Path]) -> None:
    """Bring the summary, which holds the report, to where the runs are delivered.

    earlier: runs that other commands have trained; what a server has missed of them goes too.
    """
    from dlrun.tracking import summary  # imports what plots need

    summary.prepare(plan.directory)
    follower = shared.prepare(plan.base)
    if follower is None or follower.settings is None:
        return
    store = follower.settings
    missed = [run for run in dict.fromkeys(earlier) if not _is_delivered(run, store)]
    for directory in (*missed, plan.directory):
        shared.follow(directory)


def _is_delivered(directory: Path, settings: dict[str, object]) -> bool:
    """Whether a store has all of a run; one that has been deleted has nothing to deliver."""
    if not (directory / "run.json").exists():
        return True
    known = record.read_json(directory / "tracking.json")
    same = all(known.get(key) == settings[key] for key in ("uri", "experiment"))
    return same and bool(known.get("done"))
