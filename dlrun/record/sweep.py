"""A sweep on disk: what is searched, and every point with the results of its runs.

    <outputs>/sweeps/<id>/
        sweep.json       what is searched, and how: the fields of `Sweep` without its points
        ledger.jsonl     one line whenever a point begins or ends: the fields of `Point`, with
                         the mean of its values and its standard error; the last line of a
                         trial counts
        lock             held by the process that drives the sweep
        stacks.json      which runs are trained at once, as `dlrun.job.stacked` has decided
        run.json, recipe.yaml, metrics.jsonl, status.json
                         the whole as one run of MLflow, written by `dlrun.sweep.summary`
        report.html      written by `dlrun.report`
        journal.log      Optuna's storage, only while a pruner judges jobs in many processes

The id is a hash of what is searched: the fixed overrides, the dimensions, the sampler and its
settings. Not of how much: the same sweep goes on when `sweep.trials` is raised.
"""

import json
import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from dlrun import shell
from dlrun.format import is_number
from dlrun.metric import Metric, known, metric_of
from dlrun.record import FAILED, FINISHED, KILLED, PRUNED, RUNNING
from dlrun.record.files import read_bytes, read_json
from dlrun.record.points import last_values, read_points
from dlrun.record.test_set import measured

SWEEP, LEDGER = "sweep.json", "ledger.jsonl"
ENDED = (FINISHED, PRUNED, FAILED)
SEED = "seed"
"""The dimension whose values repeat a point rather than make new ones."""
WITHOUT, NOTHING = "without", "nothing"
"""The dimension of an ablation, and its value for the recipe with all of its ingredients."""
OF_INPUTS = ("size", "resize", "background", "depth", "features", "columns", "missing", "decimal")
"""Settings of data that change what a network sees of a sample, and not what is to be predicted."""

_WORST_FIRST = (FAILED, KILLED, RUNNING, PRUNED, FINISHED)
_WIDE = 30.0
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(\.\d+)?(e[-+]?\d+)?(?![\w])", re.IGNORECASE)
_TYPES: dict[str, Any] = {
    **{"trial": int, "hash": str, "values": dict, "overrides": list, "runs": list},
    **{"seed": int, "directory": str | None, "value": int | float | None, "tries": int},
    **{"loss": int | float | None, "epochs": int | float, "message": str, "samples": int | None},
    "trained_on": int | None,
    "error": int | float | None,
    "of_loss": str,
    "others": dict,
}


