"""Prove which recipes of the tables are broken: train each and its twin with five paired seeds.

    DLRUN_CIFAR10=cifar10 python -m tests.faults.measure [--only pattern ...]

Writes measured.json beside this file: by name the values of the broken recipe and of its twin,
signed so that higher is better, the mean of the paired differences, its standard error, and
whether the recipe is broken. What stands there for the same words is not trained again.
"""

import argparse
import json
import logging
import math
import os
import shlex
import tempfile
import time
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from omegaconf import DictConfig

from dlrun import record
from dlrun.data import Data
from dlrun.engine.state import begin
from dlrun.engine.train import train
from dlrun.errors import Failure, Mistake
from dlrun.job.session import Session
from dlrun.procedure.train import measured
from dlrun.recipe import build, compose
from tests.faults import sets
from tests.faults.fresh import FRESH
from tests.faults.table import FAULTS, Fault
from tests.faults.unseen import UNSEEN

FILE = Path(__file__).with_name("measured.json")
SEEDS = range(5)
ALL = (*FAULTS, *FRESH, *UNSEEN)
ERRORS = 2.0  # standard errors by which a broken recipe is worse

Values = list[float | None]
Trained = tuple[frozenset[str], str]


def key(words: str, by: str) -> Trained:
    """What tells apart what is trained: the words in whatever order, and what is compared."""
    return frozenset(shlex.split(words)), by


class Silent:
    """Shows nothing of a run."""

    def step(self, step: int, epoch: float, loss: float, samples_per_second: float) -> None:
        """A few times a second."""

    def point(self, step: int, epoch: float, values: dict[str, float]) -> None:
        """After every point that is recorded."""


class Trainer:
    """Trains recipes one after another; keeps the data of the last one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._data: tuple[str, Data] | None = None

    def values(self, words: str, by: str) -> Values:
        """The validation result of each seed, higher is better; None for one that broke off."""
        typed = [*sets.typed(words, self.folder), "threads=1", "tracking=none"]
        with compose.composer([]) as composer:
            recipe = composer.recipe(typed)
        build.check(recipe)
        return [self._value(recipe, seed, by) for seed in SEEDS]

    def _value(self, recipe: DictConfig, seed: int, by: str) -> float | None:
        recipe.seed = seed
        asked = str(recipe.data)
        if self._data is None or self._data[0] != asked:
            self._data = asked, Session().data(recipe)
        with tempfile.TemporaryDirectory(dir=self.folder) as outputs:
            kept = record.create(Path(outputs), "measured", {}, "")
            try:
                run = build.build(recipe, self._data[1])
                standing = train(run, begin(run, kept), kept, Silent()).runs[0]
            except Mistake as mistake:
                if "takes logits, but the model ends in" in str(mistake):  # refused: never trained
                    return None
                raise
            except Failure:  # a loss that is no longer finite
                return None
            finally:
                points = kept.points()
                kept.close()
        if not by:
            return standing.best_score
        if by.startswith("test/"):
            return _score(by, measured(run, "test")[by])
        best = next(point for point in points if point["step"] == standing.best_step)
        return _score(by, best["values"][by])


def _score(by: str, value: float) -> float:
    """A value with the sign that makes higher better: of accuracy, loss and mae."""
    return value if by.endswith("/accuracy") else -value


def judge(broken: Values, mended: Values) -> tuple[float, float, bool]:
    """The mean of the paired differences, its standard error, and whether it is broken.

    A recipe of which most trainings break off is broken, if its twin's do not.
    """
    pairs = [(b, m) for b, m in zip(broken, mended, strict=True) if b is not None and m is not None]
    if broken.count(None) > len(broken) / 2:
        return math.inf, 0.0, None not in mended
    if len(pairs) < 2:
        return 0.0, math.inf, False
    differences = [m - b for b, m in pairs]
    difference, error = mean(differences), stdev(differences) / math.sqrt(len(differences))
    return difference, error, difference > ERRORS * error


def known() -> dict[str, dict[str, Any]]:
    """What has been measured, by name."""
    return json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}


def keep(results: dict[str, dict[str, Any]]) -> None:
    """Write what has been measured, a line each."""
    lines = [f"{json.dumps(name)}: {json.dumps(each)}" for name, each in sorted(results.items())]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def current(fault: Fault, found: dict[str, Any] | None) -> bool:
    """Whether what was found is of the recipe as it stands in the table."""
    asked = {"words": fault.words, "twin": fault.twin, "by": fault.by}
    return found is not None and {key: found[key] for key in asked} == asked


def measure(fault: Fault, trainer: Trainer, trained: dict[Trained, Values]) -> dict[str, Any]:
    """Train a fault and its twin; `trained` remembers what several share."""
    for words in (fault.words, fault.twin):
        if key(words, fault.by) not in trained:
            trained[key(words, fault.by)] = trainer.values(words, fault.by)
    broken, mended = trained[key(fault.words, fault.by)], trained[key(fault.twin, fault.by)]
    difference, error, worse = judge(broken, mended)
    return {
        "words": fault.words,
        "twin": fault.twin,
        "by": fault.by,
        "values": [_round(value) for value in broken],
        "twin_values": [_round(value) for value in mended],
        "difference": _round(difference),
        "error": _round(error),
        "broken": worse,
    }


def _round(value: float | None) -> float | None:
    """Six digits; None for what is not finite, which JSON has not."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what has not been measured, and say what is not broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=["*"], nargs="+", help="names to measure, with * and ?")
    asked = parser.parse_args(arguments)
    logging.getLogger("dlrun").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    results = {f.name: known()[f.name] for f in ALL if current(f, known().get(f.name))}
    trained: dict[Trained, Values] = {}
    for result in results.values():
        trained[key(result["words"], result["by"])] = result["values"]
        trained[key(result["twin"], result["by"])] = result["twin_values"]
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("DLRUN_CACHE", f"{folder}/cache")
        trainer = Trainer(Path(folder))
        for fault in ALL:
            if not any(fnmatch(fault.name, pattern) for pattern in asked.only):
                continue
            if fault.name not in results:
                if sets.missing(fault.words):
                    print(f"{fault.name:36} skipped: {sets.CIFAR10} is not set", flush=True)
                    continue
                start = time.process_time()
                results[fault.name] = measure(fault, trainer, trained)
                spent = time.process_time() - start
                keep(results)
            else:
                spent = 0.0
            print(_line(fault, results[fault.name], spent), flush=True)


def _line(fault: Fault, result: dict[str, Any], spent: float) -> str:
    said = "broken" if result["broken"] else "as it is" if fault.counts else "NOT BROKEN"
    return (
        f"{fault.name:36} {said:10} difference {result['difference']} ± {result['error']} "
        f"of {result['twin_values'][0]}  {spent:.1f} s"
    )


if __name__ == "__main__":
    main()
