"""dlrun's loop against the bare one, in turn in one process, on the same weights and batches."""

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch
from omegaconf import DictConfig
from torch import Tensor

from dlrun import record
from dlrun.console.progress import Progress
from dlrun.data import Data, Split
from dlrun.engine.evaluate import samples
from dlrun.engine.run import Run
from dlrun.engine.state import State
from dlrun.engine.train import train
from dlrun.job.session import Session
from dlrun.recipe import build, compose
from dlrun.tracking import start
from dlrun.tracking.follower import Follower
from tests.bench import bare


@dataclass(frozen=True)
class Case:
    """A recipe to time, and the highest ratio of epoch times that is good enough."""

    name: str
    recipe: Sequence[str]
    at_most: float
    samples: int | None = None


CASES = (
    Case("64-64-10 MLP, digits, batch 32", ["epochs=60"], 1.05),
    Case(
        "3072-50-10 MLP, CIFAR-10, batch 100",
        ["model.hidden=[50]", "batch_size=100", "epochs=3", "optimizer.lr=0.01"],
        1.03,
        20_000,
    ),
    Case(
        "5-convolution CNN, batch 128, flip, crop",
        ["model=cnn", "augmentation=[flip,crop]", "batch_size=128", "epochs=1"],
        1.02,
        2_560,
    ),
)


def compare(case: Case, images: Data, repeats: int) -> dict[str, float | str]:
    """The median ratio of epoch times over `repeats` pairs, and the median times."""
    with compose.composer([]) as composer:
        config = composer.recipe([*case.recipe, "tracking=none"])
    data = Session().data(config) if case.samples is None else part_of(images, case.samples)
    ours, theirs, same = [], [], True
    with tempfile.TemporaryDirectory() as folder:
        follower = start(outputs=folder, model=False, checkpoints=False)
        _bare(config, data)  # warm: allocator, caches, kernels
        for _ in range(repeats):
            seconds, weights = _dlrun(config, data, folder, follower)
            ours.append(seconds)
            seconds, bare_weights = _bare(config, data)
            theirs.append(seconds)
            same &= all(map(torch.equal, weights, bare_weights))
        follower.close()
    return {
        "case": case.name,
        "dlrun": statistics.median(ours),
        "bare": statistics.median(theirs),
        "ratio": statistics.median(a / b for a, b in zip(ours, theirs, strict=True)),
        "at most": case.at_most,
        "weights": "identical" if same else "DIFFERENT",
    }


def _dlrun(
    config: DictConfig, data: Data, folder: str, follower: Follower
) -> tuple[float, list[Tensor]]:
    run = build.build(config, data)
    kept = record.create(folder, "bench", run.facts(), "")
    follower.follow(kept.directory)
    show = Progress()
    show.begin("", run.lengths.total_steps, run.lengths.steps_per_epoch)
    begin = perf_counter()
    train(run, State(), kept, show)
    seconds = perf_counter() - begin
    show.end()
    final = torch.load(kept.directory / "checkpoints/last.pt", weights_only=True)["model"]
    kept.set_status(record.FINISHED)
    kept.close()
    return seconds / _epochs(run), list(final.values())


def _bare(config: DictConfig, data: Data) -> tuple[float, list[Tensor]]:
    run = build.build(config, data)
    feed = run.train
    parts = list(samples(run, run.val))
    val = torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])

    def augment(x: Tensor) -> Tensor:
        assert run.augmentation is not None
        return run.augmentation(x, data.train.y, run.generator)[0]

    seconds = bare.train(
        run.model,
        run.optimizer,
        (feed.x, feed.y),
        val,
        run.order,
        _epochs(run),
        run.lengths.batch_size,
        None if feed.prepared else run.preprocessing,
        augment if run.augmentation else None,
    )
    return seconds, [value.detach() for value in run.model.state_dict().values()]


def _epochs(run: Run) -> int:
    return run.lengths.total_steps // run.lengths.steps_per_epoch


def part_of(data: Data, samples: int) -> Data:
    """Random samples of the training split, and a fifth as many to validate."""
    generator = torch.Generator().manual_seed(0)

    def some(rows: Tensor, count: int) -> Tensor:
        return rows[torch.randperm(len(rows), generator=generator)[:count]]

    train, val = data.train, data.val
    return Data(
        data.name,
        Split(train.x, train.y, some(train.rows, samples)),
        Split(val.x, val.y, some(val.rows, samples // 5)),
        Split(val.x, val.y, val.rows[:0]),
        data.shape,
        data.classes,
        data.outputs,
        data.digest,
    )


def images(root: Path | None) -> Data:
    """CIFAR-10 as a folder of images, or random ones of the same size where there is none."""
    if root is not None:
        with compose.composer([]) as composer:
            config = composer.recipe(["data=imagefolder", f"data.root={root}"])
        return Session().data(config)
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (30_000, 3, 32, 32), generator=generator, dtype=torch.uint8)
    y = torch.randint(0, 10, (30_000,), generator=generator)
    rows = torch.arange(30_000)
    splits = [Split(x, y, part) for part in rows.split([25_000, 4_000, 1_000])]
    names = tuple(map(str, range(10)))
    return Data("random images", *splits, (3, 32, 32), names, 10, "")
