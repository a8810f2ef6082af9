"""Runs that train at once against the same runs one after another, in one process.

The gain is a ratio of marginal times: of K more runs, by the difference between 2K and K.
"""

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from omegaconf import DictConfig

from dlrun import record
from dlrun.data import Data
from dlrun.engine.run import Run
from dlrun.engine.stack import StackedStep, apart, unfit
from dlrun.engine.state import begin_together
from dlrun.engine.step import SingleStep, Step
from dlrun.engine.train import Member, train_together
from dlrun.recipe import build, compose


@dataclass(frozen=True)
class Case:
    """A recipe, how many of it train at once, and the gain that is good enough."""

    name: str
    recipe: Sequence[str]
    runs: int
    at_least: float


CASES = (
    Case("64-64-10 MLP, digits, batch 32, 32 at once", ["epochs=20"], 32, 5.0),
    Case("64-64-10 MLP, digits, batch 32, 128 at once", ["epochs=20"], 128, 8.0),
)
SINGLE = 3  # runs, one after another


class Quiet:
    """Shows nothing."""

    def step(self, step: int, epoch: float, loss: float, samples_per_second: float) -> None:
        """A few times a second."""

    def point(self, step: int, epoch: float, values: dict[str, float]) -> None:
        """After every point."""


def compare(case: Case, repeats: int, epochs: int | None = None) -> dict[str, float | str]:
    """The median gain over `repeats`, and the seconds of a run in both ways."""
    words = [*case.recipe, *([f"epochs={epochs}"] if epochs else []), "tracking=none", "threads=1"]
    with compose.composer([]) as composer:
        config = composer.recipe(words)
    data = build.load_data(config)
    alone, together = [], []
    _seconds(_built(config, data, 1), 1)  # warm
    for _ in range(repeats):
        alone.append(_seconds(_built(config, data, SINGLE), 1) / SINGLE)
        fewer = _seconds(_built(config, data, case.runs), case.runs)
        more = _seconds(_built(config, data, 2 * case.runs), 2 * case.runs)
        together.append((more - fewer) / case.runs)
    return {
        "case": case.name,
        "alone": statistics.median(alone),
        "together": statistics.median(together),
        "ratio": statistics.median(a / b for a, b in zip(alone, together, strict=True)),
        "at least": case.at_least,
    }


def _built(config: DictConfig, data: Data, count: int) -> list[Run]:
    """Runs of seeds and rates of their own."""
    found = []
    for seed in range(count):
        config.seed, config.optimizer.lr = seed, 0.02 + 0.0005 * seed
        found.append(build.build(config.copy(), data))
    return found


def _seconds(runs: Sequence[Run], size: int) -> float:
    """To train runs, so many at once, each with its record."""
    assert not unfit(runs[0])
    assert not any(apart(runs[0], run) for run in runs)
    with tempfile.TemporaryDirectory() as folder:
        kept = [record.create(folder, "bench", {"versions": {}, "git": {}}, "") for _ in runs]
        begun = perf_counter()
        for start in range(0, len(runs), size):
            some, records = runs[start : start + size], kept[start : start + size]
            state = begin_together(some, records)
            pairs = zip(some, state.runs, records, strict=True)
            members = [Member(*each, Quiet()) for each in pairs]
            step: Step = StackedStep(some) if size > 1 else SingleStep(some[0])
            for _ in train_together(members, state, step):
                pass
        seconds = perf_counter() - begun
        for each in kept:
            each.close()
    return seconds
