"""Noise: its size, its independence, and what it amounts to."""

import pytest
import torch
from torch import Tensor, nn

from dlrun.data import Data, Split
from dlrun.engine.run import Run
from dlrun.recipe import build
from dlrun.regularization import acts
from dlrun.regularization.noise import GradientNoise, InputNoise, TargetNoise
from dlrun.regularization.penalty import L2
from tests.conftest import seeded


@pytest.mark.proves("regularization=input_noise")
def test_input_noise_is_normal_and_fresh():
    x = torch.linspace(-3, 3, 200_000, dtype=torch.float64).reshape(1000, 200)
    y = torch.arange(1000)
    rule, generator = InputNoise(0.3), seeded()
    (first, same), (second, _) = (rule.change_batch(x, y, generator) for _ in range(2))
    assert same is y
    a, b = ((noisy - x).flatten() for noisy in (first, second))
    for noise in (a, b):
        assert abs(noise.mean()) < 4 * 0.3 / len(noise) ** 0.5
        # The standard deviation of an estimated one is σ/√(2n).
        assert noise.std().item() == pytest.approx(0.3, abs=4 * 0.3 / (2 * len(noise)) ** 0.5)
        assert (noise.abs() < 0.3).double().mean().item() == pytest.approx(0.6827, abs=0.005)
    assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < 4 / len(a) ** 0.5
    again, _ = rule.change_batch(x, y, seeded())
    assert torch.equal(again, first)


def half_squared_error(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return (model(x) - y).square().sum(1).mean() / 2


def linear_problem() -> tuple[nn.Linear, Tensor, Tensor]:
    torch.manual_seed(1)
    model = nn.Linear(6, 3).double()
    return model, torch.randn(20, 6, dtype=torch.float64), torch.randn(20, 3, dtype=torch.float64)


@pytest.mark.proves("regularization=input_noise")
def test_input_noise_equals_l2_for_a_linear_network_exactly():
    """E‖W(x + ε) + b − y‖²/2 = ‖Wx + b − y‖²/2 + (σ²/2)·Σw², and so are the gradients.

    The 2d points ±σ√d·e_i have the mean and covariance of the noise, which is all that the
    expectation of a quadratic function depends on.
    """
    model, x, y = linear_problem()
    std, d = 0.7, 6
    points = torch.cat([torch.eye(d), -torch.eye(d)]).double() * std * d**0.5
    noisy = (x[:, None] + points).flatten(0, 1)
    half_squared_error(model, noisy, y.repeat_interleave(2 * d, 0)).backward()
    expected = [p.grad.clone() for p in model.parameters()]
    value = half_squared_error(model, noisy, y.repeat_interleave(2 * d, 0))

    model.zero_grad()
    clean = half_squared_error(model, x, y)
    clean.backward()
    rule = L2(std**2)
    rule.add_gradient(list(model.parameters()))
    for p, grad in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, grad, rtol=0, atol=1e-12)
    total = clean + rule.penalty(list(model.parameters()))
    torch.testing.assert_close(value, total, rtol=1e-12, atol=0)


@pytest.mark.proves("regularization=input_noise")
def test_over_the_mean_squared_error_of_k_outputs_it_is_l2_of_2_std2_over_k():
    model, x, y = linear_problem()
    std, d, k = 0.7, 6, y.shape[1]
    points = torch.cat([torch.eye(d), -torch.eye(d)]).double() * std * d**0.5
    noisy = (x[:, None] + points).flatten(0, 1)
    mse = torch.nn.functional.mse_loss
    mse(model(noisy), y.repeat_interleave(2 * d, 0)).backward()
    expected = model.weight.grad.clone()
    model.zero_grad()
    mse(model(x), y).backward()
    L2(2 * std**2 / k).add_gradient(list(model.parameters()))
    assert k > 1
    torch.testing.assert_close(model.weight.grad, expected, rtol=0, atol=1e-12)


def test_drawn_input_noise_equals_l2_in_the_mean():
    model, x, y = linear_problem()
    std, rounds = 0.7, 400
    rule, generator = InputNoise(std), seeded()
    many_x, many_y = x.repeat(500, 1), y.repeat(500, 1)
    grads = []
    for _ in range(rounds):
        noisy, _ = rule.change_batch(many_x, many_y, generator)
        loss = half_squared_error(model, noisy, many_y)
        grads.append(torch.autograd.grad(loss, model.weight)[0])
    drawn = torch.stack(grads)
    half_squared_error(model, x, y).backward()
    L2(std**2).add_gradient(list(model.parameters()))
    error = drawn.std(0) / rounds**0.5
    assert ((drawn.mean(0) - model.weight.grad).abs() < 5 * error).all()
    assert (error < 0.01 * std**2 * model.weight.abs().max()).all()  # fine enough to tell


