"""The gradients of the penalties against autograd of the written penalty."""

import pytest
import torch
from torch import nn

from dlrun.regularization import acts
from dlrun.regularization.penalty import L1, L2, Decay, Elastic, l1, l2
from dlrun.regularization.weight_norm import WeightNorm


def network() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 4))
    model = model.double()
    with torch.no_grad():
        model[3].weight[0, :10] = 0
    return model


def at_rate(model: nn.Module, rate: float) -> list[dict[str, object]]:
    """All parameters of a model as the one group of an optimizer."""
    return [{"params": list(model.parameters()), "lr": rate}]


def written(kind: type, strength: float, weights: list[torch.Tensor]) -> torch.Tensor:
    squares, sizes = sum((w**2).sum() for w in weights), sum(w.abs().sum() for w in weights)
    share = {L1: 1.0, L2: 0.0, Elastic: 0.5}[kind]
    return strength * (share * sizes + (1 - share) / 2 * squares)


@pytest.mark.parametrize("kind", [L1, L2, Elastic])
def test_without_a_matrix_there_is_nothing_to_penalize(kind):
    scale = torch.ones(3, dtype=torch.float64, requires_grad=True)
    rule = kind(0.3)
    value = rule.penalty([scale])
    assert value.shape == ()
    assert value.dtype == scale.dtype
    assert value == 0
    scale.grad = torch.ones_like(scale)
    rule.add_gradient([scale])
    assert torch.equal(scale.grad, torch.ones_like(scale))


@pytest.mark.proves("regularization=l1", "regularization=l2")
@pytest.mark.parametrize("kind", [L1, L2, Elastic])
@pytest.mark.parametrize("parameters", ["weights", "all"])
def test_gradient_and_value_of_the_penalty(kind, parameters):
    model = network()
    x = torch.randn(5, 2, 6, 6, dtype=torch.float64)
    every = list(model.parameters())
    chosen = every if parameters == "all" else [model[0].weight, model[3].weight]

    penalty = written(kind, 0.3, chosen)
    (model(x).square().mean() + penalty).backward()
    expected = [w.grad.clone() for w in every]

    model.zero_grad()
    model(x).square().mean().backward()
    rule = kind(0.3, parameters=parameters)
    rule.add_gradient(every)
    for w, grad in zip(every, expected, strict=True):
        torch.testing.assert_close(w.grad, grad, rtol=0, atol=1e-12)
    assert rule.penalty(every).item() == pytest.approx(penalty.item(), rel=1e-12)


def reparametrized() -> nn.Sequential:
    """Two layers g·v/‖v‖ with a norm between them, an orthogonal one, one of spectral norm 1."""
    model = network()
    WeightNorm().change_model(model, torch.zeros(1))
    with torch.no_grad():
        for i in (0, 3):  # lengths and directions that training has moved
            parts = model[i].parametrizations.weight
            parts.original0.mul_(torch.randn_like(parts.original0) * 3)
            parts.original1.mul_(torch.rand_like(parts.original1) + 0.5)
    torch.manual_seed(1)
    orthogonal = nn.utils.parametrizations.orthogonal(nn.Linear(4, 4)).double()
    spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 2).double())
    return nn.Sequential(*model, orthogonal, spectral)


@pytest.mark.parametrize("kind", [L1, L2, Elastic])
@pytest.mark.parametrize("parameters", ["weights", "all"])
def test_where_weights_are_computed_the_penalty_is_that_of_the_weights(kind, parameters):
    """Against autograd of the written penalty; lengths and directions are none of its weights."""
    model, x = reparametrized(), torch.randn(5, 2, 6, 6, dtype=torch.float64)
    model.eval()  # else every look at the spectral norm would make it a little more exact
    layers = [model[i] for i in (0, 3, 4, 5)]
    others = [layer.bias for layer in layers] + [model[1].weight, model[1].bias]
    chosen = [layer.weight for layer in layers] + (others if parameters == "all" else [])
    penalty = written(kind, 0.3, chosen)
    (model(x).square().mean() + penalty).backward()
    every = list(model.parameters())
    expected = [w.grad.clone() for w in every]

    model.zero_grad()
    model(x).square().mean().backward()
    model.train()
    rule = kind(0.3, parameters=parameters)
    assert rule.change_model(model, x) is model
    rule.add_gradient(every)
    for w, grad in zip(every, expected, strict=True):
        torch.testing.assert_close(w.grad, grad, rtol=0, atol=1e-12)
    assert rule.penalty(every).item() == pytest.approx(penalty.item(), rel=1e-12)


