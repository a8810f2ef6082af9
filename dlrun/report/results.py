"""The results of a sweep as plain data, read from its directory.

`sweep.json` and `ledger.jsonl` are described in `dlrun.sweep.ledger`, curves come from the
records of the runs. Where `seed` is one of the dimensions, its values count as repeats.
"""

import json
import math
import re
import shlex
import statistics
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from dlrun import record
from dlrun.report.curves import curve, wants_log

_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(\.\d+)?(e[-+]?\d+)?(?![\w])", re.IGNORECASE)

Curve = tuple[list[float], list[float]]
"""Epochs and values."""


@dataclass(frozen=True)
class Dimension:
    """One hyperparameter that was changed: a range of numbers, or a list of choices."""

    key: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    whole: bool = False
    step: float | None = None
    choices: tuple[Any, ...] = ()
    zipped: bool = False

    @property
    def ranged(self) -> bool:
        """Whether any number between two ends could be drawn."""
        return self.low is not None and self.high is not None

    @property
    def numeric(self) -> bool:
        """Whether its values have an order and a distance: a range, or choices of numbers."""
        return self.ranged or (
            len(self.choices) > 1 and all(is_number(choice) for choice in self.choices)
        )

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest value of a numeric dimension."""
        if self.low is not None and self.high is not None:
            return self.low, self.high
        return float(min(self.choices)), float(max(self.choices))

    def place(self, value: float) -> float:
        """Where a value of a numeric dimension lies on its scale, from 0 to 1."""
        low, high = self.ends
        if low == high:
            return 0.5
        if self.log:
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)


@dataclass(frozen=True)
class Point:
    """One point of the search space and what came of its runs."""

    trial: int
    values: Mapping[str, Any]
    words: Mapping[str, str]  # the override of each key
    status: str
    scores: tuple[float, ...] = ()  # of the objective, one for each run that gave one
    messages: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()  # their directories, relative to the outputs
    epochs: float = 0.0
    samples: int | None = None  # that one score was measured on
    losses: tuple[float, ...] = ()  # val/loss with the scores

    @property
    def mean(self) -> float:
        """Of the scores; nan where there are none."""
        return statistics.fmean(self.scores) if self.scores else math.nan

    @property
    def loss(self) -> float:
        """The mean val/loss with the scores, which breaks ties; inf where it is not known."""
        return statistics.fmean(self.losses) if self.losses else math.inf

    @property
    def stderr(self) -> float | None:
        """The standard error of the mean; None without repeats."""
        many = len(self.scores)
        return statistics.stdev(self.scores) / math.sqrt(many) if many > 1 else None

    @property
    def label(self) -> str:
        """What was changed, with numbers to four digits."""
        words = [f"{key}={named(value)}" for key, value in self.values.items()]
        return " ".join(words) or f"point {self.trial}"


@dataclass(frozen=True)
class Sweep:
    """What was asked, and every point."""

    id: str
    command: str
    objective: str
    maximize: bool
    dimensions: tuple[Dimension, ...]
    points: tuple[Point, ...]
    fixed: tuple[str, ...] = ()  # the overrides of all runs, as typed
    trials: int = 0  # how many points there were to be
    repeats: int = 1
    sampler: str = "grid"
    started: str = ""
    settings: Mapping[str, Any] | None = None

    @property
    def ranked(self) -> list[Point]:
        """The finished points, the best first; equal ones by val/loss, then by their trials."""
        done = [point for point in self.points if point.status == record.FINISHED and point.scores]
        sign = -1 if self.maximize else 1
        return sorted(done, key=lambda point: (sign * point.mean, point.loss))

    @property
    def tied(self) -> bool:
        """Whether val/loss decides the order of some points."""
        return any(a.mean == b.mean and a.loss != b.loss for a, b in pairwise(self.ranked))

    def counts(self) -> dict[str, int]:
        """How many points ended in which way."""
        order = (record.FINISHED, record.PRUNED, record.FAILED, record.KILLED, record.RUNNING)
        many = {status: sum(p.status == status for p in self.points) for status in order}
        return {status: count for status, count in many.items() if count}

    def troubles(self) -> dict[str, list[Point]]:
        """The points that failed, by the first line of their message, the most frequent first.

        Messages that differ in their numbers alone count as the first of them.
        """
        found: dict[str, list[Point]] = {}
        shown: dict[str, str] = {}
        for point in self.points:
            if point.status in (record.FAILED, record.KILLED):
                said = next((m.strip() for m in point.messages if m.strip()), "no message")
                line = said.splitlines()[0]
                alike = shown.setdefault(_NUMBER.sub("#", line), line)
                found.setdefault(alike, []).append(point)
        return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def read(directory: str | Path) -> Sweep:
    """Read a sweep from its directory `<outputs>/sweeps/<id>`."""
    directory = Path(directory)
    asked = record.read_json(directory / "sweep.json")
    latest = {entry["trial"]: entry for entry in _lines(directory / "ledger.jsonl")}
    objective = asked.get("objective", "val/accuracy")
    points = [_point(entry) for entry in _different([latest[at] for at in sorted(latest)])]
    points = [_sized(point, directory.absolute().parent.parent, objective) for point in points]
    dimensions = tuple(_dimension(entry) for entry in asked.get("dimensions", []))
    if any(dimension.key == "seed" for dimension in dimensions):
        dimensions = tuple(dimension for dimension in dimensions if dimension.key != "seed")
        points = _merged(points)
    command = asked.get("command", "")
    return Sweep(
        id=asked.get("id", directory.name),
        command=command if isinstance(command, str) else shlex.join(command),
        objective=objective,
        maximize=asked.get("direction", "maximize") == "maximize",
        dimensions=dimensions,
        points=tuple(points),
        fixed=tuple(asked.get("overrides", [])),
        trials=asked.get("trials") or len(points),
        repeats=asked.get("repeats") or 1,
        sampler=asked.get("sampler", "grid"),
        started=asked.get("started", ""),
        settings=asked.get("settings") or {},
    )


def curves(sweep: Sweep, outputs: str | Path) -> dict[int, list[Curve]]:
    """The course of the objective in every run, by the point's trial."""
    found = {}
    for point in sweep.points:
        drawn = [
            curve(record.read_points(Path(outputs) / run), sweep.objective) for run in point.runs
        ]
        found[point.trial] = [each for each in drawn if each[0]]
    return found


