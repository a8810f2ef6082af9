"""What the losses so far say of those to come."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SETTLED = 0.95
"""The share of its fall that a loss has behind it when it has converged."""
FAR = 10
"""Nothing is said of what lies so many times as far as the losses that are known."""
_WINDOW = 10  # losses whose mean is compared
_BINS = 40  # of the losses, ever longer ones
_KEPT = 2 / 3  # of the losses, which must foretell the others
_SURE = 5  # standard errors that a fall must be above none
_OFF = 0.1  # of the fall, by which the others may differ from what is foretold

Numbers = NDArray[np.float64]


def better_than(losses: Sequence[float], loss: float) -> int | None:
    """The first step whose losses are below another by two standard errors; None for none."""
    for end in range(_WINDOW, len(losses) + 1):
        last = losses[end - _WINDOW : end]
        if not math.isfinite(sum(last)):
            return None
        if fmean(last) + 2 * stdev(last) / math.sqrt(_WINDOW) < loss:
            return end
    return None


def settles(losses: Sequence[float]) -> float | None:
    """The step at which a loss has `SETTLED` of its fall behind it, inf beyond `FAR` times them.

    From a + b·e^(−n/τ) or a + b·n^(−c), whichever fits better. None where the first two thirds
    do not foretell the last one, or nothing falls.
    """
    y = np.asarray(losses, float)
    if len(y) < 3 * _WINDOW or not np.isfinite(y).all():
        return None
    part = int(len(y) * _KEPT)
    before, whole = _fitted(y[:part]), _fitted(y)
    if before is None or whole is None:
        return None
    rest = y[part:]
    foretold = float(before(np.arange(part + 1, len(y) + 1)).mean())
    scatter = float(rest.std(ddof=1))
    error = scatter / math.sqrt(len(rest))
    fall = float(y[:_WINDOW].mean() - rest.mean())
    if fall <= _SURE * scatter / math.sqrt(_WINDOW) or abs(foretold - rest.mean()) > max(
        3 * error, _OFF * fall
    ):
        return None
    return whole.settles if whole.settles <= FAR * len(y) else math.inf


class _Curve(NamedTuple):
    """a + b·g(n). settles: where it has `SETTLED` of its fall since step 1 behind it."""

    a: float
    b: float
    g: Callable[[Numbers], Numbers]
    settles: float

    def __call__(self, n: NDArray[np.number]) -> Numbers:
        return self.a + self.b * self.g(n.astype(float))


def _exponential(tau: float, n: Numbers) -> Numbers:
    found: Numbers = np.exp(-(n - 1) / tau)
    return found


def _power(c: float, n: Numbers) -> Numbers:
    found: Numbers = n**-c
    return found


def _fitted(y: Numbers) -> _Curve | None:
    """The curve with the least squares; None where none falls."""
    edges = np.unique(np.geomspace(1, len(y) + 1, _BINS).astype(int))
    n = (edges[:-1] + edges[1:] - 1) / 2
    counts = np.diff(edges)
    means = np.add.reduceat(y, edges[:-1] - 1) / counts
    weights = np.sqrt(counts)
    left = 1 - SETTLED
    shapes = [
        (partial(_exponential, tau), 1 - tau * math.log(left))
        for tau in np.geomspace(1, 3 * len(y), 60)
    ]
    shapes += [(partial(_power, c), left ** (-1 / c)) for c in np.geomspace(0.05, 3, 40)]
    best, least = None, math.inf
    for g, settles in shapes:
        columns = np.stack([np.ones(len(n)), g(n)], axis=1)
        (a, b), *_ = np.linalg.lstsq(columns * weights[:, None], means * weights, rcond=None)
        if a < 0:  # no loss ends below 0
            a, b = 0.0, float((weights**2 * g(n) * means).sum() / (weights**2 * g(n) ** 2).sum())
        error = float((weights**2 * (a + b * g(n) - means) ** 2).sum())
        if b > 0 and error < least:
            best, least = _Curve(float(a), float(b), g, settles), error
    return best
