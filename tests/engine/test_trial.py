"""A short trial after a training: what it finds, what it leaves alone, and what it costs."""

import math

import pytest
import torch

from dlrun.engine import examine, trial
from dlrun.engine.look import untouched
from tests.states import differences


def tried(run, samples=4000):
    with untouched(run):
        train, val = (examine._looked(run, split) for split in (run.data.train, run.data.val))
        return trial.improved(run, (train.x, train.y), (val.x, val.y), samples)


def gained(run):
    seen = tried(run)
    return (seen["trial/before"] - seen["trial/after"]) / seen["trial/error"]


def test_a_training_that_is_too_slow_gains(train_recipe):
    run = train_recipe("epochs=3", "optimizer.lr=0.0003").run
    seen = tried(run)
    assert seen["trial/tempered"] == 0
    assert seen["trial/after"] < 0.95 * seen["trial/before"]
    assert gained(run) > 10


def test_one_that_is_kept_from_fitting_gains(train_recipe):
    words = ("regularization=[l2]", "regularization.l2.strength=0.1")
    assert gained(train_recipe("epochs=6", *words).run) > 5


@pytest.mark.parametrize(
    "words", [(), ("regularization=[batch_norm]",), ("regularization=[label_smoothing]",)], ids=str
)
def test_a_sound_training_does_not(train_recipe, words):
    assert gained(train_recipe("epochs=12", *words).run) < 3


def test_its_steps_are_those_of_adam():
    generator = torch.Generator().manual_seed(0)
    shapes, rates = ((5, 3), (5,), (2,)), (0.1, 0.01, 0.3)
    ours = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    theirs = [torch.nn.Parameter(weight.detach().clone()) for weight in ours]
    groups = [{"params": [weight], "lr": rate} for weight, rate in zip(theirs, rates, strict=True)]
    adam = torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-12)
    lengths = torch.tensor(rates).repeat_interleave(torch.tensor([15, 5, 2]))
    means = [torch.zeros(22), torch.zeros(22)]
    for number in range(1, 5):
        gradients = [torch.randn(shape, generator=generator) for shape in shapes[:2]]
        for weight, gradient in zip(theirs, gradients, strict=False):
            weight.grad = gradient
        adam.step()
        trial._step(ours, [*gradients, None], means, lengths, number, 1.0)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, rtol=1e-5)


def test_the_loss_before_is_that_of_validation(train_recipe):
    run = train_recipe("epochs=1").run
    with untouched(run):
        val = examine._looked(run, run.data.val)
    expected = torch.nn.functional.cross_entropy(val.outputs, val.y)
    assert tried(run)["trial/before"] == pytest.approx(float(expected), rel=0.02)


def test_surer_predictions_alone_are_no_gain(train_recipe):
    run = train_recipe("epochs=12", "regularization=[label_smoothing]").run
    with untouched(run):
        val = examine._looked(run, run.data.val)
        losses = trial._losses(run, (val.x, val.y))
    logits = val.outputs.double()
    factors = torch.linspace(0.1, 10, 2000, dtype=torch.float64)
    least = min(float(torch.nn.functional.cross_entropy(logits * t, val.y)) for t in factors)
    assert float(losses.mean()) == pytest.approx(least, rel=0.02)


def test_it_costs_a_twentieth_of_the_training_or_a_few_steps(train_recipe):
    run = train_recipe("epochs=1").run
    run.flops = 10_000
    assert trial._lengths(run, 0) == (trial.LEAST, trial._LARGE), (
        "large batches cost next to nothing"
    )
    run.flops = 400_000
    assert trial._lengths(run, 0) == (trial.LEAST, trial._SMALL)
    assert trial._lengths(run, 20 * 512 * 20) == (20, 512)
    assert trial._lengths(run, 10**8) == (trial.MOST, 512)
    run.flops = 10**9
    assert trial._lengths(run, 20 * 64 * 5) == (5, 64)
    assert tried(run, 0) == {}


@pytest.mark.parametrize(
    "words",
    [("regularization=[dropout]",), ("regularization=[l2]",), ("optimizer.weight_decay=0.01",)],
    ids=str,
)
def test_where_the_model_is_restrained_it_goes_further(train_recipe, words):
    run = train_recipe("epochs=1", *words).run
    assert trial._lengths(run, 0)[0] == trial.MOST


@pytest.mark.parametrize(
    ("words", "least", "most"),
    [
        ("regularization=[l2] regularization.l2.strength=1e-9", 0.0, 0.001),
        ("regularization=[l2] regularization.l2.strength=0.01", 0.0, 0.1),
        ("optimizer.weight_decay=0.01", 0.0, 0.1),
        ("regularization=[dropout] regularization.dropout.hidden=0.05", 0.0, 0.2),
        ("regularization=[input_noise]", -0.1, 0.1),
        ("regularization=[dropout] regularization.dropout.hidden=0.95", 0.7, 2.0),
        ("regularization=[l2] regularization.l2.strength=0.3 epochs=12", 0.7, 1.5),
        ("optimizer.weight_decay=1 epochs=6", 0.7, 1.5),
        ("regularization=[max_norm] regularization.max_norm.limit=0.1 epochs=6", 0.7, 1.5),
    ],
)
def test_what_restrains_takes_its_share_of_the_gain(train_recipe, words, least, most):
    length = [] if "epochs" in words else ["epochs=2"]
    seen = tried(train_recipe(*length, "optimizer.lr=0.01", *words.split()).run)
    gain = seen["trial/before"] - seen["trial/after"]
    assert least <= (seen["trial/held"] - seen["trial/after"]) / gain <= most
    assert seen["trial/held_error"] < gain


@pytest.mark.parametrize(
    ("words", "least", "most"),
    [
        ("augmentation=[crop] augmentation.crop.padding=1", -0.2, 0.6),
        ("augmentation=[noise] augmentation.noise.std=0.01", -0.1, 0.1),
        ("augmentation=[crop] augmentation.crop.padding=6", 0.8, 2.0),
    ],
)
def test_augmented_samples_take_their_share_of_the_gain(train_recipe, words, least, most):
    seen = tried(train_recipe("epochs=2", "optimizer.lr=0.01", *words.split()).run)
    gain = seen["trial/before"] - seen["trial/after"]
    assert least <= (seen["trial/augmented"] - seen["trial/after"]) / gain <= most
    assert seen["trial/augmented_error"] < gain
    assert "trial/held" not in seen


def test_where_nothing_restrains_or_nothing_is_gained_it_is_not_asked(train_recipe):
    assert "trial/held" not in tried(train_recipe("epochs=2", "optimizer.lr=0.01").run)
    words = ("regularization=[l2]", "regularization.l2.strength=1e-6")
    assert "trial/held" not in tried(train_recipe("epochs=12", *words).run)


def test_a_model_without_a_gradient_is_not_tried(train_recipe):
    run = train_recipe("epochs=1").run
    for weight in run.model.parameters():
        weight.requires_grad = False
    assert tried(run) == {}


@pytest.mark.parametrize("words", [("model=autoencoder", "loss=mse"), ("loss=hinge",)], ids=str)
def test_of_other_tasks(train_recipe, words):
    assert all(map(math.isfinite, tried(train_recipe("epochs=1", *words).run).values()))


def test_it_changes_nothing(train_recipe):
    rules = ("augmentation=[crop]", "regularization=[batch_norm,dropout]")
    run = train_recipe("epochs=1", *rules).run
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    state = torch.get_rng_state()
    tried(run)
    assert torch.equal(torch.get_rng_state(), state)
    assert not differences(before, dict(run.model.state_dict()))
    assert all(module.training for module in run.model.modules())
