"""Networks that reconstruct their input from a narrow code.

Hinton, Salakhutdinov 2006, Reducing the Dimensionality of Data with Neural Networks.
"""

from itertools import pairwise
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlrun.activation import Activation, pieces
from dlrun.errors import Mistake
from dlrun.model.blocks import require_image, require_sizes


class Autoencoder(nn.Module):
    """decoder(encoder(x)), of the shape of x."""

    reconstructs = True

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: Tensor) -> Tensor:
        """(n, *shape) -> (n, *shape)."""
        out: Tensor = self.decoder(self.encoder(x))
        return out


class Transposed(nn.Module):
    """The transpose of another layer with a bias of its own: Wᵀ·h + b.

    The other layer is not a submodule of this one, so its weights are counted once.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, padding: tuple[int, int] = (0, 0)) -> None:
        super().__init__()
        self._of = (layer,)
        self._padding = padding
        self.bias = nn.Parameter(torch.zeros(layer.weight.shape[1]))

    @property
    def of(self) -> nn.Linear | nn.Conv2d:
        """The other layer."""
        return self._of[0]

    @property
    def weight(self) -> Tensor:
        """As the forward pass takes it: (inputs, outputs) of a linear layer, else its own."""
        weight: Tensor = self.of.weight
        return weight.t() if is_linear(self) else weight

    def forward(self, h: Tensor) -> Tensor:
        """(n, outputs of the layer, ...) -> (n, its inputs, ...)."""
        if is_linear(self):
            return F.linear(h, self.weight, self.bias)
        return F.conv_transpose2d(
            h, self.weight, self.bias, stride=2, padding=1, output_padding=self._padding
        )

    def extra_repr(self) -> str:
        """How it is shown."""
        return f"of {self.of}"


def is_linear(layer: nn.Module) -> bool:
    """Whether a layer is linear, or the transpose of a linear one, and no convolution."""
    return isinstance(layer.of if isinstance(layer, Transposed) else layer, nn.Linear)


def autoencoder(
    shape: list[int],
    activation: Activation,
    code: int = 16,
    hidden: list[int] | None = None,
    channels: list[int] | None = None,
    tied: bool = False,
) -> Autoencoder:
    """Down to `code` numbers and back: (n, *shape) -> (n, *shape).

    channels: of 3×3 convolutions with stride 2, which come first; [] makes a dense network.
    hidden: widths of dense layers between them and the code. The decoder mirrors the
    encoder. tied: each of its layers uses the transpose of the encoder's weight there. The
    code and the output are linear, every other layer has the activation.
    """
    require_sizes("channels", channels or [])
    require_sizes("hidden", hidden or [])
    if code < 1:
        raise ValueError(f"code must be a whole number above 0, got {code}")
    wide = pieces(activation)
    if tied and wide > 1:
        raise Mistake(
            "model.tied=true: takes no activation=maxout, whose layers are wider than what "
            "they give, so that their transposes do not fit; use model.tied=false"
        )
    if channels:
        require_image(shape, "autoencoder with channels")

    encoder: list[nn.Module] = []
    mirror: list[list[nn.Module]] = []  # what undoes each layer, from the outside inwards

    def add(layer: nn.Linear | nn.Conv2d, back: nn.Module, last: bool = False) -> None:
        encoder.extend([layer] if last else [layer, activation()])
        mirror.append([back, activation()] if mirror else [back])

    size = list(shape)
    for depth in channels or []:
        convolution = nn.Conv2d(size[0], depth * wide, 3, stride=2, padding=1)
        given = size[0] * (wide if mirror else 1)
        padding = (1 - size[1] % 2, 1 - size[2] % 2)  # halving rounded odd sides up
        if tied:
            add(convolution, Transposed(convolution, padding))
        else:
            add(convolution, nn.ConvTranspose2d(depth, given, 3, 2, 1, output_padding=padding))
        size = [depth, (size[1] + 1) // 2, (size[2] + 1) // 2]
    encoder.append(nn.Flatten())
    widths = [prod(size), *(hidden or []), code]
    for number, (width, narrower) in enumerate(pairwise(widths), start=2):
        last = number == len(widths)
        linear = nn.Linear(width, narrower * (1 if last else wide))
        given = width * (wide if mirror else 1)
        add(linear, Transposed(linear) if tied else nn.Linear(narrower, given), last)
        if number == 2:
            mirror[-1].append(nn.Unflatten(1, tuple(size)))
    decoder = [layer for layers in reversed(mirror) for layer in layers]
    return Autoencoder(nn.Sequential(*encoder), nn.Sequential(*decoder))
