"""DropConnect: how many weights are missing, where, when, and that the network stays whole."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlrun.errors import Mistake
from dlrun.model.cnn import cnn
from dlrun.model.mlp import mlp
from dlrun.regularization.dropconnect import DropConnect
from dlrun.regularization.weight_norm import WeightNorm


def masks_of(layer: nn.Linear, n: int) -> Tensor:
    """The factor on each weight for each of n equal samples, (n, outputs, inputs).

    Every input feature is sent through by itself, so that its column comes out alone.
    """
    with torch.no_grad():
        layer.weight.fill_(1.0)
    out = []
    for i in range(layer.in_features):
        torch.manual_seed(3)
        x = torch.zeros(n, layer.in_features)
        x[:, i] = 1
        out.append(layer(x).detach())
    return torch.stack(out, 2)


@pytest.mark.proves("regularization=dropconnect")
@pytest.mark.parametrize("rate", [0.5, 0.2])
def test_masks_for_a_mini_batch(rate):
    layer = nn.Linear(60, 300, bias=False)
    DropConnect(rate).change_model(layer, torch.zeros(1, 60))
    masks = masks_of(layer, 3)
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[0], masks[2])
    check_statistics(masks[0], rate)


@pytest.mark.proves("regularization=dropconnect")
@pytest.mark.parametrize("rate", [0.5, 0.2])
def test_masks_for_each_sample(rate):
    layer = nn.Linear(30, 40, bias=False)
    DropConnect(rate, masks="sample").change_model(layer, torch.zeros(1, 30))
    masks = masks_of(layer, 50)
    check_statistics(masks.flatten(1), rate)
    # Two samples keep the same weight as often as chance has it.
    kept = (masks != 0).double()
    both = (kept[1:] * kept[:-1]).mean().item()
    assert both == pytest.approx((1 - rate) ** 2, abs=5 * 0.5 / kept[1:].numel() ** 0.5)


def check_statistics(masks: Tensor, rate: float) -> None:
    kept = masks != 0
    torch.testing.assert_close(masks[kept], torch.full_like(masks[kept], 1 / (1 - rate)))
    spread = (rate * (1 - rate)) ** 0.5
    assert kept.double().mean().item() == pytest.approx(
        1 - rate, abs=5 * spread / kept.numel() ** 0.5
    )
    for axis in (0, 1):  # weights are dropped one by one, not by rows or columns
        means = kept.double().mean(axis)
        assert means.std().item() == pytest.approx(spread / kept.shape[axis] ** 0.5, rel=0.2)


def test_every_forward_pass_has_new_masks():
    layer = nn.Linear(200, 200)
    DropConnect().change_model(layer, torch.zeros(1, 200))
    x = torch.eye(200)
    with torch.no_grad():
        layer.bias.zero_()
        first, second = (layer(x) != 0 for _ in range(2))
    assert (first & second).double().mean().item() == pytest.approx(0.25, abs=5 * 0.5 / 200)


LAYERS: list[Any] = [
    (nn.Linear(6, 4), (5, 6)),
    (nn.Linear(6, 4, bias=False), (5, 3, 6)),
    (nn.Conv1d(3, 4, 3, padding=1), (5, 3, 9)),
    (nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (5, 4, 8, 7)),
    (nn.Conv2d(3, 4, 3, padding="same", dilation=2, bias=False), (5, 3, 8, 8)),
    (nn.Conv2d(3, 4, (3, 2), padding=1, padding_mode="circular"), (5, 3, 8, 7)),
    (nn.Conv3d(2, 3, 2), (5, 2, 4, 4, 4)),
]


@pytest.mark.proves("regularization=dropconnect")
@pytest.mark.parametrize("masks", ["batch", "sample"])
@pytest.mark.parametrize(("layer", "shape"), LAYERS)
def test_the_mean_of_many_passes_is_the_whole_layer(layer, shape, masks):
    torch.manual_seed(0)
    layer = copy.deepcopy(layer).double()
    x = torch.randn(shape, dtype=torch.float64)
    whole = layer(x)
    DropConnect(0.3, 0.3, masks).change_model(layer, x)
    with torch.no_grad():
        passes = torch.stack([layer(x) for _ in range(3000)])
    error = passes.std(0) / 3000**0.5
    assert ((passes.mean(0) - whole).abs() < 6 * error + 1e-12).all()
    layer.eval()
    assert torch.equal(layer(x), whole)


@pytest.mark.parametrize(("layer", "shape"), LAYERS)
def test_one_sample_is_a_mini_batch_of_one(layer, shape):
    x = torch.randn(shape)[:1]
    results = []
    for masks in ("batch", "sample"):
        changed = DropConnect(0.3, 0.3, masks).change_model(copy.deepcopy(layer), x)
        torch.manual_seed(1)
        results.append(changed(x))
    torch.testing.assert_close(*results)


def test_dropped_weights_get_no_gradient():
    layer = nn.Linear(20, 10)
    DropConnect(0.5).change_model(layer, torch.zeros(1, 20))
    torch.manual_seed(3)
    layer(torch.ones(4, 20)).sum().backward()
    assert set(layer.weight.grad.unique().tolist()) == {0.0, 8.0}


def test_where_it_acts():
    model = cnn([3, 8, 8], 10, nn.ReLU, channels=[4, 4], hidden=[16])
    DropConnect(0.5, 0.1, "sample").change_model(model, torch.zeros(1, 3, 8, 8))
    rates = {name: m.forward.rate for name, m in model.named_modules() if "forward" in vars(m)}
    assert rates == {"0": 0.1, "2": 0.1, "7": 0.5, "9": 0.5}
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("masks", ["batch", "sample"])
def test_the_network_stays_whole(masks):
    x = torch.randn(4, 3, 8, 8)
    model = cnn([3, 8, 8], 10, nn.ReLU, channels=[4, 4], hidden=[16])
    before, keys = model.eval()(x), list(model.state_dict())
    DropConnect(0.5, 0.2, masks).change_model(model, x)
    assert torch.equal(model(x), before)
    assert list(model.state_dict()) == keys
    assert torch.equal(torch.export.export(model, (x,)).module()(x), before)

    model.train()
    compiled = torch.compile(model, backend="eager")
    torch.manual_seed(1)
    dropped = model(x)
    assert not torch.allclose(dropped, before)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), compiled):
        torch.manual_seed(1)
        assert torch.equal(other(x), dropped)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[9].weight.zero_()
        other[9].bias.zero_()
    assert not other(x).any()  # a copy computes with its own weights
    assert model(x).any()


@pytest.mark.proves("regularization=dropconnect")
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_gaussian_inference_is_the_mean_over_drawn_outputs(activation):
    """Wan et al. 2013: u ~ N(pWx, p(1 − p)W²x²) of whole weights, p kept; here W is W/p."""
    torch.manual_seed(0)
    kept, draws = 0.7, 200_000
    model = mlp([6], 2, activation, [4]).double()
    x = torch.randn(3, 6, dtype=torch.float64)
    DropConnect(1 - kept, inference="gaussian").change_model(model, x)
    hidden, last = model[1], model[3]
    w, b = hidden.weight.detach() / kept, hidden.bias.detach() / kept
    mean = kept * (x @ w.T + b)
    std = (kept * (1 - kept) * (x**2 @ (w**2).T + b**2)).sqrt()
    u = mean + std * torch.randn(draws, 3, 4, dtype=torch.float64)
    a = activation()(u)
    got = model.eval()(x)
    assert ((got - last(a.mean(0))).abs() < 6 * a.std(0).max() / draws**0.5).all()
    if activation is nn.ReLU:  # has a closed form
        normal = torch.distributions.Normal(0.0, 1.0)
        density = normal.log_prob(mean / std).exp()
        exact = mean * normal.cdf(mean / std) + std * density
        torch.testing.assert_close(got, last(exact), atol=2e-3 * float(std.max()), rtol=0)
    with torch.no_grad():  # what masks do: nearly Gaussian, as they are many
        wide, v = nn.Sequential(nn.Linear(400, 3), activation()).double(), torch.randn(1, 400)
        wide[0].weight.mul_(8)
        DropConnect(0.3, masks="sample", inference="gaussian").change_model(wide, v.double())
        passes = wide(v.double().expand(20_000, -1))
        error = passes.std(0) / 20_000**0.5
        assert ((wide.eval()(v.double())[0] - passes.mean(0)).abs() < 6 * error + 2e-3).all()
    assert not torch.allclose(got, last(activation()(mean)), atol=1e-3)


@pytest.mark.proof
def test_gaussian_inference_keeps_the_network_whole():
    x = torch.randn(4, 3, 8, 8)
    model = cnn([3, 8, 8], 10, nn.ReLU, channels=[4, 4], hidden=[16])
    DropConnect(0.5, 0.2, inference="gaussian").change_model(model, x)
    said = model.eval()(x)
    compiled = torch.compile(model, backend="eager")
    exported = torch.export.export(model, (x,)).module()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), compiled, exported):
        torch.testing.assert_close(other(x), said)
    one = nn.ReLU()  # one module in two places, once after a layer and once not
    model = nn.Sequential(nn.Linear(3, 3), one, nn.Tanh(), one, nn.Linear(3, 2))
    DropConnect(inference="gaussian").change_model(model, torch.zeros(1, 3))
    assert model.eval()(torch.ones(2, 3)).shape == (2, 2)
    for between in (nn.BatchNorm1d(3), nn.Softmax(1)):
        model = nn.Sequential(nn.Linear(3, 3), between, nn.ReLU(), nn.Linear(3, 2))
        with pytest.raises(Mistake, match=f"here comes a {type(between).__name__}"):
            DropConnect(inference="gaussian").change_model(model, torch.zeros(2, 3))


def test_with_weight_norm():
    x = torch.randn(4, 12)
    model = mlp([12], 3, nn.ReLU, [8])
    for rule in (DropConnect(), WeightNorm()):
        rule.change_model(model, x)
    model(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    before = model.eval()(x)
    torch.testing.assert_close(copy.deepcopy(model)(x), before)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"linear must be at least 0 and below 1, got 1\.0"):
        DropConnect(1.0)
    with pytest.raises(ValueError, match="masks must be batch or sample, got unit"):
        DropConnect(masks="unit")
    with pytest.raises(ValueError, match="inference must be mean or gaussian, got sample"):
        DropConnect(inference="sample")
    with pytest.raises(Mistake, match="dropconnect: the model has no linear"):
        DropConnect().change_model(nn.Sequential(nn.BatchNorm1d(3)), torch.zeros(2, 3))
