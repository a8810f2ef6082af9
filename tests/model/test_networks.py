"""Networks: what they compute, how many weights they have, what they refuse."""

import numpy as np
import pytest
import torch
from torch import nn

from dlrun.errors import Mistake
from dlrun.model.blocks import LocallyConnected
from dlrun.model.cnn import cnn
from dlrun.model.mlp import linear, mlp
from dlrun.model.resnet import resnet


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


class TwoPieces(nn.Module):
    """The larger of two neighbouring features."""

    pieces = 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(1, (-1, 2)).amax(2)


@pytest.mark.proves("model=mlp")
def test_mlp_as_in_numpy():
    model = mlp([2, 3], 4, nn.Tanh, [5, 7]).double()
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    h = x.numpy().reshape(6, 6)
    p = [parameter.detach().numpy() for parameter in model.parameters()]
    h = np.tanh(h @ p[0].T + p[1])
    h = np.tanh(h @ p[2].T + p[3])
    np.testing.assert_allclose(model(x).detach(), h @ p[4].T + p[5], atol=1e-12)


@pytest.mark.proves("model=linear")
def test_linear_is_an_mlp_without_hidden_layers():
    torch.manual_seed(0)
    one = linear([3, 4], 5)
    torch.manual_seed(0)
    other = mlp([3, 4], 5, nn.ReLU, [])
    x = torch.randn(2, 3, 4)
    assert torch.equal(one(x), other(x))
    assert count(one) == 12 * 5 + 5


@pytest.mark.parametrize(("norm", "extra"), [("none", 0), ("batch", 2 * 13), ("layer", 2 * 13)])
def test_weights_of_an_mlp(norm, extra):
    model = mlp([10], 3, nn.ReLU, [6, 7], norm)
    assert count(model) == 10 * 6 + 6 + 6 * 7 + 7 + 7 * 3 + 3 + extra
    kinds = {"none": nn.ReLU, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
    assert isinstance(model[2], kinds[norm])


def test_an_activation_of_several_pieces_widens_the_layer_before_it():
    assert count(mlp([10], 3, TwoPieces, [6], "batch")) == 10 * 12 + 12 + 24 + 6 * 3 + 3
    assert mlp([10], 3, TwoPieces, [6])(torch.randn(2, 10)).shape == (2, 3)
    model = cnn([1, 8, 8], 3, TwoPieces, channels=[4, 5])
    assert count(model) == (9 * 8 + 8) + (9 * 4 * 10 + 10) + 5 * 3 + 3
    assert model(torch.randn(2, 1, 8, 8)).shape == (2, 3)


@pytest.mark.proves("model=cnn")
def test_weights_and_sizes_of_a_cnn():
    default = [32, 32, 64, 64, 128]
    model = cnn([1, 8, 8], 10, nn.ReLU, channels=default)
    pairs = zip([1, *default], default, strict=False)
    assert count(model) == sum(9 * a * b + b for a, b in pairs) + 128 * 10 + 10
    sides = []
    for layer in model:
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda m, args, out: sides.append(tuple(out.shape[2:])))
    assert model(torch.randn(2, 1, 8, 8)).shape == (2, 10)
    assert sides == [(8, 8), (8, 8), (4, 4), (4, 4), (2, 2)]


@pytest.mark.parametrize("pooling", ["max", "average", "none"])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("global_pool", [True, False])
def test_forms_of_a_cnn(pooling, norm, global_pool):
    model = cnn([3, 9, 8], 4, nn.ReLU, channels=[6, 5], kernel=5, norm=norm, pooling=pooling,
                pool_every=1, global_pool=global_pool, hidden=[7])  # fmt: skip
    assert model(torch.randn(2, 3, 9, 8)).shape == (2, 4)
    left = 1 if global_pool else 9 * 8 if pooling == "none" else 2 * 2
    dense = [layer for layer in model if isinstance(layer, nn.Linear)]
    assert dense[0].in_features == 5 * left


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_the_default_cnn_learns_from_the_first_epoch_on(train_recipe, optimizer):
    words = ("model=cnn", "epochs=2", f"optimizer={optimizer}")
    assert train_recipe(*words).values("val/accuracy")[-1] > 0.9
    regular = ("regularization=[dropout,l2]", "warmup='1 epochs'")
    assert train_recipe(*words, *regular).values("val/accuracy")[-1] > 0.8


# The paper's table 6 gives 0.27, 0.46, 0.66, 0.85 and 1.7 million.
@pytest.mark.proves("model=resnet")
@pytest.mark.parametrize(
    ("depth", "weights"),
    [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)],
)
def test_weights_of_the_residual_networks_of_the_paper(depth, weights):
    assert count(resnet([3, 32, 32], 10, nn.ReLU, depth)) == weights


def test_shortcuts_that_project_have_weights_of_their_own():
    extra = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    assert count(resnet([3, 32, 32], 10, nn.ReLU, shortcut="project")) == 269_722 + extra


