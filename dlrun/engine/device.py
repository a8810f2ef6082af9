"""Where a run computes, and in which arithmetic."""

import logging
import math
import os
import resource
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dlrun.errors import Mistake

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}

_log = logging.getLogger("dlrun")
CORES = torch.get_num_threads()  # threads, as the machine and OMP_NUM_THREADS give them
_SHARE = 2e6  # forward operations of a mini-batch that are worth a thread


def choose(name: str) -> torch.device:
    """The device called `auto`, `cpu`, `cuda`, `cuda:1` or `mps`; auto takes the fastest.

    Raises Mistake where this machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda", "mps"):
        raise Mistake(f"device={name}: must be auto, cpu, cuda, cuda:1 or mps")
    if device.type != "cuda" and device.index:
        raise Mistake(f"device={name}: there is one {device.type}; use device={device.type}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        has = f"{count} CUDA device{'s' if count > 1 else ''}" if count else "no CUDA device"
        right = f"cuda:{count - 1}" if count else "auto or cpu"
        raise Mistake(f"device={name}: this machine has {has}; use device={right}")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise Mistake("device=mps: this machine has no Apple GPU; use device=auto or device=cpu")
    return device


def set_up(threads: int, deterministic: bool) -> None:
    """Set torch's switches for the whole process."""
    torch.set_num_threads(threads)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if torch.are_deterministic_algorithms_enabled() != deterministic:  # importing it takes a second
        torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic


@contextmanager
def without_cudnn(model: nn.Module) -> Iterator[None]:
    """Inside, recurrent layers do without cuDNN, which goes back in training mode alone, and once.

    Convolutions are left as they are where there are no such layers.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.RNNBase)]
    if not any(weight.is_cuda for layer in layers for weight in layer.parameters()):
        yield
        return
    with warnings.catch_warnings():
        # torch 2.9 asks itself for what it warns of
        warnings.filterwarnings("ignore", "Please use the new API settings to control TF32")
        with torch.backends.cudnn.flags(enabled=False):
            yield


def worthwhile(operations: int, most: int) -> int:
    """How many CPU threads a mini-batch of so many forward operations keeps busy.

    Sums depend on the number, so it follows from the recipe alone, never from a timing. On two
    cores one thread trains a 64-64-10 MLP 1.5 times faster than two, which are as fast at some
    2 million operations and 1.4 times faster at 30 million.
    """
    if not operations:  # what it computes is nothing that is counted
        return most
    return max(1, min(most, math.ceil(operations / _SHARE)))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Inside, torch has so many CPU threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_threads(recorded: int | None, typed: bool) -> None:
    """Go on with as many threads as a run was trained with so far; others change its sums.

    typed: the number in force was asked for, so it stays.
    """
    now = torch.get_num_threads()
    if not recorded or recorded < 1 or recorded == now:
        return
    if typed:
        _log.warning(f"threads={now}: was {recorded} so far; sums differ in their last digits")
    else:
        torch.set_num_threads(recorded)
        if recorded > CORES:
            _log.warning(
                f"trains with {recorded} threads as before, and this machine has {CORES}; "
                f"threads={CORES} is faster, and changes sums in their last digits"
            )


def caller(
    model: nn.Module, precision: str, device: torch.device, compiled: bool
) -> Callable[[Tensor], Tensor]:
    """How the model is called: compiled where asked, in lower precision where asked.

    Logits come out as float32, so that the loss is computed in full precision
    (Micikevicius et al. 2018, Mixed Precision Training). In float32 and not compiled it is
    the model itself, so that a step costs nothing extra.
    """
    if compiled:
        logging.getLogger("torch.utils.cpp_extension").addFilter(_is_of_use)
    call: Callable[[Tensor], Tensor] = torch.compile(model) if compiled else model
    if precision == "float32":
        return call
    dtype = AUTOCAST[precision]

    def forward(x: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype):
            return call(x).float()

    return forward


def _is_of_use(said: logging.LogRecord) -> bool:
    """Whether torch's compiler says more than that CUDA is installed on a machine without a GPU."""
    return not str(said.msg).startswith("No CUDA runtime is found")


def lay_out(model: nn.Module, channels_last: bool) -> torch.memory_format:
    """Put the weights of convolutions into the layout of the batches."""
    if not channels_last:
        return torch.contiguous_format
    for value in (*model.parameters(), *model.buffers()):
        if value.dim() == 4:
            value.data = value.data.contiguous(memory_format=torch.channels_last)
    return torch.channels_last


def synchronize(device: torch.device) -> None:
    """Wait until a device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def peak_memory(device: torch.device) -> int:
    """The most bytes in use so far: by the tensors on a GPU, else by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
