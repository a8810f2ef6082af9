"""Dropout: how much, where, and that the network stays whole."""

import copy
import pickle

import pytest
import torch
from torch import nn

from dlrun.model.blocks import LocallyConnected
from dlrun.model.cnn import cnn
from dlrun.model.mlp import linear, mlp
from dlrun.model.torchvision import torchvision
from dlrun.regularization.dropout import Drop, Dropout


def rates(model: nn.Module) -> dict[str, list[float]]:
    """The rates of the hooks on each module that has any."""
    return {
        name: [hook.rate for hook in module._forward_pre_hooks.values() if isinstance(hook, Drop)]
        for name, module in model.named_modules()
        if module._forward_pre_hooks
    }


def small_cnn() -> nn.Module:
    return cnn([3, 8, 8], 10, nn.ReLU, channels=[4, 4], hidden=[16])


@pytest.mark.parametrize(
    ("model", "shape", "expected"),
    [
        (linear([12], 3), (12,), {"": [0.2]}),
        (nn.Linear(12, 3), (12,), {"": [0.2]}),
        (mlp([12], 3, nn.ReLU, [8, 8]), (12,), {"": [0.2], "3": [0.5], "5": [0.5]}),
        (small_cnn(), (3, 8, 8), {"": [0.2], "2": [0.1], "7": [0.5], "9": [0.5]}),
    ],
)
def test_places(model, shape, expected):
    Dropout(convolution=0.1).change_model(model, torch.randn(2, *shape))
    assert rates(model) == expected


def test_places_in_a_network_of_torchvision():
    model = torchvision([3, 32, 32], 10, "vgg11")
    Dropout().change_model(model, torch.randn(2, 3, 32, 32))
    assert rates(model) == {"": [0.2], "classifier.0": [0.5], "classifier.3": [0.5],
                            "classifier.6": [0.5]}  # fmt: skip
    model = torchvision([3, 32, 32], 10, "resnet18")
    Dropout(visible=0).change_model(model, torch.randn(2, 3, 32, 32))
    assert rates(model) == {"fc": [0.5]}


def test_a_unit_before_weights_of_each_place_is_missing_in_all_patches():
    model = cnn([1, 6, 6], 3, nn.ReLU, [2, 3], pooling="none", shared=False)
    Dropout(visible=0, hidden=0, convolution=0.5).change_model(model, torch.randn(2, 1, 6, 6))
    [(name, [rate])] = rates(model).items()
    assert (type(model.get_submodule(name)), rate) == (LocallyConnected, 0.5)
    patches = []
    own = model.get_submodule(name)
    own.linear.register_forward_pre_hook(lambda _, given: patches.append(given[0]))
    own(torch.ones(1, 2, 6, 6))
    # (places, inputs, kernel, kernel): a unit one to the right is one further left in a kernel.
    seen = patches[0].unflatten(1, (6, 6, 2))[0]
    assert torch.equal(seen[1:-1, 1:-2, ..., 1], seen[1:-1, 2:-1, ..., 0])
    assert set(seen.unique().tolist()) == {0.0, 2.0}


def test_the_order_is_that_of_running_not_of_definition():
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(4, 2)
            self.first = nn.Linear(3, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.first(x))

    model = Backwards()
    Dropout(visible=0).change_model(model, torch.randn(2, 3))
    assert rates(model) == {"last": [0.5]}


@pytest.mark.proves("regularization=dropout")
def test_what_reaches_the_layers_is_dropped_and_scaled():
    model = nn.Sequential(nn.Linear(50, 60), nn.Identity(), nn.Linear(60, 2))
    seen = {}
    x = torch.rand(4000, 50) + 0.5
    Dropout(hidden=0.4, visible=0.2).change_model(model, x[:2])
    for i in (0, 2):
        model[i].register_forward_hook(lambda m, args, out, i=i: seen.update({i: args[0]}))
    hidden = []
    model[1].register_forward_hook(lambda m, args, out: hidden.append(out.detach()))
    torch.manual_seed(0)
    model(x)
    for i, before, rate in ((0, x, 0.2), (2, hidden[0], 0.4)):
        kept = seen[i] != 0
        torch.testing.assert_close(seen[i][kept], before[kept] / (1 - rate))
        spread = (rate * (1 - rate) / kept.numel()) ** 0.5
        assert kept.double().mean().item() == pytest.approx(1 - rate, abs=4 * spread)
        # Samples and units are drawn apart.
        rows, units = kept.double().mean(1), kept.double().mean(0)
        assert rows.std().item() == pytest.approx(
            (rate * (1 - rate) / kept.shape[1]) ** 0.5, rel=0.1
        )
        assert units.std().item() < 5 * (rate * (1 - rate) / 4000) ** 0.5
    mean = torch.stack([seen[0].mean(), x.mean()])
    assert mean[0].item() == pytest.approx(mean[1].item(), rel=0.01)


@pytest.mark.parametrize("make", [small_cnn, lambda: mlp([3, 8, 8], 10, nn.ReLU, [16])])
def test_the_network_stays_whole(make):
    x = torch.randn(4, 3, 8, 8)
    model = make()
    before, keys = model.eval()(x), list(model.state_dict())
    model[3].train()
    modes = [m.training for m in model.modules()]
    Dropout().change_model(model, x)
    assert [m.training for m in model.modules()] == modes
    model.eval()
    assert torch.equal(model(x), before)
    assert list(model.state_dict()) == keys
    assert torch.equal(torch.export.export(model, (x,)).module()(x), before)

    model.train()
    torch.manual_seed(1)
    dropped = model(x)
    assert not torch.allclose(dropped, before)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.manual_seed(1)
        assert torch.equal(other(x), dropped)


def test_compiled_networks_drop_too():
    model = mlp([40], 10, nn.ReLU, [30])
    x = torch.randn(8, 40)
    Dropout().change_model(model, x)
    compiled = torch.compile(model, backend="eager")
    torch.manual_seed(1)
    expected = model(x)
    torch.manual_seed(1)
    assert torch.equal(compiled(x), expected)
    model.eval()
    torch.testing.assert_close(compiled(x), model(x))


def test_values_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"hidden must be at least 0 and below 1, got 1\.0"):
        Dropout(hidden=1.0)


def test_scaled_at_the_test_it_drops_without_scaling_and_shrinks_in_evaluation():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(400, 300), nn.Linear(300, 2))
    rule = Dropout(hidden=0.4, visible=0.2, scales="test")
    rule.change_model(model, torch.zeros(2, 400))
    seen: list[torch.Tensor] = []
    model[0].register_forward_hook(lambda m, args, out: seen.append(args[0]))
    x = torch.ones(50, 400)
    model.train()
    model(x)
    assert set(seen[-1].unique().tolist()) == {0.0, 1.0}
    assert float(seen[-1].mean()) == pytest.approx(0.8, abs=0.02)
    model.eval()
    model(x)
    torch.testing.assert_close(seen[-1], 0.8 * x)


def test_probabilities_to_keep():
    one, same = Dropout(0.5, 0.8, 1.0, rates="keep"), Dropout(0.5, 0.2, 0.0)
    assert [one.hidden, one.visible, one.convolution] == pytest.approx(
        [same.hidden, same.visible, same.convolution]
    )
    with pytest.raises(ValueError, match="convolution must be above 0 and at most 1"):
        Dropout(0.5, 0.8, rates="keep")
    with pytest.raises(ValueError, match="scales must be train or test"):
        Dropout(scales="both")
