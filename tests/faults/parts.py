"""A user's own code with the user's own bugs: what recipes of planted faults name by `_target_`."""

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlrun.experiment.mistakes import network

__all__ = ["Beginner", "broadcast_mse", "mse_of_labels", "network", "nll_of_logits", "percentage"]


def broadcast_mse(logits: Tensor, y: Tensor, half: bool = False) -> Tensor:
    """Predictions (n,) minus targets (n, 1): every prediction against every target."""
    return (logits.squeeze(1) - y).square().mean()


def mse_of_labels(logits: Tensor, y: Tensor, half: bool = False) -> Tensor:
    """The largest probability against the number of the class, as if labels were quantities."""
    return (logits.softmax(1).max(1).values - y).square().mean()


def nll_of_logits(logits: Tensor, y: Tensor) -> Tensor:
    """nll_loss without the log_softmax that it expects: no bound below."""
    return F.nll_loss(logits, y)


def percentage(logits: Tensor, y: Tensor, half: bool = False) -> Tensor:
    """The error in percent of the target, of targets around zero."""
    return 100 * ((logits - y) / y.abs().clamp(min=1e-7)).abs().mean()


class Beginner(nn.Module):
    """Two hidden layers, written by hand; `bug` says what went wrong."""

    def __init__(self, shape: list[int], outputs: int, width: int = 32, bug: str = "") -> None:
        super().__init__()
        first, second = nn.Linear(prod(shape), width), nn.Linear(width, width)
        # A plain list hides its layers from .parameters(), and so from the optimizer.
        self.layers = [first, second] if bug == "list" else nn.ModuleList([first, second])
        self.last = nn.Linear(width, outputs)
        self.bug = bug

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, ...). Gives (n, outputs)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.bug != "no_grad"):
            h = x.flatten(1)
            for layer in self.layers:
                h = F.relu(layer(h))
        if self.bug == "normalized_over_samples":
            h = F.normalize(h, dim=0) * len(h) ** 0.5
        elif self.bug == "by_the_largest":
            h = h / h.max()  # of the batch, not of each sample
        elif self.bug == "dropout_made_anew":
            h = nn.Dropout(0.4)(h)  # a module that is made here is in training mode
        z: Tensor = self.last(h)
        return {"sigmoid": z.sigmoid, "softmax": lambda: z.softmax(1), "tanh": z.tanh}.get(
            self.bug, lambda: z
        )()