@dataclass(frozen=True)
class Dimension:
    """One key that is searched: a range of numbers, or a list of choices.

    kind: float or int, between low and high, or categorical, one of the choices.
    scale: linear or log; step: of a range that is a list of equal steps.
    typed: the choices as one types them; prefix: `+` or `++` where the key was typed so.
    zip: the number of the zip it belongs to; those of one zip advance together.
    """

    key: str
    kind: str = "categorical"
    scale: str = "linear"
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: tuple[Any, ...] = ()
    typed: tuple[str, ...] = ()
    prefix: str = ""
    zip: int | None = None

    @property
    def ranged(self) -> bool:
        """Whether it is a range of numbers."""
        return self.low is not None and self.high is not None

    @property
    def numeric(self) -> bool:
        """Whether its values have an order and a distance: a range, or choices of numbers."""
        return self.ranged or (len(self.choices) > 1 and all(map(is_number, self.choices)))

    @property
    def whole(self) -> bool:
        """Whether it is a range of whole numbers."""
        return self.kind == "int"

    @property
    def log(self) -> bool:
        """Whether its scale is logarithmic; a list of numbers also if it spans decades."""
        wide = not self.ranged and self.numeric and spans_decades(self.choices)
        return self.numeric and (self.scale == "log" or wide)

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest value of a numeric dimension."""
        if self.low is not None and self.high is not None:
            return self.low, self.high
        return float(min(self.choices)), float(max(self.choices))

    @property
    def listed(self) -> list[Any]:
        """All values, if they can be listed: the choices, or the steps of a range."""
        if not self.ranged:
            return list(self.choices)
        if self.step is None:
            return []
        low, high = self.ends
        steps = range(round((high - low) / self.step) + 1)
        return [self.rounded(low + n * self.step) for n in steps]

    @property
    def many(self) -> float:
        """How many values it has; inf for an interval of any numbers."""
        if not self.ranged or self.step is not None:
            return len(self.listed)
        low, high = self.ends
        return high - low + 1 if self.whole else math.inf

    def rounded(self, value: float) -> float:
        """A number of a range as one types it: on a step, whole, or with four digits."""
        if self.step is not None and self.low is not None:
            value = self.low + round((value - self.low) / self.step) * self.step
            return int(value) if self.whole else without_noise(value)
        return round(value) if self.whole else float(f"{value:.4g}")

    def place(self, value: Any) -> float:
        """Where a value lies on its scale, from 0 to 1; choices without order lie evenly."""
        if not self.numeric:
            value = float(self.names.index(named(value)))
        low, high = self.ends if self.numeric else (0.0, len(self.choices) - 1.0)
        if low == high:
            return 0.5
        if self.log:
            return math.log(value / low) / math.log(high / low)
        return float(value - low) / (high - low)

    @property
    def names(self) -> list[str]:
        """The choices as they are shown."""
        return [named(choice) for choice in self.choices]

    def words(self) -> list[str]:
        """The choices as one types them."""
        return list(self.typed) or self.names

    def override(self, value: Any) -> str:
        """One value as an override; 1, 1.0 and true are three choices."""
        if self.ranged:
            return f"{self.prefix}{self.key}={value!r}"
        kinds = [type(choice) is type(value) and choice == value for choice in self.choices]
        at = kinds.index(True) if True in kinds else self.choices.index(value)
        return f"{self.prefix}{self.key}={self.words()[at]}"

    def word(self) -> str:
        """The whole dimension as an override, of one value if only one is left."""
        if not self.ranged:
            return f"{self.prefix}{self.key}={','.join(self.words())}"
        low, high = self.ends
        if low == high:
            return self.override(self.low)
        if self.step is not None:
            # The end is left out; a float one may lie anywhere between two steps.
            end = high + self.step if self.whole else without_noise(high + self.step / 2)
            text = f"range({number(low)},{number(end)},{number(self.step)})"
        else:
            text = f"interval({number(low)},{number(high)})"
            text = f"int({text})" if self.whole else text
        text = f"tag(log,{text})" if self.scale == "log" else text
        return f"{self.prefix}{self.key}={text}"


@dataclass(frozen=True)
class RunResult:
    """One run of a point and its result.

    directory: relative to the outputs; None while it is not known.
    value: the best one of the objective, over `samples` samples; loss: val/loss with it, which
    breaks ties. epochs: where training ended. tries: how often it was begun. trained_on: how many
    samples. of_loss: the option of its loss, which loss=auto leaves open until the data are read.
    error: the standard error of the value, where a procedure of several trainings knows it.
    others: the values of other metrics that were asked for, with it.
    """

    seed: int
    hash: str
    directory: str | None = None
    status: str = RUNNING
    value: float | None = None
    loss: float | None = None
    epochs: float = 0.0
    message: str = ""
    tries: int = 1
    samples: int | None = None
    trained_on: int | None = None
    error: float | None = None
    of_loss: str = ""
    others: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Point:
    """One trial: a value of each dimension, and the runs with them, one for each seed.

    hash: of the recipe with the seed of the first run; overrides: the values as typed.
    """

    trial: int
    hash: str
    values: Mapping[str, Any]
    overrides: Sequence[str]
    runs: Sequence[RunResult] = ()
    status: str = RUNNING

    @property
    def recipe(self) -> str:
        """The hash of the recipe: that of its first run knows the loss which loss=auto took."""
        return self.runs[0].hash if self.runs else self.hash

    @cached_property
    def scored(self) -> list[RunResult]:
        """The runs that have a finite value."""
        usable = [run for run in self.runs if run.status in (FINISHED, PRUNED)]
        return [run for run in usable if is_number(run.value)]

    @property
    def scores(self) -> list[float]:
        """Their values."""
        return [float(run.value) for run in self.scored if run.value is not None]

    @property
    def value(self) -> float | None:
        """The mean of the scores; None if there are none."""
        return statistics.fmean(self.scores) if self.scores else None

    @property
    def mean(self) -> float:
        """The mean of the scores; nan if there are none."""
        return math.nan if self.value is None else self.value

    @property
    def stderr(self) -> float | None:
        """The standard error of the mean; without repeats that of the run itself, else None."""
        many = len(self.scores)
        if many > 1:
            return statistics.stdev(self.scores) / math.sqrt(many)
        return self.scored[0].error if many else None

    @property
    def loss(self) -> float:
        """The mean val/loss with the scores, which breaks ties; inf if unknown."""
        losses = [run.loss for run in self.scored if run.loss is not None]
        return statistics.fmean(losses) if losses else math.inf

    @property
    def of_loss(self) -> str:
        """What loss it is, with what was searched of it; other ones cannot be compared with it."""
        own = {key: value for key, value in self.values.items() if key.partition(".")[0] == "loss"}
        return named([run.of_loss for run in self.scored[:1]]) + named([*own.items()])

    def other(self, key: str) -> float:
        """The mean of another metric with the scores; nan if there are none."""
        values = [run.others[key] for run in self.scored if is_number(run.others.get(key))]
        return statistics.fmean(values) if values else math.nan

    @property
    def samples(self) -> int | None:
        """How many samples a score was measured on; None if unknown."""
        return next((run.samples for run in self.runs if run.samples), None)

    @property
    def trained_on(self) -> int | None:
        """How many samples it was trained on; None if unknown."""
        return next((run.trained_on for run in self.runs if run.trained_on), None)

    @property
    def epochs(self) -> float:
        """Where the longest run ended."""
        return max((run.epochs for run in self.runs), default=0.0)

    @property
    def directories(self) -> list[str]:
        """Those of the runs, relative to the outputs."""
        return [run.directory for run in self.runs if run.directory]

    @property
    def words(self) -> dict[str, str]:
        """The override of each key."""
        return {shell.key(word): word for word in self.overrides}

    @property
    def label(self) -> str:
        """What was changed, as one would type it."""
        words = [f"{key}={named(value)}" for key, value in self.values.items()]
        return " ".join(words) or f"point {self.trial}"

    def line(self) -> dict[str, Any]:
        """As the ledger keeps it."""
        return asdict(self) | {"value": self.value, "stderr": self.stderr}


@dataclass(frozen=True)
class Sweep:
    """What was asked, and every point.

    overrides: those of all runs, as typed; trials: how many points there are to be.
    test: what the test split says of the best run. tested: how many of the runs it has been
    measured with: more than one where another was the best before the sweep went on.
    metrics: what `run.json` of a run says of the metrics, by name.
    later: the words of the stages that follow, until the last of them has ended.
    """

    id: str
    command: str
    objective: str
    dimensions: tuple[Dimension, ...]
    points: tuple[Point, ...] = ()
    overrides: tuple[str, ...] = ()
    trials: int = 0
    repeats: int = 1
    sampler: str = "grid"
    started: str = ""
    cwd: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    test: Mapping[str, float] = field(default_factory=dict)
    tested: int = 0
    metrics: Mapping[str, Any] = field(default_factory=dict)
    later: tuple[str, ...] = ()

    @property
    def metric(self) -> Metric:
        """What the objective is."""
        return metric_of(self.objective, known(self.metrics))

    @property
    def maximize(self) -> bool:
        """Whether more of the objective is better."""
        return self.metric.higher_is_better

    @property
    def sign(self) -> int:
        """What a difference of it is multiplied by, so that it is above 0 where it is better."""
        return 1 if self.maximize else -1

    @property
    def direction(self) -> str:
        """The same in Optuna's words."""
        return "maximize" if self.maximize else "minimize"

    @cached_property
    def ranked(self) -> list[Point]:
        """The finished points, the best first; equal ones by val/loss, then by their trials.

        Those of another loss, which cannot be compared, stand one after another.
        """
        done = [point for point in self.points if point.status == FINISHED and point.scores]
        judged, losses = self.metric, list(dict.fromkeys(point.of_loss for point in done))

        def rank(point: Point) -> tuple[float, int, float]:
            return -judged.score(point.mean), losses.index(point.of_loss), point.loss

        return sorted(done, key=rank)

    @property
    def unscored(self) -> list[Point]:
        """The points that were trained to their end without a finite value of the objective."""
        return [p for p in self.points if p.status == FINISHED and p.epochs and not p.scores]

    @property
    def whole(self) -> Point | None:
        """The recipe with all of its ingredients, where the others are without one; else None."""
        return next((p for p in self.ranked if p.values.get(WITHOUT) == NOTHING), None)

    @property
    def tied(self) -> bool:
        """Whether val/loss decides the order of some points."""
        return any(
            a.mean == b.mean and a.loss != b.loss and a.of_loss == b.of_loss
            for a, b in pairwise(self.ranked)
        )

    @property
    def best_run(self) -> RunResult | None:
        """The best run of the best point."""
        judged = self.metric

        def rank(run: RunResult) -> tuple[float, float]:
            loss = math.inf if run.loss is None else run.loss
            return -judged.score(run.value or 0.0), loss

        runs = [run for point in self.ranked[:1] for run in point.scored if run.directory]
        return min(runs, key=rank, default=None)

    @property
    def test_metric(self) -> str:
        """The metric of the test split that tells what the objective tells of another."""
        return f"test/{self.objective.rpartition('/')[2]}"

    @property
    def others(self) -> list[str]:
        """The other metrics that were asked for, by the keys of their values."""
        return list(dict.fromkeys(key for p in self.points for run in p.runs for key in run.others))

    def counts(self) -> dict[str, int]:
        """How many points ended in which way."""
        order = (FINISHED, PRUNED, FAILED, KILLED, RUNNING)
        many = {status: sum(p.status == status for p in self.points) for status in order}
        return {status: count for status, count in many.items() if count}

    def troubles(self) -> dict[str, list[Point]]:
        """The points that failed, by the first line of their message, the most frequent first.

        Messages that differ in their numbers alone count as the first of them.
        """
        found: dict[str, list[Point]] = {}
        shown: dict[str, str] = {}
        for point in self.points:
            if point.status in (FAILED, KILLED):
                said = (run.message.strip() for run in point.runs if run.message.strip())
                line = next(said, "no message").splitlines()[0]
                alike = shown.setdefault(_NUMBER.sub("#", line), line)
                found.setdefault(alike, []).append(point)
        return dict(sorted(found.items(), key=lambda item: -len(item[1])))

    def merged(self) -> "Sweep":
        """The same with each recipe once, and with points that differ in their seed as one.

        A search may draw a recipe twice, and what came of one counts for the other.
        """
        once: dict[str, Point] = {}
        for point in self.points:
            known = once.setdefault(point.recipe, point)
            if known.status not in ENDED and point.status in ENDED:
                once[point.recipe] = replace(point, trial=known.trial)
        points = tuple(once.values())
        if all(one.key != SEED for one in self.dimensions):
            return replace(self, points=points)
        groups: dict[str, list[Point]] = {}
        for point in points:
            values = {key: value for key, value in point.values.items() if key != SEED}
            groups.setdefault(json.dumps(values, sort_keys=True, default=str), []).append(point)
        dimensions = tuple(one for one in self.dimensions if one.key != SEED)
        return replace(self, dimensions=dimensions, points=tuple(map(_merge, groups.values())))

    def described(self) -> dict[str, Any]:
        """As `sweep.json` keeps it."""
        asked = asdict(replace(self, points=())) | {"direction": self.direction}
        return {
            key: value for key, value in asked.items() if key not in ("points", "test", "tested")
        }


