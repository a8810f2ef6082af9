"""A user's own code with the user's own bugs: what recipes of planted faults name by `_target_`."""

from collections.abc import Sequence
from math import prod

import torch.nn.functional as F
from torch import Tensor, nn


class SoftmaxOverSamples(nn.Module):
    """Attention whose softmax runs over the samples of the batch: dim=0 instead of dim=1."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, features)."""
        return x * x.softmax(0) * len(x)


class CenteredBySamples(nn.Module):
    """Centred by the mean of the batch instead of the mean of each sample: dim=0."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, features)."""
        return x - x.mean(0)


class ViewAcrossSamples(nn.Module):
    """A view that reads on from one sample into the next: the axes were swapped before it."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, features)."""
        return x.t().reshape(x.shape)


class Detached(nn.Module):
    """Cut off from what comes before: .detach() left in from debugging."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, features)."""
        return x.detach()


class FunctionalDropout(nn.Module):
    """F.dropout without training=self.training, which drops in evaluation, too."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, features)."""
        return F.dropout(x, 0.5)


class SafeSoftmax(nn.Module):
    """Probabilities kept away from 0, for a logarithm that the loss takes care of itself."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, classes)."""
        return x.softmax(1).clamp(1e-7, 1)


MODULES = {
    "softmax_over_samples": SoftmaxOverSamples,
    "centered_by_samples": CenteredBySamples,
    "view_across_samples": ViewAcrossSamples,
    "detached": Detached,
    "functional_dropout": FunctionalDropout,
    "safe_softmax": SafeSoftmax,
    "softmax": lambda: nn.Softmax(1),
    "dropout": lambda: nn.Dropout(0.5),
    "sigmoid": nn.Sigmoid,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
}


def network(
    shape: list[int],
    outputs: int,
    hidden: Sequence[int] = (32,),
    channels: Sequence[int] = (),
    bias: bool = True,
    inside: str | None = None,
    last: str | None = None,
    frozen: bool = False,
) -> nn.Module:
    """Convolutions of 3×3 with pooling, then dense layers, with ReLUs and He's initialization.

    inside: of MODULES, before the last layer. last: of MODULES, after it.
    frozen: whether the first weight layer stays as it is.
    """
    layers: list[nn.Module] = []
    planes, *size = shape if channels else (prod(shape),)
    for wider in channels:
        conv = nn.Conv2d(planes, wider, 3, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(wider), nn.ReLU(), nn.MaxPool2d(2)]
        planes, size = wider, [side // 2 for side in size]
    layers.append(nn.Flatten())
    width = planes * prod(size)
    for wider in hidden:
        layers += [nn.Linear(width, wider, bias=bias), nn.ReLU()]
        width = wider
    layers += [MODULES[inside]()] if inside else []
    layers.append(nn.Linear(width, outputs, bias=bias))
    layers += [MODULES[last]()] if last else []
    model = nn.Sequential(*layers)
    weights = [module for module in model if isinstance(module, nn.Linear | nn.Conv2d)]
    for module in weights:
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    weights[0].weight.requires_grad_(not frozen)
    return model


def broadcast_mse(logits: Tensor, y: Tensor, half: bool = False) -> Tensor:
    """Predictions (n,) minus targets (n, 1): every prediction against every target."""
    return (logits.squeeze(1) - y).square().mean()


def mse_of_labels(logits: Tensor, y: Tensor, half: bool = False) -> Tensor:
    """The largest probability against the number of the class, as if labels were quantities."""
    return (logits.softmax(1).max(1).values - y).square().mean()
