"""Pieces that several networks share."""

from torch import nn

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


def dense(inputs: int, width: int, activation: Activation, norm: str) -> list[nn.Module]:
    """Linear, normalization, activation: (n, inputs) -> (n, width)."""
    wide = width * pieces(activation)
    layers: list[nn.Module] = [nn.Linear(inputs, wide)]
    if norm == "batch":
        layers.append(nn.BatchNorm1d(wide))
    if norm == "layer":
        layers.append(nn.LayerNorm(wide))
    return [*layers, activation()]


def convolution(
    inputs: int,
    channels: int,
    kernel: int,
    activation: Activation,
    norm: str,
    padding: int | None = None,
) -> list[nn.Module]:
    """Convolution, normalization, activation; without `padding` given the size stays.

    (n, inputs, h, w) -> (n, channels, h, w). "layer" normalizes over a whole image.
    """
    wide = channels * pieces(activation)
    around = kernel // 2 if padding is None else padding
    layers: list[nn.Module] = [nn.Conv2d(inputs, wide, kernel, padding=around, bias=norm == "none")]
    if norm == "batch":
        layers.append(nn.BatchNorm2d(wide))
    if norm == "layer":
        layers.append(nn.GroupNorm(1, wide))
    return [*layers, activation()]


def require_image(shape: list[int], name: str) -> None:
    """Raise Mistake unless a sample of this shape is an image."""
    if len(shape) != 3:
        raise Mistake(
            f"model={name} needs images (channels, height, width), "
            f"and a sample here has shape {list(shape)}; try model=mlp"
        )
