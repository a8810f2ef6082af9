"""The group `preprocessing`: what is done to every sample, in training and evaluation.

A step is an `nn.Module` with its state in buffers, so that it is saved inside the deployed
model:

    fit(batches) -> None       on the training split alone; any number of batches, read once
    forward(x) -> Tensor       (n, *shape) float32 -> (n, *new_shape) float32

Images start as uint8 in 0..255, which means 0..1: `chain` puts `ToFloat` before the first step,
unless that declares `takes_bytes = True` and reads uint8 itself, which saves a pass over the
batch. A step is fitted on the output of the steps before it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from dlrun.errors import Mistake, kind_of
from dlrun.shell import counted

SCALES = ("center", "center_channel", "rescale", "standardize", "whiten", "zca")
"""Steps of which each takes the place of another; the others choose what there is to scale."""


@runtime_checkable
class Learns(Protocol):
    """A step with something to fit; others have no such method."""

    def fit(self, batches: Iterable[Tensor]) -> None:
        """Learn from (n, *shape) batches of the training split."""


def to_float(x: Tensor) -> Tensor:
    """uint8 in 0..255 to float32 in [0, 1]; floats become float32, unscaled."""
    if x.dtype == torch.uint8:
        return x.to(torch.float32).mul_(1 / 255)  # much faster than uint8 times float
    return x.to(torch.float32)


class ToFloat(nn.Module):
    """`to_float` as a step: nothing to fit."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, *shape) uint8 or float -> (n, *shape) float32."""
        return to_float(x)


def chain(steps: Sequence[nn.Module]) -> nn.Sequential:
    """The steps in order, ready for raw batches, not yet fitted."""
    if steps and getattr(steps[0], "takes_bytes", False):
        return nn.Sequential(*steps)
    return nn.Sequential(ToFloat(), *steps)


def fit(preprocessing: nn.Sequential, batches: Callable[[], Iterable[Tensor]]) -> None:
    """Fit each step on the output of those before it.

    batches() starts a pass over the raw training split; each step makes one.
    """

    def through(steps: list[nn.Module]) -> Iterator[Tensor]:
        for x in batches():
            for step in steps:
                x = passed(step, x)
            yield x

    steps = list(preprocessing)
    with torch.no_grad():
        for i, step in enumerate(steps):
            if isinstance(step, Learns):
                step.fit(through(steps[:i]))


def passed(step: nn.Module, x: Tensor) -> Tensor:
    """x after a step. Raises Mistake where that is no tensor of as many samples."""
    made = step(x)
    if isinstance(made, Tensor) and made.dim() and len(made) == len(x):
        return made
    given = f"a tensor of shape {tuple(made.shape)}" if isinstance(made, Tensor) else kind_of(made)
    name, samples = type(step).__name__, counted(len(x), "sample")
    raise Mistake(
        f"preprocessing: {name} gives {given} for {samples}; it must give a tensor with as many"
    )


def recall(chain: nn.Sequential, fitted: Mapping[str, Tensor]) -> None:
    """Take over what a chain of the same steps has learned, whatever the shapes.

    fitted: its state_dict.
    """
    for name, value in fitted.items():
        owner, _, buffer = name.rpartition(".")
        step = chain.get_submodule(owner)
        setattr(step, buffer, value.to(getattr(step, buffer).device))
