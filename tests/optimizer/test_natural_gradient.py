"""K-FAC against matrices written out by hand, and what theory says of natural gradient."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian as hessian_of
from torch.nn.utils import parametrizations

from dlrun.errors import Mistake
from dlrun.loss import LOSSES
from dlrun.optimizer.fisher import watched
from dlrun.optimizer.natural_gradient import NaturalGradient, factorable

pytestmark = pytest.mark.usefixtures("float64")
EXACT = {"draws": 0, "max_kl": None, "momentum": 0.0, "damping": 1e-28, "lr": 1.0}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def moments(
    model: nn.Module, x: Tensor, loss: str = "mse", draws: int = 0
) -> list[tuple[np.ndarray, np.ndarray]]:
    """A and G of every layer, as one forward pass gives them."""
    with watched(model, factorable(model), LOSSES[loss].fisher, draws) as factors:
        model(x)
    return [tuple(m.numpy() for m in factors[layer].moments()) for layer in factorable(model)]


def with_one(x: np.ndarray) -> np.ndarray:
    return np.hstack([x, np.ones((len(x), 1))])


REAL: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": lambda z, y: nn.functional.cross_entropy(z[None], y.argmax()[None]),
    "mse": nn.functional.mse_loss,
    "bce": nn.functional.binary_cross_entropy_with_logits,
}


@pytest.mark.parametrize("name", REAL)
def test_drawn_gradients_vary_as_the_loss_bends(name):
    """Their covariance is the Hessian of the loss by the logits, found by autograd."""
    for logits in drawn(4, 5):
        hessian = hessian_of(lambda z: REAL[name](z, torch.eye(5)[2]), logits)
        columns = LOSSES[name].fisher(logits.expand(5, 5), torch.eye(5))
        torch.testing.assert_close(columns.T @ columns, hessian, rtol=0, atol=1e-12)


def test_factors_of_linear_layers_are_exact():
    """A and G of both layers of a network by the chain rule, sample by sample."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    x = drawn(7, 3)
    (a1, g1), (a2, g2) = moments(model, x)
    w1, b1, w2, _ = (p.detach().numpy() for p in model.parameters())
    hidden = np.tanh(x.numpy() @ w1.T + b1)
    expected = np.zeros((4, 4))
    for h in hidden:
        jacobian = w2 * (1 - h**2)
        expected += jacobian.T @ np.eye(2) @ jacobian / 7  # the Hessian of mse is 2/K·I, K = 2
    np.testing.assert_allclose(a1, with_one(x.numpy()).T @ with_one(x.numpy()) / 7, atol=1e-12)
    np.testing.assert_allclose(g1, expected, atol=1e-12)
    np.testing.assert_allclose(a2, with_one(hidden).T @ with_one(hidden) / 7, atol=1e-12)
    np.testing.assert_allclose(g2, np.eye(2), atol=1e-12)


def test_kronecker_product_is_the_whole_fisher_of_one_layer():
    """For squared errors of an affine map nothing is approximate."""
    model, x, y = nn.Linear(3, 2), drawn(9, 3), drawn(9, 2, seed=1)
    ((a, g),) = moments(model, x)

    def objective(flat: Tensor) -> Tensor:
        return nn.functional.mse_loss(x @ flat.view(2, 4)[:, :3].T + flat.view(2, 4)[:, 3], y)

    hessian = hessian_of(objective, drawn(8))
    np.testing.assert_allclose(np.kron(g, a), hessian.numpy(), rtol=0, atol=1e-12)


@pytest.mark.proves("optimizer=natural_gradient")
@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), (2, 1, 1), (1, 2, 2)])
def test_factors_of_a_convolution_are_exact(stride, padding, dilation):
    """A by loops over positions; G from a linear layer's gradients behind it."""
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 3, 3, stride=stride, padding=padding, dilation=dilation)
    x = drawn(4, 2, 6, 6)
    height = layer(x).shape[-1]
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(3 * height**2, 2, bias=False))
    (a, g), _ = moments(model, x)
    padded = np.pad(x.numpy(), [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    inputs, outputs = np.zeros((19, 19)), np.zeros((3, 3))
    last = model[2].weight.detach().numpy().reshape(2, 3, height, height)
    for sample in padded:
        for i in range(height):
            for j in range(height):
                ys = np.arange(3) * dilation + i * stride
                xs = np.arange(3) * dilation + j * stride
                patch = np.append(sample[:, ys][:, :, xs].ravel(), 1.0)
                inputs += np.outer(patch, patch) / 4
                jacobian = last[:, :, i, j]
                outputs += jacobian.T @ jacobian / (4 * height**2)
    np.testing.assert_allclose(a, inputs, rtol=0, atol=1e-12)
    np.testing.assert_allclose(g, outputs, rtol=0, atol=1e-12)


def test_drawn_targets_give_the_exact_factor_in_the_mean():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)), drawn(50, 3)
    exact = [g for _, g in moments(model, x, "cross_entropy")]
    several = [g for _, g in moments(model, x, "cross_entropy", draws=400)]
    for one, other in zip(exact, several, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=0.03 * np.abs(one).max())


