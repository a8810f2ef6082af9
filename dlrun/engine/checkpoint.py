"""Checkpoints: everything a run needs to go on as if nothing had happened.

`last.pt` holds the whole state, `previous.pt` the one before it. A new one is written
to the side and synced, then both are renamed, so that whatever moment the machine dies
at, a whole one is there. `best.pt` holds the best weights alone, for whoever wants to use them.
`start.pt` holds the weights that a run with `weights=` has begun with: it does not need their
source again.
"""

import logging
import pickle
import random
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from dlrun import shell
from dlrun.errors import Mistake, led_to
from dlrun.record import guard, replacing
from dlrun.record.files import sync
from dlrun.record.trained import anew

START = "start.pt"
_NAMES = ("last.pt", "previous.pt")
"""Whole states, the newest first."""
State = dict[str, Any]
_log = logging.getLogger("dlrun")


@contextmanager
def saving(state: Mapping[str, Any], folder: Path) -> Iterator[None]:
    """Write `state` to the side; at the end it is last.pt, and what was that is previous.pt.

    Only the end waits for the disk, in any thread. Raises Failure when it can't be written (a full
    disk, say).
    """
    with _placing(owned(dict(state)), folder / "last.pt", before=folder / "previous.pt"):
        yield


@contextmanager
def saving_as(name: str, state: Mapping[str, Any], folder: Path) -> Iterator[None]:
    """The same of the best weights, or of what a run begins with."""
    with _placing(dict(state), folder / name):
        yield


def save_as(name: str, state: Mapping[str, Any], folder: Path) -> None:
    """Write these at once. Raises Failure as `saving` does."""
    with saving_as(name, state, folder):
        pass


def owned(value: Any) -> Any:
    """A state whose tensors share their memory with nothing: all of it would be written."""
    if isinstance(value, Tensor):
        return value if value.untyped_storage().nbytes() == value.nbytes else value.clone()
    if isinstance(value, Mapping):
        return {key: owned(each) for key, each in value.items()}
    if isinstance(value, list | tuple) and any(isinstance(each, Tensor) for each in value):
        return type(value)(map(owned, value))
    return value


def load(
    folder: Path,
    unfit: Callable[[State], str] = lambda state: "",
    wanted: Callable[[State], bool] = lambda state: True,
    say: bool = True,
) -> State | None:
    """The newest whole state in `folder` that is wanted, on the CPU; None where there is none.

    A damaged file, and one about which `unfit` has something to say, is passed over with
    a warning: the one before it serves as well, because a run goes through the same
    states again from wherever it starts. say: whether with the warning, which was said else.
    Raises Mistake where a file may not be read.
    """
    found, wrong = _newest(folder, unfit, wanted)
    if wrong and say:
        instead = "the checkpoint before it" if found else "the beginning"
        _log.warning(f"{folder}: {wrong}; going on from {instead}")
    return found


def of_trained(folder: Path) -> State | None:
    """The newest whole state of a run that does not go on; None where there is none at all.

    Says where that is the one before a damaged one. Raises Mistake where all are damaged, or
    one may not be read.
    """
    found, wrong = _newest(folder)
    if wrong and found is None:
        raise Mistake(f"{shell.near(folder)}: {wrong}")
    if wrong:
        _log.warning(f"{folder}: {wrong}; taking the checkpoint before it")
    return found


def _newest(
    folder: Path,
    unfit: Callable[[State], str] = lambda state: "",
    wanted: Callable[[State], bool] = lambda state: True,
) -> tuple[State | None, str]:
    """The newest state of those that can be had, and what is wrong with the newer ones."""
    wrong: dict[str, None] = {}  # in their order, each once
    for state, why in _states(folder, unfit):
        if state is not None and wanted(state):
            return state, ", ".join(wrong)
        if why:
            wrong[why] = None
    return None, ", ".join(wrong)


def is_kept(folder: Path) -> bool:
    """Whether a folder has a state, damaged or not."""
    return any((folder / name).exists() for name in _NAMES)


def steps(folder: Path, unfit: Callable[[State], str]) -> set[int]:
    """The steps of the states that `load` would take, with 0, from which any run can begin."""
    found = (state for state, _ in _states(folder, unfit) if state is not None)
    return {0, *(state["position"]["step"] for state in found)}


def _states(folder: Path, unfit: Callable[[State], str]) -> Iterator[tuple[State | None, str]]:
    """The state of each file, the newest first; None and why where it is none to go on from."""
    for name in _NAMES:
        path = folder / name
        if not path.exists():
            continue
        try:
            state = read(path)
            why = unfit(state)
        except PermissionError:
            raise Mistake(f"{path}: may not be read") from None
        except Exception as error:  # whatever a damaged file makes the readers raise
            why = f"{name} is damaged ({_short(error)})"
        yield (None, why) if why else (state, "")


