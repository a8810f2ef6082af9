"""Numbers inside of the network and the loss that differ between runs.

They stand in attributes of objects. Under `vmap` those of the first run hold, one after another,
what each run has there.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from dlrun.engine.run import Run
from dlrun.loss import Loss
from dlrun.regularization.dropconnect import Connections
from dlrun.regularization.dropout import Drop

ATTRIBUTES: dict[type, str] = {Drop: "rate", Connections: "rate", Loss: "spread"}
"""Of the objects that such a number may be in."""


class Varying:
    """The numbers that differ between some runs; those of dropout in any case.

    values: (runs,) of each.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        like = next(runs[0].model.parameters())
        self._places: list[tuple[Any, str]] = []
        self.values: list[Tensor] = []
        for owners in zip(*map(_owners, runs), strict=True):
            name = ATTRIBUTES[type(owners[0])]
            numbers = [getattr(owner, name) for owner in owners]
            if name == "rate" or any(number != numbers[0] for number in numbers):
                self._places.append((owners[0], name))
                self.values.append(torch.tensor(numbers, dtype=like.dtype, device=like.device))

    def has(self, owner: object) -> bool:
        """Whether a number of this object differs."""
        return any(each is owner for each, _ in self._places)

    def named(self, name: str) -> bool:
        """Whether a number of this name may differ."""
        return any(each == name for _, each in self._places)

    def of(self, owner: object) -> Tensor:
        """(runs,) What an object of the first run has in all of them."""
        found = zip(self._places, self.values, strict=True)
        return next(value for (each, _), value in found if each is owner)

    @contextmanager
    def put(self, values: Sequence[float | Tensor], owner: object = None) -> Iterator[None]:
        """Inside, the first run's objects have these; owner: of one of them alone."""
        places = [place for place in self._places if owner is None or place[0] is owner]
        before = [getattr(*place) for place in places]
        for place, value in zip(places, values, strict=True):
            setattr(*place, value)
        try:
            yield
        finally:
            for place, value in zip(places, before, strict=True):
                setattr(*place, value)


def _owners(run: Run) -> Iterator[Any]:
    """The objects of a run with such a number, in the order of its modules."""
    for module in run.model.modules():
        yield from (hook for hook in module._forward_pre_hooks.values() if isinstance(hook, Drop))
        if isinstance(vars(module).get("forward"), Connections):
            yield vars(module)["forward"]
    yield run.objective
