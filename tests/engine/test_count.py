"""Sizes and costs against sums by hand, and against those that torchvision publishes."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from dlrun.engine.count import flops, parameters
from dlrun.model.autoencoder import autoencoder
from dlrun.model.cnn import cnn
from dlrun.model.mlp import mlp
from dlrun.model.resnet import resnet


def test_of_an_mlp():
    model = mlp([1, 8, 8], 10, nn.ReLU, [50, 30], "batch")
    assert parameters(model) == 64 * 50 + 50 + 100 + 50 * 30 + 30 + 60 + 30 * 10 + 10
    assert flops(model, torch.zeros(7, 1, 8, 8)) == 2 * (64 * 50 + 50 * 30 + 30 * 10)


@pytest.mark.proves("model=cnn")
def test_of_a_cnn():
    model = cnn([3, 9, 8], 4, nn.ReLU, [6, 5], kernel=5, pool_every=1, global_pool=False)
    # 9×8 pixels, then 4×4, then 2×2.
    by_hand = 25 * 3 * 6 * 72 + 25 * 6 * 5 * 16 + 5 * 4 * 4
    assert flops(model, torch.zeros(2, 3, 9, 8)) == 2 * by_hand
    assert parameters(model) == 25 * 3 * 6 + 6 + 25 * 6 * 5 + 5 + 20 * 4 + 4


def test_of_a_strided_and_grouped_convolution():
    model = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)
    assert flops(model, torch.zeros(1, 4, 7, 8)) == 2 * 9 * 2 * 6 * 4 * 4


def test_a_transposed_layer_costs_as_much_as_its_layer():
    x = torch.zeros(1, 1, 8, 8)
    once = 2 * (9 * 4 * 16 + 64 * 6)
    for tied in (True, False):
        model = autoencoder([1, 8, 8], nn.ReLU, 6, [], [4], tied)
        assert flops(model, x) == 2 * once


@pytest.mark.parametrize("name", ["resnet18", "vit_b_32", "swin_t", "mobilenet_v2"])
def test_of_networks_of_torchvision(name):
    """Their documentation counts a multiplication and an addition as one, in billions."""
    published = models.get_model_weights(name)["DEFAULT"].meta
    model = models.get_model(name, weights=None)
    assert parameters(model) == published["num_params"]
    billions = flops(model, torch.zeros(1, 3, 224, 224)) / 2e9
    assert billions == pytest.approx(published["_ops"], abs=5e-4)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_transformer_has_no_shortcut_that_escapes_the_count(frozen):
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    model = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False).requires_grad_(not frozen)
    # Five words: query, key and value; who heeds whom, and what comes of it; out; 16 to 32 to 16.
    by_hand = 5 * 16 * 48 + 2 * 5 * 5 * 16 + 5 * 16 * 16 + 2 * 5 * 16 * 32
    assert flops(model, torch.zeros(2, 5, 16)) == 2 * 3 * by_hand
    assert torch.backends.mha.get_fastpath_enabled()


class WithoutGradient(nn.Module):
    """Attention in the two ways that torch offers it, of a network that is not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.attention(x, x, x, need_weights=False)[0]
            return F.scaled_dot_product_attention(x, x, x)


def test_attention_is_counted_where_a_network_switches_gradients_off():
    by_hand = 5 * 16 * 64 + 2 * 2 * 5 * 5 * 16
    assert flops(WithoutGradient(), torch.zeros(1, 5, 16)) == 2 * by_hand


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_of_recurrent_layers(kind, gates):
    model = kind(16, 8, 2, batch_first=True, bidirectional=True)
    by_hand = 2 * gates * 8 * ((16 + 8) + (16 + 8))  # two directions; two layers, in and around
    assert flops(model, torch.zeros(3, 5, 16)) == 2 * 5 * by_hand


def test_shared_and_frozen_weights():
    shared = nn.Linear(5, 5)
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(5, 2))
    assert parameters(model) == 30 + 12
    assert flops(model, torch.zeros(1, 5)) == 2 * (25 + 25 + 10)
    model[3].bias.requires_grad_(False)
    assert parameters(model) == 30 + 10


def test_counting_leaves_no_trace():
    model = resnet([3, 8, 8], 10, nn.ReLU, 8, width=2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model[3].eval()
    modes = [module.training for module in model.modules()]
    flops(model, torch.randn(1, 3, 8, 8))
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
