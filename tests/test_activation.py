"""Activations against their formulas in numpy, and their gradients against differences."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy.special import erf
from torch import nn

from dlrun.activation import Maxout, pieces, prelu, softplus
from dlrun.model.mlp import mlp

CONF = Path(__file__).parents[1] / "conf" / "activation"


def factory(name: str, **options: Any) -> Any:
    """The factory that the packaged option describes."""
    return instantiate(OmegaConf.load(CONF / f"{name}.yaml"), **options)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def elu(x: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(x > 0, x, alpha * (np.exp(x) - 1))


SELU = (1.0507009873554805, 1.6732632423543772)  # scale and α of the paper
FORMULAS: list[tuple[str, dict[str, Any], Any]] = [
    ("identity", {}, lambda x: x),
    ("sigmoid", {}, sigmoid),
    ("tanh", {}, lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x))),
    ("relu", {}, lambda x: np.where(x > 0, x, 0)),
    ("leaky_relu", {}, lambda x: np.where(x > 0, x, 0.01 * x)),
    ("leaky_relu", {"negative_slope": 0.3}, lambda x: np.where(x > 0, x, 0.3 * x)),
    ("prelu", {}, lambda x: np.where(x > 0, x, 0.25 * x)),
    ("elu", {}, lambda x: elu(x, 1.0)),
    ("elu", {"alpha": 0.4}, lambda x: elu(x, 0.4)),
    ("selu", {}, lambda x: SELU[0] * elu(x, SELU[1])),
    ("gelu", {}, lambda x: x * (1 + erf(x / np.sqrt(2))) / 2),
    ("silu", {}, lambda x: x * sigmoid(x)),
    ("softplus", {}, lambda x: np.log(1 + np.exp(x))),
    ("softplus", {"beta": 2.0}, lambda x: np.log(1 + np.exp(2 * x)) / 2),
    ("maxout", {}, lambda x: np.maximum(x[:, ::2], x[:, 1::2])),
    ("maxout", {"pieces": 3}, lambda x: x.reshape(len(x), -1, 3).max(2)),
]


@pytest.mark.proves(
    "activation=identity",
    "activation=sigmoid",
    "activation=tanh",
    "activation=relu",
    "activation=leaky_relu",
    "activation=elu",
    "activation=selu",
    "activation=gelu",
    "activation=silu",
    "activation=softplus",
    "activation=prelu",
    "activation=maxout",
)
@pytest.mark.parametrize(("name", "options", "formula"), FORMULAS)
def test_values_and_gradients(name, options, formula):
    module = factory(name, **options)().double()
    x = torch.randn(5, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2
    np.testing.assert_allclose(module(x).detach(), formula(x.numpy()), atol=1e-12)
    assert torch.autograd.gradcheck(module, (x.requires_grad_(),))


def test_every_option_is_tested():
    assert {path.stem for path in CONF.glob("*.yaml")} == {name for name, _, _ in FORMULAS}


@pytest.mark.proves("activation=prelu")
def test_each_layer_learns_its_own_slope():
    torch.manual_seed(0)
    model = mlp([4], 2, factory("prelu"), [8, 8])
    slopes = [layer.weight for layer in model if isinstance(layer, nn.PReLU)]
    assert len(slopes) == 2
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.randn(64, 4)).square().mean().backward()
    optimizer.step()
    assert slopes[0].item() != slopes[1].item() != 0.25


@pytest.mark.parametrize("shape", [(3, 6), (3, 6, 4, 4)])
def test_maxout_takes_neighbours_on_axis_one(shape):
    x = torch.randn(shape)
    out = Maxout(3)(x)
    for unit in range(2):
        assert torch.equal(out[:, unit], x[:, 3 * unit : 3 * unit + 3].amax(1))


def test_a_softplus_needs_a_beta():
    with pytest.raises(ValueError, match="beta must not be 0, got 0"):
        softplus(0)


@pytest.mark.proves("activation=maxout")
def test_maxout_multiplies_the_weights_of_its_layer():
    assert pieces(factory("maxout", pieces=4)) == 4
    assert pieces(nn.ReLU) == 1
    model = mlp([10], 3, factory("maxout", pieces=4), [6])
    weights = [p.numel() for p in model.parameters()]
    assert weights == [4 * 6 * 10, 4 * 6, 3 * 6, 3]


def test_values_out_of_range_are_refused():
    with pytest.raises(ValueError, match="pieces must be at least 2, got 1"):
        Maxout(1)


def test_prelu_as_a_maximum_differs_above_a_slope_of_1():
    x = torch.linspace(-2, 2, 9)[None]
    for slope in (0.25, 2.0):
        usual, largest = prelu(init=slope), prelu(init=slope, form="max")
        torch.testing.assert_close(largest(x), torch.maximum(slope * x, x))
        assert torch.equal(usual(x), largest(x)) == (slope < 1)
    wide = prelu(num_parameters=3, init=0.5, form="max")
    image = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(wide(image), torch.maximum(0.5 * image, image))
    with pytest.raises(ValueError, match="form must be slope or max, got min"):
        prelu(form="min")
