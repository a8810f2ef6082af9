"""From image files to arrays, in as many processes as there are processors.

Processes, because threads that decode small images mostly wait for the interpreter:
on CIFAR-10's JPEGs two threads were slower than one, two processes 1.8 times faster.
The processes import neither torch nor anything else that takes long.
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
from PIL import Image, ImageOps, UnidentifiedImageError

from dlrun.data.fingerprint import hash_samples

FEW = 2000
"""Fewer images are decoded sooner than new processes start."""

_CHUNK_BYTES = 4 << 20
_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)


@dataclass(frozen=True)
class Form:
    """What decoded images shall look like.

    mode: L (grey) or RGB.
    size: (height, width).
    resize: to that size; otherwise an image of another size is misfit.
    only_grey: a colour image is misfit.
    """

    mode: str
    size: tuple[int, int]
    resize: bool
    only_grey: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return (len(self.mode) if self.mode == "RGB" else 1, *self.size)


@dataclass(frozen=True)
class Chunk:
    """Some decoded images: x (m, c, h, w) uint8 of those that could be read.

    kept: the m positions in the chunk's paths; bad: (position, reason) of the others.
    misfit: the (height, width, is colour) of the first image that does not fit the form;
        the chunk then ends there.
    """

    x: NDArray[np.uint8]
    hashes: NDArray[np.int64]
    kept: list[int]
    bad: list[tuple[int, str]]
    misfit: tuple[int, int, bool] | None = None


def read_header(path: str) -> tuple[int, int, bool]:
    """Height and width as shown, and whether it has colour, without decoding the pixels."""
    with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
        turned = image.getexif().get(_ORIENTATION) in _TURNED
        width, height = reversed(image.size) if turned else image.size
        return height, width, _has_colour(image)


def read_image(path: str, form: Form) -> NDArray[np.uint8] | tuple[int, int, bool]:
    """Decode one file to (c, h, w) uint8, or give its (height, width, is colour) if misfit.

    Turned as its EXIF orientation says. Transparency is left out, 16 bits become their
    upper 8, an animation its first frame. Resized with PIL's antialiased bicubic filter,
    after a large JPEG was decoded at the smallest scale that has twice that size.
    """
    with Image.open(path) as opened:
        image: Image.Image = opened
        if form.resize:
            side = 2 * max(form.size)
            image.draft(None, (side, side))
        colour = _has_colour(image)
        image.load()
        if image.getexif().get(_ORIENTATION, 1) != 1:
            image = ImageOps.exif_transpose(image)
        size = (image.height, image.width)
        if (colour and form.only_grey) or not (form.resize or size == form.size):
            return *size, colour
        image = _convert(image, form.mode)
        if size != form.size:
            image = image.resize(form.size[::-1], Image.Resampling.BICUBIC)
        pixels = np.asarray(image)
    return pixels[None] if form.mode == "L" else pixels.transpose(2, 0, 1)


def decode_chunk(paths: Sequence[str], form: Form) -> Chunk:
    """Decode files, taking note of those that cannot be read."""
    x = np.empty((len(paths), *form.shape), np.uint8)
    kept: list[int] = []
    bad: list[tuple[int, str]] = []
    misfit = None
    with warnings.catch_warnings(action="ignore"):  # of odd metadata in readable images
        for i, path in enumerate(paths):
            try:
                image = read_image(path, form)
            except Exception as error:  # what a decoder raises on garbage has no one type
                bad.append((i, _reason(error)))
                continue
            if isinstance(image, tuple):
                misfit = image
                break
            x[len(kept)] = image
            kept.append(i)
    x = x[: len(kept)]
    return Chunk(x, hash_samples(x), kept, bad, misfit)


def decode(paths: Sequence[str], form: Form, workers: int | None = None) -> Generator[Chunk]:
    """Decode files in parallel; the chunks come in the order of the paths.

    workers: processes; by default as many as this process may use processors.
    """
    size = min(max(_CHUNK_BYTES // int(np.prod(form.shape)), 1), 256)
    chunks = [paths[start : start + size] for start in range(0, len(paths), size)]
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
        workers = workers or os.cpu_count() or 1
    if workers > 1 and len(paths) >= FEW:
        yield from _decode_in_processes(chunks, form, workers)
    else:
        for chunk in chunks:
            yield decode_chunk(chunk, form)


def serve() -> None:
    """The life of a decoding process: chunks to do come in by stdin, done go out by stdout."""
    with suppress(EOFError, BrokenPipeError):  # the parent was killed
        while True:
            paths, form = pickle.load(sys.stdin.buffer)
            pickle.dump(decode_chunk(paths, form), sys.stdout.buffer)
            sys.stdout.buffer.flush()
    os._exit(0)  # without a last try to write what nobody reads


def _decode_in_processes(
    chunks: Sequence[Sequence[str]], form: Form, workers: int
) -> Generator[Chunk]:
    """Decode in plain child processes, one thread waiting for each.

    Not in a pool of `multiprocessing`: its processes run the user's script again, and
    outlive a parent that is killed.
    """
    stopped = threading.Event()
    free: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
    processes = [_start_process() for _ in range(workers)]
    for process in processes:
        free.put(process)

    def ask(paths: Sequence[str]) -> Chunk:
        process = free.get()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump((paths, form), process.stdin)
            process.stdin.flush()
            chunk: Chunk = pickle.load(process.stdout)
            return chunk
        except (OSError, EOFError, pickle.UnpicklingError):
            if stopped.is_set():
                raise
            return decode_chunk(paths, form)  # somebody killed it: go on without
        finally:
            free.put(process)

    threads = ThreadPoolExecutor(workers)
    try:
        running: deque[Future[Chunk]] = deque()
        for paths in chunks:
            running.append(threads.submit(ask, paths))
            if len(running) > 4 * workers:  # so that a slow disk does not fill the memory
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        stopped.set()
        for process in processes:
            process.kill()
        threads.shutdown(cancel_futures=True)
        for process in processes:
            with suppress(OSError):  # what it was still to be told
                process.__exit__(None, None, None)


def _start_process() -> subprocess.Popen[bytes]:
    package = str(Path(__file__).parents[2])
    paths = os.pathsep.join(path for path in (package, os.environ.get("PYTHONPATH")) if path)
    return subprocess.Popen(
        [sys.executable, "-c", "from dlrun.data.decode import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
        start_new_session=True,  # Ctrl-C is for the parent, which then closes
    )


def _has_colour(image: Image.Image) -> bool:
    return not image.mode.startswith(("1", "L", "I", "F"))


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):
        deep: NDArray[Any] = np.asarray(image)
        image = Image.fromarray((deep >> 8).clip(0, 255).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("its floating-point pixels have no known range")
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == mode else image.convert(mode)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return str(error).split("\n")[0] or type(error).__name__
