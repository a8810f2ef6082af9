"""Gradient descent with a momentum that may rise at the start of training."""

from functools import partial
from typing import Any

import torch
from torch.optim.optimizer import ParamsT

from dlrun.duration import Steps


def momentum(
    parameters: ParamsT,
    lr: float = 0.05,
    momentum: float = 0.9,
    momentum_start: float | None = None,
    momentum_steps: Steps | None = None,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> torch.optim.SGD:
    """torch's SGD; its momentum rises linearly over `momentum_steps` from `momentum_start`.

    Without a start, or over 0 steps, the momentum is constant.
    Hinton 2012, A Practical Guide to Training Restricted Boltzmann Machines.
    """
    for name, value in (("momentum", momentum), ("momentum_start", momentum_start)):
        if value is not None and not 0 <= value < 1:
            raise ValueError(f"{name} must be at least 0 and below 1, got {value}")
    optimizer = torch.optim.SGD(
        parameters, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay
    )
    if momentum_start is not None and momentum_steps:
        rise = partial(_rise, start=momentum_start, end=momentum, steps=momentum_steps)
        optimizer.register_step_pre_hook(rise)
    return optimizer


def _rise(
    optimizer: torch.optim.Optimizer, args: Any, kwargs: Any, start: float, end: float, steps: int
) -> None:
    """Set the momentum of the next step, from the number of steps taken, which the state keeps."""
    memory = optimizer.state[optimizer.param_groups[0]["params"][0]]
    taken = memory.get("step", 0)
    memory["step"] = taken + 1
    for group in optimizer.param_groups:
        group["momentum"] = start + (end - start) * min(taken / steps, 1.0)
