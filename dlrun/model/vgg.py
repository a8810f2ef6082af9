"""VGG networks: stages of 3×3 convolutions, each followed by a pooling.

Simonyan, Zisserman 2015, Very Deep Convolutional Networks for Large-Scale Image Recognition.
"""

from torch import nn

from dlrun.activation import Activation
from dlrun.model.blocks import convolution, dense, require_image, require_norm, require_sizes


def vgg(
    shape: list[int],
    outputs: int,
    activation: Activation,
    stages: list[list[int]],
    hidden: list[int] | None = None,
    norm: str = "batch",
) -> nn.Module:
    """Stages of convolutions, then dense layers: (n, *shape) -> (n, outputs).

    stages: for each, the channels of its 3×3 convolutions; 2×2 max pooling ends a stage.
    hidden: widths of the dense layers before the last.
    """
    require_image(shape, "vgg")
    require_norm(norm)
    require_sizes("hidden", hidden or [])
    if not stages or not all(stages):
        raise ValueError(f"stages must each name at least one convolution, got {stages}")
    for channels in stages:
        require_sizes("stages", channels)
    if min(shape[1:]) < 2 ** len(stages):
        raise ValueError(
            f"stages must be fewer: {len(stages)} poolings leave nothing of "
            f"{shape[1]}×{shape[2]} pixels, got {stages}"
        )
    layers: list[nn.Module] = []
    depth, height, width = shape
    for channels in stages:
        for wider in channels:
            layers += convolution(depth, wider, 3, activation, norm)
            depth = wider
        layers.append(nn.MaxPool2d(2))
        height, width = height // 2, width // 2
    layers.append(nn.Flatten())
    size = depth * height * width
    return nn.Sequential(*layers, *dense(size, hidden or [], outputs, activation, norm))
