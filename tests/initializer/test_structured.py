"""Orthogonal, identity and unit-norm weights, and scales of residual branches."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from math import sqrt

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm as normed

from dlrun.initializer import by_unit, fans, layers
from dlrun.initializer.data_dependent import lsuv
from dlrun.initializer.scaled import hanin_rolnick, he, lecun, random_walk, xavier
from dlrun.initializer.structured import dirac, orthogonal, unit_norms, weight_norm
from dlrun.model.blocks import LocallyConnected
from dlrun.model.resnet import resnet
from dlrun.model.torchvision import torchvision


@pytest.fixture(autouse=True)
def _without_gradient():
    torch.manual_seed(0)


def identity(n: int) -> torch.Tensor:
    return torch.eye(n, dtype=torch.float64)


@pytest.mark.proves("initializer=orthogonal")
@pytest.mark.parametrize("gain", [1.0, 1.5])
def test_orthogonal(gain):
    model = nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 9), nn.Conv2d(3, 8, 3)).double()
    with torch.no_grad():
        orthogonal(model, torch.zeros(0), gain=gain)
    wide, tall, conv = (layer.weight.flatten(1) for layer in model)
    torch.testing.assert_close(wide @ wide.T, gain**2 * identity(5))
    torch.testing.assert_close(tall.T @ tall, gain**2 * identity(5))
    torch.testing.assert_close(conv @ conv.T, gain**2 * identity(8))


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Conv2d(6, 8, 1, groups=2),
        lambda: nn.ConvTranspose2d(6, 8, 1, groups=2),
        lambda: LocallyConnected(2, 5, 3, 1, 1, (3, 4), bias=True).linear,
    ],
)
def test_each_group_is_orthogonal_by_itself(make):
    layer = make().double()
    with torch.no_grad():
        orthogonal(layer, torch.zeros(0), gain=1.5)
    for group in layer.weight.flatten(1).chunk(layer.groups):
        gram = group @ group.T if len(group) <= group.shape[1] else group.T @ group
        torch.testing.assert_close(gram, 1.5**2 * identity(len(gram)))


def test_weights_of_each_place_are_those_of_a_convolution():
    """Identity, and what an input feeds: as many places as a convolution's kernel has."""
    own = LocallyConnected(2, 2, 3, 1, 1, (6, 5), bias=True)
    shared = nn.Conv2d(2, 2, 3, padding=1)
    assert fans(own.linear) == fans(shared) == (18, 18)
    x = torch.randn(4, 2, 6, 5)
    with torch.no_grad():
        dirac(own, x)
    torch.testing.assert_close(own(x), x)
    with torch.no_grad():
        lsuv(own, x, tolerance=0.01)
    assert own(x).var(correction=0).item() == pytest.approx(1, abs=0.01)


@pytest.mark.proves("initializer=dirac")
def test_dirac_hands_the_input_on():
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 4, 5, padding=2), nn.Flatten(1, 2)
    )
    dense = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 3))
    x, table = torch.randn(2, 3, 6, 6), torch.randn(4, 6)
    with torch.no_grad():
        dirac(model, x)
        dirac(dense, table)
    out = model(x).unflatten(1, (4, 6))
    torch.testing.assert_close(out[:, :3], x)
    assert (out[:, 3] == 0).all()
    torch.testing.assert_close(dense(table), table[:, :3])


LAYERS: list[Callable[[], nn.Module]] = [
    lambda: nn.Linear(12, 30),
    lambda: nn.Conv2d(6, 8, 3, groups=2),
    lambda: nn.ConvTranspose2d(6, 8, 3, groups=2),
]


@pytest.mark.parametrize("make", LAYERS)
def test_the_norm_and_the_scale_of_each_unit(make):
    layer = make()
    nn.init.zeros_(layer.bias)
    units = len(layer.bias)
    # With one input pixel set at a time, what a unit gives is its weights.
    channels = 12 if isinstance(layer, nn.Linear) else 6
    side = () if isinstance(layer, nn.Linear) else (5, 5)
    norms = torch.zeros(units)
    for channel in range(channels):
        x = torch.zeros(1, channels, *side)
        x[(0, channel, 2, 2)[: x.ndim]] = 1
        norms += layer(x).reshape(units, -1).square().sum(1)
    torch.testing.assert_close(unit_norms(layer), norms.sqrt())
    factors = torch.rand(units) + 0.5
    expected = layer(x).reshape(units, -1) * factors[:, None]
    with torch.no_grad():
        layer.weight.copy_(by_unit(layer, factors))
    torch.testing.assert_close(layer(x).reshape(units, -1), expected)


