"""Differences of paired answers, by formulas and by scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from dlrun.report.paired import binomial, mcnemar, paired, unpaired


def test_a_paired_difference_is_students():
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=(2, 50))
    found = paired(a, b)
    expected = stats.ttest_rel(a, b)
    assert found.mean / found.error == pytest.approx(expected.statistic)
    assert found.pairs == 50


def test_what_is_hard_for_both_counts_for_neither():
    hard = np.repeat([0.0, 1.0], 500)
    ours = hard.copy()
    ours[:20] = 1  # twenty more are right
    assert paired(ours, hard).decided
    errors = [binomial(float(each.mean()), 1000) for each in (ours, hard)]
    assert not unpaired(float(ours.mean()), float(hard.mean()), errors).decided


def test_the_error_of_a_share():
    assert binomial(0.9, 100) == pytest.approx(math.sqrt(0.9 * 0.1 / 100))


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 1), (3, 3), (12, 5), (40, 80)])
def test_mcnemar_is_the_binomial_test(first, second):
    total = first + second
    expected = stats.binomtest(first, total).pvalue if total else 1.0
    assert mcnemar(first, second) == pytest.approx(expected)


def test_of_many_it_is_nearly_the_same():
    assert mcnemar(540, 480) == pytest.approx(stats.binomtest(480, 1020).pvalue, rel=0.02)
    assert 0 < mcnemar(6000, 5000) < 1e-15
