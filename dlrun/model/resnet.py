"""Residual networks in the form for CIFAR.

He, Zhang, Ren, Sun 2016, Deep Residual Learning for Image Recognition, section 4.2.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from dlrun.activation import Activation, pieces
from dlrun.errors import Mistake
from dlrun.model.blocks import require_image


class Pad(nn.Module):
    """Shortcut A: every stride-th pixel, new channels zero; no weights."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, channels, ⌈h/stride⌉, ⌈w/stride⌉)."""
        new = self.channels - x.shape[1]
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, new // 2, new - new // 2))


class Block(nn.Module):
    """activation(F(x) + shortcut(x)), F two 3×3 convolutions with batch norm."""

    def __init__(
        self,
        inputs: int,
        channels: int,
        stride: int,
        activation: Activation,
        shortcut: nn.Module | None,
    ) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            activation(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.shortcut = shortcut
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, channels, ⌈h/stride⌉, ⌈w/stride⌉)."""
        out: Tensor = self.residual(x)
        if self.shortcut is not None:
            out = out + self.shortcut(x)
        out = self.activation(out)
        return out


def resnet(
    shape: list[int],
    outputs: int,
    activation: Activation,
    depth: int = 20,
    width: int = 16,
    skip: bool = True,
    shortcut: str = "pad",
) -> nn.Module:
    """The network of depth 6n + 2: (n, *shape) -> (n, outputs).

    Three stages of n blocks with width, 2·width and 4·width channels. Where the size
    changes, shortcut="pad" is the paper's option A, "project" its option B.
    """
    require_image(shape, "resnet")
    if depth < 8 or (depth - 2) % 6:
        raise ValueError(f"depth must be 6n + 2, such as 8, 20, 32, 56, 110, got {depth}")
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}")
    if shortcut not in ("pad", "project"):
        raise ValueError(f"shortcut must be pad or project, got {shortcut}")
    if pieces(activation) > 1:
        raise Mistake(
            "model=resnet: takes no activation=maxout, which gives fewer channels than it reads, "
            "so that the skip connections do not fit; try model=cnn"
        )

    def around(inputs: int, channels: int, stride: int) -> nn.Module | None:
        if not skip:
            return None
        if inputs == channels and stride == 1:
            return nn.Identity()
        if shortcut == "pad":
            return Pad(channels, stride)
        return nn.Sequential(
            nn.Conv2d(inputs, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
        )

    layers: list[nn.Module] = [
        nn.Conv2d(shape[0], width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        activation(),
    ]
    inputs = width
    for stage in range(3):
        channels = width * 2**stage
        for block in range((depth - 2) // 6):
            stride = 2 if stage and block == 0 else 1
            way = around(inputs, channels, stride)
            layers.append(Block(inputs, channels, stride, activation, way))
            inputs = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, outputs))
