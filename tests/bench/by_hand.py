"""The runs of a sweep as a script would do them: build, train, validate; nothing is kept.

python -m tests.bench.by_hand RUNS override ...
"""

import sys

import torch

from dlrun.engine.evaluate import samples
from dlrun.job.session import Session
from dlrun.recipe import build, compose
from tests.bench import bare


def main() -> None:
    """Train so many runs, with the seeds 0, 1, ..., in this process."""
    runs, words = int(sys.argv[1]), sys.argv[2:]
    with compose.composer([]) as composer:
        config = composer.recipe(words)
    data = Session().data(config)
    for seed in range(runs):
        config.seed = seed
        run = build.build(config, data)
        parts = list(samples(run, run.val))
        val = torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])
        epochs, size = config.epochs, run.lengths.batch_size
        train = run.train.x, run.train.y
        bare.train(run.model, run.optimizer, train, val, run.order, epochs, size)


if __name__ == "__main__":
    main()