@pytest.mark.proves("regularization=target_noise")
@pytest.mark.parametrize("classes", [2, 4])
def test_labels_flip_to_each_other_class_alike(classes):
    n, flip = 200_000, 0.3
    y = torch.arange(n) % classes
    x = torch.zeros(n, 1)
    same, noisy = TargetNoise(classes, flip).change_batch(x, y, seeded())
    assert same is x
    assert noisy.dtype == torch.int64
    share = flip / (classes - 1)
    for true in range(classes):
        counts = torch.bincount(noisy[y == true], minlength=classes) / (n / classes)
        expected = torch.full((classes,), share)
        expected[true] = 1 - flip
        assert (counts - expected).abs().max() < 5 * (0.25 / (n / classes)) ** 0.5
    flipped = noisy != y
    assert (flipped[1:] & flipped[:-1]).double().mean().item() == pytest.approx(flip**2, abs=0.005)


def test_class_probabilities_flip_as_labels_do():
    y = torch.randint(0, 5, (1000,), generator=seeded(3))
    x = torch.zeros(1000, 1)
    _, labels = TargetNoise(5, 0.4).change_batch(x, y, seeded())
    rule = TargetNoise(5, 0.4)
    rule.regression = False
    _, rows = rule.change_batch(x, nn.functional.one_hot(y, 5).double(), seeded())
    assert torch.equal(rows.argmax(1), labels)
    assert torch.equal(rows.sum(1), torch.ones(1000).double())


def test_one_output_has_two_classes():
    _, flipped = TargetNoise(1, 1.0).change_batch(torch.zeros(4, 1), torch.tensor([0, 1, 1, 0]),
                                                  seeded())  # fmt: skip
    assert flipped.tolist() == [1, 0, 0, 1]


@pytest.mark.proves("regularization=target_noise")
@pytest.mark.parametrize("targets", [1, 3])
def test_numbers_get_gaussian_noise(targets):
    y = torch.linspace(0, 1, 90_000, dtype=torch.float64).reshape(-1, targets)
    x = torch.zeros(len(y), 1)
    _, noisy = TargetNoise(targets, flip=0.5, std=0.2).change_batch(x, y, seeded())
    noise = (noisy - y).flatten()
    assert abs(noise.mean()) < 4 * 0.2 / 300
    assert noise.std().item() == pytest.approx(0.2, abs=4 * 0.2 / (2 * 90_000) ** 0.5)


def test_numbers_that_sum_to_one_are_numbers(compose_recipe):
    """Shares of a mixture as targets of a regression; mixed labels look the same."""
    x, y = torch.randn(60, 5), torch.rand(60, 3, generator=seeded())
    y = y / y.sum(1, keepdim=True)
    splits = [Split(x, y, rows) for rows in torch.arange(60).split([40, 10, 10])]
    shares = Data("shares", *splits, (5,), (), 3, "")
    words = ("regularization=[target_noise]", "regularization.target_noise.std=0.2")
    run = build.build(compose_recipe(*words, "loss=mse", "model=linear"), shares)
    [rule] = run.change_batch
    _, noisy = rule.change_batch(x, y, seeded())
    assert (noisy - y).std().item() == pytest.approx(0.2, rel=0.2)
    assert ((noisy.sum(1) - 1).abs() > 0.01).double().mean() > 0.9


@pytest.fixture
def labelled():
    """Three labels at once, of random numbers."""
    x, y = torch.randn(60, 5), torch.randint(0, 2, (60, 3), generator=seeded()).float()
    splits = [Split(x, y, rows) for rows in torch.arange(60).split([40, 10, 10])]
    return Data("labelled", *splits, (5,), (), 3, "")


def test_several_labels_flip_each_by_itself(compose_recipe, labelled):
    words = ("regularization=[target_noise]", "regularization.target_noise.flip=0.3")
    run = build.build(compose_recipe(*words, "model=linear"), labelled)
    [rule] = run.change_batch
    y = torch.tensor([0.0, 1.0, 0.25]).repeat(50_000, 1)
    _, noisy = rule.change_batch(torch.zeros(50_000, 1), y, seeded())
    flipped = noisy != y
    assert torch.equal(noisy, torch.where(flipped, 1 - y, y))
    assert flipped.double().mean(0).tolist() == pytest.approx([0.3] * 3, abs=0.01)
    both = (flipped[:, 0] & flipped[:, 1]).double().mean().item()
    assert both == pytest.approx(0.09, abs=0.01)


