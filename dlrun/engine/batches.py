"""From a split to batches: an order of its rows in each epoch, one index-select for each batch.

The order of an epoch is a pure function, so that training can resume in the middle of any epoch.
"""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import torch
from torch import Tensor

from dlrun.data.sample import make_generator

Batch = tuple[Tensor, Tensor]

AHEAD = 2
"""How many batches the prefetching thread prepares ahead."""

_SHUFFLE = 1  # a use of (seed, epoch); sampling.py has others


def order(rows: Tensor, epoch: int, seed: int) -> Tensor:
    """The rows of an epoch, (n,) int64, shuffled; depends on (seed, epoch) alone."""
    shuffled = torch.randperm(len(rows), generator=make_generator(_SHUFFLE, seed, epoch))
    return rows[shuffled.to(rows.device)]


def gather(x: Tensor, y: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """x[rows] and y[rows]; all three on one device, x and y possibly memory-mapped."""
    return x.index_select(0, rows), y.index_select(0, rows)


def batches(
    x: Tensor,
    y: Tensor,
    order: Tensor,
    batch_size: int,
    device: torch.device | str,
    prefetch: bool = False,
) -> Generator[Batch]:
    """Yield (x, y) of batch after batch on the device, in the given order of rows.

    prefetch: gather ahead in a thread, into pinned memory for CUDA; for x outside the device.
        Errors of the thread are raised here; closing the generator ends it.
    """
    device = torch.device(device)
    chunks = torch.split(order.to(x.device), batch_size)
    if prefetch:
        yield from _gather_ahead(x, y, chunks, device)
    elif x.device == device or (x.device.type == device.type == "cpu"):
        for rows in chunks:
            yield x.index_select(0, rows), y.index_select(0, rows)
    else:
        for rows in chunks:
            bx, by = gather(x, y, rows)
            yield bx.to(device), by.to(device)


def _gather_ahead(
    x: Tensor, y: Tensor, chunks: tuple[Tensor, ...], device: torch.device
) -> Generator[Batch]:
    pin = device.type == "cuda"

    def prepare(rows: Tensor) -> tuple[Tensor, Tensor]:
        bx, by = gather(x, y, rows)
        return (bx.pin_memory(), by.pin_memory()) if pin else (bx, by)

    thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
    try:
        waiting = iter(chunks)
        ahead: deque[Future[tuple[Tensor, Tensor]]] = deque(
            thread.submit(prepare, rows) for rows in islice(waiting, AHEAD)
        )
        while ahead:
            bx, by = ahead.popleft().result()
            ahead.extend(thread.submit(prepare, rows) for rows in islice(waiting, 1))
            yield bx.to(device, non_blocking=pin), by.to(device, non_blocking=pin)
    finally:
        thread.shutdown(cancel_futures=True)


def grouped(samples: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Mini-batches in lists of `size`; the last list may be shorter."""
    group: list[Batch] = []
    for batch in samples:
        group.append(batch)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
