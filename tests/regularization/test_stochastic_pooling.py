"""Stochastic pooling: the probabilities, the expectation, the regions, and where it acts."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlrun.errors import Mistake
from dlrun.model.cnn import cnn
from dlrun.model.torchvision import torchvision
from dlrun.regularization.stochastic_pooling import StochasticPool2d, StochasticPooling, stochastic

DRAWS = 20_000


@pytest.mark.proves("regularization=stochastic_pooling")
def test_elements_are_drawn_by_their_size():
    """The example of the paper's figure 1: activations 1.6 and 2.4 of 4."""
    region = torch.tensor([[1.6, 0.0, 0.0], [0.0, 0.0, 2.4], [0.0, 0.0, 0.0]])
    torch.manual_seed(0)
    drawn = StochasticPool2d(3, 3)(region.expand(DRAWS, 1, 3, 3)).flatten()
    assert set(drawn.tolist()) == set(torch.tensor([1.6, 2.4]).tolist())
    assert (drawn > 2).double().mean().item() == pytest.approx(0.6, abs=5 * 0.5 / DRAWS**0.5)


@pytest.mark.proves("regularization=stochastic_pooling")
def test_training_has_the_mean_that_evaluation_gives():
    torch.manual_seed(0)
    x = torch.rand(1, 3, 6, 8, dtype=torch.float64)
    pool = StochasticPool2d(2, 2)
    draws = pool(x.expand(DRAWS, -1, -1, -1))
    weighted = pool.eval()(x)[0]
    for c in range(3):
        for i in range(3):
            for j in range(4):
                a = x[0, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
                assert weighted[c, i, j].item() == pytest.approx(
                    (a**2).sum().item() / a.sum().item()
                )
    error = draws.std(0) / DRAWS**0.5
    assert ((draws.mean(0) - weighted).abs() < 5 * error).all()
    second = (draws**2).mean(0)
    a = F.unfold(x, 2, stride=2).view(3, 4, 3, 4)
    expected = (a**3).sum(1) / a.sum(1)  # Σ p·a²
    torch.testing.assert_close(second, expected, rtol=0.05, atol=0)


def test_regions_samples_and_steps_are_drawn_apart():
    torch.manual_seed(0)
    pool, x = StochasticPool2d(2, 2), torch.arange(1.0, 5.0).view(2, 2).repeat(1, 1, 8, 8)
    x = x.expand(500, 4, 16, 16)
    first, second = pool(x), pool(x)
    p = torch.arange(1.0, 5.0) / 10
    same = (p**2).sum().item()
    n = first.numel()
    for a, b in (
        (first, second),
        (first[1:], first[:-1]),
        (first[:, 1:], first[:, :-1]),
        (first[..., 1:], first[..., :-1]),
    ):
        assert (a == b).double().mean().item() == pytest.approx(same, abs=6 * 0.5 / n**0.5)


@pytest.mark.parametrize("place", [0, 3])
def test_infinite_activations_are_pooled_too(place):
    """So that a run that diverges is noticed by its loss."""
    x = torch.ones(4, 2, 4, 4)
    x[..., place] = torch.inf
    drawn = StochasticPool2d(2, 2)(x)
    assert drawn.shape == (4, 2, 2, 2)
    assert (drawn[..., place // 2] >= 1).all()
    assert (drawn[..., 1 - place // 2] == 1).all()


GEOMETRIES: list[dict[str, Any]] = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 2, "ceil_mode": True},
    {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True},
    {"kernel_size": (2, 3), "stride": (1, 2), "padding": (0, 1), "ceil_mode": True},
    {"kernel_size": 2, "stride": 1, "dilation": 2, "padding": 1},
]


@pytest.mark.parametrize("options", GEOMETRIES)
@pytest.mark.parametrize("size", [(7, 9), (8, 8), (10, 6)])
def test_regions_are_those_of_the_pooling_in_its_place(options, size):
    """One huge element a region is drawn for certain: then it is max pooling."""
    torch.manual_seed(0)
    ranks = torch.rand(2, 3, *size).flatten(2).argsort(2).reshape(2, 3, *size)
    x = 10 ** (4 * ranks.double() - 120)  # so far apart that a sum is its largest element
    pool = nn.MaxPool2d(**options)
    own = stochastic(pool)
    assert own is not None
    expected = pool(x)
    assert own(x).shape == expected.shape
    torch.testing.assert_close(own.eval()(x), expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("options", GEOMETRIES[:-1])
def test_shapes_are_those_of_average_pooling(options):
    pool = nn.AvgPool2d(**options)
    own = stochastic(pool)
    assert own is not None
    ones = torch.ones(1, 2, 7, 9)
    assert own(ones).shape == pool(ones).shape
    assert (own(ones) == 1).all()  # no padding is drawn
    assert (own.eval()(ones) == 1).all()


def test_regions_without_a_positive_element():
    torch.manual_seed(0)
    pool = StochasticPool2d(2, 2)
    zero = torch.zeros(1, 1, 2, 2)
    assert pool(zero) == pool.eval()(zero) == 0
    negative = -torch.arange(1.0, 5.0).view(1, 1, 2, 2)
    assert pool.eval()(negative) == -2.5
    draws = pool.train()(negative.expand(DRAWS, 1, 2, 2)).flatten()
    counts = torch.bincount((-draws).to(torch.int64), minlength=5)[1:] / DRAWS
    torch.testing.assert_close(counts, torch.full((4,), 0.25), rtol=0, atol=0.02)
    # Beside a positive element, others are never drawn; around the image there is nothing.
    mixed = torch.tensor([[-5.0, 0.5], [-1.0, -2.0]]).view(1, 1, 2, 2)
    assert (pool(mixed.expand(500, 1, 2, 2)) == 0.5).all()
    padded = StochasticPool2d(2, 2, 1)
    assert torch.equal(padded(negative), negative)


def test_the_gradient_goes_to_the_element_drawn():
    torch.manual_seed(0)
    x = torch.rand(2, 3, 4, 4, requires_grad=True)
    out = StochasticPool2d(2, 2)(x)
    out.sum().backward()
    assert torch.equal(F.avg_pool2d(x.grad, 2) * 4, torch.ones(2, 3, 2, 2))
    torch.testing.assert_close((x.grad * x).sum(), out.sum())


def test_evaluation_has_the_probabilities_as_constants():
    x = torch.rand(1, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    StochasticPool2d(2, 2).eval()(x).sum().backward()
    torch.testing.assert_close(x.grad, x.detach() / x.detach().sum())


def test_poolings_are_replaced_in_any_model():
    model = cnn([3, 8, 8], 10, nn.ReLU, [4, 4, 4, 4])
    keys = list(model.state_dict())
    x = torch.randn(4, 3, 8, 8)
    StochasticPooling().change_model(model, x)
    kinds = [type(m) for m in model]
    assert kinds.count(StochasticPool2d) == 2
    assert nn.MaxPool2d not in kinds
    assert kinds.count(nn.AdaptiveAvgPool2d) == 1
    assert list(model.state_dict()) == keys
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(copy.deepcopy(model)(x), model(x))
    assert torch.allclose(torch.export.export(model, (x,)).module()(x), model(x))
    model = torchvision([3, 32, 32], 10, "resnet18")
    StochasticPooling().change_model(model, x)
    assert isinstance(model.maxpool, StochasticPool2d)
    assert model.maxpool.padding == (1, 1)
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_in_lower_precision():
    torch.manual_seed(0)
    x = torch.rand(2, 3, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        h: Tensor = nn.Conv2d(3, 5, 1)(x)
        out = StochasticPool2d(2, 2)(h)
    assert out.dtype == h.dtype == torch.bfloat16


def test_a_model_without_pooling_is_refused():
    with pytest.raises(Mistake, match="stochastic_pooling: the model has no pooling"):
        StochasticPooling().change_model(nn.Linear(3, 2), torch.zeros(1, 3))
