"""Muon against numpy, the singular value decomposition, and torch's own."""

import numpy as np
import pytest
import torch
from torch import nn

from dlrun.optimizer.muon import Muon, orthogonal

pytestmark = pytest.mark.usefixtures("float64")
SHAPES = [(5, 3), (3, 5), (4, 4), (30, 7)]


def quintic(s: np.ndarray) -> np.ndarray:
    """What five iterations make of singular values: a polynomial of each alone."""
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return s


def turned(matrix: np.ndarray) -> np.ndarray:
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    return u @ np.diag(quintic(s / np.sqrt((matrix**2).sum()))) @ v


@pytest.mark.proves("optimizer=muon")
@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonal_keeps_the_singular_vectors(shape):
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    for matrix, result in zip(matrices, orthogonal(matrices), strict=True):
        np.testing.assert_allclose(result.numpy(), turned(matrix.numpy()), rtol=0, atol=1e-10)
        u, s, v = np.linalg.svd(matrix.numpy(), full_matrices=False)
        values = np.diag(u.T @ result.numpy() @ v.T)
        assert (s.min() / np.linalg.norm(s)) > 0.01
        assert values.min() > 0.65
        assert values.max() < 1.25


def test_orthogonal_of_nothing_is_nothing():
    assert torch.equal(orthogonal(torch.zeros(1, 3, 2)), torch.zeros(1, 3, 2))


def network() -> nn.Sequential:
    torch.manual_seed(2)
    layers = [nn.Conv2d(2, 6, 3), nn.Conv2d(6, 6, 2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 2))


def by_muon(model: nn.Module, **options: bool) -> set[str]:
    names = {id(p): name for name, p in model.named_parameters()}
    optimizer = Muon(model.parameters(), **options)
    groups = [group for group in optimizer.param_groups if group["muon"]]
    return {names[id(p)] for group in groups for p in group["params"]}


def test_matrices_and_kernels_but_the_last_are_muons():
    model = network()
    assert by_muon(model) == {"0.weight", "1.weight", "3.weight"}
    assert by_muon(model, adamw_first=True) == {"1.weight", "3.weight"}
    everything = {"0.weight", "1.weight", "3.weight", "5.weight"}
    assert by_muon(model, adamw_last=False) == everything


@pytest.mark.proves("optimizer=muon")
@pytest.mark.parametrize("nesterov", [True, False])
def test_five_steps_follow_the_formula(nesterov):
    """Muon's by SVD, AdamW's written out; rates, decay and groups as the loop gives them."""
    model, generator = network(), torch.Generator().manual_seed(4)
    weights = list(model.parameters())
    groups = [
        {"params": [p for p in weights if p.dim() > 1]},
        {"params": [p for p in weights if p.dim() <= 1], "weight_decay": 0.0},
    ]
    options = {"lr": 0.04, "adamw_lr": 0.02, "weight_decay": 0.1}
    optimizer = Muon(groups, nesterov=nesterov, **options)
    expected = [p.detach().numpy().copy() for p in weights]
    means = [np.zeros_like(w) for w in expected]
    squares = [np.zeros_like(w) for w in expected]
    rates = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    for t in range(1, 6):
        scale = 1 / t  # a schedule
        for group in optimizer.param_groups:
            group["lr"] = rates[id(group["params"][0])] * scale
        for i, p in enumerate(weights):
            p.grad = torch.randn(p.shape, generator=generator)
            g, w = p.grad.numpy(), expected[i]
            if w.ndim > 1 and i < len(weights) - 2:
                means[i] = 0.95 * means[i] + 0.05 * g
                update = 0.05 * g + 0.95 * means[i] if nesterov else means[i]
                update = turned(update.reshape(len(w), -1)).reshape(w.shape)
                factor = np.sqrt(max(1, len(w) / w[0].size))
                expected[i] = w - 0.04 * scale * 0.1 * w - 0.04 * scale * factor * update
            else:
                decay = 0.1 if w.ndim > 1 else 0.0
                means[i] = 0.9 * means[i] + 0.1 * g
                squares[i] = 0.95 * squares[i] + 0.05 * g**2
                step = means[i] / (1 - 0.9**t) / (np.sqrt(squares[i] / (1 - 0.95**t)) + 1e-8)
                expected[i] = w - 0.02 * scale * (decay * w + step)
        optimizer.step()
        for p, w in zip(weights, expected, strict=True):
            np.testing.assert_allclose(p.detach().numpy(), w, rtol=0, atol=1e-10)


def test_agrees_with_torch_up_to_its_bfloat16():
    ours = [torch.randn(8, 5, requires_grad=True), torch.randn(5, 8, requires_grad=True)]
    theirs = [p.detach().clone().requires_grad_() for p in ours]
    start = [p.detach().clone() for p in ours]
    optimizer = Muon(ours, lr=0.02, adamw_last=False, weight_decay=0.1)
    other = torch.optim.Muon(theirs, lr=0.02, momentum=0.95, weight_decay=0.1)
    for _ in range(3):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn(p.shape)
            q.grad = p.grad.clone()
        optimizer.step()
        other.step()
    for p, q, before in zip(ours, theirs, start, strict=True):
        apart = (p - q).norm() / (p - before).norm()
        assert apart < 0.02


def test_packaged_option_trains_a_linear_model_by_adamw_alone(make):
    model = nn.Linear(3, 2)
    optimizer = make("muon", model.parameters())
    (group,) = optimizer.param_groups
    assert not group["muon"]
    assert group["lr"] == 0.003


@pytest.mark.parametrize(
    "wrong",
    [
        *({"lr": -1.0}, {"adamw_lr": -1.0}, {"weight_decay": -1.0}, {"momentum": 1.0}),
        *({"iterations": 0}, {"betas": (0.9, 1.0)}),
    ],
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Muon(nn.Linear(2, 1).parameters(), **wrong)
