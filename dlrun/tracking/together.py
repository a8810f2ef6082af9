"""Models that differ in their weights alone as one network: one more axis, of the models."""

import copy
import io
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from dlrun.tracking.program import likeness, traced

_KNOWN = (
    *(f"torch.nn.modules.{name}" for name in ("linear", "activation", "flatten", "container")),
    *(
        "torch.nn.modules.dropout",
        "dlrun.preprocessing",
        "dlrun.activation",
        "dlrun.regularization",
    ),
)
"""Where the classes are whose programs stay free in the size of the batch; batch norm's do not,
and a CPU is faster with convolutions one after another."""
_ROUNDED = 1e-4  # of the largest output, by which one network may differ from each alone


class Together(nn.Module):
    """Several models as one: (n, *shape) -> (models, n, *outputs)."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        held = [_held(model) for model in models]
        self._names = [*held[0]]
        stacked = (torch.stack([each[name].detach() for each in held]) for name in self._names)
        self.values = nn.ParameterList(nn.Parameter(one, requires_grad=False) for one in stacked)
        # Not a part: its weights are those of the stack.
        self.__dict__["_one"] = copy.deepcopy(models[0]).to("meta")

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, *shape), the same for all."""

        def said(given: Tensor, *values: Tensor) -> Tensor:
            weights = dict(zip(self._names, values, strict=True))
            found: Tensor = functional_call(self.__dict__["_one"], weights, (given,))
            return found

        # As if each had its own: what preprocessing makes of it is changed in place.
        every: Tensor = vmap(said)(x.expand(len(self.values[0]), *x.shape), *self.values)
        return every


@torch.no_grad()
def together(models: Sequence[nn.Module], x: Tensor) -> Together | None:
    """Models in evaluation mode as one, if that can be; x: an example of the input.

    None where they differ in more than their weights, or where a part is of another kind than
    those that are known to go.
    """
    kinds = {likeness(model, x) for model in models}
    known = all(type(part).__module__.startswith(_KNOWN) for part in models[0].modules())
    if len(kinds) > 1 or None in kinds or not known or not can_be_saved():
        return None
    try:
        made = Together(models)
        found = made(x)
    except (RuntimeError, ValueError, TypeError):
        return None
    alone = torch.stack([model(x) for model in models])
    near = found.shape == alone.shape and bool(
        (found - alone).abs().max() <= _ROUNDED * alone.abs().max()
    )
    return made if near else None


@cache
def can_be_saved() -> bool:
    """Whether this torch saves the program of what `vmap` maps: torch 2.9 does not."""
    try:
        program = traced(Together([nn.PReLU(), nn.PReLU()]), torch.zeros(2, 1))
        torch.export.save(program, io.BytesIO())
    except Exception:  # of a serializer, each has its own
        return False
    return True


def _held(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())
