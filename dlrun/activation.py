"""The group `activation`: the nonlinearity of a network.

    () -> nn.Module

A factory, called once for each place, so that one with weights of its own learns
them there. A module whose attribute `pieces` is k > 1 reads k times as many features
as it puts out; the layer before it is made k times as wide.
"""

from collections.abc import Callable

from torch import nn

Activation = Callable[[], nn.Module]


def pieces(activation: Activation) -> int:
    """How many features the activation takes for each that it gives."""
    return int(getattr(activation(), "pieces", 1))
