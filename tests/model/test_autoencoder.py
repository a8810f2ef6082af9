"""Autoencoders: shapes, the tied gradients by hand, and what a linear one learns."""

import copy
import pickle

import pytest
import torch
from torch import nn

from dlrun.activation import Maxout
from dlrun.engine.count import parameters
from dlrun.errors import Mistake
from dlrun.initializer.distributions import normal
from dlrun.model.autoencoder import Transposed, autoencoder
from dlrun.regularization.batch_norm import BatchNorm
from dlrun.regularization.dropconnect import DropConnect
from dlrun.regularization.dropout import Dropout
from dlrun.regularization.weight_norm import WeightNorm

SHAPES = [[13], [1, 8, 8], [3, 9, 7], [2, 1, 6]]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channels", [[], [4], [4, 5, 6]])
def test_the_output_has_the_shape_of_the_input(shape, channels, tied):
    if len(shape) == 1 and channels:
        with pytest.raises(Mistake, match="model=autoencoder with channels needs images"):
            autoencoder(shape, nn.ReLU, 3, [8], channels, tied)
        return
    model = autoencoder(shape, nn.ReLU, 3, [8, 5], channels, tied)
    assert model.reconstructs
    x = torch.randn(4, *shape)
    assert model.encoder(x).shape == (4, 3)
    assert model(x).shape == x.shape
    layers = 2 * (len(channels) + 3)
    kinds = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, Transposed)
    assert sum(isinstance(m, kinds) for m in model.modules()) == layers
    assert sum(isinstance(m, nn.ReLU) for m in model.modules()) == layers - 2
    assert isinstance(list(model.encoder)[-1], nn.Linear)  # no activation at either end
    model(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_weights_of_both_forms():
    down = 64 * 20 + 20 * 6
    biases = 20 + 6 + 20 + 64
    assert parameters(autoencoder([1, 8, 8], nn.ReLU, 6, [20])) == 2 * down + biases
    assert parameters(autoencoder([1, 8, 8], nn.ReLU, 6, [20], tied=True)) == down + biases
    down = 9 * 4 + 9 * 4 * 5 + 5 * 2 * 2 * 6
    biases = 4 + 5 + 6 + 20 + 4 + 1
    options = {"code": 6, "channels": [4, 5]}
    assert parameters(autoencoder([1, 8, 8], nn.ReLU, **options)) == 2 * down + biases
    assert parameters(autoencoder([1, 8, 8], nn.ReLU, tied=True, **options)) == down + biases


@pytest.mark.proves("model=autoencoder")
def test_tied_gradients_by_hand():
    """x̂ = W₁ᵀ·a(W₂ᵀ·(W₂·a(W₁x + b₁) + b₂) + c₂) + c₁ with a = tanh and loss ‖x̂ − x‖²/2."""
    torch.manual_seed(0)
    model = autoencoder([6], nn.Tanh, 2, [4], tied=True).double()
    for p in model.parameters():
        p.data.normal_()
    x = torch.randn(5, 6, dtype=torch.float64)
    first, second = model.encoder[1], model.encoder[3]
    inner, outer = model.decoder[0], model.decoder[2]
    out = model(x)
    ((out - x).square().sum() / 2).backward()
    with torch.no_grad():
        w1, w2 = first.weight, second.weight
        h = torch.tanh(x @ w1.T + first.bias)
        code = h @ w2.T + second.bias
        back = torch.tanh(code @ w2 + inner.bias)
        torch.testing.assert_close(out, back @ w1 + outer.bias)
        d_out = back @ w1 + outer.bias - x
        d_back = d_out @ w1.T * (1 - back**2)
        d_code = d_back @ w2.T
        d_h = d_code @ w2 * (1 - h**2)
        expected = {
            first.weight: back.T @ d_out + d_h.T @ x,  # once in each half of the network
            second.weight: code.T @ d_back + d_code.T @ h,
            first.bias: d_h.sum(0),
            second.bias: d_code.sum(0),
            inner.bias: d_back.sum(0),
            outer.bias: d_out.sum(0),
        }
    assert {id(p) for p in expected} == {id(p) for p in model.parameters()}
    for p, grad in expected.items():
        torch.testing.assert_close(p.grad, grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [[2, 8, 8], [2, 7, 6]])
def test_tied_gradients_are_the_sum_over_both_halves(shape):
    torch.manual_seed(0)
    tied = autoencoder(shape, nn.Tanh, 3, [7], [4, 5], tied=True).double()
    free = autoencoder(shape, nn.Tanh, 3, [7], [4, 5]).double()
    pairs = []  # the free decoder's layer, and whose transpose it is
    with torch.no_grad():
        for a, b in zip(free.encoder, tied.encoder, strict=True):
            a.load_state_dict(b.state_dict())
        for a, b in zip(free.decoder, tied.decoder, strict=True):
            if isinstance(b, Transposed):
                (of,) = b._of
                b.bias.normal_()
                a.weight.copy_(of.weight.t() if isinstance(of, nn.Linear) else of.weight)
                a.bias.copy_(b.bias)
                pairs.append((a, of))
    x = torch.randn(3, *shape, dtype=torch.float64)
    torch.testing.assert_close(tied(x), free(x))
    for model in (tied, free):
        (model(x) - x).square().mean().backward()
    same = dict(zip(tied.encoder, free.encoder, strict=True))
    assert len(pairs) == 4
    for layer, of in pairs:
        other = layer.weight.grad.t() if isinstance(of, nn.Linear) else layer.weight.grad
        torch.testing.assert_close(of.weight.grad, same[of].weight.grad + other)


def test_the_transposed_convolution_is_the_adjoint():
    """⟨K·x, h⟩ = ⟨x, Kᵀ·h⟩ for even and odd sides."""
    for shape in ([2, 8, 7], [3, 5, 6]):
        model = autoencoder(shape, nn.Identity, 3, channels=[4], tied=True).double()
        convolution, transposed = model.encoder[0], model.decoder[-1]
        x = torch.randn(1, *shape, dtype=torch.float64)
        with torch.no_grad():
            convolution.bias.zero_()
            forth = convolution(x)
            h = torch.randn_like(forth)
            torch.testing.assert_close((forth * h).sum(), (x * transposed(h)).sum())


@pytest.mark.proves("model=autoencoder")
def test_a_linear_one_learns_the_principal_subspace():
    """Baldi, Hornik 1989: at the optimum it projects on the first principal components."""
    torch.manual_seed(0)
    scales = torch.tensor([4.0, 3.0, 0.5, 0.3, 0.1])
    basis = torch.linalg.qr(torch.randn(5, 5)).Q
    x = ((torch.randn(400, 5) * scales) @ basis).double()
    x = x - x.mean(0)
    model = autoencoder([5], nn.Identity, 2, [], tied=True).double()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (model(x) - x).square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    values = torch.linalg.eigvalsh(x.T @ x / len(x))
    left = (model(x) - x).square().sum(1).mean().item()
    assert left == pytest.approx(values[:3].sum().item(), rel=1e-4)


def test_a_copy_is_tied_to_itself():
    model = autoencoder([1, 8, 8], nn.ReLU, 3, [5], [4], tied=True).eval()
    x = torch.randn(2, 1, 8, 8)
    before = model(x)
    assert sum("weight" in key for key in model.state_dict()) == 3
    exported = torch.export.export(model, (x,)).module()
    assert torch.equal(exported(x), before)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(x), before)
        for p in other.parameters():
            p.data.zero_()
        assert not other(x).any()
        assert torch.equal(model(x), before)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("rule", [BatchNorm, Dropout, DropConnect, WeightNorm])