def test_l2_leaves_directions_alone_to_the_last_digit():
    """Σw² does not depend on v; a rounding error would be a step of Adam's where no gradient is."""
    model = network()
    WeightNorm().change_model(model, torch.zeros(1))
    model(torch.randn(5, 2, 6, 6, dtype=torch.float64)).mul(0).sum().backward()
    rule = L2(0.3)
    rule.change_model(model, torch.zeros(1))
    rule.add_gradient(list(model.parameters()))
    for i in (0, 3):
        parts = model[i].parametrizations.weight
        assert (parts.original1.grad == 0).all()
        torch.testing.assert_close(parts.original0.grad, 0.3 * parts.original0)


@pytest.mark.parametrize("parameters", ["weights", "all"])
def test_decoupled_decay_of_lengths_is_that_of_the_weights(parameters):
    model = reparametrized()
    layers = [model[i] for i in (0, 3)]
    before = [layer.weight.detach().clone() for layer in layers]
    directions = [layer.parametrizations.weight.original1.clone() for layer in layers]
    gain = model[1].weight.detach().clone()
    rule = l2(0.3, parameters, decoupled=True)
    rule.constrain(model, at_rate(model, 0.5))
    for layer, w, v in zip(layers, before, directions, strict=True):
        torch.testing.assert_close(layer.weight, w * 0.85, rtol=1e-12, atol=0)
        assert torch.equal(layer.parametrizations.weight.original1, v)
    torch.testing.assert_close(model[1].weight, gain * (0.85 if parameters == "all" else 1))


def test_decoupled_decay_goes_by_the_rate_of_each_group():
    model = network()
    before = [w.detach().clone() for w in model.parameters()]
    rule = l2(0.3, decoupled=True)
    given = [{"params": list(layer.parameters())} for layer in (model[0], model[1], model[3])]
    optimizer = torch.optim.SGD([given[0] | {"lr": 0.5}, given[1], given[2]], lr=0.1)
    for scale in (1.0, 0.5):
        for group, rate in zip(optimizer.param_groups, (0.5, 0.1, 0.1), strict=True):
            group["lr"] = rate * scale
        rule.constrain(model, optimizer.param_groups)
    factors = [(1 - rate * 0.3) * (1 - rate / 2 * 0.3) for rate in (0.5, 0.1)]
    for i, (w, old) in enumerate(zip(model.parameters(), before, strict=True)):
        factor = {0: factors[0], 4: factors[1]}.get(i, 1.0)
        torch.testing.assert_close(w, old * factor, rtol=1e-14, atol=0)


def test_l1_leaves_zeros_alone():
    w = torch.zeros(3, 3, requires_grad=True)
    w.grad = torch.zeros(3, 3)
    L1(1.0).add_gradient([w])
    assert (w.grad == 0).all()


@pytest.mark.parametrize("kind", [L1, L2])
def test_weights_without_a_gradient_are_passed_over(kind):
    w, frozen = torch.ones(2, 2, requires_grad=True), torch.ones(2, 2, requires_grad=True)
    w.grad = torch.zeros(2, 2)
    kind(0.5).add_gradient([w, frozen])
    assert (w.grad == 0.5).all()
    assert frozen.grad is None


@pytest.mark.proves("regularization=elastic")
@pytest.mark.parametrize("ratio", [0.0, 0.2, 1.0])
def test_the_ratio_of_the_elastic_net(ratio):
    w = torch.tensor([[1.0, -2.0], [0.0, 4.0]], dtype=torch.float64, requires_grad=True)
    w.grad = torch.zeros_like(w)
    rule = Elastic(0.5, ratio)
    rule.add_gradient([w])
    expected = 0.5 * (ratio * w.sign() + (1 - ratio) * w)
    torch.testing.assert_close(w.grad, expected.detach(), rtol=0, atol=1e-15)
    assert rule.penalty([w]).item() == pytest.approx(0.5 * (ratio * 7 + (1 - ratio) / 2 * 21))


