"""One step's objective evaluated several times under the same draw.

A network with dropout or batch norm is another function at each call: it draws new masks and
updates its running statistics. To compare two values of the objective, both must be of the same
function.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn


class Objective(Protocol):
    """The closure that the loop gives: a step's mini-batches, loss and penalties."""

    def __call__(self, backward: bool = True) -> Tensor:
        """The objective, 0-dim, without graph; with `backward` its gradient is in .grad."""


def replayed(objective: Objective, model: nn.Module) -> Objective:
    """The objective, with all calls seeing the random numbers of the first.

    The model's buffers keep what the first call wrote, too: running statistics take in the
    batch once, with the weights at the start of the step.
    """
    device = next(model.parameters()).device
    generators = _generators(device)
    buffers = list(model.buffers())
    first, after = [buffer.clone() for buffer in buffers], list[Tensor]()
    called = False

    @torch.enable_grad()
    def again(backward: bool = True) -> Tensor:
        nonlocal called, after
        if not called:
            value = objective(backward)
            called, after = True, [buffer.clone() for buffer in buffers]
            return value
        _rewind(generators, device)
        _put(buffers, first)
        value = objective(backward)
        _put(buffers, after)
        return value

    return again


def evaluated(closure: Callable[[], float] | None) -> float | None:
    """What a closure gives that evaluates the loss, with gradients; None where there is none."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def moving(
    optimizer: torch.optim.Optimizer,
) -> Iterator[tuple[dict[str, Any], list[Tensor], list[Tensor]]]:
    """The groups in which there are gradients, each with its weights that have one, and these."""
    for group in optimizer.param_groups:
        moved = [p for p in group["params"] if p.grad is not None]
        if moved:
            yield group, moved, [cast(Tensor, p.grad) for p in moved]


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that an optimizer moves."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _generators(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's global generators that the model's layers draw from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def _rewind(states: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    if "mps" in states:
        torch.mps.set_rng_state(states["mps"])


@torch.no_grad()
def _put(buffers: list[Tensor], values: list[Tensor]) -> None:
    for buffer, value in zip(buffers, values, strict=True):
        buffer.copy_(value)


def flat(tensors: list[Any]) -> Tensor:
    """All of them end to end, (total,)."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])
