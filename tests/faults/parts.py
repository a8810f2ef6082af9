"""A user's own code with the user's own bugs: what recipes of planted faults name by `_target_`."""

from torch import Tensor

from dlrun.experiment.mistakes import network

__all__ = ["broadcast_mse", "mse_of_labels", "network"]


def broadcast_mse(logits: Tensor, y: Tensor, half: bool = False) -> Tensor:
    """Predictions (n,) minus targets (n, 1): every prediction against every target."""
    return (logits.squeeze(1) - y).square().mean()


def mse_of_labels(logits: Tensor, y: Tensor, half: bool = False) -> Tensor:
    """The largest probability against the number of the class, as if labels were quantities."""
    return (logits.softmax(1).max(1).values - y).square().mean()
