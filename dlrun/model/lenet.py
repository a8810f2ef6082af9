"""LeNet-5, the network that read handwritten digits.

LeCun, Bottou, Bengio, Haffner 1998, Gradient-Based Learning Applied to Document Recognition.
"""

from torch import nn

from dlrun.activation import Activation
from dlrun.model.blocks import convolution, dense, require_image

SIDE = 32  # of the images that the paper's network takes


def lenet(shape: list[int], outputs: int, activation: Activation) -> nn.Module:
    """Two convolutions with average pooling, two dense layers, logits.

    (n, *shape) -> (n, outputs). A side below 32 px is padded with zeros to 32, as the paper
    does with its digits of 28; of larger images the first dense layer sees more.
    """
    require_image(shape, "lenet")
    depth, height, width = shape
    layers: list[nn.Module] = []
    down, right = max(SIDE - height, 0), max(SIDE - width, 0)
    if down or right:
        top, left = down // 2, right // 2
        layers.append(nn.ZeroPad2d((left, right - left, top, down - top)))
        height, width = height + down, width + right
    for channels in (6, 16):
        layers += [*convolution(depth, channels, 5, activation, "none", padding=0), nn.AvgPool2d(2)]
        depth, height, width = channels, (height - 4) // 2, (width - 4) // 2
    layers.append(nn.Flatten())
    size = depth * height * width
    return nn.Sequential(*layers, *dense(size, (120, 84), outputs, activation, "none"))
