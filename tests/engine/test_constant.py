"""The best constant answer against formulas and a brute-force search."""

import numpy as np
import pytest
import torch
from scipy import optimize

from dlrun import loss
from dlrun.engine.constant import best_constant, losses_of

DRAW = np.random.default_rng(0)
CLASSES = {
    name: torch.tensor([0, 1, 2]).repeat_interleave(torch.tensor(counts))
    for name, counts in {"rare": (80, 15, 5), "near": (40, 35, 25)}.items()
}
NUMBERS = torch.tensor(DRAW.exponential(2, (200, 2)) + 3, dtype=torch.float32)
SHARES = torch.tensor(DRAW.beta(1, 4, (200, 2)), dtype=torch.float32)
OF_CLASSES = [
    *(loss.cross_entropy, loss.bce, loss.mse, loss.mae, loss.huber, loss.huber.bound(delta=0.1)),
    *(loss.hinge, loss.hinge.bound(power=2), loss.hinge.bound(margin=5.0)),
]
OF_NUMBERS = [loss.mse, loss.mae, loss.huber, loss.huber.bound(delta=0.1)]


def value(function, answer, y):
    answer = torch.as_tensor(answer, dtype=torch.float32)
    return float(function(answer.expand(len(y), -1), y))


def least(function, y, outputs):
    """From many starts, without gradients (Nelder, Mead 1965)."""
    starts = np.array([[0, 0, 0], [1, 0, -1], [5, 1, 0]])[:, :outputs] + float(y.float().median())
    options = {"xatol": 1e-5, "fatol": 1e-8, "maxiter": 1000, "adaptive": True}
    found = [
        optimize.minimize(
            lambda z: value(function, z, y), start, method="Nelder-Mead", options=options
        ).fun
        for start in starts
    ]
    return min(found)


@pytest.mark.parametrize(
    ("function", "y", "outputs"),
    [(each, y, 3) for each in OF_CLASSES for y in CLASSES.values()]
    + [(each, NUMBERS, 2) for each in OF_NUMBERS]
    + [(each, SHARES, 2) for each in (*OF_NUMBERS, loss.bce)],
)
def test_no_constant_answer_is_better(function, y, outputs):
    found = value(function, best_constant(function, y, outputs), y)
    assert found <= 1.002 * least(function, y, outputs)


@pytest.mark.parametrize("share", [0.2, 0.45])
def test_of_two_classes_by_the_formulas(share):
    y = (torch.arange(1000) < 1000 * share).long()
    formulas = {
        "cross_entropy": -share * np.log(share) - (1 - share) * np.log(1 - share),
        "mse": share * (1 - share),
        "mae": share,
        "hinge": 2 * share,
    }
    for name, expected in formulas.items():
        function = loss.LOSSES[name]
        assert value(function, best_constant(function, y, 2), y) == pytest.approx(
            expected, rel=1e-5
        )


def test_of_a_loss_that_is_the_users_own():
    function = loss.of(lambda z, y: (z - y).abs().pow(3).mean())
    y = 2e4 + 300 * NUMBERS  # far from 0, and not standardized
    expected = least(lambda z, t: function(z, t), y[:, :1], 1)
    found = value(function, best_constant(function, y[:, :1], 1), y[:, :1])
    assert found == pytest.approx(expected, rel=2e-3)


def test_of_images():
    x = torch.tensor(DRAW.random((30, 1, 4, 4)), dtype=torch.float32)
    assert torch.allclose(best_constant(loss.mse, x, 0), x.mean(0))
    assert torch.allclose(best_constant(loss.bce, x, 0), x.mean(0).logit())


@pytest.mark.parametrize("function", [loss.cross_entropy, loss.cross_entropy.smoothed(0.1, 3)])
@pytest.mark.parametrize("y", CLASSES.values(), ids=CLASSES)
def test_the_losses_of_answers_are_those_of_all_targets(function, y):
    """Of each class once; of a function of the user, of which nothing is known, of each target."""
    answers = [torch.randn(3, generator=torch.Generator().manual_seed(n)) for n in range(4)]
    expected = [value(function, answer, y) for answer in answers]
    rows, plain = [], torch.nn.functional.cross_entropy
    counted = loss.of(lambda z, *args, **options: rows.append(len(z)) or plain(z, *args, **options))
    assert losses_of(function, answers, y).tolist() == pytest.approx(expected, rel=1e-6)
    assert losses_of(counted, answers, y).tolist() == [value(plain, each, y) for each in answers]
    assert rows == 4 * [len(y)]
