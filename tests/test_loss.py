"""Losses and their gradients against the formulas in numpy, in float64."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from dlrun import loss
from dlrun.data import Data, Split
from dlrun.errors import Mistake
from dlrun.recipe import build
from dlrun.recipe.identity import digest, structure
from dlrun.recipe.task import settle_loss

CONF = Path(__file__).parents[1] / "conf" / "loss"
LABELS = torch.tensor([0, 3, 1, 2, 2, 0, 1])
ONE_HOT = np.eye(4)[LABELS.numpy()]
NUMBERS = torch.linspace(-3, 3, 28, dtype=torch.float64).reshape(7, 4)
SEVERAL = (NUMBERS.sin() > 0).double()


def cross_entropy(z: np.ndarray, t: np.ndarray) -> float:
    return -(t * (z - np.log(np.exp(z).sum(1, keepdims=True)))).sum() / len(z)


def huber(z: np.ndarray, t: np.ndarray, delta: float = 1.0) -> float:
    e = abs(z - t)
    return np.where(e <= delta, e**2 / 2, delta * (e - delta / 2)).mean()


def bce(z: np.ndarray, t: np.ndarray) -> float:
    p = 1 / (1 + np.exp(-z))
    return -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()


def hinge(z: np.ndarray, t: np.ndarray, margin: float = 1.0, power: int = 1) -> float:
    total = 0.0
    for row, hot in zip(z, t, strict=True):
        y = hot.argmax()
        total += sum(max(0, margin - row[y] + row[k]) ** power for k in range(4) if k != y)
    return total / len(z)


def mse(z: np.ndarray, t: np.ndarray) -> float:
    return ((z - t) ** 2).sum() / z.size


def mae(z: np.ndarray, t: np.ndarray) -> float:
    return abs(z - t).sum() / z.size


CASES: list[tuple[str, dict[str, Any], torch.Tensor, Any]] = [
    ("cross_entropy", {}, LABELS, cross_entropy),
    ("cross_entropy", {}, NUMBERS.softmax(1), cross_entropy),
    ("mse", {}, LABELS, mse),
    ("mse", {}, NUMBERS, mse),
    ("mse", {"half": True}, NUMBERS, lambda z, t: mse(z, t) / 2),
    ("mae", {}, LABELS, mae),
    ("mae", {}, NUMBERS, mae),
    ("huber", {}, LABELS, huber),
    ("huber", {"delta": 0.3}, NUMBERS, partial(huber, delta=0.3)),
    ("bce", {}, LABELS, bce),
    ("bce", {}, SEVERAL, bce),
    ("hinge", {}, LABELS, hinge),
    ("hinge", {"margin": 0.5, "power": 2}, LABELS, partial(hinge, margin=0.5, power=2)),
]


@pytest.mark.proves(
    "loss=cross_entropy", "loss=mse", "loss=mae", "loss=huber", "loss=bce", "loss=hinge"
)
@pytest.mark.parametrize(("name", "options", "y", "formula"), CASES)
def test_values_and_gradients(name, options, y, formula):
    function = instantiate(OmegaConf.load(CONF / f"{name}.yaml"), **options)
    z = 2 * torch.randn(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = y.numpy() if y.is_floating_point() else ONE_HOT
    assert function(z, y).item() == pytest.approx(formula(z.numpy(), t), abs=1e-12)
    assert torch.autograd.gradcheck(lambda z: function(z, y), (z.requires_grad_(),))


@pytest.mark.parametrize(
    ("name", "options", "y", "change"),
    [(*case[:3], "") for case in CASES]
    + [(*case[:3], change) for case in CASES[:2] for change in ("smoothed", "weighted")],
)
def test_of_each_sample_alone(name, options, y, change):
    made = loss.of(instantiate(OmegaConf.load(CONF / f"{name}.yaml"), **options))
    made = made.smoothed(0.1, 4) if change == "smoothed" else made
    made = made.weighted(torch.arange(4.0).double()) if change == "weighted" else made
    z = NUMBERS.cos()
    alone = [made(z[n : n + 1], y[n : n + 1]) for n in range(7)]
    torch.testing.assert_close(made.each(z, y), torch.stack(alone), rtol=1e-12, atol=0)
    for size in (2, 7, 9):
        parts = [made(*pair) for pair in zip(z.split(size), y.split(size), strict=True)]
        told = made.parts(z, y, size)
        torch.testing.assert_close(told, torch.stack(parts), rtol=1e-12, atol=0)


def test_of_a_sum_the_parts_are_sums():
    made = loss.of(partial(F.cross_entropy, reduction="sum"))
    torch.testing.assert_close(made.parts(NUMBERS, LABELS, 7)[0], made(NUMBERS, LABELS))


def test_every_option_is_tested():
    assert {path.stem for path in CONF.glob("*.yaml")} == {case[0] for case in CASES} | {"auto"}


def test_one_logit_for_two_classes():
    z = torch.tensor([[0.3], [-1.2], [2.0]], dtype=torch.float64)
    y = torch.tensor([1, 0, 1])
    assert loss.bce(z, y).item() == pytest.approx(bce(z.numpy(), y.numpy()[:, None]), abs=1e-12)


@pytest.mark.proves("loss=bce")
@pytest.mark.parametrize("targets", ["labels", "mixed", "smoothed"])
def test_one_logit_beside_zero(targets):
    """The softmax of 0 and z is 1 − σ(z) and σ(z); so are loss, probabilities and information."""
    made = loss.of(instantiate(OmegaConf.load(CONF / "bce.yaml"), one_logit=True))
    made = made.smoothed(0.1, 2) if targets == "smoothed" else made
    z = torch.randn(9, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    both = loss.beside_zero(torch.nn.Identity(), (), z)
    y = torch.arange(9) % 2
    t = torch.stack([1 - y, y], 1).double()
    t = {"labels": t, "mixed": t * 0.7 + 0.15, "smoothed": t * 0.9 + 0.05}[targets]
    value = made(both, t if targets == "mixed" else y)
    assert value.item() == pytest.approx(bce(z.numpy(), t[:, 1:].numpy()), abs=1e-12)
    assert value.item() == pytest.approx(cross_entropy(both.numpy(), t.numpy()), abs=1e-12)
    torch.testing.assert_close(made.scores(both)[:, 1:], z.sigmoid())
    assert made.fisher is not None
    draws = torch.randn(100_000, 2, dtype=torch.float64)
    seen = made.fisher(both[:1].expand(100_000, -1), draws)[:, 1]
    p = z[0].sigmoid().item()
    assert seen.var().item() == pytest.approx(p * (1 - p), rel=0.02)
    views = torch.stack([both, -both])
    mean = (z.sigmoid() + (-z).sigmoid()) / 2
    torch.testing.assert_close(made.averaged(views).softmax(-1)[:, 1:], mean)
    with pytest.raises(Mistake, match=r"must give \(n, 1\), and gives \(9, 2\)"):
        loss.beside_zero(torch.nn.Identity(), (), both)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("mixed", [False, True])
def test_class_weights_add_up_over_mini_batches(smoothing, mixed):
    z, weight = NUMBERS.cos(), torch.tensor([0.2, 1.0, 3.0, 0.5], dtype=torch.float64)
    t = torch.from_numpy(0.7 * ONE_HOT + 0.3 * ONE_HOT[::-1]) if mixed else torch.tensor(ONE_HOT)
    y = t if mixed else LABELS
    function = loss.of(partial(F.cross_entropy, label_smoothing=smoothing)).weighted(weight)
    smooth = t * (1 - smoothing) + smoothing / 4
    written = -(weight * smooth * z.log_softmax(1)).sum() / 7
    assert function(z, y).item() == pytest.approx(written.item(), rel=1e-12)
    parts = function(z[:3], y[:3]) * 3 / 7 + function(z[3:], y[3:]) * 4 / 7
    assert parts.item() == pytest.approx(written.item(), rel=1e-12)


def test_a_loss_of_ones_own_takes_its_weights_as_it_will():
    def own(logits: torch.Tensor, y: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return weight.sum() * logits.mean()

    assert loss.of(own).weighted(torch.ones(3))(torch.ones(2, 3), LABELS[:2]) == 3


@pytest.mark.parametrize("function", [F.cross_entropy, partial(F.cross_entropy), loss.hinge])
def test_of_torch(function):
    assert loss.of(function).of_torch == (function is not loss.hinge)


def test_a_reduction_of_ones_own_may_mean_something_else():
    def own(logits: torch.Tensor, y: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
        assert reduction in ("mean", "sum")
        return F.cross_entropy(logits, y, reduction=reduction)

    each = loss.of(own).each(NUMBERS, LABELS)
    torch.testing.assert_close(each, F.cross_entropy(NUMBERS, LABELS, reduction="none"))


class Ending(nn.Module):
    """A network that ends in any function."""

    def __init__(self, ending: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 4)
        self.ending = ending

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.ending(self.linear(x))


ENDINGS: list[tuple[str, Callable[[torch.Tensor], torch.Tensor]]] = [
    ("softmax", nn.Softmax(1)),
    ("softmax", lambda z: F.softmax(z, 1)),
    ("softmax", lambda z: z.softmax(1)[None].squeeze(0).reshape(-1, 4)),
    ("sigmoid", nn.Sigmoid()),
    ("sigmoid", torch.sigmoid),
]


@pytest.mark.parametrize("function", [loss.cross_entropy, loss.bce, loss.hinge.bound(margin=2.0)])
@pytest.mark.parametrize(("word", "ending"), ENDINGS)
def test_a_model_that_ends_in_probabilities_is_refused(function, word, ending):
    name = function.name
    with (
        torch.no_grad(),
        pytest.raises(Mistake, match=f"loss={name}: takes logits, but the model ends in a {word}"),
    ):
        loss.refuse_probabilities(function, Ending(ending), torch.randn(3, 5))


def test_other_endings_and_other_losses_pass():
    x = torch.randn(3, 5)
    for ending in (nn.Identity(), nn.ReLU(), nn.Tanh(), lambda z: z.sigmoid() * 4 - 2):
        loss.refuse_probabilities(loss.cross_entropy, Ending(ending), x)
    loss.refuse_probabilities(loss.mse, Ending(nn.Sigmoid()), x)


def test_values_out_of_range_are_refused():
    z = torch.zeros(7, 4)
    with pytest.raises(ValueError, match="delta must be above 0, got 0"):
        loss.huber(z, LABELS, delta=0)
    with pytest.raises(ValueError, match="margin must be above 0, got -1"):
        loss.hinge(z, LABELS, margin=-1)
    with pytest.raises(ValueError, match="power must be 1 or 2, got 3"):
        loss.hinge(z, LABELS, power=3)
    with pytest.raises(Mistake, match="loss=hinge: needs class labels"):
        loss.hinge(z, NUMBERS)


@pytest.mark.proves("loss=auto")
@pytest.mark.parametrize("kind", ["classes", "numbers", "labels"])
def test_the_loss_of_the_task_is_that_of_its_own_option(compose_recipe, kind):
    y = {"classes": LABELS, "numbers": NUMBERS, "labels": SEVERAL.round()}[kind]
    classes = ("a", "b", "c", "d") if kind == "classes" else ()
    splits = [Split(torch.randn(7, 5), y.float() if not classes else y, torch.arange(7))] * 3
    data = Data("mine", *splits, (5,), classes, 4, "")
    recipe, named = compose_recipe(), compose_recipe(f"loss={loss.USUAL[kind]}")
    assert settle_loss(recipe, data) == kind
    assert recipe.loss == named.loss
    assert digest(recipe) == digest(named)
    assert structure(recipe) == structure(named)
    run = build.build(compose_recipe("model=linear"), data)
    assert run.loss.name == loss.USUAL[kind]
    given_back = compose_recipe("model=autoencoder")
    assert settle_loss(given_back, data) == "numbers"
    assert settle_loss(named, data) == ""


@pytest.mark.parametrize(
    ("y", "said", "labels"),
    [
        ([[0, 1], [1, 1]], None, True),
        ([[0, 1], [1, 1]], False, False),
        ([[0, 1], [1, 2]], None, False),
        ([[0], [1]], None, False),
        ([[0], [1]], True, True),
    ],
)
def test_columns_of_0_and_1_alone_are_labels_unless_the_data_say_otherwise(y, said, labels):
    assert loss.are_labels(torch.tensor(y).float(), said) == labels
