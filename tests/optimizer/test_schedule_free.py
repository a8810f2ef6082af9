"""Schedule-free optimizers and Lion against their formulas, and against the package's steps."""

import numpy as np
import pytest
import torch
from torch import Tensor

pytestmark = pytest.mark.usefixtures("float64")
A = np.array([[3.0, 0.5], [0.5, 1.0]])
START = np.array([1.0, -2.0])
RATES = [0.02, 0.04, 0.06, 0.06, 0.03, 0.01]  # a warm-up, and a fall that weighs no less


def gradient(w: np.ndarray) -> np.ndarray:
    """Of ½wᵀAw + Σ sin w."""
    return A @ w + np.cos(w)


def moved(w: Tensor, optimizer: torch.optim.Optimizer, rate: float) -> None:
    optimizer.param_groups[0]["lr"] = rate
    w.grad = torch.tensor(gradient(w.detach().numpy()))
    optimizer.step()


@pytest.mark.proves("optimizer=schedulefree_sgd", "optimizer=schedulefree_adamw")
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name", ["schedulefree_sgd", "schedulefree_adamw"])
def test_steps_follow_the_formula(name, decay, make):
    w = torch.tensor(START, requires_grad=True)
    optimizer = make(name, [w], weight_decay=decay)
    assert optimizer.averages() == []
    x, z, v, total, most = START, START, np.zeros(2), 0.0, 0.0
    for t, rate in enumerate(RATES, 1):
        y = 0.1 * z + 0.9 * x
        np.testing.assert_allclose(w.detach(), y, rtol=1e-12)
        g = gradient(y)
        v = 0.999 * v + 0.001 * g**2
        step = g / (np.sqrt(v / (1 - 0.999**t)) + 1e-8) if name.endswith("adamw") else g
        z = z - rate * (step + decay * y)
        most = max(most, rate)
        total += most**2
        x = x + most**2 / total * (z - x)
        moved(w, optimizer, rate)
        [(live, average)] = optimizer.averages()
        assert live is w
        np.testing.assert_allclose(average, x, rtol=1e-12)


@pytest.mark.parametrize("name", ["schedulefree_sgd", "schedulefree_adamw"])
def test_a_limit_on_weights_is_one_of_z_which_x_averages(name, make):
    w = torch.tensor(START, requires_grad=True)
    optimizer = make(name, [w])
    with optimizer.landed():  # before the first step nothing is kept
        pass
    x, z, v, total, most = START, START, np.zeros(2), 0.0, 0.0
    for t, rate in enumerate(RATES, 1):
        g = gradient(0.1 * z + 0.9 * x)
        v = 0.999 * v + 0.001 * g**2
        step = g / (np.sqrt(v / (1 - 0.999**t)) + 1e-8) if name.endswith("adamw") else g
        z = np.clip(z - rate * step, -1.9, 0.9)
        most = max(most, rate)
        total += most**2
        x = x + most**2 / total * (z - x)
        moved(w, optimizer, rate)
        with optimizer.landed():
            w.data.clamp_(-1.9, 0.9)
        [(_, average)] = optimizer.averages()
        np.testing.assert_allclose(average, x, rtol=1e-12)
        np.testing.assert_allclose(w.detach(), 0.1 * z + 0.9 * x, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("schedulefree_sgd", "SGDScheduleFree"), ("schedulefree_adamw", "AdamWScheduleFree")],
)
def test_steps_are_those_of_the_package(name, kind, make):
    package = pytest.importorskip("schedulefree")
    w, theirs = (torch.tensor(START, requires_grad=True) for _ in range(2))
    optimizer = make(name, [w], weight_decay=0.1)
    reference = getattr(package, kind)([theirs], weight_decay=0.1)
    for rate in RATES:
        reference.train()
        moved(w, optimizer, rate)
        moved(theirs, reference, rate)
        torch.testing.assert_close(w, theirs, rtol=1e-12, atol=0)
        reference.eval()
        torch.testing.assert_close(optimizer.averages()[0][1], theirs.detach(), rtol=1e-12, atol=0)


def test_looking_at_the_average_changes_nothing(make):
    w = torch.tensor(START, requires_grad=True)
    optimizer = make("schedulefree_sgd", [w])
    moved(w, optimizer, 0.1)
    before = w.detach().clone()
    optimizer.averages()
    assert torch.equal(w, before)


def test_what_it_minimizes_it_minimizes_without_a_falling_rate(make):
    """Gradients with noise: the mean comes closer than any step of the same rate stays."""
    ends = {}
    for name, options in {"sgd": {}, "schedulefree_sgd": {}}.items():
        generator = torch.Generator().manual_seed(0)
        w = torch.ones(50, requires_grad=True)
        optimizer = make(name, [w], lr=0.5, **options)
        for _ in range(2000):
            w.grad = w.detach() + torch.randn(50, generator=generator)
            optimizer.step()
        pairs = optimizer.averages() if name != "sgd" else [(w, w.detach())]
        ends[name] = float(pairs[0][1].square().mean())
    assert ends["sgd"] == pytest.approx(0.5 / 1.5, rel=0.5)  # α/(2 − α)
    assert ends["schedulefree_sgd"] < 0.01


@pytest.mark.proves("optimizer=lion")
def test_lion_follows_its_formula(make):
    w = torch.tensor(START, requires_grad=True)
    optimizer = make("lion", [w], weight_decay=0.1)
    expected, m = START, np.zeros(2)
    for rate in RATES:
        g = gradient(expected)
        expected = expected - rate * (np.sign(0.9 * m + 0.1 * g) + 0.1 * expected)
        m = 0.99 * m + 0.01 * g
        moved(w, optimizer, rate)
        np.testing.assert_allclose(w.detach(), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("lion", {"betas": [0.9, 1.0]}, "betas must be at least 0 and below 1"),
        ("lion", {"lr": -1.0}, "lr must not be negative"),
        ("schedulefree_sgd", {"momentum": 0.0}, "momentum must be above 0 and below 1, got 0.0"),
        ("schedulefree_adamw", {"betas": [1.0, 0.9]}, "betas must be above 0 and below 1, got 1.0"),
        ("schedulefree_adamw", {"betas": [0.9, 1.0]}, "betas must be at least 0 and below 1"),
    ],
)
def test_what_cannot_be(name, options, said, make):
    with pytest.raises(ValueError, match=said):
        make(name, [torch.zeros(1, requires_grad=True)], **options)
