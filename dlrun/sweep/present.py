"""Data files as they are now: what was found on others does not count for them."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from dlrun import record
from dlrun.errors import Mistake
from dlrun.shared import Shared
from dlrun.sweep.ledger import Point
from dlrun.sweep.plan import Plan

_log = logging.getLogger("dlrun")


class Present:
    """Tells the runs on other data apart, as `make` does with what is older than its source.

    Data are loaded once, and only where a run has to be compared.
    """

    def __init__(self, plan: Plan, shared: Shared) -> None:
        self._composer, self._outputs, self._shared = plan.composer, plan.outputs, shared
        keys = {dimension.key.partition(".")[0] for dimension in plan.space.dimensions}
        self._looks = "data" in keys or bool(_files(plan.base))
        self._digests: dict[str, str | None] = {}

    def point(self, point: Point) -> Point:
        """The point without its runs on other data; itself where there are none."""
        if not self._looks or not point.runs:
            return point
        recipe = self._composer.recipe(point.overrides).recipe
        runs = [
            run
            for run in point.runs
            if not run.directory or self.fits(self._outputs / run.directory, recipe)
        ]
        if len(runs) == len(point.runs):
            return point
        return replace(point, runs=runs, status=record.RUNNING)

    def fits(self, directory: Path, recipe: DictConfig) -> bool:
        """Whether a run has been trained on the data that its recipe names now."""
        if not _files(recipe):
            return True
        told = record.read_json(directory / "run.json").get("data")
        recorded = told.get("digest") if isinstance(told, dict) else None
        return recorded is None or self._digest(recipe) in (None, recorded)

    def warn(self, dropped: Sequence[Point]) -> None:
        """Say that these points are trained anew."""
        if dropped:
            files = _files(self._composer.recipe(dropped[0].overrides).recipe)
            points = "1 point" if len(dropped) == 1 else f"{len(dropped)} points"
            _log.warning(
                f"{files}: has changed since {points} of the sweep had been trained, which "
                "therefore are trained anew; the old runs stay where they are"
            )

    def _digest(self, recipe: DictConfig) -> str | None:
        """Of the data now; None where they cannot be read, which training will say."""
        key = OmegaConf.to_yaml(recipe.data, resolve=True)
        if key not in self._digests:
            try:
                self._digests[key] = self._shared.data(recipe).digest
            except Mistake:
                self._digests[key] = None
        return self._digests[key]


def _files(recipe: DictConfig) -> str:
    """Where the data are, as typed; nothing where they are no files."""
    where = next((key for key in ("path", "root") if recipe.data.get(key)), None)
    return f"data.{where}={recipe.data[where]}" if where else ""
