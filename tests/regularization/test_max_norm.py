"""Weights within a ball: which move, where to, and that the rest stays."""

import pytest
import torch
from torch import Tensor, nn

from dlrun.regularization.max_norm import MaxNorm
from dlrun.regularization.weight_norm import WeightNorm


def incoming(layer: nn.Module) -> Tensor:
    """(units, incoming) weights, gathered one unit after the other."""
    w = layer.weight.detach()
    if isinstance(layer, nn.ConvTranspose2d):
        per = w.shape[1]
        groups = w.chunk(layer.groups)
        return torch.stack([group[:, j].flatten() for group in groups for j in range(per)])
    return torch.stack([unit.flatten() for unit in w])


def network() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, groups=2),
        nn.BatchNorm2d(4),
        nn.ConvTranspose2d(4, 6, 2),
        nn.ConvTranspose2d(6, 4, 3, groups=2),
        nn.Flatten(),
        nn.Linear(4 * 81, 5),
    ).double()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn_like(p) * torch.rand(p.shape[0]).view(-1, *[1] * (p.ndim - 1)))
        model[5].weight[3] *= 0.001
        model[5].bias *= 100
    return model


@pytest.mark.proves("regularization=max_norm")
def test_each_unit_is_projected_by_itself():
    model = network()
    layers = [model[i] for i in (0, 2, 3, 5)]
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    old = [incoming(layer) for layer in layers]
    MaxNorm(1.5).constrain(model, [])
    moved = stayed = 0
    for layer, rows in zip(layers, old, strict=True):
        for w, was in zip(incoming(layer), rows, strict=True):
            scale = min(1.0, 1.5 / was.square().sum().item() ** 0.5)
            torch.testing.assert_close(w, was * scale, rtol=1e-6, atol=0)
            moved, stayed = moved + (scale < 1), stayed + (scale == 1)
    assert moved > 3
    assert stayed > 3
    for name, p in model.named_parameters():
        if "bias" in name or name.startswith("1."):
            assert torch.equal(p, before[name])


def test_twice_is_once():
    model, rule = network(), MaxNorm(0.5)
    rule.constrain(model, [])
    once = [p.clone() for p in model.parameters()]
    rule.constrain(model, [])
    for a, b in zip(model.parameters(), once, strict=True):
        assert torch.equal(a, b)


def test_the_length_of_weight_normalized_layers_is_limited():
    model = network()
    x = torch.randn(1, 2, 8, 8, dtype=torch.float64)
    WeightNorm().change_model(model, x)
    directions = [model[i].parametrizations.weight.original1.clone() for i in (0, 2, 5)]
    MaxNorm(0.5).constrain(model, [])
    for i, v in zip((0, 2, 5), directions, strict=True):
        norms = incoming(model[i]).norm(dim=1)
        assert (norms <= 0.5 + 1e-12).all()
        assert torch.equal(model[i].parametrizations.weight.original1, v)


def test_weights_stay_in_the_ball_while_they_train():
    torch.manual_seed(0)
    model, rule = nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 3)), MaxNorm(0.7)
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    x, y = torch.randn(50, 10), torch.randint(0, 3, (50,))
    reached = 0.0
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        rule.constrain(model, [])
        norms = torch.cat([model[0].weight.norm(dim=1), model[2].weight.norm(dim=1)])
        assert norms.max() <= 0.7 + 1e-6
        reached = max(reached, norms.max().item())
    assert reached > 0.699


def test_values_out_of_range_are_refused():
    with pytest.raises(ValueError, match="limit must be above 0, got 0"):
        MaxNorm(0)


def test_how_many_weights_may_not_grow():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(3, 4) * torch.tensor([[2.0], [0.5], [1.9]]))
        model[2].weight.copy_(torch.tensor([[0.0, 2.0, 0.0], [1.0, 1.0, 1.0]]))
    before = [p.detach().clone() for p in model.parameters()]
    # A unit of each layer is at the limit, with one weight that is not zero, of 18 in all.
    assert MaxNorm(2.0).held(model) == pytest.approx((1 + 1) / 18)
    assert MaxNorm(3.0).held(model) == 0
    assert all(map(torch.equal, before, model.parameters()))
