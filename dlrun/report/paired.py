"""How sure it is that one model is better than another, by what both say of the same samples."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dlrun.report.evidence import ERRORS, Difference

_EXACT = 1000
"""Samples of which only one is right, up to which the test is exact."""


def paired(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> Difference:
    """By how much the mean of the first is higher, with the standard error of the differences.

    ours, theirs: (n,) of the same samples, such as whether each is right. What is hard for both
    counts for neither, so that the error is smaller than that of two sets of samples.
    """
    apart = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    count = len(apart)
    error = float(apart.std(ddof=1)) / math.sqrt(count) if count > 1 else math.inf
    return Difference(float(apart.mean()), error, ERRORS, count)


def unpaired(ours: float, theirs: float, errors: Sequence[float]) -> Difference:
    """The same where they are of different samples; errors: the standard error of each mean."""
    return Difference(ours - theirs, math.hypot(*errors), ERRORS)


def binomial(share: float, count: int) -> float:
    """The standard error of a share of so many samples."""
    return math.sqrt(share * (1 - share) / count) if count else math.inf


def mcnemar(only_first: int, only_second: int) -> float:
    """How often chance alone would part two classifiers that are equally good as much.

    only_first, only_second: how many samples one alone has right. McNemar 1947, Note on the
    sampling error of the difference between correlated proportions; Dietterich 1998, Approximate
    statistical tests for comparing supervised classification learning algorithms: of such tests on
    one test set, the one that finds no difference where there is none. By the binomial
    distribution; of more than 1,000 by its normal approximation with Edwards' correction.
    """
    total, fewer = only_first + only_second, min(only_first, only_second)
    if total > _EXACT:
        apart = max(0, abs(only_first - only_second) - 1)
        return math.erfc(apart / math.sqrt(2 * total))
    ways = sum(math.comb(total, many) for many in range(fewer + 1))
    return float(min(1.0, 2 * ways / 2**total))
