"""Dropout on any network, by hooks before its layers.

Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov 2014, Dropout: A Simple Way to
Prevent Neural Networks from Overfitting.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from dlrun.errors import below_one
from dlrun.model.autoencoder import Transposed, is_linear
from dlrun.model.blocks import LocallyConnected
from dlrun.model.order import weight_layers
from dlrun.regularization import Regularizer


def drop(x: Tensor, rate: float | Tensor) -> Tensor:
    """x with each element 0 with probability `rate`, else divided by 1 − rate.

    rate: a 0-dim tensor where several networks run as one.

    On a CPU torch's own dropout spends most of its time drawing from a Bernoulli distribution;
    a uniform number and a comparison take a quarter of that.
    """
    precise = torch.promote_types(x.dtype, torch.float32)
    if isinstance(rate, Tensor):
        return x * (torch.rand_like(x, dtype=precise) >= rate).to(x.dtype) / (1 - rate)
    if not x.is_cpu:
        return F.dropout(x, rate)
    kept = torch.rand_like(x, dtype=precise).ge_(rate).mul_(1 / (1 - rate))
    return x * kept.to(x.dtype)


class Drop:
    """A forward pre-hook that drops elements of a module's input while it trains.

    An object of its own, not a closure: it is copied and pickled with the network.
    scales: what makes up for the elements that are missing: "train", which divides the others,
    or "test", which multiplies all elements in evaluation. on: whether it drops there too.
    mask: what is multiplied with the elements, 0 for one that is missing, else 1, instead of what
    is drawn; None to draw.
    """

    def __init__(self, rate: float, scales: str = "train") -> None:
        self.rate, self.scales, self.on = rate, scales, False
        self.mask: Tensor | None = None

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """The inputs with the first one dropped; None leaves them as they are."""
        drops, kept = module.training or self.on, 1 - self.rate
        if self.mask is not None:
            left = args[0] * self.mask
            return (left if self.scales == "test" else left / kept, *args[1:])
        if self.scales == "test":
            return ((drop(args[0], self.rate) if drops else args[0]) * kept, *args[1:])
        return (drop(args[0], self.rate), *args[1:]) if drops else None


def turn_on(model: nn.Module, on: bool = True) -> bool:
    """Turn the dropout of a model in evaluation mode on or off; whether it has any.

    That of the recipe, and that of torch's own layers.
    """
    found = False
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            found = True
            module.training = on
    for _, hook in places(model):
        found = True
        hook.on = on
    return found


def places(model: nn.Module) -> Iterator[tuple[nn.Module, Drop]]:
    """The modules whose input the recipe's dropout drops from, each with what does it."""
    for module in model.modules():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, Drop):
                yield module, hook


class Dropout(Regularizer):
    """Each element is 0 with probability p, else divided by 1 − p; nothing in evaluation.

    visible: p on the network's input. hidden: p on the input of each linear layer except
    the network's first weight layer. convolution: the same for convolutions. rates: whether
    they are probabilities to drop or to keep; scales: as `Drop` takes it. Random numbers come
    from torch's global generator of the device.
    """

    def __init__(
        self,
        hidden: float = 0.5,
        visible: float = 0.2,
        convolution: float = 0.0,
        rates: str = "drop",
        scales: str = "train",
    ) -> None:
        for name, word, known in (
            ("rates", rates, ("drop", "keep")),
            ("scales", scales, ("train", "test")),
        ):
            if word not in known:
                raise ValueError(f"{name} must be {' or '.join(known)}, got {word}")
        given = {"hidden": hidden, "visible": visible, "convolution": convolution}
        if rates == "drop":
            below_one(**given)
        for name, rate in given.items():
            if rates == "keep" and not 0 < rate <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, got {rate}")
        drops = [rate if rates == "drop" else 1 - rate for rate in given.values()]
        self.hidden, self.visible, self.convolution = drops
        self.scales = scales

    def change_model(self, model: nn.Module, x: Tensor) -> nn.Module:
        """Put the hooks on; the model's state_dict stays as it is."""
        hidden: list[nn.Module] = [*weight_layers(model, x)[1:]]
        hidden += [module for module in model.modules() if isinstance(module, Transposed)]
        # A unit that is missing is so in all patches, which overlap.
        own = [module for module in model.modules() if isinstance(module, LocallyConnected)]
        before: dict[nn.Module, nn.Module] = {module.linear: module for module in own}
        if self.visible:
            model.register_forward_pre_hook(Drop(self.visible, self.scales))
        for layer in hidden:
            rate = self.hidden if is_linear(layer) else self.convolution
            if rate:
                before.get(layer, layer).register_forward_pre_hook(Drop(rate, self.scales))
        return model
