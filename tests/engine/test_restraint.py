"""What a recipe adds to steps of another kind: by hand, and nothing where it has nothing."""

from pathlib import Path

import pytest
import torch

from dlrun.engine.look import untouched
from dlrun.engine.restraint import Restraint, _decoupled, _grows
from dlrun.recipe import build

PENALTY = ("regularization=[l2]", "regularization.l2.strength=0.3")
DECOUPLED = (*PENALTY, "regularization.l2.decoupled=true")
PROXIMAL = (
    "regularization=[l1]",
    "regularization.l1.strength=0.3",
    "regularization.l1.form=proximal",
)
LENGTH = 0.01
RATE, DECAY, STEPS = 1e-3, 0.3, 10
DECAYING = sorted(
    path.stem
    for path in Path(__file__).parents[2].glob("conf/optimizer/*.yaml")
    if "\nweight_decay:" in path.read_text()
)


def added(compose_recipe, digits, *words):
    """What is added to gradients of 0, and by how much a step of LENGTH shrinks weights."""
    run = build.build(compose_recipe("model.hidden=[8]", *words), digits)
    weights = list(run.model.parameters())
    with untouched(run), torch.no_grad():
        restraint, start = Restraint(run, weights), [weight.clone() for weight in weights]
        gradients = restraint.gradients([torch.zeros_like(weight) for weight in weights])
        assert all(map(torch.equal, weights, start))
        restraint.shrink([LENGTH] * len(weights))
        shrunk = [was - weight for was, weight in zip(start, weights, strict=True)]
    return start, gradients, shrunk


@pytest.mark.parametrize(
    "words",
    [
        PENALTY,
        (*PENALTY, "optimizer=adam"),
        DECOUPLED,
        ("optimizer.weight_decay=0.3",),
        ("optimizer=adam", "optimizer.weight_decay=0.3"),
        ("optimizer=schedulefree_sgd", "optimizer.weight_decay=0.3"),
    ],
    ids=str,
)
def test_what_is_in_the_gradient_is_added_to_it(compose_recipe, digits, words):
    for weight, gradient, shrunk in zip(*added(compose_recipe, digits, *words), strict=True):
        if weight.dim() > 1 or "optimizer.weight_decay=0.3" in words:
            torch.testing.assert_close(gradient, 0.3 * weight, rtol=1e-5, atol=1e-7)
        assert not shrunk.any()


@pytest.mark.parametrize(
    "words",
    [
        (*DECOUPLED, "optimizer=adam"),
        ("optimizer=adamw", "optimizer.weight_decay=0.3"),
        ("optimizer=lion", "optimizer.weight_decay=0.3"),
        ("optimizer=schedulefree_adamw", "optimizer.weight_decay=0.3"),
    ],
    ids=str,
)
def test_what_acts_on_the_weights_shrinks_them_by_the_length_of_a_step(
    compose_recipe, digits, words
):
    for weight, gradient, shrunk in zip(*added(compose_recipe, digits, *words), strict=True):
        if weight.dim() > 1 or "optimizer.weight_decay=0.3" in words:
            torch.testing.assert_close(shrunk, LENGTH * 0.3 * weight, rtol=1e-3, atol=1e-7)
        assert not gradient.any()


def moved(compose_recipe, digits, words, decay):
    """A run, its weights before and after a few steps with gradients of chance."""
    rates = (f"optimizer.lr={RATE}", f"optimizer.weight_decay={decay}")
    run = build.build(compose_recipe("model.hidden=[8]", *words, *rates), digits)
    draw = torch.Generator().manual_seed(0)
    start = [weight.detach().clone() for weight in run.weights]
    for _ in range(STEPS):
        drawn = [torch.randn(weight.shape, generator=draw) / 100 for weight in run.weights]

        def objective(_=True, drawn=drawn):
            for weight, gradient in zip(run.weights, drawn, strict=True):
                weight.grad = gradient.clone()
            return torch.zeros(())

        run.optimizer.step(objective)
    return run, start, [weight.detach() for weight in run.weights]


@pytest.mark.parametrize(
    "words",
    [(f"optimizer={name}",) for name in DECAYING] + [("optimizer=sam", "optimizer.base=adamw")],
    ids=str,
)
def test_it_is_known_of_every_optimizer_what_its_decay_acts_on(compose_recipe, digits, words):
    """Decoupled, it takes the same share of every weight, whatever the gradient."""
    if words == ("optimizer=soap",):
        pytest.importorskip("pytorch_optimizer")
    run, start, with_it = moved(compose_recipe, digits, words, DECAY)
    _, _, without = moved(compose_recipe, digits, words, 0.0)
    place, weight = max(enumerate(start), key=lambda pair: pair[1].numel())
    shares = (without[place] - with_it[place]) / weight
    shares = shares[weight.abs() > weight.abs().median()]
    same = bool((shares > RATE * DECAY / 2).all() and shares.max() < 1.5 * shares.min())
    groups = run.optimizer.param_groups
    [group] = [one for one in groups if any(p is run.weights[place] for p in one["params"])]
    assert (_decoupled(run.optimizer, group) or _grows(run.optimizer)) is same


def test_a_proximal_step_pulls_no_weight_beyond_0(compose_recipe, digits):
    for weight, gradient, _ in zip(*added(compose_recipe, digits, *PROXIMAL), strict=True):
        if weight.dim() > 1:
            torch.testing.assert_close(gradient, weight.clamp(-0.3, 0.3), rtol=1e-4, atol=1e-7)


def test_batches_are_changed_and_batch_norm_is_as_in_evaluation(compose_recipe, digits):
    words = ("regularization=[input_noise,batch_norm,dropout]", "regularization.input_noise.std=2")
    run = build.build(compose_recipe(*words), digits)
    with untouched(run):
        restraint = Restraint(run, list(run.model.parameters()))
        norms = [m for m in run.model.modules() if isinstance(m, torch.nn.BatchNorm1d)]
        assert norms
        assert not any(norm.training for norm in norms)
        assert run.model.training
        x, y = restraint.batch(torch.zeros(500, 1, 8, 8), torch.zeros(500, dtype=torch.long))
    assert x.std() == pytest.approx(2, rel=0.02)
    assert not y.any()


def test_a_rule_that_counts_steps_counts_none(compose_recipe, digits):
    words = ("regularization=[gradient_noise,lookahead]", "regularization.gradient_noise.eta=0.01")
    run = build.build(compose_recipe(*words), digits)
    weights = list(run.model.parameters())
    with untouched(run):
        restraint = Restraint(run, weights)
        noise = restraint.gradients([torch.zeros_like(weight) for weight in weights])
        restraint.shrink([LENGTH] * len(weights))
    assert torch.cat([each.flatten() for each in noise]).std() == pytest.approx(0.1, rel=0.05)
    rules = list(run.regularizers.values())
    assert [getattr(rule, "step", None) or getattr(rule, "steps", 0) for rule in rules] == [0, 0]
