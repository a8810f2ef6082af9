"""Runs that train at once against the same runs one after another, in one process.

The gain is a ratio of marginal times: of K more runs, by the difference between 2K and K; of
folds and bags, and on a GPU, of the time of all.
"""

import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import torch
from omegaconf import DictConfig, OmegaConf

from dlrun import record
from dlrun.data import Data
from dlrun.engine import device
from dlrun.engine.run import Run
from dlrun.engine.state import begin_together
from dlrun.engine.step import SingleStep, Step
from dlrun.engine.train import Member, train_together
from dlrun.procedure.bagging import drawn
from dlrun.procedure.cross_validate import deal
from dlrun.recipe import build, compose
from dlrun.stack import StackedStep, apart, unfit, worth

Rows = dict[str, list[int]]


@dataclass(frozen=True)
class Case:
    """A recipe, how many of it train at once, and the gain that is good enough.

    options: of each run, by its number. deals: the rows of each, where they differ; then all runs
    of the procedure are timed, and none more. images: whether the data are noise of the size of
    CIFAR-10. gpu: whether it is for a GPU, where one is.
    """

    name: str
    recipe: Sequence[str]
    runs: int
    at_least: float
    options: Callable[[int], dict[str, float]] = lambda n: {
        "seed": n,
        "optimizer.lr": 0.02 + n / 2e3,
    }
    deals: Callable[[Data], list[Rows]] | None = None
    images: bool = False
    gpu: bool = False


def _folds(data: Data) -> list[Rows]:
    rows = torch.cat([data.train.rows, data.val.rows]).sort().values.numpy()
    dealt = deal(rows, data.train.y.numpy(), 10, 1, "10%", seed=0)
    return [{name: fold.rows[name].tolist() for name in ("train", "val")} for fold in dealt]


def _bags(data: Data) -> list[Rows]:
    pairs = (drawn(data, seed) for seed in range(25))
    return [{"train": bag.tolist(), "val": rest.tolist()} for bag, rest in pairs]


def _strengths(number: int) -> dict[str, float]:
    rate, strength = divmod(number, 2)
    return {"optimizer.lr": 0.001 * (1 + rate), "regularization.l2.strength": 1e-3 * 10**-strength}


_SMALL = ("model=cnn", "model.channels=[4,8]")
MLP = "64-64-10 MLP, digits, batch 32"
CASES = (
    Case(f"{MLP}, 32 at once", ["epochs=20"], 32, 5.0),
    Case(f"{MLP}, 128 at once", ["epochs=20"], 128, 8.0),
    Case(f"{MLP}, 10 folds", ["epochs=20"], 10, 4.0, lambda n: {}, _folds),
    Case(f"{MLP}, 25 bags", ["epochs=20"], 25, 4.0, lambda n: {"seed": n}, _bags),
    Case(
        "3072-50-10 MLP, size of CIFAR-10, batch 100, 22 rates and strengths of L2",
        ["epochs=10", "batch_size=100", "model.hidden=[50]", "regularization=[l2]"],
        *(22, 1.5, _strengths, None, True),
    ),
    Case("small CNN, digits, 32 at once", [*_SMALL, "epochs=2"], 32, 0.95),
    Case(f"GPU: {MLP}, 64 at once", ["epochs=20"], 64, 30.0, gpu=True),
    Case("GPU: small CNN, digits, 64 at once", [*_SMALL, "epochs=20"], 64, 30.0, gpu=True),
    Case("GPU: CNN, digits, 64 at once", ["model=cnn", "epochs=5"], 64, 30.0, gpu=True),
)
SINGLE = 3  # runs, one after another


class Quiet:
    """Shows nothing."""

    def step(self, step: int, epoch: float, loss: float, samples_per_second: float) -> None:
        """A few times a second."""

    def point(self, step: int, epoch: float, values: dict[str, float]) -> None:
        """After every point."""


def cases() -> list[Case]:
    """Those of this machine."""
    return [case for case in CASES if torch.cuda.is_available() or not case.gpu]


def compare(case: Case, repeats: int, epochs: int | None = None) -> dict[str, float | str]:
    """The median gain over `repeats`, and the seconds of a run in both ways."""
    words = [*case.recipe, *([f"epochs={epochs}"] if epochs else []), "tracking=none"]
    words.append(f"device={'cuda' if case.gpu else 'cpu'}")
    with compose.composer([]) as composer:
        config = composer.recipe(words)
    source = build.read_data(config)
    data = build.split_data(config, source)
    if case.images:
        data = _noise(data)
    rows = case.deals(data) if case.deals else []
    splits = [build.split_data(config, source, each) for each in rows] or [data]
    alone, together = [], []
    for size in (1, case.runs) if case.gpu else (1,):  # warm; cuDNN tries its ways once
        _seconds(_built(case, config, splits, size), size)
    for _ in range(repeats):
        alone.append(_seconds(_built(case, config, splits, SINGLE), 1) / SINGLE)
        fewer = _seconds(_built(case, config, splits, case.runs), case.runs)
        if rows or case.gpu:
            together.append(fewer / case.runs)
            continue
        more = _seconds(_built(case, config, splits, 2 * case.runs), 2 * case.runs)
        together.append((more - fewer) / case.runs)
    return {
        "case": case.name,
        "alone": statistics.median(alone),
        "together": statistics.median(together),
        "ratio": statistics.median(a / b for a, b in zip(alone, together, strict=True)),
        "at least": case.at_least,
    }


def _noise(data: Data) -> Data:
    """Others of the size of CIFAR-10's images."""
    draw = torch.Generator().manual_seed(0)
    count = len(data.train.x)
    x = torch.rand(count, 3, 32, 32, generator=draw)
    parts = {name: replace(getattr(data, name), x=x) for name in ("train", "val", "test")}
    return replace(data, shape=(3, 32, 32), **parts)


def _built(case: Case, config: DictConfig, splits: Sequence[Data], count: int) -> list[Run]:
    """So many of the runs; those of a procedure each have a split of their own."""
    found = []
    for number in range(count):
        recipe = config.copy()
        for name, value in case.options(number).items():
            OmegaConf.update(recipe, name, value)
        found.append(build.build(recipe, splits[number % len(splits)]))
    return found


def _seconds(runs: Sequence[Run], size: int) -> float:
    """To train runs, so many at once, each with its record."""
    assert not unfit(runs[0])
    assert not any(apart(runs[0], run) for run in runs) or size == 1
    with tempfile.TemporaryDirectory() as folder:
        kept = [record.create(folder, "bench", {"versions": {}, "git": {}}, "") for _ in runs]
        begun = perf_counter()
        for start in range(0, len(runs), size):
            some, records = runs[start : start + size], kept[start : start + size]
            state = begin_together(some, records)
            pairs = zip(some, state.runs, records, strict=True)
            members = [Member(*each, Quiet()) for each in pairs]
            step: Step = StackedStep(some) if size > 1 else SingleStep(some[0])
            with device.threads(worth.threads(some, asked=None, cores=None)):
                for _ in train_together(members, state, step):
                    pass
        seconds = perf_counter() - begun
        for each in kept:
            each.close()
    return seconds
