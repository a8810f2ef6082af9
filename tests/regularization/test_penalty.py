"""The gradients of the penalties against autograd of the written penalty."""

import pytest
import torch
from torch import nn

from dlrun.regularization.penalty import L1, L2


def network() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 4))
    model = model.double()
    with torch.no_grad():
        model[3].weight[0, :10] = 0
    return model


def written(kind: type, strength: float, weights: list[torch.Tensor]) -> torch.Tensor:
    if kind is L2:
        return strength / 2 * sum((w**2).sum() for w in weights)
    return strength * sum(w.abs().sum() for w in weights)


@pytest.mark.parametrize("kind", [L1, L2])
@pytest.mark.parametrize("parameters", ["weights", "all"])
def test_gradient_and_value_of_the_penalty(kind: type, parameters: str) -> None:
    model = network()
    x = torch.randn(5, 2, 6, 6, dtype=torch.float64)
    every = list(model.parameters())
    chosen = every if parameters == "all" else [model[0].weight, model[3].weight]

    penalty = written(kind, 0.3, chosen)
    (model(x).square().mean() + penalty).backward()
    expected = [w.grad.clone() for w in every]

    model.zero_grad()
    model(x).square().mean().backward()
    rule = kind(0.3, parameters)
    rule.add_gradient(every)
    for w, grad in zip(every, expected, strict=True):
        torch.testing.assert_close(w.grad, grad, rtol=0, atol=1e-12)
    assert rule.penalty(every).item() == pytest.approx(penalty.item(), rel=1e-12)


def test_l1_leaves_zeros_alone() -> None:
    w = torch.zeros(3, 3, requires_grad=True)
    w.grad = torch.zeros(3, 3)
    L1(1.0).add_gradient([w])
    assert (w.grad == 0).all()


@pytest.mark.parametrize("kind", [L1, L2])
def test_weights_without_a_gradient_are_passed_over(kind: type) -> None:
    w, frozen = torch.ones(2, 2, requires_grad=True), torch.ones(2, 2, requires_grad=True)
    w.grad = torch.zeros(2, 2)
    kind(0.5).add_gradient([w, frozen])
    assert (w.grad == 0.5).all()
    assert frozen.grad is None


@pytest.mark.parametrize("kind", [L1, L2])
def test_values_out_of_range_are_refused(kind: type) -> None:
    with pytest.raises(ValueError, match=r"strength must not be negative, got -0\.1"):
        kind(-0.1)
    with pytest.raises(ValueError, match="parameters must be weights or all, got biases"):
        kind(0.1, "biases")
