"""What one more run of a sweep or of a procedure costs, at once with others and one by one.

Whole commands, recording and delivery included. The cost of a run is the difference between a
command of 2K runs and one of K, by K; the gain is the ratio of both ways.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from dlrun.data import Data
from tests.bench import folder


@dataclass(frozen=True)
class Case:
    """A command; `{n}` in it is how many runs it makes. few: of those that train one by one."""

    name: str
    words: Sequence[str]
    runs: int
    at_least: float
    few: int = 12
    images: bool = False


_IMAGES = 10_000
SEEDS = ("-m", "seed=range(0,{n})")
SEARCH = (
    *("-m", "sweep=random", "sweep.trials={n}", "model=mlp", "model.hidden=[50]"),
    *("optimizer.lr=tag(log,interval(1e-4,1e-2))", "batch_size=100", "epochs=2"),
    *("regularization=[l2]", "regularization.l2.strength=tag(log,interval(1e-4,1))"),
)
CASES = (
    Case("MLP, digits, 32 at once", (*SEEDS, "epochs=20"), 32, 5.0),
    Case("MLP, digits, 128 at once", (*SEEDS, "epochs=20"), 128, 8.0),
    Case("3072-50-10 MLP, images, 22 at once", SEARCH, 22, 1.5, few=3, images=True),
    Case("small CNN, digits, auto", (*SEEDS, "model=cnn", "epochs=2"), 32, 0.95),
    Case("10 folds", ("procedure=cross_validate", "procedure.folds={n}"), 10, 4.0),
    Case("25 bags", ("procedure=bagging", "procedure.models={n}"), 25, 4.0),
)


def compare(images: Data, repeats: int) -> list[dict[str, Any]]:
    """Medians over `repeats` pairs of commands of each way, taken in turn."""
    rows, data = [], _saved(images, Path(folder.new()))
    for case in CASES:
        words = [*case.words, *(data if case.images else ())]
        alone, at_once = [], []
        for _ in range(repeats):
            alone.append(_cost([*words, "sweep.stack=off"], case.few))
            at_once.append(_cost(words, case.runs))
        gains = [a / b for a, b in zip(alone, at_once, strict=True)]
        rows.append(
            {
                "case": case.name,
                "one more alone (ms)": 1000 * median(alone),
                "one more at once (ms)": 1000 * median(at_once),
                "gain": median(gains),
                "wanted": case.at_least,
            }
        )
    return rows


def _saved(images: Data, place: Path) -> list[str]:
    """Write some images into a file; gives the words that choose it."""
    rows = images.train.rows[:_IMAGES]
    x, y = (each.index_select(0, rows).numpy() for each in (images.train.x, images.train.y))
    np.savez(place / "images.npz", x_train=x, y_train=y)
    return ["data=arrays", f"data.path={place / 'images.npz'}"]


def _cost(words: Sequence[str], runs: int) -> float:
    """Seconds of one more run."""
    return (_seconds(words, 2 * runs) - _seconds(words, runs)) / runs


def _seconds(words: Sequence[str], runs: int) -> float:
    typed = [word.replace("{n}", str(runs)) for word in words]
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    own, begun = folder.new(), perf_counter()
    subprocess.run(
        [sys.executable, "-m", "dlrun", *typed],
        cwd=own,
        env=environment | {"PYTHONPATH": str(Path(__file__).parents[2])},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return perf_counter() - begun