def test_several_mini_batches_count_as_one():
    model, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), drawn(12, 3)
    whole = moments(model, x, "bce")
    with watched(model, factorable(model), LOSSES["bce"].fisher, 0) as factors:
        model(x[:9])
        model(x[9:])
    for layer, expected in zip(factorable(model), whole, strict=True):
        for found, one in zip(factors[layer].moments(), expected, strict=True):
            np.testing.assert_allclose(found.numpy(), one, rtol=0, atol=1e-12)


def test_activations_in_place_change_nothing():
    layers = [nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)]
    plain = moments(nn.Sequential(*layers), drawn(6, 3))
    other = moments(nn.Sequential(layers[0], nn.ReLU(inplace=True), layers[2]), drawn(6, 3))
    np.testing.assert_equal(other, plain)


@pytest.mark.proves("optimizer=natural_gradient")
def test_one_step_solves_linear_regression(closure):
    """Natural gradient on a linear model with Gaussian noise is Newton's step."""
    x, y = drawn(30, 4) * torch.tensor([0.1, 1.0, 3.0, 20.0]), drawn(30, 2, seed=1)
    model = nn.Linear(4, 2)
    NaturalGradient(model, "mse", **EXACT).step(closure(model, x, y))
    solution = np.linalg.lstsq(with_one(x.numpy()), y.numpy(), rcond=None)[0]
    np.testing.assert_allclose(model.weight.detach().numpy(), solution[:4].T, rtol=0, atol=1e-8)
    np.testing.assert_allclose(model.bias.detach().numpy(), solution[4], rtol=0, atol=1e-8)


def test_steps_do_not_depend_on_how_inputs_and_hidden_units_are_measured(closure):
    """Martens, Grosse 2015, section 10: invariant to affine maps of inputs and activities."""
    torch.manual_seed(0)
    x, y = drawn(40, 3), drawn(40, 2, seed=1)
    mix = torch.tensor([[2.0, 0.5, 0.0], [0.0, 0.3, 1.0], [1.0, 0.0, 5.0]])
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    other = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        other[0].weight.copy_(model[0].weight @ torch.linalg.inv(mix))
    options = EXACT | {"lr": 0.2, "momentum": 0.9, "inverse_every": 1}
    ours, theirs = (NaturalGradient(m, "mse", **options) for m in (model, other))
    for _ in range(5):
        ours.step(closure(model, x, y))
        theirs.step(closure(other, x @ mix.T, y))
    torch.testing.assert_close(other(x @ mix.T), model(x), rtol=0, atol=1e-6)


def by_hand(
    weights: list[np.ndarray], data: list[tuple[np.ndarray, np.ndarray]], options: dict[str, Any]
) -> list[list[np.ndarray]]:
    """Two layers [W|b] with tanh between and cross-entropy: the weights after every step."""
    first, second = weights
    factors: list[tuple[np.ndarray, np.ndarray]] = []
    inverses: list[tuple[np.ndarray, np.ndarray]] = []
    velocities = [np.zeros_like(first), np.zeros_like(second)]
    path = []
    for t, (x, y) in enumerate(data):
        n, inputs = len(x), with_one(x)
        h = np.tanh(inputs @ first.T)
        z = with_one(h) @ second.T
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        error = (p - np.eye(3)[y]) / n
        below = (error @ second[:, :-1]) * (1 - h**2)
        gradients = [below.T @ inputs, error.T @ with_one(h)]
        bent = [np.diag(row) - np.outer(row, row) for row in p]
        slopes = [second[:, :-1] * (1 - row**2) for row in h]
        new = [
            (
                inputs.T @ inputs / n,
                sum(s.T @ b @ s for s, b in zip(slopes, bent, strict=True)) / n,
            ),
            (with_one(h).T @ with_one(h) / n, sum(bent) / n),
        ]
        if t % options["moments_every"] == 0:
            k = t // options["moments_every"] + 1
            kept = min(1 - 1 / k, options["decay"])
            factors = [
                (kept * a + (1 - kept) * a_now, kept * g + (1 - kept) * g_now)
                for (a, g), (a_now, g_now) in zip(factors or new, new, strict=True)
            ]
        if t % options["inverse_every"] == 0:
            inverses, root = [], np.sqrt(options["damping"])
            for a, g in factors:
                pi = np.sqrt((np.trace(a) / len(a)) / (np.trace(g) / len(g)))
                damped = (a + pi * root * np.eye(len(a)), g + root / pi * np.eye(len(g)))
                inverses.append(tuple(map(np.linalg.inv, damped)))
        pairs = zip(inverses, gradients, strict=True)
        natural = [g @ gradient @ a for (a, g), gradient in pairs]
        pairs = zip(natural, gradients, strict=True)
        kl = options["lr"] ** 2 * sum((v * gradient).sum() for v, gradient in pairs)
        scale = min(1, np.sqrt(options["max_kl"] / kl))
        for velocity, change in zip(velocities, natural, strict=True):
            velocity *= options["momentum"]
            velocity += scale * change
        first = first - options["lr"] * velocities[0]
        second = second - options["lr"] * velocities[1]
        path.append([first, second])
    return path


