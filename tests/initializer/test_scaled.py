"""The spread of what the initializers draw, against the formula."""

from collections.abc import Callable
from functools import partial
from math import exp, sqrt
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy import stats
from torch import nn

from dlrun.initializer import default, fans
from dlrun.initializer.distributions import constant, normal, uniform
from dlrun.initializer.scaled import he, lecun, random_walk, xavier

X = torch.zeros(0)
CONF = Path(__file__).parents[2] / "conf" / "initializer"


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
        law = stats.uniform(-sqrt(3) * std, 2 * sqrt(3) * std)
    else:
        law = stats.norm(0, std)
    assert stats.kstest(values, law.cdf).pvalue > 1e-4


def test_fans_counted_by_hand():
    layers = [m for m in network() if not isinstance(m, nn.BatchNorm2d | nn.LayerNorm)]
    assert [fans(layer) for layer in layers] == FANS


@pytest.mark.proves("initializer=xavier", "initializer=xavier_normal", "initializer=xavier_uniform")
@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_xavier(distribution):
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


@pytest.mark.proves("initializer=he", "initializer=he_normal", "initializer=he_uniform")
@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize(("activation", "slope"), SLOPES.items())
def test_he(mode, distribution, activation, slope):
    drawn = weights(he, activation=activation, distribution=distribution, mode=mode)
    for weight, both in zip(drawn, FANS, strict=True):
        fan = both[0 if mode == "fan_in" else 1]
        assert_drawn(weight, sqrt(2 / ((1 + slope**2) * fan)), distribution)


def test_he_keeps_the_second_moment_through_relu_layers():
    torch.manual_seed(0)
    layers = [[nn.Linear(400, 400), nn.ReLU()] for _ in range(10)]
    model = nn.Sequential(*[module for pair in layers for module in pair])
    x = torch.randn(1000, 400)
    with torch.no_grad():
        he(model, x, activation=nn.ReLU)
        # E[h²] = Var/2 of the Gaussian before it = E[x²] of the layer before.
        assert model(x).square().mean().item() == pytest.approx(1, rel=0.35)


def test_normal():
    for weight in weights(normal, std=0.3):
        assert_drawn(weight, 0.3, "normal")
    assert all((weight == 2).all() for weight in weights(normal, mean=2.0, std=0.0))


def test_uniform():
    for weight in weights(uniform, low=-0.3, high=0.3):
        assert_drawn(weight, 0.3 / sqrt(3), "uniform")
    for weight in weights(uniform, low=1.0, high=3.0):
        assert_drawn(weight - 2, 1 / sqrt(3), "uniform")


@pytest.mark.proves("initializer=zeros", "initializer=constant")
def test_constant():
    assert all((weight == 0.25).all() for weight in weights(constant, value=0.25))


@pytest.mark.proves("initializer=lecun")
@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_lecun(distribution):
    for weight, (fan_in, _) in zip(weights(lecun, distribution=distribution), FANS, strict=True):
        assert_drawn(weight, sqrt(1 / fan_in), distribution)


@pytest.mark.proves("initializer=random_walk")
def test_random_walk():
    gains: dict[Callable[[], nn.Module], Callable[[int], float]] = {
        nn.ReLU: lambda n: sqrt(2) * exp(1.2 / (n - 2.4)),
        nn.Tanh: lambda n: 1.2,
        nn.Identity: lambda n: exp(1 / (2 * n)),
    }
    for activation, gain in gains.items():
        drawn = weights(random_walk, activation=activation)
        for weight, (fan_in, _) in zip(drawn, FANS, strict=True):
            assert_drawn(weight, gain(fan_in) / sqrt(fan_in), "normal")
    for weight, (fan_in, _) in zip(
        weights(random_walk, activation=nn.ReLU, gain=0.7), FANS, strict=True
    ):
        assert_drawn(weight, 0.7 / sqrt(fan_in), "normal")


@pytest.mark.proves("initializer=random_walk")
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Identity])
def test_a_random_walk_has_no_drift(activation):
    # The log norm of the gradient after 50 layers of 30 units; with g = 1 or √2 alone it
    # would drift by −50/30 = −1.7 in the linear case, and further with ReLU.
    torch.manual_seed(0)
    walks = []
    for _ in range(60):
        layers = [[nn.Linear(30, 30), activation()] for _ in range(50)]
        model = nn.Sequential(*[module for pair in layers for module in pair])
        with torch.no_grad():
            random_walk(model, X, activation=activation)
        x = torch.randn(40, 30, requires_grad=True)
        delta = torch.randn(40, 30)
        (grad,) = torch.autograd.grad(model(x), x, delta)
        walks.append((grad.square().sum(1) / delta.square().sum(1)).log().mean().item())
    mean = sum(walks) / len(walks)
    error = (sum((walk - mean) ** 2 for walk in walks) / len(walks) / (len(walks) - 1)) ** 0.5
    assert abs(mean) < max(3 * error, 0.3)
    assert error < 0.35


