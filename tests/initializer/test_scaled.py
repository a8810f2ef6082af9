"""The spread of what the initializers draw, against the formula."""

from collections.abc import Callable
from functools import partial
from math import sqrt

import pytest
import torch
from scipy.stats import kstest
from torch import nn

from dlrun.initializer import default, fans
from dlrun.initializer.distributions import normal
from dlrun.initializer.scaled import he, xavier

X = torch.zeros(0)


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(8, 64, 5, groups=2),
        nn.BatchNorm2d(64),
        nn.ConvTranspose2d(64, 32, 3),
        nn.Linear(200, 300),
        nn.LayerNorm(300),
        nn.Linear(300, 100, bias=False),
    )


# (fan_in, fan_out) of the four layers with weights, counted by hand
FANS = [(4 * 25, 32 * 25), (64 * 9, 32 * 9), (200, 300), (300, 100)]


def weights(initialize: Callable[..., None], **options: object) -> list[torch.Tensor]:
    torch.manual_seed(0)
    model = network()
    with torch.no_grad():
        initialize(model, X, **options)
    return [m.weight for m in model if not isinstance(m, nn.BatchNorm2d | nn.LayerNorm)]


def assert_drawn(weight: torch.Tensor, std: float, distribution: str) -> None:
    values = weight.detach().double().flatten().numpy()
    n = len(values)
    assert values.std() == pytest.approx(std, rel=4 / sqrt(2 * n))
    assert values.mean() == pytest.approx(0, abs=4 * std / sqrt(n))
    if distribution == "uniform":
        assert abs(values).max() <= sqrt(3) * std * (1 + 1e-6)
        law = ("uniform", (-sqrt(3) * std, 2 * sqrt(3) * std))
    else:
        law = ("norm", (0, std))
    assert kstest(values, *law).pvalue > 1e-4


def test_fans_counted_by_hand() -> None:
    layers = [m for m in network() if not isinstance(m, nn.BatchNorm2d | nn.LayerNorm)]
    assert [fans(layer) for layer in layers] == FANS


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_xavier(distribution: str) -> None:
    drawn = weights(xavier, distribution=distribution, gain=1.5)
    for weight, (fan_in, fan_out) in zip(drawn, FANS, strict=True):
        assert_drawn(weight, 1.5 * sqrt(2 / (fan_in + fan_out)), distribution)


SLOPES = {
    nn.ReLU: 0.0,
    nn.Tanh: 0.0,
    nn.Identity: 1.0,
    partial(nn.LeakyReLU, 0.2): 0.2,
    partial(nn.PReLU, init=0.3): 0.3,
}


@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize(("activation", "slope"), SLOPES.items())
def test_he(
    mode: str, distribution: str, activation: Callable[[], nn.Module], slope: float
) -> None:
    drawn = weights(he, activation=activation, distribution=distribution, mode=mode)
    for weight, both in zip(drawn, FANS, strict=True):
        fan = both[0 if mode == "fan_in" else 1]
        assert_drawn(weight, sqrt(2 / ((1 + slope**2) * fan)), distribution)


def test_he_keeps_the_second_moment_through_relu_layers() -> None:
    torch.manual_seed(0)
    layers = [[nn.Linear(400, 400), nn.ReLU()] for _ in range(10)]
    model = nn.Sequential(*[module for pair in layers for module in pair])
    x = torch.randn(1000, 400)
    with torch.no_grad():
        he(model, x, activation=nn.ReLU)
        # E[h²] = Var/2 of the Gaussian before it = E[x²] of the layer before.
        assert model(x).square().mean().item() == pytest.approx(1, rel=0.35)


def test_normal() -> None:
    for weight in weights(normal, std=0.3):
        assert_drawn(weight, 0.3, "normal")
    assert all((weight == 2).all() for weight in weights(normal, mean=2.0, std=0.0))


@pytest.mark.parametrize("initialize", [normal, xavier, partial(he, activation=nn.ReLU)])
def test_biases_are_set_and_norms_are_left(initialize: Callable[..., None]) -> None:
    model = network()
    nn.init.constant_(model[1].bias, 7)
    with torch.no_grad():
        initialize(model, X, bias=0.01)
    assert all((model[i].bias == 0.01).all() for i in (0, 2, 3))
    assert (model[1].bias == 7).all()
    assert (model[1].weight == 1).all()


def test_default_leaves_all_as_it_is() -> None:
    model = network()
    before = [parameter.clone() for parameter in model.parameters()]
    default(model, X)
    assert all(map(torch.equal, before, model.parameters()))


def test_values_out_of_range_are_refused() -> None:
    with torch.no_grad():
        with pytest.raises(ValueError, match="distribution must be normal or uniform, got flat"):
            xavier(network(), X, distribution="flat")
        with pytest.raises(ValueError, match="mode must be fan_in or fan_out, got both"):
            he(network(), X, activation=nn.ReLU, mode="both")
        with pytest.raises(ValueError, match="std must not be negative, got -1"):
            normal(network(), X, std=-1)
