"""What networks do one after another, for several at once, and the way back.

For small networks autograd takes as long as the arithmetic; so linear maps and the like bring
their own derivative.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

import torch
from torch import Tensor

Tensors = dict[str, Tensor]
"""(runs, ...) of each weight and buffer, by its name."""
Keep = Callable[[str, Tensor], None]
"""Takes the gradient of a weight."""
Back = Callable[[Tensor, Keep, bool], Tensor]
"""(gradient by what came out, keep, needed) -> that by what went in, where it is needed."""


class Stage(Protocol):
    """A part of all networks: (runs, n, ...) -> (runs, n, ...).

    A batch that is the same for all has the stride 0 there.
    """

    @property
    def weights(self) -> Collection[str]:
        """The names of the weights that it has."""

    def __call__(self, tensors: Tensors, x: Tensor) -> Tensor:
        """What comes out."""

    def traced(self, tensors: Tensors, x: Tensor) -> tuple[Tensor, Back]:
        """What comes out, and the way back."""


class Traced:
    """Any function of the tensors and x; autograd finds the way back."""

    def __init__(
        self, function: Callable[[Tensors, Tensor], Tensor], weights: Collection[str] = ()
    ) -> None:
        self._function, self.weights = function, list(weights)

    def __call__(self, tensors: Tensors, x: Tensor) -> Tensor:
        """What comes out."""
        return self._function(tensors, x)

    def traced(self, tensors: Tensors, x: Tensor) -> tuple[Tensor, Back]:
        """What comes out, and the way back."""
        own = [tensors[name] for name in self.weights]
        with torch.enable_grad():
            given = x.detach().requires_grad_(x.is_floating_point())
            out = self._function(tensors, given)

        def back(grad: Tensor, keep: Keep, needed: bool) -> Tensor:
            wanted = [*own, given] if needed else own
            found = torch.autograd.grad(out, wanted, grad, allow_unused=True)
            for name, each in zip(self.weights, found, strict=False):
                if each is not None:
                    keep(name, each)
            return found[-1] if needed and found[-1] is not None else torch.zeros_like(given)

        return out.detach(), back


class Known:
    """A function of x whose derivative is known: (gradient, x, what came out) -> gradient."""

    weights: Collection[str] = ()

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        derivative: Callable[[Tensor, Tensor, Tensor], Tensor],
    ) -> None:
        self._function, self._derivative = function, derivative

    def __call__(self, tensors: Tensors, x: Tensor) -> Tensor:
        """What comes out."""
        return self._function(x)

    def traced(self, tensors: Tensors, x: Tensor) -> tuple[Tensor, Back]:
        """What comes out, and the way back."""
        out = self._function(x)
        return out, lambda grad, _, needed: self._derivative(grad, x, out) if needed else grad


class Linear:
    """Wx + b of each run. names: of both; where samples are no vectors, `other` does it.

    What is needed from one step to the next lies in the same memory, and what comes out is there
    until the next call: to take it anew from the system costs more than to fill it.
    """

    def __init__(self, names: Mapping[str, str], other: Stage) -> None:
        self.weights, self._other = list(names.values()), other
        self._weight, self._bias = names["weight"], names.get("bias")
        self._buffers: dict[str, Tensor] = {}

    def __call__(self, tensors: Tensors, x: Tensor) -> Tensor:
        """What comes out."""
        if x.dim() != 3:
            return self._other(tensors, x)
        return self._biased(tensors, self._product("seen", tensors[self._weight], _turned(x)))

    def traced(self, tensors: Tensors, x: Tensor) -> tuple[Tensor, Back]:
        """What comes out, and the way back."""
        if x.dim() != 3:
            return self._other.traced(tensors, x)

        def back(grad: Tensor, keep: Keep, needed: bool) -> Tensor:
            turned = grad.mT
            keep(self._weight, self._product("weight", turned, x))
            if self._bias is not None:
                keep(self._bias, turned.sum(2))
            return self._product("in", tensors[self._weight].mT, turned).mT if needed else grad

        return self._biased(tensors, self._product("out", tensors[self._weight], _turned(x))), back

    def _biased(self, tensors: Tensors, out: Tensor) -> Tensor:
        if self._bias is not None:
            out += tensors[self._bias][:, :, None]
        return out.mT

    def _product(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """(runs, m, k) × (runs, k, n) in memory of this name."""
        shape = len(a), a.shape[1], b.shape[2]
        kept = self._buffers.get(name)
        if kept is None or kept.shape != shape:
            kept = self._buffers[name] = a.new_empty(shape)
        return torch.bmm(a, b, out=kept)


def _turned(x: Tensor) -> Tensor:
    """(runs, k, n) from (runs, n, k); what is the same for all is laid out anew for the product."""
    return x.mT if x.stride(0) else x[0].T.contiguous().expand(len(x), -1, -1)
