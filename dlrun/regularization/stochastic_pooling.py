"""Pooling that picks one element of each region at random.

Zeiler, Fergus 2013, Stochastic Pooling for Regularization of Deep Convolutional Neural
Networks.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlrun.errors import Mistake
from dlrun.regularization import Regularizer


class StochasticPool2d(nn.Module):
    """One element of each region, drawn with probability aᵢ/Σa; in evaluation Σaᵢ²/Σa.

    For activations that are not negative, as in the paper. Of others only the positive elements
    count; where a region has none, all its elements are equally likely. Padding is never drawn.
    """

    def __init__(
        self, kernel: Any, stride: Any, padding: Any = 0, dilation: Any = 1, ceil: bool = False
    ) -> None:
        super().__init__()
        self.kernel, self.stride = _pair(kernel), _pair(stride)
        self.padding, self.dilation = _pair(padding), _pair(dilation)
        self.ceil = ceil

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, h', w')."""
        regions, inside = self._regions(x)
        chances = regions.detach().to(torch.promote_types(x.dtype, torch.float32)).clamp(min=0)
        if inside is not None:
            chances = chances * inside
        total = chances.sum(-1, keepdim=True)
        even = torch.ones_like(chances[:1, :1]) if inside is None else inside
        chances = torch.where(total > 0, chances, even.to(chances.dtype))
        upto = chances.cumsum(-1)
        if not self.training:
            shares = (chances / upto[..., -1:]).to(x.dtype)
            return (shares * regions).sum(-1)
        # The first element whose running sum passes a uniform share of the total.
        drawn = torch.rand_like(upto[..., :1]) * upto[..., -1:]
        chosen = (upto <= drawn).sum(-1, keepdim=True)
        chosen = chosen.clamp(max=upto.shape[-1] - 1)  # an infinite sum is never reached
        return regions.gather(-1, chosen).squeeze(-1)

    def extra_repr(self) -> str:
        """How it is shown."""
        return f"kernel={self.kernel}, stride={self.stride}, padding={self.padding}"

    def _regions(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """(n, c, h', w', elements), and which elements are no padding, None for all."""
        sides = [self._reach(axis, x.shape[2 + axis]) for axis in (0, 1)]
        padded = any(before or after > 0 for before, after in sides)
        inside = None
        if padded:
            (top, bottom), (left, right) = sides
            around = (left, right, top, bottom)
            inside = self._unfold(F.pad(torch.ones_like(x[:1, :1]), around)) > 0
            x = F.pad(x, around)
        return self._unfold(x), inside

    def _unfold(self, x: Tensor) -> Tensor:
        for axis in (0, 1):
            span = self.dilation[axis] * (self.kernel[axis] - 1) + 1
            x = x.unfold(2 + axis, span, self.stride[axis])[..., :: self.dilation[axis]]
        return x.flatten(4)

    def _reach(self, axis: int, size: int) -> tuple[int, int]:
        """The padding before and after, as pooling layers count it; negative cuts off."""
        before, stride = self.padding[axis], self.stride[axis]
        span = self.dilation[axis] * (self.kernel[axis] - 1) + 1
        room = size + 2 * before - span
        steps = room // stride
        # A last region that begins inside the image counts too, where asked.
        if self.ceil and room % stride and (steps + 1) * stride < size + before:
            steps += 1
        return before, max(steps * stride + span - size - before, 0)


class StochasticPooling(Regularizer):
    """Stochastic pooling in place of every max and average pooling of the model."""

    def change_model(self, model: nn.Module, x: Tensor) -> nn.Module:
        """Replace the poolings; those over the whole image stay.

        Raises Mistake where the model has no pooling layers.
        """
        replaced = 0
        for parent in list(model.modules()):
            for name, pool in parent.named_children():
                new = stochastic(pool)
                if new is not None:
                    setattr(parent, name, new)
                    replaced += 1
        if not replaced:
            raise Mistake(
                "regularization.stochastic_pooling: the model has no pooling layer to replace; "
                "use model=cnn, lenet or vgg, or leave it out"
            )
        return model


def stochastic(pool: nn.Module) -> StochasticPool2d | None:
    """The stochastic pooling of the same regions; None where the module is no such pooling."""
    if isinstance(pool, nn.MaxPool2d) and not pool.return_indices:
        return StochasticPool2d(
            pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode
        )
    if isinstance(pool, nn.AvgPool2d):
        return StochasticPool2d(pool.kernel_size, pool.stride, pool.padding, ceil=pool.ceil_mode)
    return None


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])
