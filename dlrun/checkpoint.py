"""Checkpoints: everything a run needs to go on as if nothing had happened.

`last.pt` holds the whole state, `previous.pt` the one before it; both are written
to the side, synced and renamed, so that whatever moment the machine dies at, a whole
one is there. `best.pt` holds the best weights alone, for whoever wants to use them.
"""

import logging
import os
import random
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy
import torch
from torch import Tensor

from dlrun.errors import Failure
from dlrun.record import guard, replacing

State = dict[str, Any]
_log = logging.getLogger("dlrun")


def save(state: Mapping[str, Any], folder: Path) -> None:
    """Write `state` as last.pt; what was last.pt becomes previous.pt.

    Raises Failure when it can't be written (a full disk, say).
    """
    last, previous = folder / "last.pt", folder / "previous.pt"
    with _writing(last) as fresh:
        torch.save(dict(state), fresh)
        if last.exists():
            previous.unlink(missing_ok=True)
            os.link(last, previous)


def save_best(weights: Mapping[str, Tensor], folder: Path) -> None:
    """Write the best weights as best.pt. Raises Failure as `save` does."""
    with _writing(folder / "best.pt") as fresh:
        torch.save(dict(weights), fresh)


def load(folder: Path) -> State | None:
    """The newest whole state in `folder`, on the CPU; None where there is none.

    A damaged file is passed over with a warning: the one before it serves as well,
    because a run goes through the same states again from wherever it starts.
    """
    for name, instead in (("last.pt", "the one before it"), ("previous.pt", "the beginning")):
        path = folder / name
        if not path.exists():
            continue
        try:
            return read(path)
        except Exception as error:  # whatever a damaged file makes the readers raise
            _log.warning("%s is damaged (%s); going on from %s", path, error, instead)
    return None


def read(path: Path) -> State:
    """The content of one checkpoint file. Raises ValueError and others where it is damaged."""
    with zipfile.ZipFile(path) as archive:  # torch.load itself doesn't look at the checksums
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"checksum of {damaged} does not match")
    state: State = torch.load(path, map_location="cpu", weights_only=True)
    return state


def random_state(generator: torch.Generator) -> State:
    """The state of every source of random numbers, as tensors and plain values."""
    _, keys, position, has_gauss, gauss = numpy.random.get_state(legacy=True)
    state = {
        "python": random.getstate(),
        "numpy": {
            "keys": torch.from_numpy(numpy.asarray(keys, dtype=numpy.int64)),
            "rest": (int(position), int(has_gauss), float(gauss)),
        },
        "torch": torch.get_rng_state(),
        "generator": generator.get_state(),
    }
    if torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    if generator.device.type == "mps":
        state["mps"] = torch.mps.get_rng_state()
    return state


def restore_random_state(state: State, generator: torch.Generator) -> None:
    """Put every source of random numbers where `random_state` found it."""
    random.setstate(state["python"])
    keys = state["numpy"]["keys"].numpy().astype(numpy.uint32)
    numpy.random.set_state(("MT19937", keys, *state["numpy"]["rest"]))
    torch.set_rng_state(state["torch"])
    if state["generator"].numel() == generator.get_state().numel():
        generator.set_state(state["generator"])  # another size: the run moved to another device
    if "cuda" in state and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    if "mps" in state and generator.device.type == "mps":
        torch.mps.set_rng_state(state["mps"])


@contextmanager
def _writing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` once it is whole and safely on the disk."""
    with guard(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path) as part, part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except RuntimeError as error:  # torch's writer reports a full disk as one
        raise Failure(f"cannot write {path}: {str(error).splitlines()[0]}") from error
