"""The group `activation`: the nonlinearity of a network.

    () -> nn.Module

A factory, called once for each place, so that a module with weights of its own learns them for
that place. A module whose attribute `pieces` is k > 1 reads k times as many features as it
returns; the layer before it is made k times as wide.
"""

from collections.abc import Callable

from torch import Tensor, nn

Activation = Callable[[], nn.Module]


def pieces(activation: Activation) -> int:
    """How many features the activation takes for each that it returns."""
    return int(getattr(activation(), "pieces", 1))


class Maxout(nn.Module):
    """The largest of each k neighbouring features (Goodfellow et al. 2013).

    Features are on axis 1. Where several are the largest, they share the gradient.
    """

    def __init__(self, pieces: int = 2) -> None:
        super().__init__()
        if pieces < 2:
            raise ValueError(f"pieces must be at least 2, got {pieces}")
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        """(n, k·features, ...) -> (n, features, ...)."""
        grouped: Tensor = x.unflatten(1, (-1, self.pieces))
        return grouped.amax(2)
