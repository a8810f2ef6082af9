"""Weights that a run starts from: read from a file, and put into a model as far as they fit."""

import errno
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from dlrun import shell
from dlrun.engine import checkpoint
from dlrun.engine.run import Weights
from dlrun.errors import Mistake, first_line

_INSIDE = ("model", "state_dict", "model_state_dict", "state_dict_ema", "params", "net", "weights")
"""Where checkpoints of other programs keep the weights."""
_UNREAD = "is not a complete weights file of torch or safetensors"
_BEFORE = ("", "module.", "_orig_mod.", "model.", "net.", "backbone.")
"""What other programs put before the names of all weights."""


@dataclass(frozen=True)
class Start:
    """What a run starts from.

    tensors: by name. facts: for the record, to which the build adds.
    preprocessing: fitted values that belong to them.
    whole: whether they are all that the model has, as it was when the run began.
    """

    tensors: Weights
    facts: dict[str, Any]
    preprocessing: Weights | None = None
    whole: bool = False

    def state(self) -> dict[str, Any]:
        """All of it, as `begun` reads it from a file."""
        names = {"model": self.tensors, "preprocessing": self.preprocessing}
        return {**names, "facts": self.facts, "whole": self.whole}


def read(file: Path) -> tuple[Weights, Weights | None]:
    """The tensors of a file by name, and the fitted preprocessing where it is a whole checkpoint.

    A state dict of torch, a checkpoint of dlrun or another program, or safetensors. Nothing in
    it is executed. Raises Mistake where it holds something else.
    """
    try:
        if file.suffix == ".safetensors":
            return load_file(file), None
        # torch.load itself doesn't look at the checksums; before 1.6 torch wrote no archives.
        load = checkpoint.read if zipfile.is_zipfile(file) else _load
        content: Any = load(file)
    except pickle.UnpicklingError as error:
        if "global" not in str(error).lower():
            raise Mistake(f"{file} {_UNREAD}") from None
        raise Mistake(
            f"{file} holds more than tensors and plain values, which could be code; save "
            "model.state_dict() alone: torch.save(model.state_dict(), 'weights.pt')"
        ) from None
    except (ValueError, zipfile.BadZipFile) as error:
        raise Mistake(f"{file} is damaged: {first_line(error)}") from None
    except OSError as error:
        if error.errno == errno.EINVAL:  # a seek that a file which was cut cannot do
            raise Mistake(f"{file} {_UNREAD}") from None
        raise Mistake(f"{file} cannot be read: {error.strerror or first_line(error)}") from None
    except Exception:  # whatever a file of another kind makes the readers raise
        raise Mistake(f"{file} {_UNREAD}") from None
    fitted = content.get("preprocessing") if isinstance(content, dict) else None
    for name in _INSIDE:
        if isinstance(content, dict) and isinstance(content.get(name), Mapping):
            content = content[name]
            break
    tensors = content.items() if isinstance(content, Mapping) else ()
    found = {str(name): value for name, value in tensors if isinstance(value, Tensor)}
    if not found:
        raise Mistake(f"{file} holds no weights: no tensors by name")
    return found, fitted if isinstance(fitted, dict) else None


@torch.no_grad()
def put(model: nn.Module, given: Mapping[str, Tensor]) -> dict[str, Any]:
    """Put what fits by name and shape into a model; what else it has stays as it is.

    Gives what became of it: loaded, a number of tensors; of `numbers`; anew, the tensors of the
    model that have kept their own, each with its shape and maybe another one that was given;
    left_out, those of `given` that have no place. Raises ValueError where no parameter fits.
    """
    own = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    tensors, before = _without_prefix(given, own)
    fits = [name for name in own if name in tensors and tensors[name].shape == own[name].shape]
    trained = {name for name, _ in model.named_parameters()}
    if not trained & set(fits):
        raise ValueError(f"nothing fits: they are {_some(tensors)}, and the model has {_some(own)}")
    for name in fits:
        own[name].copy_(tensors[name])
    anew = {
        name: _shape(value) + (f", was {_shape(tensors[name])}" if name in tensors else "")
        for name, value in own.items()
        if name not in fits
    }
    return {
        "loaded": len(fits),
        "numbers": sum(own[name].numel() for name in fits),
        "anew": anew,
        "left_out": [before + name for name in tensors if name not in own],
    }


def _load(file: Path) -> Any:
    return torch.load(file, map_location="cpu", weights_only=True)


def begun(file: Path) -> Start:
    """What a run has begun with, or the runs of a procedure. Raises Mistake where it is damaged."""
    kept = checkpoint.weights(file)
    whole = kept.get("whole", True)
    return Start(kept["model"], kept["facts"], kept["preprocessing"], whole)


def _without_prefix(given: Mapping[str, Tensor], own: Weights) -> tuple[Weights, str]:
    """The tensors under the names that the model knows most of, and what stood before them."""

    def under(before: str) -> Weights:
        cut = len(before)
        return {name[cut:]: each for name, each in given.items() if name.startswith(before)}

    most = max(_BEFORE, key=lambda before: len(own.keys() & under(before).keys()))
    return under(most), most


def _some(tensors: Mapping[str, Tensor]) -> str:
    return shell.some((f"{name} ({_shape(each)})" for name, each in tensors.items()), 2)


def _shape(value: Tensor) -> str:
    return "×".join(map(str, value.shape)) or "one number"
