"""What every optimizer remembers: saved and loaded, it goes on bit for bit the same."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlrun.optimizer import Averaging, takes_closure

NAMES = sorted(path.stem for path in Path(__file__).parents[2].glob("conf/optimizer/*.yaml"))
OPTIONS: dict[str, dict[str, Any]] = {
    "asgd": {"start": 2},
    "momentum": {"momentum_start": 0.5, "momentum_steps": 5},
    "natural_gradient": {"loss": "mse", "inverse_every": 2},
    "vsgd": {"collect": 2},
}
OF_A_MODEL = {"lbfgs", "line_search", "natural_gradient", "sam", "vsgd"}
LIBRARIES = {"soap": "pytorch_optimizer"}
Make = Callable[..., torch.optim.Optimizer]


@pytest.fixture(params=[torch.float32, torch.float64], autouse=True)
def _default_type(request):
    torch.set_default_dtype(request.param)
    yield
    torch.set_default_dtype(torch.float32)


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(1, 3, 3, bias=False),
        nn.BatchNorm2d(3),
        nn.Tanh(),
        nn.Flatten(),
        nn.Dropout(0.3),
    ]
    model = nn.Sequential(*layers, nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 2))
    return model.to(memory_format=torch.channels_last)


def optimizer_of(make: Make, name: str, model: nn.Module) -> torch.optim.Optimizer:
    if name in LIBRARIES:
        pytest.importorskip(LIBRARIES[name])
    given: Any = model
    if name not in OF_A_MODEL:
        weights = list(model.parameters())
        given = [
            {"params": [p for p in weights if p.dim() > 1]},
            {"params": [p for p in weights if p.dim() == 1], "weight_decay": 0.0},
        ]
    return make(name, given, **OPTIONS.get(name, {}))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    """Steps as the loop takes them, the rates of the recipe under a schedule."""
    rates = [group["initial"] for group in optimizer.param_groups]
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(6, 1, 4, 4, generator=generator)
        y = torch.randn(6, 2, generator=generator)

        def objective(backward: bool = True, x: Tensor = x, y: Tensor = y) -> Tensor:
            if not backward:
                with torch.no_grad():
                    return nn.functional.mse_loss(model(x), y)
            model.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            return loss.detach()

        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate / (1 + step)
        if takes_closure(optimizer):
            optimizer.step(objective)
        else:
            objective()
            optimizer.step()


@pytest.mark.parametrize("name", NAMES)
def test_three_steps_and_three_more_are_six(name, make):
    whole = network()
    optimizer = optimizer_of(make, name, whole)
    for group in optimizer.param_groups:
        group["initial"] = group["lr"]
    start = [p.detach().clone() for p in whole.parameters()]
    train(whole, optimizer, range(3))
    kept = io.BytesIO()
    torch.save((whole.state_dict(), optimizer.state_dict(), torch.get_rng_state()), kept)
    train(whole, optimizer, range(3, 6))

    kept.seek(0)
    weights, memory, random = torch.load(kept, weights_only=True)
    resumed = network()
    again = optimizer_of(make, name, resumed)
    options = [dict(group) for group in again.param_groups]
    resumed.load_state_dict(weights)
    again.load_state_dict(memory)
    for group, recipe in zip(again.param_groups, options, strict=True):
        group.update({key: recipe[key] for key in recipe if key != "params"})
        group["initial"] = recipe["lr"]
    torch.set_rng_state(random)
    train(resumed, again, range(3, 6))

    for p, q, before in zip(whole.parameters(), resumed.parameters(), start, strict=True):
        assert torch.equal(p, q)
        assert not torch.equal(p, before)
    if isinstance(optimizer, Averaging):
        for (_, ours), (_, theirs) in zip(optimizer.averages(), again.averages(), strict=True):
            assert torch.equal(ours, theirs)
        assert len(again.averages()) == len(start)
    for ours, theirs in zip(whole.buffers(), resumed.buffers(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_a_parameter_without_a_gradient_stays(name, make):
    """A part of the network that this batch did not use."""

    class Parted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    torch.manual_seed(0)
    model = Parted()
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = optimizer_of(make, name, model)
    x = torch.randn(8, 3)

    def objective(backward: bool = True) -> Tensor:
        model.zero_grad()
        value = (model(x) - 1).square().mean()
        if backward:
            value.backward()
        return value.detach()

    for _ in range(4):
        if takes_closure(optimizer):
            optimizer.step(objective)
        else:
            objective()
            optimizer.step()
    for (part, p), start in zip(model.named_parameters(), before, strict=True):
        assert torch.equal(p, start) == part.startswith("idle")
