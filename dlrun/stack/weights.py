"""The weights of several runs in one tensor, of which each run's own are views."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dlrun.engine.run import Run


class Columns(NamedTuple):
    """Where a weight lies in a row."""

    start: int
    stop: int
    shape: torch.Size

    def of(self, flat: Tensor) -> Tensor:
        """(runs, *shape) out of (runs, n); a view."""
        return flat[:, self.start : self.stop].view(len(flat), *self.shape)


class Stack:
    """What the networks of some runs hold, one run a row.

    flat, grad: (runs, n), all that is trained, in the order of the optimizer's groups, and its
    gradient. columns: of each weight by its name. groups: the names of each group.
    leaves: (runs, *shape) of each weight, for autograd. rest: the same of buffers and of what is
    not trained.

    Whoever looks at the model of a run sees its row, and its gradients in `.grad`.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        first = runs[0]
        names = {id(p): name for name, p in first.model.named_parameters()}
        groups = first.optimizer.param_groups
        self.groups = [[names[id(p)] for p in group["params"]] for group in groups]
        own = [_tensors(run.model) for run in runs]
        self.columns: dict[str, Columns] = {}
        end = 0
        for name in (name for group in self.groups for name in group):
            start, end = end, end + own[0][name].numel()
            self.columns[name] = Columns(start, end, own[0][name].shape)
        like = own[0][next(iter(self.columns))]
        with torch.no_grad():
            self.flat = like.new_empty(len(runs), end)
            self.grad = torch.zeros_like(self.flat)
            self.rest = {
                name: torch.stack([tensors[name].detach() for tensors in own])
                for name in own[0]
                if name not in self.columns
            }
            for number, tensors in enumerate(own):
                self._take(number, tensors)
        self.leaves = {
            name: place.of(self.flat).detach().requires_grad_()
            for name, place in self.columns.items()
        }

    def _take(self, number: int, tensors: dict[str, Tensor]) -> None:
        """Make the tensors of a run views of its row."""
        for name, place in self.columns.items():
            row = place.of(self.flat)[number]
            row.copy_(tensors[name])
            tensors[name].data = row
            tensors[name].grad = place.of(self.grad)[number]
        for name, values in self.rest.items():
            tensors[name].data = values[number]

    def tensors(self) -> dict[str, Tensor]:
        """All that the networks hold, (runs, ...) each."""
        return self.leaves | self.rest


def release(run: Run) -> None:
    """Give a run's network tensors of its own again, with the same values."""
    for value in _tensors(run.model).values():
        value.data = value.data.clone()
        value.grad = None


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, each once, by name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}
