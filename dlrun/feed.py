"""What the loop eats: a split on its way to the device, preprocessed beforehand where it fits.

Without augmentation every sample looks the same in every epoch, so it is preprocessed
once and a batch is one index-select; with it, or where memory is short, the raw samples
are kept and each batch is preprocessed on the device.
"""

import os
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dlrun.data import Split

_SHARE = 0.25  # of the free memory that one split may take


@dataclass(frozen=True)
class Feed:
    """x[rows], y[rows] are the samples of a split; `prepared` ones are ready for the model."""

    x: Tensor
    y: Tensor
    rows: Tensor
    prepared: bool

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def prefetch(self) -> bool:
        """Whether gathering a batch may wait for a disk or for a transfer."""
        return not self.prepared and self.x.device.type == "cpu" and not _fits(self.x.nbytes, "cpu")


@torch.no_grad()
def prepare(split: Split, preprocessing: nn.Module, device: torch.device, fixed: bool) -> Feed:
    """Preprocess a split once and hold it on the device, if `fixed` and if memory allows.

    Where only the raw samples fit, these are held there; otherwise they stay where they are.
    """
    count = len(split)
    if not count:
        return Feed(split.x, split.y, split.rows, prepared=False)
    first = preprocessing(split.x[split.rows[:1]].to(device))
    if fixed and _fits(first[0].nbytes * count, device.type):
        x = torch.empty((count, *first.shape[1:]), dtype=first.dtype, device=device)
        chunk = max(1, 2**22 // max(first[0].numel(), 1))
        for start in range(0, count, chunk):
            part = split.rows[start : start + chunk]
            x[start : start + chunk] = preprocessing(split.x.index_select(0, part).to(device))
        y = split.y.index_select(0, split.rows).to(device)
        return Feed(x, y, torch.arange(count, device=device), prepared=True)
    if device.type != "cpu" and _fits(split.x[0].nbytes * count, device.type):
        x = split.x.index_select(0, split.rows).to(device)
        y = split.y.index_select(0, split.rows).to(device)
        return Feed(x, y, torch.arange(count, device=device), prepared=False)
    return Feed(split.x, split.y, split.rows, prepared=False)


def _fits(size: int, kind: str) -> bool:
    """Whether `size` bytes are a small enough share of the memory that is free now."""
    if kind == "cuda":
        free = torch.cuda.mem_get_info()[0]
    elif hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        free = _available()
    else:
        free = 8 * 2**30
    return size <= _SHARE * free


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
