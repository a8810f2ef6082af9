"""What a run has come to: the values of each split, as columns of a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlrun import record

Point = Mapping[str, Any]
_DURING = ("train", "train_eval", "val")
"""What is measured during training; the other splits are at its end."""


@dataclass(frozen=True)
class Column:
    """Values of a split by their names, and the point that the weights are of."""

    name: str
    point: Point
    values: Mapping[str, float]


def columns(points: Sequence[Point], info: Mapping[str, Any]) -> list[Column]:
    """The latest values, the best validation, and what is measured at the end."""
    latest: dict[str, Point] = {}  # the last point that has values of the split
    ends = [name for name in _splits(info) if name not in _DURING]
    for point in points:
        latest |= {split: point for split in (*_DURING, *ends) if _values(point, split)}
    end = points[-1]
    found = [
        Column(split, latest[split], _values(latest[split], split))
        for split in _DURING
        if split in latest
    ]
    last = record.last_values(points)
    best = at_epoch(points, last.get("best/epoch"))
    start = "best/val_"
    whole = {key[len(start) :]: value for key, value in last.items() if key.startswith(start)}
    if best is not None and len(whole) > 1:  # training saw a part of the split
        found.append(Column("best val, all", best, whole))
    elif best is not None and "val" in latest and best["step"] != latest["val"]["step"]:
        found.append(Column("best val", best, _values(best, "val")))
    used = next((p for p in points if p["step"] == info.get("result_step")), best or end)
    return found + [
        Column(name, used, _values(latest[name], name))
        for name in ends
        if name in latest and latest[name]["step"] == end["step"]
    ]


def rows(found: Sequence[Column]) -> list[tuple[str, list[float | None]]]:
    """Each name with its value in every column, what is monitored first."""
    headline = sorted(found, key=lambda column: column.name != "val")
    names = dict.fromkeys(name for column in headline for name in column.values)
    return [(name, [column.values.get(name) for column in found]) for name in names]


def at_epoch(points: Sequence[Point], epoch: float | None) -> Point | None:
    """The point of an epoch, one with a validation if there is one."""
    found = [p for p in points if epoch is not None and abs(p["epoch"] - epoch) < 1e-9]
    return next((p for p in found if _values(p, "val")), found[0] if found else None)


def _splits(info: Mapping[str, Any]) -> list[str]:
    """The names of all splits, test at the end."""
    named = (info.get("data") or {}).get("samples") or {}
    return [*(name for name in named if name != "test"), "test"]


def _values(point: Point, split: str) -> dict[str, float]:
    """The values of a split, by their names without its prefix."""
    start = f"{split}/"
    values = point["values"].items()
    return {name.removeprefix(start): value for name, value in values if name.startswith(start)}
