"""Batch norm put into networks: where, how wide, and what it computes."""

import copy
import logging
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer

from dlrun.activation import Maxout
from dlrun.errors import Mistake
from dlrun.model.cnn import cnn
from dlrun.model.mlp import linear, mlp
from dlrun.model.resnet import resnet
from dlrun.model.torchvision import torchvision
from dlrun.regularization.batch_norm import BatchNorm


def norms(model: nn.Module) -> dict[str, tuple[str, int]]:
    return {
        name: (type(m).__name__, m.num_features)
        for name, m in model.named_modules()
        if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)
    }


@pytest.mark.proves("regularization=batch_norm")
@pytest.mark.parametrize(
    ("model", "shape", "expected"),
    [
        (mlp([12], 3, nn.ReLU, [8, 7]), (12,), {"2.0": ("BatchNorm1d", 8),
                                                "4.0": ("BatchNorm1d", 7)}),
        (cnn([3, 8, 8], 3, nn.Tanh, [4, 5], hidden=[6]), (3, 8, 8),
         {"1.0": ("BatchNorm2d", 4), "3.0": ("BatchNorm2d", 5), "8.0": ("BatchNorm1d", 6)}),
        (mlp([12], 3, lambda: Maxout(3), [8]), (12,), {"2.0": ("BatchNorm1d", 24)}),
        (mlp([12], 3, nn.Identity, [8, 7]), (12,), {"1.1": ("BatchNorm1d", 8),
                                                    "3.1": ("BatchNorm1d", 7)}),
    ],
)  # fmt: skip
def test_places(model, shape, expected):
    x = torch.randn(4, *shape)
    keys = len(model.state_dict())
    BatchNorm().change_model(model, x)
    assert norms(model) == expected
    assert model(x).shape == (4, 3)
    assert len(model.state_dict()) == keys + 5 * len(expected)


def test_in_a_network_of_torchvision():
    model = torchvision([3, 32, 32], 10, "vgg11")
    BatchNorm().change_model(model, torch.randn(2, 3, 32, 32))
    given = norms(model)
    assert [width for _, width in given.values()] == [64, 128, 256, 256, 512, 512, 512, 512,
                                                      4096, 4096]  # fmt: skip
    kinds = [type(layer) for layer in model.modules() if not list(layer.children())]
    for before, after in pairwise(kinds):
        if after in (nn.BatchNorm2d, nn.BatchNorm1d):
            assert before in (nn.Conv2d, nn.Linear)
        if before in (nn.BatchNorm2d, nn.BatchNorm1d):
            assert after is nn.ReLU


class Own(nn.Module):
    """A user's network: one activation module or none, for all places."""

    def __init__(self, shared: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.hidden = nn.Linear(4, 6)
        self.last = nn.Linear(6, 2)
        self.act = nn.ReLU() if shared else F.relu

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.conv(x)).mean((2, 3))
        return self.last(self.act(self.hidden(h)))


@pytest.mark.parametrize("shared", [True, False])
def test_where_activations_cannot_be_told_apart(shared):
    model = Own(shared)
    BatchNorm().change_model(model, torch.randn(3, 1, 5, 5))
    assert norms(model) == {"conv.1": ("BatchNorm2d", 4), "hidden.1": ("BatchNorm1d", 6)}
    assert model(torch.randn(3, 1, 5, 5)).shape == (3, 2)


@pytest.mark.proves("regularization=batch_norm")
def test_what_it_computes():
    torch.manual_seed(0)
    model = mlp([5], 2, nn.Sigmoid, [4]).double()
    x = torch.randn(9, 5, dtype=torch.float64) * 3 + 1
    BatchNorm(momentum=0.25, eps=1e-3).change_model(model, x[:2])
    norm = model[2][0]
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 0.5, -1.0]))
        norm.bias.copy_(torch.tensor([0.0, 1.0, -1.0, 3.0]))
    h = x @ model[1].weight.T + model[1].bias
    mean, variance = h.mean(0), h.var(0, correction=0)
    inside = torch.sigmoid((h - mean) / (variance + 1e-3).sqrt() * norm.weight + norm.bias)
    torch.testing.assert_close(model(x), inside @ model[3].weight.T + model[3].bias)
    running, spread = 0.25 * mean, 0.75 + 0.25 * h.var(0, correction=1)
    torch.testing.assert_close(norm.running_mean, running)
    model.eval()
    inside = torch.sigmoid((h - running) / (spread + 1e-3).sqrt() * norm.weight + norm.bias)
    torch.testing.assert_close(model(x), inside @ model[3].weight.T + model[3].bias)


@pytest.mark.parametrize(
    "make",
    [lambda: resnet([3, 8, 8], 10, nn.ReLU, 8), lambda: mlp([3, 8, 8], 10, nn.ReLU, [4], "batch")],
)
def test_models_that_have_it_stay(make, caplog):
    model = make()
    keys = list(model.state_dict())
    with caplog.at_level(logging.WARNING, "dlrun"):
        BatchNorm().change_model(model, torch.zeros(2, 3, 8, 8))
    assert list(model.state_dict()) == keys
    assert "has batch norm and stays as it is" in caplog.text


def test_the_pass_that_looks_leaves_no_trace():
    model = mlp([12], 3, nn.ReLU, [8])
    BatchNorm().change_model(model, torch.randn(2, 12))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert model[2][0].num_batches_tracked == 0
    assert model[2][0].training
    x = torch.randn(4, 12)
    model.eval()
    assert torch.equal(copy.deepcopy(model)(x), model(x))


def test_what_has_no_place_for_it_is_refused():
    with pytest.raises(Mistake, match="batch_norm: the model has no activation"):
        BatchNorm().change_model(linear([4], 2), torch.zeros(2, 4))
    transformer = VisionTransformer(8, 4, 1, 2, 8, 16, num_classes=3)
    with pytest.raises(Mistake, match="batch_norm: has no form for the output of Linear layers"):
        BatchNorm().change_model(transformer, torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match="momentum must be above 0 and at most 1, got 0"):
        BatchNorm(momentum=0)
    with pytest.raises(ValueError, match="eps must be above 0, got 0"):
        BatchNorm(eps=0)
