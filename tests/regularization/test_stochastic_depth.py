"""Stochastic depth: how often each branch survives, and what is left without it."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth as Own

from dlrun.errors import Mistake
from dlrun.model.cnn import cnn
from dlrun.model.resnet import resnet
from dlrun.model.torchvision import torchvision
from dlrun.regularization.stochastic_depth import DropBranch, StochasticDepth


def small(depth: int = 20) -> nn.Sequential:
    torch.manual_seed(0)
    return resnet([3, 8, 8], 10, nn.ReLU, depth, width=2)


def rates(model: nn.Module) -> dict[str, float]:
    return {
        name: hook.rate
        for name, module in model.named_modules()
        for hook in module._forward_hooks.values()
        if isinstance(hook, DropBranch)
    }


def test_survival_falls_linearly_with_depth():
    model = small()
    StochasticDepth(0.5).change_model(model, torch.zeros(1, 3, 8, 8))
    expected = {f"{3 + i}.residual.4": (i + 1) / 9 * 0.5 for i in range(9)}
    assert rates(model) == pytest.approx(expected)


def test_in_networks_of_torchvision():
    model = torchvision([3, 32, 32], 10, "resnet18")
    StochasticDepth(0.2).change_model(model, torch.zeros(1, 3, 32, 32))
    names = [f"layer{i}.{j}.bn2" for i in (1, 2, 3, 4) for j in (0, 1)]
    assert rates(model) == pytest.approx({n: (i + 1) / 8 * 0.8 for i, n in enumerate(names)})
    model = torchvision([3, 32, 32], 10, "resnet50")
    StochasticDepth().change_model(model, torch.zeros(1, 3, 32, 32))
    assert list(rates(model)) == [f"layer{i + 1}.{j}.bn3" for i, n in enumerate((3, 4, 6, 3))
                                  for j in range(n)]  # fmt: skip
    model = torchvision([3, 32, 32], 10, "convnext_tiny")
    StochasticDepth(0.6, "row").change_model(model, torch.zeros(1, 3, 32, 32))
    own = [module for module in model.modules() if isinstance(module, Own)]
    assert len(own) == 18
    assert [module.p for module in own] == pytest.approx([(i + 1) / 18 * 0.4 for i in range(18)])
    assert {module.mode for module in own} == {"row"}
    assert not rates(model)


def branch_outputs(model: nn.Sequential, x: Tensor) -> list[Tensor]:
    """What each residual branch gives in one pass."""
    given: list[Tensor] = []
    handles = [
        block.residual.register_forward_hook(lambda m, args, out: given.append(out.detach()))
        for block in model[3:-3]
    ]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return given


@pytest.mark.proves("regularization=stochastic_depth")
@pytest.mark.parametrize("drop", ["batch", "row"])
def test_how_often_branches_survive(drop):
    model = small(8)
    n, passes = 8, 300
    StochasticDepth(0.4, drop).change_model(model, torch.zeros(1, 3, 8, 8))
    torch.manual_seed(0)
    x = torch.randn(n, 3, 8, 8)
    alive = torch.stack([
        torch.stack([(out != 0).flatten(1).any(1) for out in branch_outputs(model, x)])
        for _ in range(passes)
    ]).double()  # fmt: skip
    assert alive.shape == (passes, 3, n)
    trials = passes * (n if drop == "row" else 1)
    for depth, survival in enumerate((0.8, 0.6, 0.4)):
        error = 5 * (survival * (1 - survival) / trials) ** 0.5
        assert alive[:, depth].mean().item() == pytest.approx(survival, abs=error)
        together = (alive[:, depth, 0] == alive[:, depth, 1]).double().mean().item()
        apart = survival**2 + (1 - survival) ** 2
        assert together == pytest.approx(1 if drop == "batch" else apart, abs=0.15)
    # Two branches live and die independently.
    both = (alive[:, 0] * alive[:, 1]).mean().item()
    assert both == pytest.approx(0.8 * 0.6, abs=5 * 0.5 / trials**0.5)


def test_a_dropped_branch_leaves_the_shortcut_and_others_are_scaled():
    block = small(8)[3:4]
    x = torch.rand(4, 2, 8, 8)
    whole = block.eval()(x)
    block.train()
    block[0].residual[4].eval()  # its batch statistics would hide the scale
    block[0].residual[1].eval()
    branch = block[0].residual(x)
    StochasticDepth(0.25).change_model(block, x)
    block[0].residual[4].training = True
    statistics = block[0].residual[4]
    statistics.momentum = 0.0
    seen = set()
    with torch.no_grad():
        for seed in range(20):
            torch.manual_seed(seed)
            given = block[0].residual(x)
            seen.add(bool(given.any()))
            expected = torch.relu(given + x)
            torch.manual_seed(seed)
            torch.testing.assert_close(block(x), expected)
            if not given.any():
                torch.testing.assert_close(expected, x)
    assert seen == {True, False}
    block.eval()
    torch.testing.assert_close(block(x), whole)
    torch.testing.assert_close(block[0].residual(x), branch)


@pytest.mark.proves("regularization=stochastic_depth")
def test_survivors_are_divided_by_their_probability():
    out = torch.rand(6, 2, 3, 3) + 0.1
    module = nn.Identity()
    for drop, per in (("row", 6), ("batch", 1)):
        torch.manual_seed(0)
        total, rounds = torch.zeros_like(out), 4000
        for _ in range(rounds):
            given = DropBranch(0.3, drop)(module, (), out)
            kept = given.flatten(1).any(1)
            torch.testing.assert_close(given[kept], out[kept] / 0.7)
            total += given
        spread = (0.3 / 0.7 / rounds) ** 0.5
        assert ((total / rounds / out - 1).abs() < 5 * spread).all(), per


def test_the_network_stays_whole():
    model, x = small(8), torch.randn(4, 3, 8, 8)
    before, keys = model.eval()(x), list(model.state_dict())
    StochasticDepth().change_model(model, x)
    assert torch.equal(model(x), before)
    assert list(model.state_dict()) == keys
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), before)
    model.train()
    torch.manual_seed(1)
    dropped = model(x)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.manual_seed(1)
        assert torch.equal(other(x), dropped)


@pytest.mark.parametrize(
    "model", [resnet([3, 8, 8], 10, nn.ReLU, 8, skip=False), cnn([3, 8, 8], 10, nn.ReLU, [4])]
)
def test_networks_without_skip_connections_are_refused(model):
    with pytest.raises(Mistake, match="stochastic_depth: the model has no residual branches"):
        StochasticDepth().change_model(model, torch.zeros(1, 3, 8, 8))


def test_values_out_of_range_are_refused():
    with pytest.raises(ValueError, match="survival must be above 0 and at most 1, got 0"):
        StochasticDepth(0)
    with pytest.raises(ValueError, match="drop must be batch or row, got column"):
        StochasticDepth(drop="column")
