"""Residual branches dropped at random.

Huang, Sun, Liu, Sedra, Weinberger 2016, Deep Networks with Stochastic Depth.
"""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torchvision import ops

from dlrun.errors import Mistake
from dlrun.model.order import residual_ends
from dlrun.regularization import Regularizer


class DropBranch:
    """A forward hook that drops the output of a residual branch in training.

    An object of its own, not a closure: it is copied and pickled with the network.
    """

    def __init__(self, rate: float, mode: str) -> None:
        self.rate, self.mode = rate, mode

    def __call__(self, module: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
        """The branch, 0 with probability `rate` else divided by 1 − rate."""
        dropped: Tensor = ops.stochastic_depth(out, self.rate, self.mode, module.training)
        return dropped


class StochasticDepth(Regularizer):
    """Branch l of L survives with probability 1 − (l/L)·(1 − survival).

    A surviving branch is divided by that probability, so that evaluation takes the branches as
    they are. drop: "batch", a branch is dropped for a whole mini-batch, as in the paper; "row",
    for each sample by itself. Acts on the blocks of model=resnet and torchvision's
    ResNet, ResNeXt and Wide ResNet; in networks of torchvision with a stochastic depth of
    their own, such as EfficientNet, ConvNeXt and Swin, it sets the probabilities. Random
    numbers come from torch's global generator of the device.
    """

    def __init__(self, survival: float = 0.5, drop: str = "batch") -> None:
        if not 0 < survival <= 1:
            raise ValueError(f"survival must be above 0 and at most 1, got {survival}")
        if drop not in ("batch", "row"):
            raise ValueError(f"drop must be batch or row, got {drop}")
        self.survival, self.drop = survival, drop

    def change_model(self, model: nn.Module, x: Tensor) -> nn.Module:
        """Put the hooks on; the model's state_dict stays as it is.

        Raises Mistake where the model has no residual branches.
        """
        branches = list(_branches(model))
        if not branches:
            raise Mistake(
                "regularization.stochastic_depth: the model has no residual branches to drop; "
                "use model=resnet with model.skip=true, or a resnet, efficientnet, convnext or "
                "swin of torchvision"
            )
        for number, end in enumerate(branches, start=1):
            rate = number / len(branches) * (1 - self.survival)
            if isinstance(end, ops.StochasticDepth):
                end.p, end.mode = rate, self.drop
            else:
                end.register_forward_hook(DropBranch(rate, self.drop))
        return model


def _branches(model: nn.Module) -> Iterator[nn.Module]:
    """The end of each branch, in order: where its output can be dropped."""
    own = [module for module in model.modules() if isinstance(module, ops.StochasticDepth)]
    if own:
        yield from own
        return
    # Without a shortcut a dropped branch would leave nothing.
    plain = [m for m in model.modules() if getattr(m, "shortcut", m) is None]
    without = {end for block in plain for end in residual_ends(block)}
    yield from (end for end in residual_ends(model) if end not in without)
