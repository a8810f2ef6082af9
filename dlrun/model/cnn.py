"""A plain convolutional network."""

from torch import nn

from dlrun.activation import Activation
from dlrun.model.blocks import convolution, dense, require_image, require_norm, require_sizes

POOLINGS = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}


def cnn(
    shape: list[int],
    outputs: int,
    activation: Activation,
    channels: list[int],
    kernel: int = 3,
    stride: int = 1,
    norm: str = "none",
    pooling: str = "max",
    pool_every: int = 2,
    global_pool: bool = True,
    hidden: list[int] | None = None,
    shared: bool = True,
) -> nn.Module:
    """Convolutions with pooling between, then dense layers: (n, *shape) -> (n, outputs).

    channels: one convolution each, with this stride. A 2×2 pooling follows every `pool_every` of
    them. shared: whether all places of an image have the same weights.
    global_pool averages over what is left of the image; without it that is flattened.
    hidden: widths of dense layers before the last.
    """
    require_image(shape, "cnn")
    require_norm(norm)
    require_sizes("channels", channels)
    require_sizes("hidden", hidden or [])
    if not channels:
        raise ValueError("channels must name at least one convolution, got []")
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"kernel must be odd, got {kernel}")
    if pooling not in (*POOLINGS, "none"):
        raise ValueError(f"pooling must be max, average or none, got {pooling}")
    if pool_every < 1:
        raise ValueError(f"pool_every must be at least 1, got {pool_every}")

    if stride < 1:
        raise ValueError(f"stride must be at least 1, got {stride}")

    layers: list[nn.Module] = []
    depth, height, width = shape
    for i, wider in enumerate(channels, start=1):
        places = None if shared else (height, width)
        layers += convolution(depth, wider, kernel, activation, norm, stride=stride, size=places)
        depth = wider
        height, width = -(-height // stride), -(-width // stride)
        if pooling != "none" and i % pool_every == 0:
            layers.append(POOLINGS[pooling](2))
            height, width = height // 2, width // 2
        if min(height, width) < 1:  # no convolution can follow
            raise _nothing_left(shape, stride, pool_every, len(channels) // pool_every)
    if global_pool:
        layers.append(nn.AdaptiveAvgPool2d(1))
    layers.append(nn.Flatten())
    size = depth if global_pool else depth * height * width
    return nn.Sequential(*layers, *dense(size, hidden or [], outputs, activation, norm))


def _nothing_left(shape: list[int], stride: int, pool_every: int, poolings: int) -> ValueError:
    """The error of so many poolings that nothing is left of an image."""
    pixels = f"{shape[1]}×{shape[2]} pixels"
    if min(shape[1:]) >> poolings:  # which alone leave something
        return ValueError(
            f"stride must be lower: with {poolings} poolings it leaves nothing of {pixels}, "
            f"got {stride}"
        )
    return ValueError(
        f"pool_every must be higher: {poolings} poolings leave nothing of {pixels}, "
        f"got {pool_every}"
    )
