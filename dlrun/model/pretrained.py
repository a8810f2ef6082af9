"""What trained weights of other libraries expect of images."""

from collections.abc import Sequence
from typing import Any

from torch import nn


def expect(
    model: nn.Module, size: Sequence[int], mean: Sequence[float], std: Sequence[float]
) -> None:
    """Let a model say which images its trained weights know.

    size: (height, width). mean, std: of each channel, of values in [0, 1]; of three channels.
    """
    square = size[0] if len(set(size)) == 1 else list(size)
    said: Any = model
    said.expects = {
        "data.size": square,
        "preprocessing.standardize.mean": [float(each) for each in mean],
        "preprocessing.standardize.std": [float(each) for each in std],
    }


def expected(model: nn.Module) -> dict[str, Any]:
    """The settings with which a recipe gives a model the images that its weights know."""
    return dict(getattr(model, "expects", {}))
