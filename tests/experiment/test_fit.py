"""The small problems of the demonstrations, against numpy."""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.polynomial import legendre

from dlrun.errors import Mistake
from dlrun.experiment.fit import Polynomial, linear, on_the_wrong_side, samples
from dlrun.experiment.scaling import badly_scaled
from dlrun.experiment.scattered import scattered


def test_a_polynomial_is_a_sum_of_legendre_s():
    x = torch.linspace(0, 1, 20, dtype=torch.float64)[:, None]
    for degree in range(6):
        model = Polynomial(degree).double()
        weights = model.sum.weight.detach().numpy()[0]
        expected = legendre.legval(
            2 * x[:, 0].numpy() - 1, weights * np.sqrt(2 * np.arange(degree + 1) + 1)
        )
        assert np.allclose(model(x).detach().numpy()[:, 0], expected, atol=1e-12)


def test_so_many_samples_lie_on_the_wrong_side():
    parts = on_the_wrong_side(2000, {"train": 0.05, "val": 0.08})
    for name, share in (("train", 0.05), ("val", 0.08)):
        x, y = parts[name]
        wrong = (x[:, 0] > 4) != y
        assert wrong.mean() == share
        assert 0 < wrong[:1000].sum() < wrong.sum()  # not all of them first


def test_copies_of_samples():
    x, y = samples([[1.0, 2.0], [3.0, 4.0]], [5.0, 6.0], copies=2)["train"]
    assert x.tolist() == [[1, 2], [3, 4]] * 2
    assert y.tolist() == [[5], [6]] * 2


@pytest.mark.parametrize(
    "made",
    [
        scattered,
        badly_scaled,
        partial(linear, 5, [1.0, 2.0], 0.5, 0.1),
        partial(on_the_wrong_side, 5, {}),
    ],
)
def test_a_seed_below_0_is_named(made):
    with pytest.raises(ValueError, match=r"^seed must be at least 0, got -1$"):
        made(seed=-1)


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(Mistake, match=r"data.side=7: must be at least 8"):
        scattered(side=7)
    for make in (badly_scaled, partial(linear, weights=[2.0, 0.0], noise=0.2)):
        make(9, correlation=-1.0)
        for correlation in (1.5, -1.5):
            with pytest.raises(Mistake, match=r"must be from -1 to 1"):
                make(9, correlation=correlation)
    with pytest.raises(Mistake, match=r"must be from -0.5 to 1"):
        linear(9, [1.0, 1.0, 1.0], -0.6, 0.1)
