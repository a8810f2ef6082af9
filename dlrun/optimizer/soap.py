"""SOAP, as the library pytorch_optimizer has it."""

from typing import Any

import torch
from torch.optim.optimizer import ParamsT

from dlrun.errors import Mistake


def soap(
    parameters: ParamsT,
    lr: float = 0.003,
    betas: tuple[float, float] = (0.95, 0.95),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    frequency: int = 10,
    largest: int = 10_000,
) -> torch.optim.Optimizer:
    """pytorch_optimizer.SOAP; frequency: steps between new bases; largest: side of a matrix.

    Vyas, Morwani, Zhao, Shapira, Brandfonbrener, Janson, Kakade 2024, SOAP: Improving and
    Stabilizing Shampoo using Adam. Raises Mistake where the library is not installed.
    """
    try:
        from pytorch_optimizer import SOAP
    except ImportError:
        raise Mistake(
            "optimizer=soap: needs the library pytorch_optimizer; in dlrun's checkout: "
            "pip install -e '.[soap]'"
        ) from None
    optimizer: torch.optim.Optimizer = SOAP(
        parameters,
        lr=lr,
        betas=betas,
        eps=eps,
        weight_decay=weight_decay,
        precondition_frequency=frequency,
        max_precondition_dim=largest,
    )
    for group in optimizer.param_groups:
        group["weight_decouple"] = True  # as groups of the library's other optimizers say it
    optimizer.register_step_pre_hook(_recall)
    optimizer.register_step_post_hook(_keep)
    return optimizer


def _recall(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Set the groups' count of steps to what the state says: options are the recipe's."""
    state: dict[Any, Any] = optimizer.state
    for group in optimizer.param_groups:
        group["step"] = state["steps"].get("taken", 0)


def _keep(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    state: dict[Any, Any] = optimizer.state
    for group in optimizer.param_groups:
        state["steps"]["taken"] = group.pop("step")