def test_labels_that_are_taken_for_numbers_get_gaussian_noise(compose_recipe, labelled):
    words = ("regularization=[target_noise]", "loss=mse", "model=linear")
    [rule] = build.build(compose_recipe(*words), labelled).change_batch
    y = labelled.train.y
    assert (rule.change_batch(labelled.train.x, y, seeded())[1] != y).all()


def test_mixed_labels_are_probabilities(compose_recipe, digits):
    words = ("regularization=[target_noise]", "regularization.target_noise.flip=1")
    run = build.build(compose_recipe(*words, "augmentation=[mixup]"), digits)
    [rule] = run.change_batch
    y = torch.tensor([[0.7, 0.3] + [0.0] * 8] * 50)
    _, noisy = rule.change_batch(torch.zeros(50, 1), y, seeded())
    assert torch.equal(noisy.sort(1)[0], y.sort(1)[0])
    assert not (noisy == y).all(1).any()


@pytest.mark.proves("regularization=gradient_noise")
def test_gradient_noise_shrinks_with_the_steps():
    """σ² = η/(1 + t)^γ, as in the paper's equation, over steps and several weights at once."""
    torch.manual_seed(0)
    eta, gamma = 0.3, 0.55
    weights = [torch.zeros(300, 200, dtype=torch.float64, requires_grad=True),
               torch.zeros(40_000, dtype=torch.float64, requires_grad=True),
               torch.zeros(5, requires_grad=True)]  # fmt: skip
    rule = GradientNoise(eta, gamma)
    last = None
    for t in range(4):
        for w in weights[:2]:
            w.grad = torch.full_like(w, 2.0)
        rule.add_gradient(weights)
        noise = torch.cat([w.grad.flatten() - 2 for w in weights[:2]])
        std = (eta / (1 + t) ** gamma) ** 0.5
        assert abs(noise.mean()) < 4 * std / len(noise) ** 0.5
        assert noise.std().item() == pytest.approx(std, abs=4 * std / (2 * len(noise)) ** 0.5)
        if last is not None:
            assert abs(torch.corrcoef(torch.stack([noise, last]))[0, 1]) < 4 / len(noise) ** 0.5
        last = noise
        rule.constrain(nn.Identity(), [])
    assert weights[2].grad is None
    assert not acts(rule, "penalty")


def test_gradient_noise_goes_on_from_its_state():
    rules = [GradientNoise(0.3), GradientNoise(0.3)]
    results = []
    for rule in rules:
        w = torch.zeros(5, requires_grad=True)
        w.grad = torch.zeros(5)
        if rule is rules[0]:
            for _ in range(6):
                rule.add_gradient([w])
                rule.constrain(nn.Identity(), [])
        else:
            rule.load_state_dict(rules[0].state_dict() | {"step": 6})
        w.grad = torch.zeros(5)
        torch.manual_seed(5)
        rule.add_gradient([w])
        rule.constrain(nn.Identity(), [])
        results.append(w.grad)
    assert torch.equal(*results)
    assert rules[0].state_dict() == rules[1].state_dict() == {"step": 7}


def test_gradient_noise_counts_the_steps_of_the_optimizer(train_recipe):
    """L-BFGS evaluates the gradient several times in a step."""
    calls = []

    def watch(run: Run) -> None:
        [rule] = run.change_gradient
        add = rule.add_gradient
        rule.add_gradient = lambda weights: (calls.append(rule.step), add(weights))

    words = ("optimizer=lbfgs", "batch_size=full", "epochs=2", "model=linear")
    trained = train_recipe(*words, "regularization=[gradient_noise]", change=watch)
    assert trained.run.regularizers["regularization.gradient_noise"].step == 2
    assert set(calls) == {0, 1}
    assert len(calls) > 4


def test_values_out_of_range_are_refused():
    with pytest.raises(ValueError, match="std must not be negative, got -1"):
        InputNoise(-1)
    with pytest.raises(ValueError, match="flip must be between 0 and 1, got 2"):
        TargetNoise(3, 2)
    with pytest.raises(ValueError, match="std must not be negative, got -1"):
        TargetNoise(3, 0.1, -1)
    with pytest.raises(ValueError, match="eta must not be negative, got -1"):
        GradientNoise(-1)
    with pytest.raises(ValueError, match="gamma must not be negative, got -1"):
        GradientNoise(1, -1)
