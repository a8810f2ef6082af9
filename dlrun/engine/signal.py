"""What passes through a network: activations on the way up, gradients on the way down.

Read from the graph of a forward pass, so that it works for functions as for modules, needs no
hooks and leaves nothing behind.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

SATURATES = {"TanhBackward0": (-1.0, 1.0), "SigmoidBackward0": (0.0, 1.0)}
"""Functions that autograd keeps the result of, and their flat ends."""
RECTIFIES = ("ReluBackward0", "HardtanhBackward0", "ThresholdBackward0")
_BENDS = {*SATURATES, *RECTIFIES}
FLAT = 0.01
"""How near to an end, as a share of the range, a value counts as saturated."""


@dataclass(frozen=True)
class Activations:
    """What one nonlinearity of a network gave for a batch.

    kind: the name autograd has for it. values: (n, units, ...).
    """

    kind: str
    values: Tensor

    @property
    def dead(self) -> float:
        """The share of rectified units that are zero for every sample, at every place."""
        return float((nonzero(self.values) == 0).float().mean()) if self.kind in RECTIFIES else 0.0

    @property
    def saturated(self) -> float:
        """The share of values near a flat end of their function."""
        return float(saturated(self.values, self.kind)) if self.kind in SATURATES else 0.0


def nonzero(values: Tensor, axis: int = 1) -> Tensor:
    """(units,) How many values of each unit are not zero; axis: of the units."""
    others = [each for each in range(values.dim()) if each != axis % values.dim()]
    return values.bool().sum(others, keepdim=not others)


def saturated(values: Tensor, kind: str) -> Tensor:
    """The share of values near a flat end of the function that autograd calls so."""
    low, high = SATURATES[kind]
    near = FLAT * (high - low)
    return ((values < low + near) | (values > high - near)).float().mean()


def signs(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Of the gradients of each unit's weights (units, ...) the sum of signs; how many have one."""
    found = gradient.flatten(1).sign()
    return found.sum(1), found.abs().sum()


def same_sign(sums: Iterable[float], signed: float) -> float:
    """How far the gradients of a unit's weights have one sign, from what `signs` gives.

    The share of weights whose gradient has the sign that is the more frequent one in its unit,
    without gradients of 0: 0.5 where both are as frequent, 1 where each unit has one sign, as
    after inputs that are all positive (LeCun, Bottou, Orr, Müller 1998, Efficient BackProp,
    4.3). nan where all are 0.
    """
    return (1 + sum(map(abs, sums)) / signed) / 2 if signed else math.nan


def behind(start: Any) -> Iterator[Any]:
    """A function of a graph and all before it, the nearest first; each once."""
    waiting, seen = [start], set()
    for node in waiting:
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            waiting += [before for before, _ in node.next_functions]


def activations(outputs: Tensor) -> list[Activations]:
    """The hidden nonlinearities behind outputs, the first in the network first."""
    found = [Activations(node.name(), kept) for node, kept in nonlinearities(outputs)]
    return [each for each in found if each.values.shape[:1] == outputs.shape[:1]][::-1]


def nonlinearities(outputs: Tensor) -> Iterator[tuple[Any, Tensor]]:
    """The functions behind outputs that saturate or rectify, and what they gave; the last first."""
    for node in behind(outputs.grad_fn):
        if node.name() in _BENDS:
            kept = getattr(node, "_saved_result", None)
            if isinstance(kept, Tensor) and kept.dim() > 1:
                yield node, kept.detach()


def distinct(weight: Tensor, gradient: Tensor | None = None) -> int:
    """How many units of a layer differ, by their weights (units, ...) and gradients."""
    rows = weight.detach().flatten(1)
    first = rows.select(1, 0).tolist()
    if len(set(first)) == len(first):  # much faster than to compare whole rows
        return len(first)
    if gradient is not None:
        rows = torch.cat((rows, gradient.flatten(1)), 1)
    return len(rows.unique(dim=0))
