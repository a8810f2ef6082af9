"""Data and the user's code as they are now: what was found with others does not count."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from dlrun import record
from dlrun.errors import Mistake
from dlrun.job import code
from dlrun.job.session import Session
from dlrun.recipe.schema import GROUPS
from dlrun.sweep.ledger import Point

if TYPE_CHECKING:
    from dlrun.sweep.plan import Plan

_log = logging.getLogger("dlrun")


class Present:
    """Tells the runs of other files apart, as `make` does with what is older than its source.

    Data are loaded once, and only where a run has to be compared.
    """

    def __init__(self, plan: "Plan", shared: Session) -> None:
        self._composer, self._outputs, self._shared = plan.composer, plan.outputs, shared
        keys = [dimension.key for dimension in plan.space.dimensions]
        self._looks = bool(_files(plan.base) or code.digests(plan.base)) or any(
            key in GROUPS or key.startswith("data.") or key.endswith("._target_") for key in keys
        )
        self._digests: dict[str, str | None] = {}
        self._changed: dict[str, None] = {}  # what is no longer as it was

    def point(self, point: Point) -> Point:
        """The point without its runs of other files; itself where there are none."""
        if not self._looks or not point.runs:
            return point
        recipe = self._composer.recipe(point.overrides).recipe
        runs = []
        for run in point.runs:
            changed = run.directory and self._difference(self._outputs / run.directory, recipe)
            if changed:
                self._changed[changed] = None
            else:
                runs.append(run)
        if len(runs) == len(point.runs):
            return point
        return replace(point, runs=runs, status=record.RUNNING)

    def fits(self, directory: Path, recipe: DictConfig) -> bool:
        """Whether a run has been trained on the data, by the code, that its recipe names now."""
        return not self._difference(directory, recipe)

    def warn(self, dropped: Sequence[Point]) -> None:
        """Say that these points are trained anew."""
        if dropped:
            points = "1 point" if len(dropped) == 1 else f"{len(dropped)} points"
            _log.warning(
                f"{', '.join(self._changed)}: has changed since {points} of the sweep had been "
                "trained, which therefore are trained anew; the old runs stay where they are"
            )

    def _difference(self, directory: Path, recipe: DictConfig) -> str:
        return difference(directory, recipe, self._digest)

    def _digest(self, recipe: DictConfig) -> str | None:
        """Of the data now; None where they cannot be read, which training will say."""
        key = OmegaConf.to_yaml(recipe.data, resolve=True)
        if key not in self._digests:
            self._digests[key] = digest(recipe, self._shared)
        return self._digests[key]


def difference(
    directory: Path, recipe: DictConfig, digest: Callable[[DictConfig], str | None]
) -> str:
    """Which of a run's files has changed since; nothing where none has.

    digest: of the data of a recipe as they are now.
    """
    info = record.read_json(directory / "run.json")
    was, now = info.get("code"), code.digests(recipe)
    if isinstance(was, dict) and was != now:
        return next(str(name) for name in (*now, *was) if now.get(name) != was.get(name))
    told = info.get("data")
    recorded = told.get("digest") if isinstance(told, dict) else None
    if not _files(recipe) or recorded is None or digest(recipe) in (None, recorded):
        return ""
    return _files(recipe)


def digest(recipe: DictConfig, shared: Session) -> str | None:
    """Of the data now; None where they cannot be read, which training will say."""
    try:
        return shared.data(recipe).digest
    except Mistake:
        return None


def _files(recipe: DictConfig) -> str:
    """Where the data are, as typed; nothing where they are no files."""
    where = next((key for key in ("path", "root") if recipe.data.get(key)), None)
    return f"data.{where}={recipe.data[where]}" if where else ""