def test_with_rules_that_change_the_model(rule, tied):
    model = autoencoder([1, 8, 8], nn.ReLU, 3, [5], [4], tied=tied)
    x = torch.randn(4, 1, 8, 8)
    model = rule().change_model(model, x)
    assert model(x).shape == x.shape
    model(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def tied_one(channels=()):
    """Its decoder's layers with weights: transposed ones, the convolution's last."""
    model = autoencoder([1, 8, 8], nn.Identity, code=3, hidden=[6], channels=channels, tied=True)
    return model, [module for module in model.decoder if isinstance(module, Transposed)]


def test_the_biases_of_a_tied_decoder_are_those_of_the_initializer():
    model, own = tied_one([2])
    with torch.no_grad():
        normal(model, torch.zeros(0), bias=0.25)
    assert len(own) == 3
    assert all((layer.bias == 0.25).all() for layer in own)


def test_dropout_before_the_layers_of_a_tied_decoder():
    model, own = tied_one([2])
    rule = Dropout(visible=0, hidden=0.5, convolution=0.25)
    rule.change_model(model, torch.randn(2, 1, 8, 8))
    rates = [[hook.rate for hook in each._forward_pre_hooks.values()] for each in own]
    assert rates == [[0.5], [0.5], [0.25]]


@pytest.mark.parametrize("masks", ["batch", "sample"])
def test_dropconnect_in_a_tied_decoder(masks):
    model, own = tied_one()
    DropConnect(0.5, masks=masks).change_model(model, torch.randn(2, 1, 8, 8))
    with torch.no_grad():
        model.encoder[-1].weight.fill_(1.0)
    h = torch.ones(4000, 3)
    given = own[0](h)  # three weights and the bias of 0, each 0 or twice itself
    assert set(given.unique().tolist()) <= {0.0, 2.0, 4.0, 6.0}
    assert len(given.unique(dim=0)) == 1 if masks == "batch" else len(given.unique(dim=0)) > 10
    if masks == "sample":
        torch.testing.assert_close(given.mean(0), torch.full((6,), 3.0), atol=0.15, rtol=0)
    model.eval()
    torch.testing.assert_close(own[0](h), torch.full((4000, 6), 3.0))


def test_dropconnect_says_that_transposed_convolutions_stay_whole(caplog):
    for tied in (True, False):
        model = autoencoder([1, 8, 8], nn.Identity, channels=[2], tied=tied)
        DropConnect(convolution=0.5).change_model(model, torch.randn(2, 1, 8, 8))
        assert "transposed convolutions, of which there are 1, keep all weights" in caplog.text
        caplog.clear()


def test_maxout_widens_every_layer_but_the_ends():
    model = autoencoder([1, 8, 8], lambda: Maxout(3), 6, [20], [4])
    down = 9 * 12 + 12 + 64 * 60 + 60 + 20 * 6 + 6
    up = 6 * 60 + 60 + 20 * 192 + 192 + 9 * 4 * 1 + 1
    assert parameters(model) == down + up
    assert model(torch.randn(2, 1, 8, 8)).shape == (2, 1, 8, 8)
    with pytest.raises(Mistake, match="takes no activation=maxout"):
        autoencoder([1, 8, 8], lambda: Maxout(3), tied=True)


def test_values_out_of_range_are_refused():
    with pytest.raises(ValueError, match="code must be a whole number above 0, got 0"):
        autoencoder([1, 8, 8], nn.ReLU, code=0)
    for name, value in (("hidden", [0]), ("channels", [-1])):
        with pytest.raises(ValueError, match=f"{name} must be whole numbers above 0"):
            autoencoder([1, 8, 8], nn.ReLU, **{name: value})