@pytest.mark.proves("regularization=l2")
@pytest.mark.parametrize("parameters", ["weights", "all"])
def test_decoupled_decay_scales_the_weights_by_the_rate(parameters):
    model = network()
    model[1].weight.requires_grad_(False)
    before = [w.detach().clone() for w in model.parameters()]
    rule = l2(0.3, parameters, decoupled=True)
    assert not acts(rule, "add_gradient")
    factor = 1.0
    for rate in (0.1, 0.5, 0.0):
        rule.constrain(model, at_rate(model, rate))
        factor *= 1 - rate * 0.3
    for w, old in zip(model.parameters(), before, strict=True):
        acted = w.requires_grad and (parameters == "all" or w.ndim > 1)
        torch.testing.assert_close(w, old * factor if acted else old, rtol=1e-14, atol=0)


def test_with_plain_steps_decay_and_penalty_differ_by_rate_squared():
    """One step of SGD: (1 − ηα)(w − ηg) against w − η(g + αw), so by ηη·α·g."""
    w, g, rate = torch.randn(3, 3, dtype=torch.float64), torch.randn(3, 3).double(), 0.1
    ways = []
    for decoupled in (True, False):
        layer = nn.Linear(3, 3, bias=False).double()
        layer.weight.data.copy_(w)
        layer.weight.grad = g.clone()
        rule = l2(0.4, decoupled=decoupled)
        if isinstance(rule, L2):
            rule.add_gradient(list(layer.parameters()))
        torch.optim.SGD(layer.parameters(), rate).step()
        if isinstance(rule, Decay):
            rule.constrain(layer, at_rate(layer, rate))
        ways.append(layer.weight.detach())
    torch.testing.assert_close(ways[0] - ways[1], rate**2 * 0.4 * g, rtol=0, atol=1e-14)


def test_the_share_of_l1_must_be_a_share():
    with pytest.raises(ValueError, match=r"ratio must be between 0 and 1, got 1\.5"):
        Elastic(0.1, 1.5)


@pytest.mark.parametrize("kind", [L1, L2, Decay, Elastic])
def test_values_out_of_range_are_refused(kind):
    with pytest.raises(ValueError, match=r"strength must not be negative, got -0\.1"):
        kind(-0.1)
    with pytest.raises(ValueError, match="parameters must be weights or all, got biases"):
        kind(0.1, parameters="biases")


@pytest.mark.proves("regularization=l1")
def test_the_proximal_step_of_l1_gives_exact_zeros():
    model = network()
    weight, bias = model[3].weight, model[3].bias
    before, kept = weight.detach().clone(), bias.detach().clone()
    l1(0.5, form="proximal").constrain(model, at_rate(model, 0.1))
    expected = before.sign() * (before.abs() - 0.05).clamp(min=0)
    torch.testing.assert_close(weight.detach(), expected, rtol=0, atol=1e-15)
    assert 0.1 < float((weight == 0).double().mean()) < 0.9
    assert torch.equal(bias, kept)


def test_l1_finds_the_lasso_of_its_formula():
    """Of ½(w − a)² + s|w| the least is sign(a)·max(|a| − s, 0)."""
    aims = torch.tensor([[-2.0, -0.3, 0.0, 0.2, 1.5]], dtype=torch.float64)
    model = nn.Linear(5, 1, bias=False).double()
    rule = l1(0.5, form="proximal")
    for _ in range(400):
        model.weight.data -= 0.1 * (model.weight.data - aims)
        rule.constrain(model, at_rate(model, 0.1))
    found = model.weight.detach()
    torch.testing.assert_close(found, torch.tensor([[-1.5, 0.0, 0.0, 0.0, 1.0]]).double())


def test_l2_without_its_half_is_twice_as_strong():
    weight = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    squares = float((weight.detach() ** 2).sum())
    assert float(l2(0.3, half=False).penalty([weight])) == pytest.approx(0.3 * squares)
    decay = l2(0.3, half=False, decoupled=True)
    assert isinstance(decay, Decay)
    assert decay.strength == 0.6


def test_a_form_of_l1_that_is_none():
    with pytest.raises(ValueError, match="form must be subgradient or proximal, got soft"):
        l1(form="soft")
