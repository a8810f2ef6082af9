"""What the loop eats: a split on its way to the device, preprocessed beforehand where it fits.

Without augmentation every sample looks the same in every epoch, so it is preprocessed
once and a batch is one index-select; with it, or where memory is short, the raw samples
are kept and each batch is preprocessed on the device.
"""

import os
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dlrun.data import Split

_SHARE = 0.25  # of the free memory that one split may take


@dataclass(frozen=True)
class PreparedSplit:
    """x[rows], y[rows] are the samples of a split.

    prepared: they are ready for the model, else raw. prefetch: gathering a batch may wait
    for a disk or for a transfer to the device, so a thread does it ahead. source: what they were
    prepared from.
    """

    x: Tensor
    y: Tensor
    rows: Tensor
    prepared: bool
    prefetch: bool = False
    source: Split | None = None

    def __len__(self) -> int:
        return len(self.rows)


@torch.no_grad()
def prepare(
    split: Split, preprocessing: nn.Module, device: torch.device, fixed: bool
) -> PreparedSplit:
    """Preprocess a split once and hold it on the device, if `fixed` and if memory allows.

    Where only the raw samples fit, these are held there; otherwise they stay where they are.
    """
    count = len(split)
    if not count:
        return PreparedSplit(split.x, split.y, split.rows, prepared=False)
    first = preprocessing(split.x[split.rows[:1]].to(device))  # for its shape and type alone
    if fixed and _fits(first.nbytes * count, device):
        x = torch.empty((count, *first.shape[1:]), dtype=first.dtype, device=device)
        _fill(x, split, preprocessing)
        return PreparedSplit(x, *_on(device, split), prepared=True, source=split)
    fits = _fits(split.x[0].nbytes * count, device)
    if fits and device.type != "cpu":
        x = split.x.index_select(0, split.rows).to(device)
        return PreparedSplit(x, *_on(device, split), prepared=False)
    return PreparedSplit(split.x, split.y, split.rows, prepared=False, prefetch=not fits)


@torch.no_grad()
def prepared_again(feed: PreparedSplit, preprocessing: nn.Module) -> PreparedSplit:
    """What lies ready as the preprocessing makes it now, apart from what other runs have."""
    if feed.source is None:
        return feed
    x = torch.empty_like(feed.x)
    _fill(x, feed.source, preprocessing)
    return replace(feed, x=x)


def _fill(x: Tensor, split: Split, preprocessing: nn.Module) -> None:
    """The samples of a split, preprocessed on the device of x, some millions of values at once."""
    chunk = max(1, 2**22 // max(x[0].numel(), 1))
    for start in range(0, len(x), chunk):
        rows = split.rows[start : start + chunk]
        x[start : start + chunk] = preprocessing(split.x.index_select(0, rows).to(x.device))


def _on(device: torch.device, split: Split) -> tuple[Tensor, Tensor]:
    """The targets on the device, and the rows of samples that lie there in their order."""
    return split.y.index_select(0, split.rows).to(device), torch.arange(len(split), device=device)


def _fits(size: int, device: torch.device) -> bool:
    """Whether `size` bytes are a small enough share of the memory that is free now."""
    return size <= _SHARE * free_memory(device)


def free_memory(device: torch.device) -> int:
    """Bytes that may still be taken there; a guess where nobody says."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return _available()
    return 8 * 2**30


def _available() -> int:
    """Bytes of memory that programs may still take; on Linux that includes file caches."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
