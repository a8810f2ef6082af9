"""An optimizer without the compiler's machinery: the same weights, bit for bit."""

import gc
import inspect
import subprocess
import sys
import weakref
from functools import partial
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from dlrun.engine import eager as module
from dlrun.engine.eager import eager

CONF = Path(__file__).parents[2] / "conf" / "optimizer"
NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))
OPTIONS = {
    "asgd": {"start": 2},
    "momentum": {"momentum_start": 0.5, "momentum_steps": 5},
    "natural_gradient": {"loss": "mse", "inverse_every": 2},
    "vsgd": {"collect": 2},
}
OF_A_MODEL = {"lbfgs", "line_search", "natural_gradient", "sam", "vsgd"}

WITHOUT_DYNAMO = """
import sys
from tests.engine.test_eager import NAMES, train
from dlrun.engine.eager import eager
for name in NAMES:
    train(name, eager)
    assert "torch._dynamo" not in sys.modules, name
"""


def train(name, build):
    """Three steps of a small network; its weights, and the state of the optimizer."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    make = instantiate(
        OmegaConf.load(CONF / f"{name}.yaml"), **OPTIONS.get(name, {}), _convert_="all"
    )
    optimizer = build(make, model if name in OF_A_MODEL else list(model.parameters()))
    optimizer.load_state_dict(optimizer.state_dict())

    def closure(x, y, backward=True):
        with torch.set_grad_enabled(backward):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
        if backward:
            loss.backward()
        return loss.detach()

    for _ in range(3):
        asked = partial(closure, torch.randn(6, 4), torch.randn(6, 2))
        needed = inspect.signature(optimizer.step).parameters["closure"].default is inspect._empty
        if needed:
            optimizer.step(asked)
        else:
            asked()
            optimizer.step()
    return [weight.detach() for weight in model.parameters()], optimizer.state_dict()


def ordinary(make, parameters):
    return make(parameters)


@pytest.mark.parametrize("name", NAMES)
def test_it_computes_what_the_ordinary_one_computes(name):
    (weights, state), (expected, known) = train(name, eager), train(name, ordinary)
    assert all(map(torch.equal, weights, expected))
    assert str(state) == str(known)


def test_no_optimizer_imports_the_compiler():
    subprocess.run([sys.executable, "-c", WITHOUT_DYNAMO], check=True, cwd=CONF.parents[1])


def sgd():
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    return eager(partial(torch.optim.SGD, lr=0.5), [weight]), weight


def test_hooks_of_a_step_are_called():
    optimizer, weight = sgd()
    seen = []
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    optimizer.step()
    assert seen == ["before", "after"]
    assert weight.tolist() == [0.5, 0.5]


def test_a_differentiable_step_stays_torchs_own():
    made = eager(partial(torch.optim.SGD, differentiable=True), [nn.Parameter(torch.ones(2))])
    assert "step" not in vars(made)


def test_another_kind_of_wrapper_is_left_alone(monkeypatch):
    monkeypatch.setattr(module, "_wraps", lambda *_: False)
    optimizer, weight = sgd()
    assert "step" not in vars(optimizer)
    optimizer.step()
    assert weight.tolist() == [0.5, 0.5]


def test_an_optimizer_is_freed_at_once():
    optimizer, _ = sgd()
    optimizer.step()
    left = weakref.ref(optimizer)
    gc.disable()
    try:
        del optimizer
        assert left() is None
    finally:
        gc.enable()
