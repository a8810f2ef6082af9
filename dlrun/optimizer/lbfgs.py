"""torch's L-BFGS, with the same random numbers at all evaluations of a step."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from dlrun.optimizer.replay import Objective, replayed, trainable


def lbfgs(
    model: nn.Module,
    lr: float = 1.0,
    iterations: int = 5,
    history: int = 20,
    line_search: Literal["strong_wolfe", "none"] = "strong_wolfe",
    tolerance_gradient: float = 1e-7,
    tolerance_change: float = 1e-9,
) -> torch.optim.LBFGS:
    """torch.optim.LBFGS over all trainable parameters.

    A step makes `iterations` of its iterations on the batch, with the same dropout masks at
    every evaluation; running statistics take in the batch once.
    """
    if lr <= 0:  # its line search divides by the step
        raise ValueError(f"lr must be above 0, got {lr}")
    for name, value in (("iterations", iterations), ("history", history)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    optimizer = torch.optim.LBFGS(
        trainable(model),
        lr=lr,
        max_iter=iterations,
        history_size=history,
        line_search_fn=None if line_search == "none" else line_search,
        tolerance_grad=tolerance_gradient,
        tolerance_change=tolerance_change,
    )

    def prepare(
        _: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        closure = args[1] if len(args) > 1 else kwargs["closure"]
        return (args[0], _contiguous(replayed(closure, model), optimizer)), {}

    optimizer.register_step_pre_hook(prepare)
    return optimizer


def _contiguous(objective: Objective, optimizer: torch.optim.Optimizer) -> Objective:
    """The objective with gradients that torch's L-BFGS can flatten, of any memory layout."""

    def evaluate(backward: bool = True) -> Tensor:
        value = objective(backward)
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None and not p.grad.is_contiguous():
                    p.grad = p.grad.contiguous()
        return value

    return evaluate