@pytest.mark.proves("initializer=weight_norm")
@pytest.mark.parametrize("wrap", [lambda layer: layer, normed])
def test_weight_norm_gives_each_unit_its_length(wrap):
    widths = [300, 500, 200, 400, 10]
    model = nn.Sequential()
    for inputs, width in pairwise(widths):
        model.extend([wrap(nn.Linear(inputs, width)), nn.ReLU()])
    del model[-1]
    x = torch.randn(500, 300)
    with torch.no_grad():
        weight_norm(model, x)
    dense = list(layers(model))
    for layer in dense:
        fan_in, fan_out = fans(layer)
        g = sqrt((1 if layer is dense[-1] else 2) * fan_in / fan_out)
        torch.testing.assert_close(unit_norms(layer), torch.full((fan_out,), g))
        if wrap is normed:
            lengths = layer.parametrizations.weight.original0
            torch.testing.assert_close(lengths, torch.full((fan_out, 1), g))


@pytest.mark.proves("initializer=weight_norm")
def test_weight_norm_keeps_the_norm_through_layers_of_any_width():
    layers = [[nn.Linear(a, b), nn.ReLU()] for a, b in pairwise([300, 500, 200, 400, 10])]
    model = nn.Sequential(*[module for pair in layers for module in pair])
    x = torch.randn(20, 300)
    growth = 0.0
    with torch.no_grad():
        for _ in range(50):
            weight_norm(model, x)
            growth += (model[:-2](x).square().sum() / x.square().sum()).item() / 50
    # Each of three layers spreads by some 5/width, so the mean of fifty by about 3 %.
    assert growth == pytest.approx(1, rel=0.12)


class Residual(nn.Module):
    """h + F(h), without any norm."""

    def __init__(self) -> None:
        super().__init__()
        self.residual = nn.Sequential(nn.Linear(400, 400), nn.ReLU(), nn.Linear(400, 400))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.residual(x)


def test_weight_norm_bounds_residual_networks():
    model = nn.Sequential(*[Residual() for _ in range(10)], nn.Linear(400, 2))
    x = torch.randn(100, 400)
    with torch.no_grad():
        weight_norm(model, x)
        grown = model[:-1](x).square().sum(1).mean() / x.square().sum(1).mean()
    for block in model[:-1]:
        torch.testing.assert_close(unit_norms(block.residual[2]), torch.full((400,), sqrt(0.1)))
    # Each branch adds 1/B of the squared norm (1 + 1/10)^10.
    assert grown.item() == pytest.approx(1.1**10, rel=0.15)


@pytest.mark.proves("initializer=hanin_rolnick")
def test_hanin_rolnick_scales_the_branches():
    model = nn.Sequential(*[Residual() for _ in range(4)], nn.Linear(400, 2))
    x = torch.randn(500, 400)
    with torch.no_grad():
        hanin_rolnick(model, x, decay=0.5)
    deviation = sqrt(2 / 400)
    for number, block in enumerate(model[:-1], start=1):
        first, last = block.residual[0].weight.std(), block.residual[2].weight.std()
        assert first.item() == pytest.approx(deviation, rel=0.02)
        assert last.item() == pytest.approx(deviation * 0.5**number, rel=0.02)


def test_branches_that_end_in_a_norm():
    x = torch.randn(2, 3, 32, 32)
    ours, theirs = resnet([3, 32, 32], 10, nn.ReLU, 14), torchvision([3, 32, 32], 10, "resnet18")
    with torch.no_grad():
        hanin_rolnick(ours, x, decay=0.9)
        hanin_rolnick(theirs, x, decay=0.9)
    blocks = [m for m in ours if hasattr(m, "residual")]
    norms = [block.residual[4] for block in blocks]
    others = [m.bn2 for m in theirs.modules() if hasattr(m, "bn2")]
    assert len(norms) == 6
    assert len(others) == 8
    for found in (norms, others):
        for number, norm in enumerate(found, start=1):
            torch.testing.assert_close(norm.weight, torch.full_like(norm.weight, 0.9**number))
    assert (blocks[0].residual[1].weight == 1).all()


@pytest.mark.parametrize(
    "initialize",
    [
        lecun,
        xavier,
        hanin_rolnick,
        orthogonal,
        dirac,
        partial(he, activation=nn.ReLU),
        partial(random_walk, activation=nn.ReLU),
    ],
)
def test_weight_normalized_layers_get_the_same_weights(initialize):
    found = []
    for wrap in (lambda layer: layer, normed):
        torch.manual_seed(0)
        model = nn.Sequential(wrap(nn.Linear(6, 5)), nn.ReLU(), wrap(nn.Linear(5, 4)))
        torch.manual_seed(1)
        with torch.no_grad():
            initialize(model, torch.zeros(2, 6), bias=0.01)
        found.append([layer.weight for layer in layers(model)])
        assert all((layer.bias == 0.01).all() for layer in layers(model))
    for plain, reparametrized in zip(*found, strict=True):
        torch.testing.assert_close(plain, reparametrized)


def test_values_out_of_range_are_refused():
    with pytest.raises(ValueError, match="decay must be above 0 and at most 1, got 0"):
        hanin_rolnick(nn.Linear(2, 2), torch.zeros(0), decay=0)