def read(directory: str | Path) -> Sweep:
    """A sweep from its directory, with each recipe once and its seeds as repeats."""
    directory = Path(directory)
    asked = read_json(directory / SWEEP)
    dimensions = tuple(_dimension(entry) for entry in asked.get("dimensions", ()))
    known: dict[str, Any] = {"id": directory.name, "command": "", "objective": "val/accuracy"}
    known |= _of(asked, Sweep) | {"overrides": tuple(asked.get("overrides", ()))}
    sweep = Sweep(**known | {"dimensions": dimensions, "points": latest(directory)}).merged()
    best = sweep.best_run
    outputs = directory.absolute().parents[1]
    values = last_values(read_points(outputs / str(best.directory))) if best else {}
    test = {key: value for key, value in values.items() if key.startswith("test/")}
    names = [name for point in sweep.points for name in point.directories]
    tested = sum(bool(measured(outputs / name)) for name in names) if test else 0
    trials = sweep.trials or len(sweep.points)
    return replace(sweep, test=test, tested=tested, trials=trials)


def latest(directory: str | Path) -> tuple[Point, ...]:
    """The points of a sweep by their numbers, each as its last line says."""
    points = {point.trial: point for point in lines(directory) if point is not None}
    return tuple(points[trial] for trial in sorted(points))


