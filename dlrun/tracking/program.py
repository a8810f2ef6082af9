"""A module as a program of `torch.export`; what differs in its weights alone is traced once.

Tracing takes a tenth of a second and more, which many small models of one procedure would each
wait for. The graph of a program knows the weights by their names only, so a module that equals the
last one in all else has its graph.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dlrun.tracking import imports

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_last: dict[bytes | None, "ExportedProgram"] = {}
"""The program that was saved last, without weights, by the likeness of its module."""


def save(module: nn.Module, x: Tensor, path: Path, texts: Mapping[str, str] | None = None) -> None:
    """Save a module as a program for batches of any size.

    x: an example of its input, of two samples. texts: further files inside, by their names.
    Raises OSError where the file cannot be written.
    """
    with imports.quick():  # it imports the compiler
        like = likeness(module, x)
        program = _last.pop(like, None) or traced(module, x)
        _last.clear()
        program.state_dict.update(_weights(module))
        program.example_inputs[0][0].copy_(x)  # it is saved too
        written = io.BytesIO()  # where a disk is full torch would abort the process
        torch.export.save(program, written, extra_files=dict(texts or {}))
        path.write_bytes(written.getbuffer())
        if like is not None:
            program.state_dict.clear()  # else the weights would stay in memory
            _last[like] = program


def traced(module: nn.Module, x: Tensor) -> "ExportedProgram":
    """The program of a module. Its example is its own."""
    return torch.export.export(module, (x.clone(),), dynamic_shapes=[{0: torch.export.Dim.AUTO}])


def likeness(module: nn.Module, x: Tensor) -> bytes | None:
    """What modules have in common that differ in the values of their state dict alone.

    None where that can't be told. x: an example of the input, of which the shape and type count.
    """
    written = io.BytesIO()
    try:
        _Skeleton(written, _weights(module)).dump((module, x.shape, x.stride(), x.dtype))
    except Exception:  # what can't be pickled, by whatever its classes raise
        return None
    return written.getvalue()


class _Skeleton(pickle.Pickler):
    """Writes a module with the shapes of its weights and the values of all else."""

    def __init__(self, file: io.BytesIO, weights: Mapping[str, Tensor]) -> None:
        super().__init__(file)
        self._weights = {id(value) for value in weights.values()}
        self._places: dict[int, int] = {}  # by the address: those of tied weights are the same

    def reducer_override(self, each: Any) -> Any:
        """Hooks in their order: their numbers differ from module to module."""
        if isinstance(each, OrderedDict) and all(isinstance(key, int) for key in each):
            return list, ([*each.values()],)
        return NotImplemented

    def persistent_id(self, each: Any) -> Any:
        if not isinstance(each, Tensor):
            return None
        start = each.untyped_storage().data_ptr()
        place = self._places.setdefault(start, len(self._places))
        about = (type(each), each.dtype, each.requires_grad, each.storage_offset(), place)
        shape = (tuple(each.shape), each.stride())
        if id(each) in self._weights:
            return (*about, *shape)
        return (*about, *shape, each.detach().reshape(-1).view(torch.uint8).numpy().tobytes())


def _weights(module: nn.Module) -> dict[str, Tensor]:
    return module.state_dict(keep_vars=True)
