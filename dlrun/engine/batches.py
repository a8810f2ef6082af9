"""From a split to batches: an order of its rows in each epoch, one index-select for each batch.

The order of an epoch is a pure function, so that training can resume in the middle of any epoch.
"""

import ctypes
import mmap
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import islice

import torch
from torch import Tensor

from dlrun.data.sample import make_generator

Batch = tuple[Tensor, Tensor]

AHEAD = 2
"""How many batches the prefetching thread prepares ahead."""

WINDOW = 128 * 2**20
"""Bytes of samples, at least, that the system is asked to read ahead in the order of the disk."""

_SHUFFLE = 1  # a use of (seed, epoch); sampling.py has others


def order(rows: Tensor, epoch: int, seed: int) -> Tensor:
    """The rows of an epoch, (n,) int64, shuffled; depends on (seed, epoch) alone."""
    shuffled = torch.randperm(len(rows), generator=make_generator(_SHUFFLE, seed, epoch))
    return rows[shuffled.to(rows.device)]


def gather(x: Tensor, y: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """x[rows] and y[rows]; all three on one device, x and y possibly memory-mapped."""
    return x.index_select(0, rows), y.index_select(0, rows)


def sizes(count: int, batch_size: int) -> list[int]:
    """Of the batches of so many samples, none of which stands alone where there are others.

    A norm over a batch has no variance of one sample.
    """
    full, left = divmod(count, batch_size)
    found = [batch_size] * full + [left] * (left > 0 or not full)
    if full and left == 1 < batch_size - 1:
        found[-2:] = batch_size - 1, 2
    return found


def batches(
    x: Tensor,
    y: Tensor,
    order: Tensor,
    batch_size: int | list[int],
    device: torch.device | str,
    prefetch: bool = False,
) -> Generator[Batch]:
    """Yield (x, y) of batch after batch on the device, in the given order of rows.

    batch_size: of all but the last, or of each.
    prefetch: gather ahead in a thread, into pinned memory for CUDA; for x outside the device.
        What is mapped from a disk is read in its order, some batches together.
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
    window = max(AHEAD, WINDOW // max(x[:1].nbytes * len(chunks[0]), 1)) if chunks else AHEAD

    def prepare(place: int) -> tuple[Tensor, Tensor]:
        if place % window == 0:
            first = place + window if place else 0
            will_need(x, torch.cat([*chunks[first : place + 2 * window], chunks[0][:0]]))
        by_place = chunks[place].argsort()
        bx, by = gather(x, y, chunks[place][by_place])
        bx, by = (each.index_select(0, by_place.argsort()) for each in (bx, by))
        return (bx.pin_memory(), by.pin_memory()) if pin else (bx, by)

    thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
    try:
        waiting = iter(range(len(chunks)))
        ahead: deque[Future[tuple[Tensor, Tensor]]] = deque(
            thread.submit(prepare, place) for place in islice(waiting, AHEAD)
        )
        while ahead:
            bx, by = ahead.popleft().result()
            ahead.extend(thread.submit(prepare, place) for place in islice(waiting, 1))
            yield bx.to(device, non_blocking=pin), by.to(device, non_blocking=pin)
    finally:
        thread.shutdown(cancel_futures=True)


def will_need(x: Tensor, rows: Tensor) -> None:
    """Let the system begin to read these rows of mapped memory, in the order of the disk.

    It reads into its own cache of files, which gives way where memory is short; on Windows
    nothing happens.
    """
    if sys.platform == "win32" or x.device.type != "cpu" or not len(rows):
        return
    advise, size, page = _madvise(), x[0].nbytes, mmap.PAGESIZE
    if size < page:  # several samples share what is read at once
        return
    for row in rows.sort().values.tolist():
        start = x.data_ptr() + row * size
        begins = start // page * page
        advise(begins, start + size - begins, mmap.MADV_WILLNEED)


@cache
def _madvise() -> Callable[[int, int, int], int]:
    function = ctypes.CDLL(None).madvise
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    advise: Callable[[int, int, int], int] = function
    return advise


def grouped(samples: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Mini-batches in lists of `size`; the last list may be shorter."""
    left = iter(samples)
    return iter(lambda: list(islice(left, size)), [])
