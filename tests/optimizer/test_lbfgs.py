"""L-BFGS converges on a quadratic as theory says, through the packaged option."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dlrun.optimizer.lbfgs import lbfgs

pytestmark = pytest.mark.usefixtures("float64")


def regression(samples: int = 50, inputs: int = 8) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Badly scaled inputs, targets, and the weights of least squares."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(samples, inputs, generator=generator) * torch.logspace(0, 1.5, inputs)
    y = torch.randn(samples, 1, generator=generator)
    return x, y, np.linalg.lstsq(x.numpy(), y.numpy(), rcond=None)[0].T


@pytest.mark.proves("optimizer=lbfgs")
def test_a_quadratic_is_solved_where_descent_has_hardly_begun(make, closure):
    """Eight weights, condition number 1000: exact where descent has hardly begun."""
    x, y, solution = regression()
    model = nn.Linear(8, 1, bias=False)
    options = {"iterations": 5, "tolerance_gradient": 1e-14, "tolerance_change": 1e-16}
    optimizer = make("lbfgs", model, **options)
    objective = closure(model, x, y)
    for _ in range(12):
        optimizer.step(objective)
    np.testing.assert_allclose(model.weight.detach().numpy(), solution, rtol=0, atol=1e-6)
    descent = nn.Linear(8, 1, bias=False)
    plain = torch.optim.SGD(descent.parameters(), lr=1 / float((x.T @ x).norm()) * len(x))
    for _ in range(len(objective.calls)):
        closure(descent, x, y)()
        plain.step()
    assert np.abs(descent.weight.detach().numpy() - solution).max() > 1e-3


@pytest.mark.proves("optimizer=lbfgs")
def test_first_iterations_follow_the_formula(closure):
    """Without a line search: the two-loop recursion equals BFGS's matrix from H₀ = γI."""
    x, y, _ = regression(inputs=4)
    model = nn.Linear(4, 1, bias=False)
    w = model.weight.detach().numpy().ravel().copy()
    hessian = 2 * (x.T @ x).numpy() / len(x)
    linear = 2 * (x.T @ y).numpy().ravel() / len(x)
    rate = 0.1
    optimizer = lbfgs(
        model, lr=rate, iterations=1, history=10, line_search="none", tolerance_change=1e-30
    )
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    g = hessian @ w - linear
    for _ in range(5):
        if not pairs:
            step = -g * min(1.0, 1 / np.abs(g).sum()) * rate
        else:
            s, difference = pairs[-1]
            inverse = np.eye(4) * (s @ difference) / (difference @ difference)
            for s, difference in pairs:
                left = np.eye(4) - np.outer(s, difference) / (s @ difference)
                inverse = left @ inverse @ left.T + np.outer(s, s) / (s @ difference)
            step = -rate * inverse @ g
        w_next = w + step
        g_next = hessian @ w_next - linear
        pairs.append((step, g_next - g))
        w, g = w_next, g_next
        optimizer.step(closure(model, x, y))
        np.testing.assert_allclose(model.weight.detach().numpy().ravel(), w, rtol=0, atol=1e-10)


def test_all_evaluations_of_a_step_see_the_same_mask():
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(32, 1))
    masks: list[torch.Tensor] = []
    model[0].register_forward_hook(lambda module, args, out: masks.append(out.detach() != 0))

    def objective(backward: bool = True) -> torch.Tensor:
        model.zero_grad()
        value = (model(torch.ones(4, 32)) - 3).square().mean()
        value.backward()
        return value.detach()

    optimizer = lbfgs(model, iterations=4)
    optimizer.step(objective)
    count = len(masks)
    optimizer.step(objective)
    assert count > 2
    assert all(torch.equal(mask, masks[0]) for mask in masks[:count])
    assert not torch.equal(masks[count], masks[0])


def test_gradients_of_any_layout():
    """Weights laid out for channels_last give the steps of plain ones."""

    def trained(layout: torch.memory_format) -> dict[str, Any]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 1))
        model = model.to(memory_format=layout)
        x = torch.randn(5, 2, 4, 4).contiguous(memory_format=layout)

        def objective(backward: bool = True) -> torch.Tensor:
            model.zero_grad()
            value = (model(x) - 1).square().mean()
            value.backward()
            return value.detach()

        optimizer = lbfgs(model, iterations=3)
        optimizer.step(objective)
        return model.state_dict()

    plain, other = trained(torch.contiguous_format), trained(torch.channels_last)
    for name, value in plain.items():
        torch.testing.assert_close(other[name], value, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["iterations", "history"])
def test_values_out_of_range_are_refused(name):
    with pytest.raises(ValueError, match=name):
        lbfgs(nn.Linear(2, 1), **{name: 0})