def read(path: Path) -> State:
    """The content of one checkpoint file. Raises ValueError and others where it is damaged."""
    with zipfile.ZipFile(path) as archive:  # torch.load itself doesn't look at the checksums
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"checksum of {damaged} does not match")
    state: State = torch.load(path, map_location="cpu", weights_only=True)
    return state


def weights(path: Path) -> State:
    """The content of a checkpoint file that nothing stands in for. Raises Mistake where damaged."""
    try:
        return read(path)
    except Exception as error:  # whatever a damaged file makes the readers raise
        raise Mistake(f"{shell.near(path)} is damaged: {_short(error)}{anew(path)}") from None


def mend_best(best: Mapping[str, Any], folder: Path) -> None:
    """Write best.pt again where it is missing or damaged, and say so. Raises as `save_as`."""
    path = folder / "best.pt"
    try:
        read(path)
    except Exception as error:  # whatever a damaged file makes the readers raise
        why = f"is damaged ({_short(error)})" if path.exists() else "is missing"
        save_as(path.name, best, folder)
        _log.warning(f"{path} {why}; it is written anew")


def random_state(generator: torch.Generator, of_process: State | None = None) -> State:
    """The state of every source of random numbers, as tensors and plain values.

    of_process: what `process_random_state` gives now.
    """
    state = {**(of_process or process_random_state()), "generator": generator.get_state()}
    if generator.device.type == "mps":
        state["mps"] = torch.mps.get_rng_state()
    return state


def process_random_state() -> State:
    """The state of those sources that all runs of a process share."""
    _, keys, position, has_gauss, gauss = numpy.random.get_state(legacy=True)
    version, words, after = random.getstate()  # words: hundreds of numbers, slow to write as such
    state = {
        "python": {"words": torch.tensor(words), "rest": (version, after)},
        "numpy": {
            "keys": torch.from_numpy(numpy.asarray(keys, dtype=numpy.int64)),
            "rest": (int(position), int(has_gauss), float(gauss)),
        },
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random_state(state: State, generator: torch.Generator) -> None:
    """Put every source of random numbers where `random_state` found it."""
    version, after = state["python"]["rest"]
    random.setstate((version, tuple(state["python"]["words"].tolist()), after))
    keys = state["numpy"]["keys"].numpy().astype(numpy.uint32)
    numpy.random.set_state(("MT19937", keys, *state["numpy"]["rest"]))
    torch.set_rng_state(state["torch"])
    if state["generator"].numel() == generator.get_state().numel():
        generator.set_state(state["generator"])  # another size: the run moved to another device
    if "cuda" in state and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    if "mps" in state and generator.device.type == "mps":
        torch.mps.set_rng_state(state["mps"])


def random_kept(generator: torch.Generator, torch_alone: bool = False) -> Callable[[], None]:
    """What puts every source of random numbers back to where it is now, in this process.

    torch_alone: no other one moves meanwhile; numpy's takes longer than a small network.
    """
    others = None if torch_alone else (random.getstate(), numpy.random.get_state(legacy=False))
    of_torch, own = torch.get_rng_state(), generator.get_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    mps = torch.mps.get_rng_state() if generator.device.type == "mps" else None

    def put_back() -> None:
        if others is not None:
            random.setstate(others[0])
            numpy.random.set_state(others[1])
        torch.set_rng_state(of_torch)
        generator.set_state(own)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        if mps is not None:
            torch.mps.set_rng_state(mps)

    return put_back


@contextmanager
def _placing(state: State, path: Path, before: Path | None = None) -> Iterator[None]:
    """Write a file to the side; at the end it takes the place of `path`, safely on the disk.

    before: what `path` is called from then on.
    """
    with guard(path):
        path.parent.mkdir(exist_ok=True)  # no parents: a run that was deleted stays deleted
    with replacing(path) as part:
        with part.open("wb") as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:
                raise _cause(error) or error from None
        del state  # a copy; many may wait for the disk
        yield
        sync(part)
        if before is not None and path.exists():
            path.replace(before)  # no hard link, which some file systems refuse


def _cause(error: BaseException) -> OSError | None:
    """What the file system said before torch's writer stumbled over it."""
    return next((each for each in led_to(error.__context__) if isinstance(each, OSError)), None)


def _short(error: Exception) -> str:
    """The first sentence of a message, without the advice that torch adds."""
    if isinstance(error, pickle.UnpicklingError):
        return "it holds more than tensors and plain values"
    lines = str(error).strip().splitlines()
    return lines[0].split(". ")[0][:100] if lines else type(error).__name__