def is_number(value: object) -> bool:
    """Whether it is a finite number and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def named(value: object) -> str:
    """A value as one would type it."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(named, value)) + "]"
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value, default=str)


def key_of(word: str) -> str:
    """What an override changes: `optimizer.lr` of `+optimizer.lr=0.1`."""
    return word.partition("=")[0].lstrip("+~")


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    with suppress(FileNotFoundError):
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                yield json.loads(line)


def _different(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries without those whose recipe another has: a search may draw a point twice."""
    order = (record.FINISHED, record.PRUNED, record.FAILED)
    found: dict[Any, dict[str, Any]] = {}
    for entry in entries:
        known = found.setdefault(entry.get("hash") or entry["trial"], entry)
        if known["status"] not in order and entry["status"] in order:
            found[entry["hash"]] = {**entry, "trial": known["trial"]}
    return list(found.values())


def _dimension(entry: Mapping[str, Any]) -> Dimension:
    zipped = entry.get("zip") is not None
    if entry.get("kind") in ("float", "int"):
        return Dimension(
            key=entry["key"],
            low=entry["low"],
            high=entry["high"],
            log=entry.get("scale") == "log",
            whole=entry["kind"] == "int",
            step=entry.get("step"),
            zipped=zipped,
        )
    choices = tuple(entry.get("choices") or ())
    numbers = [float(choice) for choice in choices if is_number(choice)]
    log = len(numbers) == len(choices) and (entry.get("scale") == "log" or wants_log(numbers))
    return Dimension(entry["key"], choices=choices, log=log, zipped=zipped)


def _point(entry: Mapping[str, Any]) -> Point:
    runs = entry.get("runs", [])
    usable = (record.FINISHED, record.PRUNED)
    scored = [run for run in runs if run["status"] in usable and is_number(run["value"])]
    return Point(
        trial=entry["trial"],
        values=entry["values"],
        words={key_of(word): _word(word, entry["values"]) for word in entry["overrides"]},
        status=entry["status"],
        scores=tuple(float(run["value"]) for run in scored),
        losses=tuple(float(run["loss"]) for run in scored if is_number(run.get("loss"))),
        messages=tuple(run.get("message") or "" for run in runs),
        runs=tuple(run["directory"] for run in runs if run.get("directory")),
        epochs=max((run.get("epochs") or 0.0 for run in runs), default=0.0),
    )


def _sized(point: Point, outputs: Path, objective: str) -> Point:
    """The point with the number of samples of the split that its objective is measured on."""
    for run in point.runs[:1]:
        data = record.read_json(outputs / run / "run.json").get("data") or {}
        many = (data.get("samples") or {}).get(objective.partition("/")[0])
        return replace(point, samples=many)
    return point


def _word(word: str, values: Mapping[str, Any]) -> str:
    """An override as one would type it: a number that was drawn, to four digits."""
    head, _, text = word.partition("=")
    value = values.get(key_of(word))
    return f"{head}={value:.4g}" if isinstance(value, float) and text == repr(value) else word


def _merged(points: Sequence[Point]) -> list[Point]:
    """Points that differ in nothing but their seed as one."""
    groups: dict[str, list[Point]] = {}
    for point in points:
        rest = {key: value for key, value in point.values.items() if key != "seed"}
        groups.setdefault(json.dumps(rest, sort_keys=True, default=str), []).append(point)
    return [_merge(group) for group in groups.values()]


def _merge(group: Sequence[Point]) -> Point:
    first = group[0]
    worst = (record.FAILED, record.KILLED, record.RUNNING, record.PRUNED, record.FINISHED)
    return Point(
        trial=first.trial,
        values={key: value for key, value in first.values.items() if key != "seed"},
        words={key: word for key, word in first.words.items() if key != "seed"},
        status=min((point.status for point in group), key=worst.index),
        scores=tuple(score for point in group for score in point.scores),
        messages=tuple(message for point in group for message in point.messages),
        runs=tuple(run for point in group for run in point.runs),
        epochs=max(point.epochs for point in group),
        samples=first.samples,
        losses=tuple(loss for point in group for loss in point.losses),
    )
