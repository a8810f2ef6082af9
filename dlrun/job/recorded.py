"""Runs that have been trained, as their records say."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from dlrun import record, shell
from dlrun.data.fingerprint import hash_rows
from dlrun.errors import Mistake
from dlrun.procedure import RecordedRun
from dlrun.recipe import compose, differences, identity

if TYPE_CHECKING:
    from dlrun.data import Data

_APART = (*identity.NEUTRAL, "procedure", "test")
"""Settings in which a run may differ that stands for another."""
_HELD_OUT = ("val", "test")


def of(directory: Path) -> RecordedRun:
    """A run that has been trained before."""
    points = record.read_points(directory)
    status = str(record.read_status(directory).get("status", ""))
    return RecordedRun(directory, status, best(points), points)


def best(points: Sequence[Mapping[str, Any]]) -> float | None:
    """The best of what a run monitors, which its end names first."""
    end = record.last_values(points)
    found = (v for key, v in end.items() if key.startswith("best/") and key != "best/epoch")
    return next(found, None)


def find(
    config: DictConfig, read: Callable[[], "Data"], which: str, key: str, other: bool = False
) -> RecordedRun:
    """A run that has been trained with a recipe on its data.

    read: gives these. key: of the setting that says which. other: with any recipe, perhaps on
    samples that others hold out. Raises Mistake where there is none.
    """
    said = f"{key}={which}"
    try:
        directory = record.find(config.outputs, which)
    except Mistake as mistake:
        raise Mistake(f"{said}: {mistake}") from None
    if record.read_status(directory).get("status") != record.FINISHED:
        if record.diverged(directory):
            raise Mistake(f"{said}: its loss diverged; name another run")
        raise Mistake(f"{said}: has not ended; go on with it: {shell.resume(directory)}")
    info, data = record.read_json(directory / "run.json"), read()
    splits: dict[str, Any] = (info.get("data") or {}).get("splits") or {}
    if "result_step" not in info:
        raise Mistake(f"{said}: is not a training")
    wrong = [] if other else differences.keys(config, compose.recorded(directory), _APART)
    if wrong:
        raise Mistake(
            f"{said}: has another recipe, in {', '.join(wrong)}; type its settings here too"
        )
    here: dict[str, Any] = {
        name: hash_rows(split.rows.numpy()) for name, split in data.splits.items()
    }
    if other:  # may have been trained on some of the training split
        splits, here = ({name: rows.get(name) for name in _HELD_OUT} for rows in (splits, here))
    if info["data"].get("digest") != data.digest or splits != here:
        raise Mistake(f"{said}: was trained on other data, or on another split of them")
    return of(directory)
