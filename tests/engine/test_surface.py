"""The loss around trained weights: directions by the formula, and losses by a second way."""

import copy

import pytest
import torch

from dlrun.engine import surface as of_loss
from dlrun.engine.evaluate import measure
from dlrun.engine.inside import some
from dlrun.engine.surface import directions, surface
from dlrun.recipe import build


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(of_loss, "ALONG", 5)
    monkeypatch.setattr(of_loss, "ACROSS", 3)


@pytest.fixture(scope="module")
def trained(compose_recipe, digits):
    words = ("model=cnn", "model.channels=[2,3]", "model.hidden=[4]", "regularization=[batch_norm]")
    run = build.build(compose_recipe(*words), digits)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in run.model.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return run


def test_each_filter_of_a_direction_is_as_long_as_its_own(trained):
    first, second = directions(trained, seed=0)
    for direction in (first, second):
        for weight, move in direction.items():
            lengths = (each.detach().flatten(1).norm(dim=1) for each in (weight, move))
            torch.testing.assert_close(*lengths)
    assert all(not torch.equal(first[weight], second[weight]) for weight in first)


def test_norms_and_biases_stay(trained):
    moved = directions(trained, seed=0)[0]
    left = [p for p in trained.model.parameters() if not any(p is each for each in moved)]
    assert left
    assert all(parameter.dim() == 1 for parameter in left)


def test_the_middle_is_the_loss_of_the_trained_weights(trained, digits):
    before = copy.deepcopy(trained.model.state_dict())
    calls = []
    found = surface(trained, digits, report=lambda *numbers: calls.append(numbers))
    x, y = some(trained, digits.train, found.samples["train"])
    trained.model.eval()
    with torch.no_grad():
        loss = float(trained.loss(trained.model(x), y))
    assert found.plane[1][1] == pytest.approx(loss, rel=1e-5)
    assert found.line["train"][2] == pytest.approx(loss, rel=1e-5)
    assert found.samples["val"] == min(256, len(digits.val))
    assert calls[-1] == (2 * 5 + 3**2,) * 2
    for name, value in trained.model.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_corner_is_the_loss_of_the_moved_weights(trained, digits):
    found = surface(trained, digits, seed=3)
    first, second = directions(trained, seed=3)
    x, y = some(trained, digits.train, found.samples["train"])
    other = copy.deepcopy(trained.model).eval()
    pairs = dict(zip(trained.model.parameters(), other.parameters(), strict=True))
    with torch.no_grad():
        for weight in first:
            pairs[weight] += found.across[-1] * first[weight] + found.across[0] * second[weight]
        loss = float(trained.loss(other(x), y))
    assert found.plane[0][-1] == pytest.approx(loss, rel=1e-4)
    assert found.plane == surface(trained, digits, seed=3).plane


def test_it_measures_what_validation_measures(trained, digits):
    whole = measure(trained, trained.val)["loss"]
    found = surface(trained, digits)
    assert found.line["val"][2] == pytest.approx(whole, rel=0.3)  # of a part