@pytest.mark.proves("optimizer=natural_gradient")
@pytest.mark.parametrize(("max_kl", "shortened"), [(1e9, False), (0.01, True)])
def test_steps_follow_the_formula(max_kl, shortened, closure):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    options = {"lr": 0.3, "momentum": 0.9, "damping": 0.05, "decay": 0.6, "max_kl": max_kl}
    options |= {"moments_every": 2, "inverse_every": 4}
    data = [(drawn(8, 4, seed=t), torch.arange(8).mul(t + 1) % 3) for t in range(7)]

    def weights() -> list[np.ndarray]:
        return [
            torch.cat([layer.weight, layer.bias[:, None]], 1).detach().numpy()
            for layer in (model[0], model[2])
        ]

    path = by_hand(weights(), [(x.numpy(), y.numpy()) for x, y in data], options)
    unbound = by_hand(
        weights(), [(x.numpy(), y.numpy()) for x, y in data], options | {"max_kl": 1e9}
    )
    assert np.allclose(path[-1][0], unbound[-1][0]) != shortened
    optimizer = NaturalGradient(model, "torch.nn.functional.cross_entropy", draws=0, **options)
    for (x, y), expected in zip(data, path, strict=True):
        optimizer.step(closure(model, x, y, nn.functional.cross_entropy))
        for found, one in zip(weights(), expected, strict=True):
            np.testing.assert_allclose(found, one, rtol=0, atol=1e-10)


def test_other_parameters_go_by_momentum(closure):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1))
    optimizer = NaturalGradient(model, "mse", other_lr=0.2, momentum=0.8)
    natural, other = optimizer.param_groups
    assert {id(p) for p in other["params"]} == {id(p) for p in model[1].parameters()}
    assert len(natural["params"]) == 4
    x, y = drawn(10, 3), drawn(10, 1, seed=1)
    expected, velocity = model[1].weight.detach().clone(), torch.zeros(4)
    for _ in range(5):
        closure(model, x, y)()
        velocity = 0.8 * velocity + model[1].weight.grad
        expected = expected - 0.2 * velocity
        optimizer.step(closure(model, x, y))
        torch.testing.assert_close(model[1].weight.detach(), expected, rtol=0, atol=1e-10)


class Tied(nn.Module):
    """Two layers that share a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 1)
        self.b.weight = self.a.weight


def test_layers_that_do_not_factor_are_left_out():
    tied = Tied()
    assert factorable(tied) == [tied.c]
    frozen = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    frozen[0].weight.requires_grad_(False)
    assert factorable(frozen) == [frozen[1]]
    normed = nn.Sequential(parametrizations.weight_norm(nn.Linear(2, 2)), nn.Linear(2, 2))
    assert factorable(normed) == [normed[1]]
    kernels = [nn.Conv2d(2, 2, 3, groups=2), nn.Conv2d(2, 2, 3, padding_mode="reflect", padding=1)]
    assert factorable(nn.Sequential(*kernels, nn.Conv1d(2, 2, 3), nn.Conv2d(2, 2, 3)))


def test_no_hook_stays_behind(closure):
    model = nn.Sequential(nn.Linear(3, 1))
    NaturalGradient(model, "mse").step(closure(model, drawn(4, 3), drawn(4, 1)))
    assert not any(module._forward_hooks for module in model.modules())


def test_a_network_without_such_layers_is_said_to_be_plain_descent(caplog, closure):
    model = nn.Sequential(nn.LayerNorm(3))
    with caplog.at_level(logging.WARNING, "dlrun"):
        optimizer = NaturalGradient(model, "mse", other_lr=0.1, momentum=0.0)
    assert "plain SGD" in caplog.text
    x, before = drawn(4, 3), model[0].weight.detach().clone()
    optimizer.step(closure(model, x, torch.zeros(4, 3)))
    torch.testing.assert_close(model[0].weight.detach(), before - 0.1 * model[0].weight.grad)


def test_layers_that_never_run_are_a_mistake():
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.layer.weight.T

    model = Hidden()

    def objective(backward: bool = True) -> Tensor:
        value = model(drawn(4, 3)).square().mean()
        value.backward()
        return value.detach()

    with pytest.raises(Mistake, match="its own forward"):
        NaturalGradient(model, "mse").step(objective)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"lr": -1.0}, {"other_lr": -1.0}, {"draws": -1}, {"momentum": 1.0}, {"decay": 1.0}),
        *({"moments_every": 0}, {"inverse_every": 0}, {"damping": 0.0}, {"max_kl": 0.0}),
        {"loss": "mynet.loss"},
    ],
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        NaturalGradient(nn.Linear(2, 1), **({"loss": "mse"} | wrong))
