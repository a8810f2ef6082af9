"""vSGD against its formula written out weight by weight, and what the papers promise of it."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from dlrun.optimizer.vsgd import VSGD

pytestmark = pytest.mark.usefixtures("float64")
EPS = 1e-6


def batches(steps: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(steps, 6, 3, generator=generator) * torch.tensor([1.0, 2.0, 0.3])
    return [(b, (b.sum(1, keepdim=True) + b[:, :1] ** 2).sin()) for b in x]


def gradient(w: list[float], x: torch.Tensor, y: torch.Tensor) -> list[float]:
    """Of the mean squared error of tanh(w·x), by hand."""
    z = np.tanh(x.numpy() @ np.array(w))
    slope = 2 * (z - y.numpy().ravel()) * (1 - z**2) / len(x)
    return [float(g) for g in slope @ x.numpy()]


def formula(
    w: list[float], data: list[tuple[torch.Tensor, torch.Tensor]], collect: int, slow: float
) -> list[list[float]]:
    """The weights after every step."""
    n, path = len(w), []
    g_, v, h, q, tau = [0.0] * n, [0.0] * n, [0.0] * n, [0.0] * n, [1.0] * n
    for t, (x, y) in enumerate(data, start=1):
        g = gradient(w, x, y)
        if t == 1:
            g_ = list(g)
        shifted = gradient([a + b for a, b in zip(w, g_, strict=True)], x, y)
        w = list(w)
        for i in range(n):
            c = abs(shifted[i] - g[i]) / (abs(g_[i]) + EPS)
            if t <= collect:
                tau[i] = t
            else:
                tau[i] = (1 - g_[i] ** 2 / (v[i] + EPS**2)) * tau[i] + 1
                far = abs(g[i] - g_[i]) > 2 * math.sqrt(max(v[i] - g_[i] ** 2, 0))
                if far or abs(c - h[i]) > 2 * math.sqrt(max(q[i] - h[i] ** 2, 0)):
                    tau[i] += 1
            share = 1 / tau[i]
            g_[i] = (1 - share) * g_[i] + share * g[i]
            v[i] = (1 - share) * v[i] + share * g[i] ** 2
            h[i] = (1 - share) * h[i] + share * c
            q[i] = (1 - share) * q[i] + share * c**2
            if t == collect:
                v[i], h[i], q[i] = slow * v[i], slow * h[i], slow**2 * q[i]
            if t > collect:
                rate = h[i] / (q[i] + EPS**2) * g_[i] ** 2 / (v[i] + EPS**2)
                w[i] -= rate * g[i]
        path.append(w)
    return path


class Unit(nn.Module):
    """tanh(w·x), its weights in two parameters of different shape."""

    def __init__(self, w: list[float]) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor([w[:2]]))
        self.b = nn.Parameter(torch.tensor(w[2]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x[:, :2] @ self.a.T + x[:, 2:] * self.b).tanh()


@pytest.mark.proves("optimizer=vsgd")
@pytest.mark.parametrize(("collect", "slow"), [(1, 1.0), (3, 10.0)])
def test_steps_follow_the_formula(collect, slow, closure):
    start, data = [0.5, -0.8, 1.2], batches(collect + 30)
    model = Unit(start)
    optimizer = VSGD(model, collect=collect, slow_start=slow, eps=EPS)
    for (x, y), expected in zip(data, formula(start, data, collect, slow), strict=True):
        optimizer.step(closure(model, x, y))
        w = [*model.a.detach().ravel().tolist(), model.b.item()]
        np.testing.assert_allclose(w, expected, rtol=0, atol=1e-10)
    assert np.abs(np.array(w) - start).max() > 0.05


def test_first_steps_only_collect(closure):
    model = Unit([0.5, -0.8, 1.2])
    optimizer = VSGD(model, collect=4)
    for x, y in batches(4):
        optimizer.step(closure(model, x, y))
    assert model.a.tolist() == [[0.5, -0.8]]
    assert model.b.item() == 1.2


def test_rate_is_the_inverse_curvature_without_noise():
    """On ½λw² all gradients agree: the rate is 1/λ, and one step reaches the minimum."""
    model = nn.Linear(3, 1, bias=False)
    curvature = torch.tensor([[0.1, 1.0, 30.0]])

    def objective(backward: bool = True) -> torch.Tensor:
        model.zero_grad()
        value = (0.5 * curvature * model.weight**2).sum()
        value.backward()
        return value.detach()

    optimizer = VSGD(model, collect=1, slow_start=1.0, eps=1e-12)
    optimizer.step(objective)
    optimizer.step(objective)
    torch.testing.assert_close(model.weight, torch.zeros(1, 3), rtol=0, atol=1e-9)


def test_rate_falls_where_noise_outweighs_the_gradient():
    """For ½(w − ξ)² with ξ ~ N(0, 1), Schaul's rate near the optimum falls towards 0."""
    torch.manual_seed(0)
    model = nn.Linear(100, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(20.0)
    distances = []
    optimizer = VSGD(model, collect=5, slow_start=1.0)

    def objective(backward: bool = True) -> torch.Tensor:
        model.zero_grad()
        value = 0.5 * (model.weight - torch.randn(1, 100)).square().sum()
        value.backward()
        return value.detach()

    for _ in range(300):
        optimizer.step(objective)
        distances.append(float(model.weight.detach().square().mean()))
    assert distances[30] < 1  # fast at first,
    assert np.mean(distances[-50:]) < 0.1  # then far below the noise of a fixed rate of 1


def test_both_gradients_see_the_same_mask():
    """A mask that changed between them would look like curvature; a linear loss has none."""
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(16, 1, bias=False))

    def objective(backward: bool = True) -> torch.Tensor:
        model.zero_grad()
        value = model(torch.ones(1, 16)).sum()
        value.backward()
        return value.detach()

    optimizer = VSGD(model, collect=3)
    for _ in range(3):
        optimizer.step(objective)
    assert float(optimizer.state[model[1].weight]["h"].abs().max()) == 0


@pytest.mark.parametrize("wrong", [{"lr": -1.0}, {"collect": 0}, {"slow_start": 0.5}, {"eps": 0.0}])
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        VSGD(nn.Linear(2, 1), **wrong)
