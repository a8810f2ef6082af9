"""When a loss is better than another, and when it will have converged."""

import math

import numpy as np
import pytest

from dlrun.report.forecast import better_than, settles


def test_better_by_two_standard_errors():
    noise = np.random.default_rng(0).normal(0, 0.1, 300)
    flat = 2.3 + noise[:100]
    assert better_than(list(flat), 2.3) is None or better_than(list(flat), 2.3) > 10
    falling = np.concatenate([flat, 2.0 + noise[100:]])
    step = better_than(list(falling), 2.2)
    assert 101 <= step <= 110
    assert better_than([1.0] * 9, 2.0) is None
    assert better_than([1.0] * 10, 2.0) == 10


@pytest.mark.parametrize("tau", [20.0, 60.0])
def test_an_exponential_settles_after_three_time_constants(tau):
    n = np.arange(1, 301)
    losses = 0.3 + 2 * np.exp(-(n - 1) / tau) + np.random.default_rng(1).normal(0, 0.02, 300)
    assert settles(list(losses)) == pytest.approx(1 - tau * math.log(0.05), rel=0.15)


def test_what_is_yet_to_come_is_foretold():
    n = np.arange(1, 201)
    losses = 0.5 + 2 * np.exp(-(n - 1) / 100) + np.random.default_rng(2).normal(0, 0.01, 200)
    assert settles(list(losses)) == pytest.approx(300, rel=0.25)


def test_a_slow_power_lies_too_far():
    assert settles(list(3 * np.arange(1.0, 301) ** -0.2)) == math.inf


@pytest.mark.parametrize(
    "losses",
    [
        [1.0] * 20,
        [2.3 + 0.1 * (-1) ** n for n in range(100)],
        [0.1 * n for n in range(100)],
        [2.0] * 80 + [0.1] * 40,
        [1.0] * 50 + [math.nan] * 50,
    ],
    ids=["short", "flat", "rising", "jumping", "nan"],
)
def test_nothing_is_said_where_nothing_can_be(losses):
    assert settles(losses) is None
