"""Pieces that several networks share."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from dlrun.activation import Activation, pieces
from dlrun.errors import Mistake

NORMS = ("none", "batch", "layer")


def require_norm(norm: str) -> None:
    """Raise ValueError where there is no such normalization."""
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm}")


def require_sizes(name: str, sizes: list[int]) -> None:
    """Raise ValueError unless every size is at least 1."""
    if any(size < 1 for size in sizes):
        raise ValueError(f"{name} must be whole numbers above 0, got {sizes}")


def dense(
    inputs: int, hidden: Sequence[int], outputs: int, activation: Activation, norm: str
) -> list[nn.Module]:
    """Linear, normalization, activation for each hidden width, then a linear layer.

    (n, inputs) -> (n, outputs).
    """
    layers: list[nn.Module] = []
    for width in hidden:
        wide = width * pieces(activation)
        layers.append(nn.Linear(inputs, wide))
        if norm == "batch":
            layers.append(nn.BatchNorm1d(wide))
        if norm == "layer":
            layers.append(nn.LayerNorm(wide))
        layers.append(activation())
        inputs = width
    return [*layers, nn.Linear(inputs, outputs)]


def convolution(
    inputs: int,
    channels: int,
    kernel: int,
    activation: Activation,
    norm: str,
    padding: int | None = None,
    stride: int = 1,
    size: tuple[int, int] | None = None,
) -> list[nn.Module]:
    """Convolution, normalization, activation; without `padding` given the size stays.

    (n, inputs, h, w) -> (n, channels, h/stride, w/stride). "layer" normalizes over a whole image.
    size: h, w, where each place has weights of its own.
    """
    wide = channels * pieces(activation)
    around = kernel // 2 if padding is None else padding
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, wide, kernel, stride, around, bias=norm == "none")
        if size is None
        else LocallyConnected(inputs, wide, kernel, stride, around, size, bias=norm == "none")
    ]
    if norm == "batch":
        layers.append(nn.BatchNorm2d(wide))
    if norm == "layer":
        layers.append(nn.GroupNorm(1, wide))
    return [*layers, activation()]


class LocallyConnected(nn.Module):
    """A convolution whose weights are not shared: each place of the image has its own.

    Each place is a group of one convolution, which sees its patch alone.
    LeCun 1989, Generalization and Network Design Strategies.
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        kernel: int,
        stride: int,
        padding: int,
        size: tuple[int, int],
        bias: bool,
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding
        self.out = tuple((side + 2 * padding - kernel) // stride + 1 for side in size)
        places = self.out[0] * self.out[1]
        self.linear = nn.Conv2d(
            places * inputs, places * channels, kernel, groups=places, bias=bias
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, channels, out_h, out_w)."""
        patches = F.unfold(x, self.kernel, padding=self.padding, stride=self.stride)
        sides = -1, self.kernel, self.kernel
        out = self.linear(patches.transpose(1, 2).reshape(len(x), *sides))
        places = self.out[0] * self.out[1]
        mapped: Tensor = out.reshape(len(x), places, -1).transpose(1, 2).unflatten(2, self.out)
        return mapped


def require_image(shape: list[int], name: str) -> None:
    """Raise Mistake unless a sample of this shape is an image."""
    if len(shape) != 3:
        raise Mistake(
            f"model={name} needs images (channels, height, width), "
            f"and a sample here has shape {list(shape)}; try model=mlp"
        )