def lines(directory: str | Path) -> list[Point | None]:
    """What each whole line of the ledger says, oldest first; None where it is damaged."""
    content = read_bytes(Path(directory) / LEDGER).splitlines(keepends=True)
    return [_point(line) for line in content if line.endswith(b"\n")]


def spans_decades(values: Iterable[float]) -> bool:
    """Whether values are positive and so far apart that a logarithmic scale shows them better."""
    found = list(values)
    return bool(found) and min(found) > 0 and max(found) / min(found) > _WIDE


def without_noise(value: float) -> float:
    """A sum of steps as one would write it: 0.3, not 0.30000000000000004."""
    return float(f"{value:.12g}")


def number(value: float) -> str:
    """A number as one types it: 64, 0.1, 1e-6."""
    mantissa, found, exponent = repr(value).partition("e")
    return f"{mantissa}e{int(exponent)}" if found else mantissa


def named(value: object) -> str:
    """A value as one would type it: a number to four digits, or to all where it has more.

    Two values have the same text only where they are equal, so that it tells values apart.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(named, value)) + "]"
    if not isinstance(value, float):
        return json.dumps(value, default=str)
    short = f"{value:.4g}"
    return short if float(short) == value or math.isnan(value) else number(value)


def _merge(group: Sequence[Point]) -> Point:
    """Points that differ in nothing but their seed as one."""
    first = group[0]
    return replace(
        first,
        values={key: value for key, value in first.values.items() if key != SEED},
        overrides=[word for word in first.overrides if shell.key(word) != SEED],
        runs=[run for point in group for run in point.runs],
        status=min((point.status for point in group), key=_WORST_FIRST.index),
    )


def _dimension(entry: Mapping[str, Any]) -> Dimension:
    lists = {key: tuple(entry.get(key) or ()) for key in ("choices", "typed")}
    return Dimension(**_of(entry, Dimension) | lists)


def _point(line: bytes) -> Point | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if not _fits(entry, Point) or not all(_fits(run, RunResult) for run in entry.get("runs", ())):
        return None
    runs = [RunResult(**_of(run, RunResult)) for run in entry.get("runs", ())]
    return Point(**_of(entry, Point) | {"runs": runs})


def _fits(entry: Any, kind: type) -> bool:
    """Whether an entry has all that it needs, of the right types."""
    if not isinstance(entry, dict) or entry.get("status") not in _WORST_FIRST:
        return False
    typed = all(isinstance(value, _TYPES[key]) for key, value in entry.items() if key in _TYPES)
    whole = _needed(kind) <= entry.keys()
    return whole and typed and min(entry.get("trial", 0), entry.get("seed", 0)) >= 0


@cache
def _needed(kind: type) -> set[str]:
    """What every entry of a class has."""
    return {
        each.name
        for each in fields(kind)
        if each.default is MISSING and each.default_factory is MISSING
    }


def _of(entry: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """What a class knows of an entry; a later release may have written more."""
    return {each.name: entry[each.name] for each in fields(kind) if each.name in entry}
