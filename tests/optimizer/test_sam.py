"""SAM and ASAM against their formulas: the gradient from the worst place nearby."""

import numpy as np
import pytest
import torch
from torch import nn

pytestmark = pytest.mark.usefixtures("float64")
A = np.array([[3.0, 0.5], [0.5, 1.0]])
START = np.array([1.0, -2.0])


class Bowl(nn.Module):
    """½wᵀAw + Σ sin w."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(START))

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        return 0.5 * self.w @ torch.tensor(A) @ self.w + self.w.sin().sum()


def gradient(w: np.ndarray) -> np.ndarray:
    return A @ w + np.cos(w)


@pytest.mark.proves("optimizer=sam")
@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("base", ["momentum", "adamw"])
def test_steps_follow_the_formula(base, adaptive, make, closure):
    model = Bowl()
    options = {"rho": 0.3, "adaptive": adaptive, "base": base, "weight_decay": 0.1}
    optimizer = make("sam", model, lr=0.05, **options)
    objective = closure(model, torch.zeros(1), torch.zeros(1), lambda value, _: value)
    w, u, s = START, np.zeros(2), np.zeros(2)
    for t in range(1, 6):
        g = gradient(w)
        scale = np.abs(w) + 0.01 if adaptive else 1.0
        g = gradient(w + 0.3 * scale**2 * g / np.linalg.norm(scale * g))
        if base == "momentum":
            u = 0.9 * u + g + 0.1 * w
            w = w - 0.05 * u
        else:
            u, s = 0.9 * u + 0.1 * g, 0.999 * s + 0.001 * g**2
            step = u / (1 - 0.9**t) / (np.sqrt(s / (1 - 0.999**t)) + 1e-8)
            w = w - 0.05 * 0.1 * w - 0.05 * step
        before = float(model(torch.zeros(1)).detach())
        assert float(optimizer.step(objective)) == pytest.approx(before), "the value before it"
        np.testing.assert_allclose(model.w.detach(), w, rtol=1e-9)
    assert objective.calls == [True, True] * 5


def test_without_a_radius_it_is_the_base(make, closure):
    model, plain = Bowl(), Bowl()
    optimizer, base = make("sam", model, rho=0.0), make("momentum", plain.parameters())
    for _ in range(4):
        optimizer.step(closure(model, torch.zeros(1), torch.zeros(1), lambda value, _: value))
        plain.zero_grad()
        plain(torch.zeros(1)).backward()
        base.step()
    assert torch.equal(model.w, plain.w)


def test_both_gradients_have_the_same_masks_and_statistics_take_the_batch_in_once(make, closure):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
    seen: list[torch.Tensor] = []
    model[2].register_forward_hook(
        lambda _, given, made: seen.append((made == 0) & (given[0] != 0))
    )
    x, y = torch.randn(16, 4), torch.randn(16, 1)
    make("sam", model).step(closure(model, x, y))
    assert torch.equal(*seen)
    assert int(model[1].num_batches_tracked) == 1


def test_a_weight_of_another_scale_is_the_same_to_the_adaptive_form(make, closure):
    """w and 10·w with inputs a tenth as large: ASAM's ε scales along where η does not matter."""

    class Scaled(nn.Module):
        def __init__(self, scale: float) -> None:
            super().__init__()
            self.w, self.scale = nn.Parameter(torch.tensor([0.7, -1.3]) * scale), scale

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x @ (self.w / self.scale)).tanh().mean()

    x = torch.randn(9, 2)
    gradients = {}
    for scale in (1.0, 10.0):
        model = Scaled(scale)
        optimizer = make("sam", model, lr=0.0, rho=0.5, adaptive=True, eta=0.0)
        optimizer.step(closure(model, x, x, lambda value, _: value))
        gradients[scale] = model.w.grad * scale
    torch.testing.assert_close(gradients[1.0], gradients[10.0])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rho": -1.0}, "rho must not be negative, got -1.0"),
        ({"eta": -1.0}, "eta must not be negative, got -1.0"),
        ({"base": "sgd"}, "base must be momentum or adamw, got sgd"),
    ],
)
def test_what_cannot_be(options, said, make):
    with pytest.raises(ValueError, match=said):
        make("sam", Bowl(), **options)