@pytest.mark.proves("model=resnet")
def test_skip_connections_add_the_padded_input():
    model = resnet([3, 9, 8], 10, nn.ReLU, 8, width=4).eval()
    block = model[4]
    x = torch.randn(2, 4, 9, 8)
    padded = torch.zeros(2, 8, 5, 4)
    padded[:, 2:6] = x[:, :, ::2, ::2]
    torch.testing.assert_close(block(x), torch.relu(block.residual(x) + padded))
    block = model[3]
    torch.testing.assert_close(block(x), torch.relu(block.residual(x) + x))


def test_without_skip_the_network_is_a_plain_chain():
    model = resnet([3, 8, 8], 10, nn.ReLU, 8, skip=False).eval()
    assert count(model) == count(resnet([3, 8, 8], 10, nn.ReLU, 8))
    x = torch.randn(2, 3, 8, 8)
    h = model[2](model[1](model[0](x)))
    for block in model[3:6]:
        h = torch.relu(block.residual(h))
    torch.testing.assert_close(model(x), model[8](h.mean((2, 3))))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: mlp([3], 2, nn.ReLU, [0]), "hidden must be whole numbers above 0"),
        (lambda: mlp([3], 2, nn.ReLU, [4], "group"), "norm must be one of none, batch, layer"),
        (lambda: cnn([3, 8, 8], 2, nn.ReLU, []), "channels must name at least one"),
        (lambda: cnn([3, 8, 8], 2, nn.ReLU, [4], kernel=4), "kernel must be odd, got 4"),
        (lambda: cnn([3, 8, 8], 2, nn.ReLU, [4], pooling="min"), "pooling must be max, average"),
        (lambda: cnn([3, 8, 8], 2, nn.ReLU, [4] * 4, pool_every=1), "pool_every must be higher"),
        (
            lambda: cnn([3, 8, 8], 2, nn.ReLU, [4] * 5, pool_every=1, shared=False),
            "pool_every must be higher: 5 poolings leave nothing of 8×8 pixels",
        ),
        (
            lambda: cnn([3, 8, 8], 2, nn.ReLU, [4] * 3, stride=2, pool_every=1, shared=False),
            "stride must be lower: with 3 poolings it leaves nothing",
        ),
        (lambda: cnn([3, 8, 8], 2, nn.ReLU, [4], pool_every=0), "pool_every must be at least 1"),
        (lambda: resnet([3, 8, 8], 2, nn.ReLU, 21), "depth must be 6n . 2"),
        (lambda: resnet([3, 8, 8], 2, nn.ReLU, shortcut="C"), "shortcut must be pad or project"),
    ],
)
def test_values_out_of_range_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    "make", [lambda s: cnn(s, 2, nn.ReLU, [4]), lambda s: resnet(s, 2, nn.ReLU)]
)
def test_tables_are_no_images(make):
    with pytest.raises(Mistake, match="needs images"):
        make([13])


def test_skip_connections_and_maxout_do_not_fit():
    with pytest.raises(Mistake, match="model=resnet: takes no activation=maxout"):
        resnet([3, 8, 8], 2, TwoPieces)


def test_the_stride_of_a_cnn():
    model = cnn([1, 9, 8], 3, nn.ReLU, [4, 5], stride=2, pooling="none", global_pool=False)
    assert model(torch.randn(2, 1, 9, 8)).shape == (2, 3)
    assert model[-1].in_features == 5 * 3 * 2
    with pytest.raises(ValueError, match="stride must be at least 1, got 0"):
        cnn([1, 9, 8], 3, nn.ReLU, [4], stride=0)


@pytest.mark.proves("model=locally_connected")
@pytest.mark.parametrize("stride", [1, 2])
def test_with_equal_weights_everywhere_it_is_a_convolution(stride):
    torch.manual_seed(0)
    shared = nn.Conv2d(2, 3, 3, stride, padding=1).double()
    own = LocallyConnected(2, 3, 3, stride, 1, (6, 5), bias=True).double()
    places = own.out[0] * own.out[1]
    with torch.no_grad():
        own.linear.weight.copy_(shared.weight.repeat(places, 1, 1, 1))
        own.linear.bias.copy_(shared.bias.repeat(places))
    x = torch.randn(4, 2, 6, 5, dtype=torch.float64)
    torch.testing.assert_close(own(x), shared(x))


def test_each_place_has_weights_of_its_own():
    model = cnn([1, 4, 4], 2, nn.ReLU, [3], pooling="none", global_pool=False, shared=False)
    assert count(model) == 16 * (9 * 3 + 3) + 48 * 2 + 2
    out = model[0](torch.ones(1, 1, 4, 4))
    with torch.no_grad():
        model[0].linear.weight[0] += 1  # the first channel of the first place
    changed = model[0](torch.ones(1, 1, 4, 4)) != out
    assert changed.nonzero().tolist() == [[0, 0, 0, 0]]
