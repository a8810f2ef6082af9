"""A small problem, and the closure that the loop gives to optimizers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from dlrun.optimizer.replay import Objective

CONF = Path(__file__).parents[2] / "conf" / "optimizer"


@pytest.fixture
def float64():
    """torch keeps some counters in its default type. The draws are the same every time."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def make():
    """make("adam", given, lr=0.1) is the packaged option over parameters or a model."""

    def made(name: str, given: Any, **options: Any) -> torch.optim.Optimizer:
        config = OmegaConf.load(CONF / f"{name}.yaml")
        optimizer: torch.optim.Optimizer = instantiate(config, **options, _convert_="all")(given)
        return optimizer

    return made


@pytest.fixture
def closure():
    """closure(model, x, y, loss) as the loop makes it; `calls` lists what was asked for."""

    def made(
        model: nn.Module, x: Tensor, y: Tensor, loss: Any = nn.functional.mse_loss
    ) -> Objective:
        def objective(backward: bool = True) -> Tensor:
            objective.calls.append(backward)  # type: ignore[attr-defined]
            if not backward:
                with torch.no_grad():
                    return loss(model(x), y)
            model.zero_grad()
            value = loss(model(x), y)
            value.backward()
            return value.detach()

        objective.calls = []  # type: ignore[attr-defined]
        return objective

    return made