# The packaged options that are one distribution each: (mean, standard deviation, law).
OPTIONS = {
    "zeros": (0.0, 0.0, "constant"),
    "constant": (0.01, 0.0, "constant"),
    "small_uniform": (0.0005, 0.001 / sqrt(12), "uniform"),
    "small_normal": (0.0, 0.01, "normal"),
    "large_normal": (0.0, 1.0, "normal"),
    "normal": (0.0, 0.01, "normal"),
    "uniform": (0.0, 0.1 / sqrt(12), "uniform"),
}


@pytest.mark.proves(
    "initializer=small_uniform",
    "initializer=small_normal",
    "initializer=large_normal",
    "initializer=uniform",
    "initializer=normal",
)
@pytest.mark.parametrize(("name", "law"), OPTIONS.items())
def test_packaged_distributions(name, law):
    mean, std, kind = law
    for weight in weights(instantiate(OmegaConf.load(CONF / f"{name}.yaml"))):
        if kind == "constant":
            assert (weight == mean).all()
        else:
            assert_drawn(weight - mean, std, kind)


@pytest.mark.proves(
    "initializer=xavier_normal",
    "initializer=xavier_uniform",
    "initializer=he_normal",
    "initializer=he_uniform",
)
@pytest.mark.parametrize("family", ["he", "xavier"])
@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_packaged_distributions_of_he_and_xavier(family, distribution):
    config = OmegaConf.to_container(OmegaConf.load(CONF / f"{family}_{distribution}.yaml"))
    assert isinstance(config, dict)
    options = {"activation": nn.ReLU} if config.pop("activation", None) else {}
    assert bool(options) == (family == "he")
    for weight, (fan_in, fan_out) in zip(
        weights(instantiate(config, **options)), FANS, strict=True
    ):
        std = sqrt(2 / fan_in) if family == "he" else sqrt(2 / (fan_in + fan_out))
        assert_drawn(weight, std, distribution)


@pytest.mark.parametrize("initialize", [normal, xavier, partial(he, activation=nn.ReLU)])
def test_biases_are_set_and_norms_are_left(initialize):
    model = network()
    nn.init.constant_(model[1].bias, 7)
    with torch.no_grad():
        initialize(model, X, bias=0.01)
    assert all((model[i].bias == 0.01).all() for i in (0, 2, 3))
    assert (model[1].bias == 7).all()
    assert (model[1].weight == 1).all()


@pytest.mark.proves("initializer=default")
def test_default_leaves_all_as_it_is():
    model = network()
    before = [parameter.clone() for parameter in model.parameters()]
    default(model, X)
    assert all(map(torch.equal, before, model.parameters()))


def test_values_out_of_range_are_refused():
    with torch.no_grad():
        with pytest.raises(ValueError, match="distribution must be normal or uniform, got flat"):
            xavier(network(), X, distribution="flat")
        with pytest.raises(ValueError, match="mode must be fan_in, fan_out or average, got both"):
            he(network(), X, activation=nn.ReLU, mode="both")
        with pytest.raises(ValueError, match="high must not be below low=1, got 0"):
            uniform(network(), X, low=1, high=0)
        with pytest.raises(ValueError, match="std must not be negative, got -1"):
            normal(network(), X, std=-1)


@pytest.mark.parametrize(
    ("initialize", "top"), [(lecun, 1.0), (xavier, 1.0), (partial(he, activation=nn.ReLU), 2.0)]
)
@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "average"])
def test_the_fan_that_counts(initialize, top, mode):
    for weight, (fan_in, fan_out) in zip(
        weights(initialize, mode=mode, distribution="normal"), FANS, strict=True
    ):
        fan = {"fan_in": fan_in, "fan_out": fan_out, "average": (fan_in + fan_out) / 2}[mode]
        assert_drawn(weight, sqrt(top / fan), "normal")
    with pytest.raises(ValueError, match="mode must be fan_in, fan_out or average, got both"):
        weights(initialize, mode="both")
