"""Losses that teach wrong answers are found; those that suit their task are let pass."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from dlrun.engine.loss_sense import loss_sense
from dlrun.loss import LOSSES, Loss, cross_entropy


def one_hot(z, t):
    return F.one_hot(t, z.shape[1]).float()


def of_classes(loss, classes=10, form=torch.clone):
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(classes, (256,), generator=generator)
    outputs = form(torch.randn(256, classes, generator=generator))
    run = SimpleNamespace(loss=loss, labels=False, regression=False)
    run.data = SimpleNamespace(outputs=classes)
    return list(loss_sense(SimpleNamespace(run=run, y=y, outputs=outputs)))


def of_numbers(loss, mean=0.0, labels=False):
    y = mean + torch.randn(256, 2, generator=torch.Generator().manual_seed(0))
    y = (y > mean).float() if labels else y
    run = SimpleNamespace(loss=Loss(loss), labels=labels, regression=True)
    return list(loss_sense(SimpleNamespace(run=run, y=y, outputs=torch.zeros_like(y))))


def dice(p, t):
    return ((2 * (p * t).sum(0) + 1) / (p.sum(0) + t.sum(0) + 1)).mean()


def focal(z, t):
    each = F.cross_entropy(z, t, reduction="none")
    return ((1 - (-each).exp()) ** 2 * each).mean()


@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize(
    "loss",
    [
        *(LOSSES[name].function for name in LOSSES),
        focal,
        lambda z, t: F.cross_entropy(z, t, label_smoothing=0.1),
        lambda z, t: F.cross_entropy(z, t, weight=torch.linspace(1, 5, z.shape[1])),
        lambda z, t: F.cross_entropy(z, t, reduction="sum"),
        lambda z, t: F.cross_entropy(z + torch.linspace(-1, 0, z.shape[1]), t),
        lambda z, t: (1 - z.softmax(1).gather(1, t[:, None]) ** 0.7).mean(),
        lambda z, t: ((z.softmax(1) - one_hot(z, t)) ** 2).mean(),
        lambda z, t: -z.softmax(1).gather(1, t[:, None]).clamp(1e-7).log().mean(),
        lambda z, t: 1 - dice(z.softmax(1), one_hot(z, t)),
    ],
)
def test_losses_of_classes_that_teach_right_answers(loss, classes):
    # A new function around dlrun's own, which are not tried.
    assert of_classes(Loss(lambda z, t: loss(z, t)), classes) == []


@pytest.mark.parametrize(
    ("form", "loss"),
    [
        (lambda z: z.log_softmax(1), F.nll_loss),
        (lambda z: z.log_softmax(1), F.cross_entropy),
        (lambda z: z.softmax(1), lambda p, t: F.nll_loss((p + 1e-8).log(), t)),
    ],
)
def test_answers_have_the_form_that_the_model_gives_them(form, loss):
    assert of_classes(Loss(lambda z, t: loss(z, t)), form=form) == []


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda z, t: F.cross_entropy(z.roll(1, 1), t), "a step down its gradient"),
        (lambda z, t: F.cross_entropy(z, (t + 1) % z.shape[1]), "a step down its gradient"),
        (lambda z, t: F.cross_entropy(z, t.roll(1, 0)), "a step down its gradient"),
        (lambda z, t: -F.cross_entropy(z, t), "wrong sign"),
        (lambda z, t: F.nll_loss(z, t), "falls without end"),
        (lambda z, t: F.nll_loss(z.log_softmax(0), t), "whatever its answer"),
        (lambda z, t: (z**2).mean(), "and wrong ones"),
    ],
)
def test_losses_of_classes_that_teach_wrong_answers(loss, said, classes):
    [found] = of_classes(Loss(loss), classes)
    assert (found.name, found.level) == ("wrong_loss", "fail")
    assert said in found.text
    assert found.changes == {"loss": "cross_entropy"}


@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize("squash", [lambda z: z.softmax(1), torch.sigmoid])
def test_a_squashing_inside_a_loss_that_squashes_itself(squash, classes):
    [found] = of_classes(Loss(lambda z, t: F.cross_entropy(squash(z), t)), classes)
    assert (found.name, found.level) == ("probabilities_into_loss", "warn")


def test_probabilities_of_the_model_need_their_logarithm():
    def softmax(z):
        return z.softmax(1)

    [twice] = of_classes(Loss(lambda p, t: F.cross_entropy(p, t)), form=softmax)
    [bare] = of_classes(Loss(lambda p, t: F.nll_loss(p, t)), form=softmax)
    assert (twice.name, bare.name) == ("probabilities_into_loss", "wrong_loss")
    # Cross entropy refuses a model that ends in a softmax.
    assert twice.changes == bare.changes == {"loss": "mse"}


def test_dlruns_own_losses_are_not_tried_and_a_loss_that_asks_for_more_is_said_so():
    assert of_classes(cross_entropy) == []
    [found] = of_classes(Loss(lambda z, t: z["logits"]))
    assert (found.name, found.level) == ("inconclusive", "note")
    assert "not checked" in found.text


@pytest.mark.parametrize("mean", [0.0, 5.0])
@pytest.mark.parametrize(
    "loss",
    [
        *(F.mse_loss, F.l1_loss, F.smooth_l1_loss),
        lambda z, t: torch.maximum(0.1 * (t - z), 0.9 * (z - t)).mean(),
        lambda z, t: ((z - t).abs() - 0.1).relu().mean(),
        lambda z, t: ((z - t) ** 2).sum(),
        lambda z, t: ((z - t) ** 2).clamp(max=1).mean(),
        lambda z, t: (1 + (z - t) ** 2).log().mean(),
        lambda z, t: ((z - t) / t).abs().mean(),
    ],
)
def test_losses_of_numbers_that_lead_to_their_targets(loss, mean):
    assert of_numbers(loss, mean) == []


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda z, t: F.relu(z - t).pow(2).mean(), "below the targets have no slope"),
        (lambda z, t: F.relu(t - z).mean(), "above the targets have no slope"),
        (lambda z, t: -F.mse_loss(z, t), "further away"),
        (lambda z, t: (z - t).mean(), "further away"),
        (lambda z, t: F.mse_loss(z, t + 1), "further away"),
        (lambda z, t: F.mse_loss(z, t.abs()), "further away"),
    ],
)
def test_losses_of_numbers_that_lead_elsewhere(loss, said):
    [found] = of_numbers(loss)
    assert found.name == "wrong_loss"
    assert said in found.text
    assert found.changes == {"loss": "mse"}


def test_losses_of_several_labels_at_once():
    assert of_numbers(F.binary_cross_entropy_with_logits, labels=True) == []
    [found] = of_numbers(lambda z, t: F.binary_cross_entropy_with_logits(z, 1 - t), labels=True)
    assert (found.name, found.changes) == ("wrong_loss", {"loss": "bce"})
