"""Noise on the input, on the targets, and on the gradient."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from dlrun.errors import not_negative
from dlrun.regularization import Regularizer


class InputNoise(Regularizer):
    """x + N(0, std²), drawn for every element of every batch (Bishop 1995)."""

    def __init__(self, std: float = 0.1) -> None:
        not_negative(std=std)
        self.std = std

    def change_batch(self, x: Tensor, y: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Add the noise to x; y stays."""
        return x + self.std * _normal(x, generator), y


class TargetNoise(Regularizer):
    """Some wrong labels, or slightly wrong numbers (Xie et al. 2016, DisturbLabel).

    flip: the probability that a sample's class becomes another one, all equally likely. Class
    probabilities move in the same way, by a shift of all classes; of several labels at once each
    t becomes 1 − t. std: of the Gaussian noise on the numbers of a regression. outputs: the number
    of classes. The attributes `labels` and `regression` say what float targets are.
    """

    regression = True  # where nobody says otherwise

    def __init__(self, outputs: int, flip: float = 0.1, std: float = 0.1) -> None:
        if not 0 <= flip <= 1:
            raise ValueError(f"flip must be between 0 and 1, got {flip}")
        not_negative(std=std)
        self.flip, self.std = flip, std
        self._classes = max(outputs, 2)  # one output means two classes

    def change_batch(self, x: Tensor, y: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Change y: (n,) classes, (n, classes) probabilities, (n, targets) labels or numbers."""
        if not y.is_floating_point():
            return x, (y + self._shifts(y, generator)) % self._classes
        if self.labels:
            flips = torch.rand(y.shape, generator=generator, device=y.device) < self.flip
            return x, torch.where(flips, 1 - y, y)
        if self.regression:
            return x, y + self.std * _normal(y, generator)
        classes = torch.arange(self._classes, device=y.device)
        return x, y.gather(1, (classes - self._shifts(y, generator)[:, None]) % self._classes)

    def _shifts(self, y: Tensor, generator: Generator) -> Tensor:
        """(n,): 0 where a label stays, else by how many classes it moves."""
        shape, device = y.shape[:1], y.device
        chosen = torch.rand(shape, generator=generator, device=device) < self.flip
        further = torch.randint(1, self._classes, shape, generator=generator, device=device)
        return chosen * further


class GradientNoise(Regularizer):
    """g + N(0, eta/(1 + t)^gamma) at step t = 0, 1, 2, ... (Neelakantan et al. 2015).

    A step with several gradients counts as one. The noise comes from torch's global generator
    of the device.
    """

    def __init__(self, eta: float = 0.01, gamma: float = 0.55) -> None:
        not_negative(eta=eta, gamma=gamma)
        self.eta, self.gamma = eta, gamma
        self.step = 0

    @torch.no_grad()
    def add_gradient(self, weights: Sequence[Tensor]) -> None:
        """Add noise to every gradient."""
        grads = [w.grad for w in weights if w.grad is not None]
        std = self.eta**0.5 * (1.0 + self.step) ** (-self.gamma / 2)
        if grads and std:
            sizes = [grad.numel() for grad in grads]
            drawn = torch.randn(sum(sizes), dtype=grads[0].dtype, device=grads[0].device)
            noise = [
                part.view(grad.shape) for part, grad in zip(drawn.split(sizes), grads, strict=True)
            ]
            torch._foreach_add_(grads, noise, alpha=std)

    def constrain(self, model: nn.Module, groups: Sequence[dict[str, Any]]) -> None:
        """Count the step; the model stays as it is."""
        self.step += 1

    def state_dict(self) -> dict[str, int]:
        """The number of steps taken."""
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a state_dict."""
        self.step = state["step"]


def _normal(like: Tensor, generator: Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
