"""A random sample of a split, and random numbers for each use of a seed."""

import numpy as np
import torch
from torch import Tensor

from dlrun.data import Split

_SAMPLE = 4  # a use of the seed; the engine has others


def make_generator(use: int, seed: int, epoch: int) -> torch.Generator:
    """Random numbers for one use of (seed, epoch), independent of those for other uses."""
    mixed = np.random.SeedSequence([use, seed, epoch]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(mixed[0]))


def sample(split: Split, count: int, seed: int) -> Tensor:
    """A random sample of a split: `count` rows, or all where it has fewer, in random order.

    Each class has its share, rounded up or down. Never take the first rows instead: sets are
    often sorted by class. (m,) int64.
    """
    generator = make_generator(_SAMPLE, seed, 0)
    n, y = len(split), split.y[split.rows].cpu()
    dealt = torch.randperm(n, generator=generator)
    if not y.is_floating_point():
        dealt = dealt[y[dealt].argsort(stable=True)]
    m = min(count, n)
    start = torch.rand((), generator=generator, dtype=torch.float64)
    places = ((torch.arange(m) + start) * (n / max(m, 1))).long().clamp(max=n - 1)
    chosen = dealt[places][torch.randperm(m, generator=generator)]
    return split.rows[chosen.to(split.rows.device)]
