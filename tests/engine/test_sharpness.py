"""Sharpness against the whole Hessian, computed by torch.autograd.functional in float64."""

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from dlrun.engine.look import Seen
from dlrun.engine.sharpness import largest_eigenvalue, sharpness
from dlrun.recipe import build
from tests.conftest import sparsely


def spectrum(model, loss, x, y):
    """All eigenvalues of the Hessian of loss(model(x), y) by all trainable weights, rising."""
    trained = {name: w for name, w in model.named_parameters() if w.requires_grad}
    sizes = [w.numel() for w in trained.values()]

    def of(flat):
        parts = zip(trained.items(), flat.split(sizes), strict=True)
        return loss(functional_call(model, {n: p.view_as(w) for (n, w), p in parts}, x), y)

    flat = torch.cat([w.detach().reshape(-1) for w in trained.values()])
    return torch.linalg.eigvalsh(torch.autograd.functional.hessian(of, flat))


@pytest.mark.parametrize(
    ("words", "layers"),
    [
        (("model.hidden=[6]", "activation=tanh"), 2),
        (("model.hidden=[6]", "regularization=[label_smoothing]"), 2),
        (("model.hidden=[5]", "model.norm=batch", "activation=softplus"), 2),
        (("model=linear",), 1),
        (("model=autoencoder", "loss=mse", "model.hidden=[]", "model.code=4"), 2),
    ],
    ids=str,
)
def test_it_is_the_largest_eigenvalue_of_the_hessian(compose_recipe, digits, words, layers):
    run = build.build(compose_recipe(*words), digits)
    run.model.double()
    seen = Seen(run)
    seen.x = seen.x[:32].double()
    seen.y = seen.x if run.reconstructs else seen.y[:32]
    found = sharpness(run, seen)
    run.model.train()
    expected = spectrum(run.model, run.objective, seen.x, seen.y)[-1]
    assert found == pytest.approx(float(expected), rel=1e-3)


@pytest.mark.parametrize("values", [[3.0, 2.0, 1.0], [-50.0, 1.0, 4.0], [5.0], [-3.0, -1.0]])
def test_a_negative_eigenvalue_of_larger_size_does_no_harm(values):
    """A quadratic with a known spectrum; the power method alone would find -50."""
    drawn = torch.randn(len(values), len(values), generator=torch.Generator().manual_seed(1))
    turn = torch.linalg.qr(drawn.double())[0]
    matrix = turn @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ turn.T
    weight = nn.Parameter(torch.ones(len(values), dtype=torch.float64))
    loss = weight @ matrix @ weight / 2
    assert largest_eigenvalue(loss, [weight]) == pytest.approx(max(values), abs=0.01)


def test_weights_without_curvature_and_without_gradient():
    used, linear, unused = (nn.Parameter(torch.ones(2)) for _ in range(3))
    loss = used.square().sum() + linear.sum()
    assert largest_eigenvalue(loss, [unused, linear, used]) == pytest.approx(2)
    assert largest_eigenvalue(linear.sum(), [linear, unused]) == 0


class Recurrent(nn.Module):
    """A recurrent layer over the rows of an image, then attention over its outputs."""

    def __init__(self, kind, outputs=10):
        super().__init__()
        self.rnn = getattr(nn, kind)(8, 6, batch_first=True)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True, dropout=0.1)
        self.out = nn.Linear(6, outputs)

    def forward(self, x):
        rows, _ = self.rnn(x.flatten(1, 2))
        rows, _ = self.attention(rows, rows, rows, need_weights=False)
        return self.out(rows.mean(1))


@pytest.mark.parametrize("kind", sparsely(["RNN", "LSTM", "GRU"], 3))
def test_recurrent_layers_and_attention(compose_recipe, digits, kind):
    run = build.build(compose_recipe(), digits)
    torch.manual_seed(0)
    run.model = run.uncompiled = Recurrent(kind).double()
    run.model.attention.dropout = 0.0  # else no two Hessians are alike
    seen = Seen(run)
    seen.x, seen.y = seen.x[:16].double(), seen.y[:16]
    found = sharpness(run, seen)
    with sdpa_kernel(SDPBackend.MATH):
        expected = spectrum(run.model, run.objective, seen.x, seen.y)[-1]
    assert found == pytest.approx(float(expected), rel=1e-3)
