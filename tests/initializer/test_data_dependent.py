"""Initializers that look at data: variances, rates of change, and when they give up."""

import logging

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm as normed

from dlrun.initializer import layers
from dlrun.initializer.data_dependent import change_rates, data_dependent, lsuv
from dlrun.model.order import output_of, weight_layers
from dlrun.model.resnet import resnet


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(12 * 16, 20), nn.ReLU(), nn.Dropout(), nn.Linear(20, 5),
    ).double()  # fmt: skip


def batch() -> torch.Tensor:
    return torch.rand(64, 3, 8, 8, dtype=torch.float64) * 3 + 1


@pytest.mark.proves("initializer=lsuv")
@pytest.mark.parametrize("tolerance", [0.1, 0.001])
def test_lsuv_gives_every_layer_unit_variance(tolerance):
    model, x = network(), batch()
    with torch.no_grad():
        lsuv(model, x, tolerance=tolerance)
    for layer in layers(model):
        assert output_of(layer, model, x).var(correction=0).item() == pytest.approx(
            1, abs=tolerance
        )
        rows = layer.weight.flatten(1)
        product = rows @ rows.T if rows.shape[0] <= rows.shape[1] else rows.T @ rows
        # Still orthogonal, by a common scale.
        torch.testing.assert_close(product, torch.eye(len(product)).double() * product[0, 0])


@pytest.mark.proves("initializer=data_dependent")
@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_every_unit_gets_its_mean_and_unit_variance(beta):
    model, x = network(), batch()
    with torch.no_grad():
        data_dependent(model, x, beta=beta, rounds=0)
    for layer in layers(model):
        out = output_of(layer, model, x)
        axes = [0] if out.ndim == 2 else [0, 2, 3]
        mean, variance = out.mean(axes), out.var(axes, correction=0)
        torch.testing.assert_close(mean, torch.full_like(mean, beta))
        torch.testing.assert_close(variance, torch.ones_like(variance))


def test_the_rate_of_change_of_one_layer_by_hand():
    model, x = nn.Sequential(nn.Linear(4, 3)).double(), torch.randn(6, 4, dtype=torch.float64)
    torch.manual_seed(3)
    (rate,) = change_rates(model, weight_layers(model, x), x)
    torch.manual_seed(3)
    # l = η·(Wx + b), so ∂l/∂W = ηxᵀ.
    squares = [
        torch.randn(1, 3, dtype=torch.float64).square().sum() * sample.square().sum()
        for sample in x
    ]
    assert rate == pytest.approx((sum(squares) / 6).sqrt().item() / model[0].weight.norm().item())


@pytest.mark.proves("initializer=data_dependent")
@pytest.mark.parametrize("reparametrized", [False, True])
def test_all_layers_learn_equally_fast_and_the_output_stays(reparametrized):
    plain, even, x = network(), network(), batch()
    if reparametrized:
        for model in (plain, even):
            for i in (0, 3, 6, 9):
                normed(model[i])
    with torch.no_grad():
        torch.manual_seed(1)
        data_dependent(plain, x, rounds=0)
        torch.manual_seed(1)
        data_dependent(even, x, rounds=12, damping=0.5)
    torch.testing.assert_close(even.eval()(x), plain.eval()(x))
    spread = []
    for model in (plain, even):
        torch.manual_seed(2)
        rates = change_rates(model, weight_layers(model, x), x[:64])
        spread.append(max(rates) / min(rates))
    assert spread[0] > 1.5
    assert spread[1] < 1.25  # what is left is the noise of 16 samples


def test_where_scale_cannot_move_each_layer_keeps_its_own(caplog):
    x = torch.randn(32, 3, 16, 16)
    model, alone = (resnet([3, 16, 16], 5, nn.ReLU, 8) for _ in range(2))
    with torch.no_grad(), caplog.at_level(logging.WARNING, "dlrun"):
        torch.manual_seed(1)
        data_dependent(model, x)
        torch.manual_seed(1)
        data_dependent(alone, x, rounds=0)
    assert "scale cannot be moved between the layers" in caplog.text
    torch.testing.assert_close(model.state_dict(), alone.state_dict())


def test_the_mode_stays():
    model, x = network().train(), batch()
    model[8].eval()
    with torch.no_grad():
        lsuv(model, x)
        data_dependent(model, x)
    assert [module.training for module in model] == [i != 8 for i in range(10)]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_values_out_of_range_are_refused():
    with torch.no_grad():
        with pytest.raises(ValueError, match="tolerance must be above 0, got 0"):
            lsuv(network(), batch(), tolerance=0)
        with pytest.raises(ValueError, match="damping must be above 0 and at most 1, got 2"):
            data_dependent(network(), batch(), damping=2)
        with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
            data_dependent(network(), batch(), samples=0)
        for rounds in (-1, 1001):
            with pytest.raises(
                ValueError, match=f"rounds must be between 0 and 1000, got {rounds}"
            ):
                data_dependent(network(), batch(), rounds=rounds)
