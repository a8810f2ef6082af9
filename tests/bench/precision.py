"""bf16 with channels_last against float32 on the five-convolution network."""

import tempfile
from collections.abc import Sequence
from statistics import mean, median, stdev
from typing import Any

from dlrun import record
from dlrun.console.progress import Progress
from dlrun.data import Data
from dlrun.engine.state import State
from dlrun.engine.train import train
from dlrun.recipe import build, compose
from tests.bench.loop import part_of

CNN = ("model=cnn", "augmentation=[flip,crop]", "batch_size=128", "epochs=2", "tracking=none")
WAYS = {
    "float32": (),
    "float32, channels_last": ("channels_last=true",),
    "bf16": ("precision=bf16",),
    "bf16, channels_last": ("precision=bf16", "channels_last=true"),
}


def compare(images: Data, repeats: int) -> list[dict[str, Any]]:
    """Median seconds, validation included; times faster than float32, pair by pair."""
    data = part_of(images, 5_120)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    accuracy: dict[str, list[float]] = {way: [] for way in WAYS}
    for seed in range(repeats):
        for way, words in WAYS.items():
            took, reached = _train([*CNN, *words, f"seed={seed}"], data)
            seconds[way].append(took)
            accuracy[way].append(reached)
    return [
        {
            "case": f"5-convolution CNN, batch 128, {way}",
            "seconds": median(seconds[way]),
            "times faster": median(
                base / took for base, took in zip(seconds["float32"], seconds[way], strict=True)
            ),
            "val/accuracy": f"{mean(accuracy[way]):.3f} ± {stdev(accuracy[way]):.3f}",
        }
        for way in WAYS
    ]


def _train(recipe: Sequence[str], data: Data) -> tuple[float, float]:
    with compose.composer([]) as composer:
        config = composer.recipe(recipe)
    run = build.build(config, data)
    with tempfile.TemporaryDirectory() as folder:
        kept = record.create(folder, "bench", run.facts(), "")
        train(run, State(), kept, Progress())
        values = kept.points()[-1]["values"]
        kept.close()
    return values["time/elapsed"], values["val/accuracy"]
