"""What passes through a network: activations on the way up, gradients on the way down.

Read from the graph of a forward pass, so that it works for functions as for modules, needs no
hooks and leaves nothing behind.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

SATURATES = {"TanhBackward0": (-1.0, 1.0), "SigmoidBackward0": (0.0, 1.0)}
"""Functions that autograd keeps the result of, and their flat ends."""
RECTIFIES = ("ReluBackward0", "HardtanhBackward0", "ThresholdBackward0")
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
        if self.kind not in RECTIFIES:
            return 0.0
        active = (self.values != 0).flatten(2) if self.values.dim() > 2 else self.values != 0
        axes = [axis for axis in range(active.dim()) if axis != 1]
        return float((~active.any(dim=axes)).float().mean())

    @property
    def saturated(self) -> float:
        """The share of values near a flat end of their function."""
        if self.kind not in SATURATES:
            return 0.0
        low, high = SATURATES[self.kind]
        near = FLAT * (high - low)
        return float(((self.values < low + near) | (self.values > high - near)).float().mean())


def nodes(outputs: Tensor) -> Iterator[Any]:
    """The functions of the graph behind outputs, from the outputs back; each once."""
    waiting, seen = [outputs.grad_fn], set()
    for node in waiting:
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            waiting += [before for before, _ in node.next_functions]


def activations(outputs: Tensor) -> list[Activations]:
    """The hidden nonlinearities behind outputs, the first in the network first."""
    found = []
    for node in nodes(outputs):
        kind = node.name()
        if kind in SATURATES or kind in RECTIFIES:
            kept = getattr(node, "_saved_result", None)
            if isinstance(kept, Tensor) and kept.dim() > 1 and kept.shape[:1] == outputs.shape[:1]:
                found.append(Activations(kind, kept.detach()))
    return found[::-1]


def weight_layers(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The weights that mix units, (units, ...), in the order of the model; no biases, no norms."""
    return [(name, weight) for name, weight in model.named_parameters() if weight.dim() > 1]


def distinct(weight: Tensor, gradient: Tensor | None = None) -> int:
    """How many units of a layer differ, by their weights (units, ...) and gradients."""
    rows = weight.detach().flatten(1)
    if gradient is not None:
        rows = torch.cat((rows, gradient.flatten(1)), 1)
    return len(rows.unique(dim=0))
