"""Weights as length and direction: the function stays, the gradients are those of the paper."""

import copy

import pytest
import torch
from torch import nn

from dlrun.errors import Mistake
from dlrun.model.cnn import cnn
from dlrun.model.torchvision import torchvision
from dlrun.regularization.weight_norm import WeightNorm, length


def test_the_function_stays_as_it_was():
    torch.manual_seed(0)
    for model in (cnn([3, 8, 8], 10, nn.ReLU, [4, 5], hidden=[6]), torchvision([3, 32, 32], 10)):
        x = torch.randn(2, 3, model_size(model), model_size(model))
        model.eval()
        before = model(x)
        assert WeightNorm().change_model(model, x) is model
        torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(copy.deepcopy(model)(x), model(x))
        torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), model(x))


def model_size(model: nn.Module) -> int:
    return 8 if isinstance(model, nn.Sequential) else 32


@pytest.mark.proves("regularization=weight_norm")
def test_gradients_of_length_and_direction():
    """∂g = ∂w·v/‖v‖ for each unit, ∂v = g/‖v‖·(∂w − ∂g·v/‖v‖): equation 3 of the paper."""
    torch.manual_seed(0)
    plain = nn.Linear(6, 4).double()
    layer = copy.deepcopy(plain)
    x, y = torch.randn(9, 6).double(), torch.randn(9, 4).double()
    WeightNorm().change_model(layer, x)
    g, v = (getattr(layer.parametrizations.weight, f"original{i}") for i in (0, 1))
    with torch.no_grad():
        g.mul_(torch.tensor([[0.5], [2.0], [-1.0], [3.0]]))
        v.mul_(1.7)
        norm = v.square().sum(1, keepdim=True).sqrt()
        plain.weight.copy_(g * v / norm)
    for model in (plain, layer):
        (model(x) - y).square().sum().backward()
    grad, unit = plain.weight.grad, v.detach() / norm
    along = (grad * unit).sum(1, keepdim=True)
    torch.testing.assert_close(g.grad, along, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(v.grad, g.detach() / norm * (grad - along * unit),
                               rtol=1e-12, atol=1e-12)  # fmt: skip
    torch.testing.assert_close(layer.bias.grad, plain.bias.grad, rtol=1e-12, atol=1e-12)


def test_each_unit_has_its_length():
    model = nn.Sequential(nn.Conv2d(2, 5, 3), nn.ConvTranspose2d(5, 7, 2), nn.Linear(3, 4))
    weights = [layer.weight.detach().clone() for layer in model]
    WeightNorm().change_model(model, torch.zeros(1))
    for layer, w, units in zip(model, weights, (5, 7, 4), strict=True):
        g = length(layer)
        assert g is not None
        across = w.transpose(0, 1) if units == 7 else w
        torch.testing.assert_close(g.flatten(), across.flatten(1).norm(dim=1))
    assert length(nn.Linear(2, 2)) is None


def test_layers_that_are_reparametrized_stay():
    layer = nn.utils.parametrizations.orthogonal(nn.Linear(4, 4))
    model = nn.Sequential(layer, nn.Linear(4, 2))
    WeightNorm().change_model(model, torch.zeros(1, 4))
    assert length(model[0]) is None
    assert length(model[1]) is not None


def test_a_model_without_layers_is_refused():
    with pytest.raises(Mistake, match="weight_norm: the model has no linear"):
        WeightNorm().change_model(nn.Sequential(nn.BatchNorm1d(3)), torch.zeros(2, 3))
