"""SOAP: Adam in the eigenbasis, which makes it blind to how a matrix's axes are turned."""

import sys

import numpy as np
import pytest
import torch

from dlrun.errors import Mistake

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(autouse=True)
def _library(request):
    if "without" not in request.node.name:
        pytest.importorskip("pytorch_optimizer")


def test_without_the_library_it_says_what_to_install(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    with pytest.raises(Mistake, match="needs the library pytorch_optimizer"):
        make("soap", [torch.zeros(1, requires_grad=True)])


@pytest.mark.proves("optimizer=soap")
def test_the_second_step_follows_the_formula(make):
    """The first step only begins the moments of the preconditioner."""
    generator = torch.Generator().manual_seed(0)
    w = torch.zeros(3, 4, requires_grad=True)
    optimizer = make("soap", [w], lr=0.1, weight_decay=0.0)
    first, second = (torch.randn(3, 4, generator=generator) for _ in range(2))
    w.grad = first.clone()
    optimizer.step()
    assert not w.any()
    left, right = (
        np.linalg.eigh(m.numpy())[1][:, ::-1] for m in (first @ first.T, first.T @ first)
    )
    w.grad = second.clone()
    optimizer.step()
    turned = left.T @ second.numpy() @ right
    step = left @ (turned / (np.abs(turned) + 1e-8 / np.sqrt(0.05))) @ right.T
    # Adam's first step is the sign of the turned gradient.
    np.testing.assert_allclose(w.detach(), -0.1 * step, atol=1e-4)


def test_its_steps_turn_with_the_axes(make):
    generator = torch.Generator().manual_seed(1)
    target = torch.randn(3, 4, generator=generator)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator))
    ends = []
    for matrix in (torch.eye(3), turn):
        w = torch.zeros(3, 4, requires_grad=True)
        optimizer = make("soap", [w], lr=0.05, weight_decay=0.0, frequency=1)
        for _ in range(20):
            optimizer.zero_grad()
            (matrix.T @ w - target).pow(4).sum().backward()
            optimizer.step()
        ends.append(matrix.T @ w.detach())
    torch.testing.assert_close(*ends, rtol=1e-3, atol=1e-4)


def test_its_count_of_steps_is_in_the_state(make):
    w = torch.zeros(2, 2, requires_grad=True)
    optimizer = make("soap", [w])
    for _ in range(3):
        w.grad = torch.ones(2, 2)
        optimizer.step()
    assert optimizer.state_dict()["state"]["steps"] == {"taken": 3}
    assert "step" not in optimizer.param_groups[0]
