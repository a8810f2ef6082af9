"""A random sample of a split, one that stands in for it, and random numbers for each seed."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlrun.data import Data, Split
from dlrun.data.scale import scale_of

_SAMPLE = 4  # a use of the seed; the engine has others
_STAND_IN = 32  # samples


def make_generator(use: int, seed: int, epoch: int) -> torch.Generator:
    """Random numbers for one use of (seed, epoch), independent of those for other uses."""
    mixed = np.random.SeedSequence([use, seed, epoch]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(mixed[0]))


def make_numbers(seed: int) -> np.random.Generator:
    """Random numbers of numpy. Raises ValueError for a seed below 0."""
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
    return np.random.default_rng(seed)


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


def in_order(split: Split, count: int, seed: int) -> Tensor:
    """The rows that `sample` gives, from the least to the greatest; no draw where it takes all."""
    rows = split.rows if len(split) <= count else sample(split, count, seed)
    return rows.sort().values


def stand_in(about: Mapping[str, Any]) -> Data:
    """Random samples in place of a data set, of the shapes, types and classes of its own.

    about: what a record says of the data.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.rand((_STAND_IN, *about["shape"]), generator=generator)
    if about["types"]["x"] == "uint8":
        x = (255 * x).to(torch.uint8)
    rows, classes = torch.arange(_STAND_IN), about["classes"]
    y = rows % max(len(classes), 1)
    if about["types"]["y"] != "int64":  # labels are 0 and 1, and numbers may be between
        y = (rows[:, None] % 2).expand(-1, about["outputs"]).float()
        y = y if about.get("labels", True) else y / 2
    none = Split(x, y, rows[:0])
    return Data(
        name=about["name"],
        train=Split(x, y, rows),
        val=none,
        test=none,
        shape=tuple(about["shape"]),
        classes=tuple(classes),
        outputs=about["outputs"],
        digest=about["digest"],
        scale=scale_of(about),
        depth=about["depth"],
        reading=about["reading"],
    )
