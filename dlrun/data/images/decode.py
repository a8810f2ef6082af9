"""From image files to arrays, with one process for each processor.

Processes, because threads that decode small images mostly wait for the interpreter: on
CIFAR-10's JPEGs two threads were slower than one, two processes 1.8 times faster. They import
neither torch nor anything else that is slow to import.
"""

import os
import pickle
import subprocess
import sys
import threading
import warnings
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

from dlrun.data.fingerprint import hash_samples
from dlrun.data.images.read import Format, ImageInfo, read_image

FEW = 2000
"""Fewer images than this are decoded before new processes would have started."""

Task = tuple[Sequence[str], Format, Sequence[bool]]
"""Paths, how to decode them, and for each whether its values must fit the scale."""

_CHUNK_BYTES = 4 << 20
_COLUMNS = ("height", "width", "bits", "least", "largest", "clear", "moving")
INFOS = np.dtype([(name, np.float64) for name in _COLUMNS])
"""What is kept of the `ImageInfo` of each image."""


@dataclass(frozen=True)
class Chunk:
    """Some decoded images: x (m, c, h, w) of those that could be read.

    infos: (m,) of `INFOS`. faults: of each path, why it cannot be read; empty where it can.
    misfit: the first image that does not fit the form; the chunk then ends before it.
    """

    x: NDArray[Any]
    hashes: NDArray[np.int64]
    infos: NDArray[Any]
    faults: list[str]
    misfit: ImageInfo | None = None


def decode_chunk(paths: Sequence[str], form: Format, decisive: Sequence[bool]) -> Chunk:
    """Decode files; note those that cannot be read."""
    x: NDArray[Any] = np.empty((len(paths), *form.shape), form.dtype)
    infos = np.empty(len(paths), INFOS)
    faults: list[str] = []
    misfit, m = None, 0
    with warnings.catch_warnings(action="ignore"):  # of odd metadata in readable images
        for path, decides in zip(paths, decisive, strict=True):
            try:
                image, info = read_image(path, form, decides)
            except Exception as error:  # what a decoder raises on garbage has no one type
                faults.append(_reason(error))
                continue
            if image is None:
                misfit = info
                break
            x[m] = image
            infos[m] = tuple(getattr(info, name) for name in _COLUMNS)
            faults.append("")
            m += 1
    return Chunk(x[:m], hash_samples(x[:m]), infos[:m], faults, misfit)


def decode(
    paths: Sequence[str],
    form: Format,
    workers: int | None = None,
    decisive: Sequence[bool] | None = None,
) -> Generator[Chunk]:
    """Decode files in parallel; the chunks come in the order of the paths.

    workers: processes; by default as many as this process may use processors.
    decisive: for each path, whether its values must fit the scale; None: for all.
    """
    if decisive is None:
        decisive = [True] * len(paths)
    size = min(max(_CHUNK_BYTES // int(np.prod(form.shape)), 1), 256)
    chunks = [
        (paths[start : start + size], form, decisive[start : start + size])
        for start in range(0, len(paths), size)
    ]
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
        workers = workers or os.cpu_count() or 1
    if workers > 1 and len(paths) >= FEW:
        yield from _decode_in_processes(chunks, workers)
    else:
        for chunk in chunks:
            yield decode_chunk(*chunk)


def serve() -> None:
    """What a decoding process does: read tasks from stdin, write chunks to stdout."""
    with suppress(EOFError, BrokenPipeError):  # the parent was killed
        while True:
            task = pickle.load(sys.stdin.buffer)
            pickle.dump(decode_chunk(*task), sys.stdout.buffer)
            sys.stdout.buffer.flush()
    os._exit(0)  # without flushing to a closed pipe


def _decode_in_processes(tasks: Sequence[Task], workers: int) -> Generator[Chunk]:
    """Decode in plain child processes, one thread waiting for each.

    Not in a pool of `multiprocessing`: its processes run the user's script again, and
    outlive a parent that is killed.
    """
    stopped = threading.Event()
    free: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
    processes = [_start_process() for _ in range(workers)]
    for process in processes:
        free.put(process)

    def ask(task: Task) -> Chunk:
        process = free.get()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump(task, process.stdin)
            process.stdin.flush()
            chunk: Chunk = pickle.load(process.stdout)
            return chunk
        except (OSError, EOFError, pickle.UnpicklingError):
            if stopped.is_set():
                raise
            return decode_chunk(*task)  # killed from outside: go on without it
        finally:
            free.put(process)

    threads = ThreadPoolExecutor(workers)
    try:
        running: deque[Future[Chunk]] = deque()
        for task in tasks:
            running.append(threads.submit(ask, task))
            if len(running) > 4 * workers:  # or a slow reader would fill the memory
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        stopped.set()
        for process in processes:
            process.kill()
        threads.shutdown(cancel_futures=True)
        for process in processes:
            with suppress(OSError):  # flushing to a process that is gone
                process.__exit__(None, None, None)


def _start_process() -> subprocess.Popen[bytes]:
    package = str(Path(__file__).parents[3])
    paths = os.pathsep.join(path for path in (package, os.environ.get("PYTHONPATH")) if path)
    return subprocess.Popen(
        [sys.executable, "-c", "from dlrun.data.images.decode import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
        start_new_session=True,  # Ctrl-C is for the parent, which then closes
    )


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return str(error).split("\n")[0] or type(error).__name__
