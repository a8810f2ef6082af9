"""A network with the bugs that everybody writes once: a recipe names it by `_target_`.

They act in the network itself and on its parameters, as if the loop had them.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlrun.data import Report, Source
from dlrun.data.digits import digits


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


class OneLabelOnly(nn.Module):
    """The logits of a softmax's probabilities, so that their sigmoids sum to 1."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, labels)."""
        return x.log_softmax(1) - torch.log1p(-x.softmax(1).clamp(max=1 - 1e-6))


class NeverEvaluated(nn.Sequential):
    """Stays in training mode, as if nobody had called `.eval()`."""

    def train(self, mode: bool = True) -> "NeverEvaluated":
        """The mode that is asked for does not count."""
        super().train(True)
        return self


class NeverZeroed(nn.Module):
    """Each gradient has all those before it added to it, as if nobody had called `zero_grad()`."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        for number, weight in enumerate(inner.parameters()):
            self.register_buffer(f"sum_{number}", torch.zeros_like(weight))
            if weight.requires_grad:
                weight.register_hook(partial(self._added, number))

    def _added(self, number: int, gradient: Tensor) -> Tensor:
        kept: Tensor = self.get_buffer(f"sum_{number}").add_(gradient.detach())
        return kept.clone()

    def forward(self, x: Tensor) -> Tensor:
        """As the network inside."""
        given: Tensor = self.inner(x)
        return given


MODULES: dict[str, Callable[[], nn.Module]] = {
    "softmax_over_samples": SoftmaxOverSamples,
    "centered_by_samples": CenteredBySamples,
    "view_across_samples": ViewAcrossSamples,
    "detached": Detached,
    "functional_dropout": FunctionalDropout,
    "safe_softmax": SafeSoftmax,
    "one_label_only": OneLabelOnly,
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
    zero_grad: bool = True,
    evaluated: bool = True,
) -> nn.Module:
    """Convolutions of 3×3 with pooling, then dense layers, with ReLUs and He's initialization.

    inside: of MODULES, before the last layer. last: of MODULES, after it.
    frozen: whether the first weight layer stays as it is. zero_grad: False leaves out what the
    loop does before each gradient; evaluated: False, what it does before a validation.
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
    model = nn.Sequential(*layers) if evaluated else NeverEvaluated(*layers)
    weights = [module for module in model if isinstance(module, nn.Linear | nn.Conv2d)]
    for module in weights:
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    weights[0].weight.requires_grad_(not frozen)
    return model if zero_grad else NeverZeroed(model)


PROPERTIES = ("even", "above 4", "prime", "with a hole")


def properties(cache: str | None = None, report: Report | None = None) -> Source:
    """The embedded digits with four labels that may hold at once, in the order of PROPERTIES."""
    found = digits(cache, report)
    of_digit = [found.y % 2 == 0, found.y > 4]
    of_digit += [torch.isin(found.y, torch.tensor(some)) for some in ((2, 3, 5, 7), (0, 6, 8, 9))]
    y = torch.stack(of_digit, 1).float()
    digest = f"{found.digest}-properties"
    return replace(found, name="properties", y=y, digest=digest, classes=(), labels=True)
