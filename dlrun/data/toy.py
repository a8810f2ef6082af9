"""Small made-up sets whose answer can be drawn: points in the plane, curves, plain noise."""

import inspect
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dlrun.data import Report, Source
from dlrun.data.fingerprint import hash_content, hash_samples
from dlrun.data.sample import make_numbers
from dlrun.errors import Mistake

Array = NDArray[Any]
Made = tuple[Array, Array]

CURVES: dict[str, Callable[[Array], Array]] = {
    "line": lambda x: x / 2,
    "sine": lambda x: np.sin(2 * np.pi * x),
}
"""Kinds whose target is a number: a function of x, to which noise is added."""
MEANS = 10
"""Of a mixture, for each class."""
_USES = {
    "noise": ("moons", "circles", "blobs", "spiral", *CURVES),
    "n_classes": ("blobs", "spiral"),
    "turns": ("spiral",),
}
"""The kinds that take a setting."""
_log = logging.getLogger("dlrun")


def toy(
    kind: str = "moons",
    n_samples: int = 500,
    noise: float = 0.2,
    n_classes: int = 3,
    turns: float = 1.0,
    seed: int = 0,
    cache: str | None = None,
    report: Report | None = None,
) -> Source:
    """Points in the plane in classes, or a curve of one variable with noise.

    moons, circles: two classes; blobs, spiral: `n_classes` of them; mixture: two, each of ten
    Gaussians, see `mixture_means`. noise: a standard deviation; of a mixture √(1/5) always.
    line: y = x/2 + ε; sine: y = sin(2πx) + ε with x uniform in [0, 1]. turns: of a spiral.
    Gives x (n_samples, 2) or (n_samples, 1) float32. Raises Mistake, and
    ValueError for a seed below 0.
    """
    makers: dict[str, Callable[[np.random.Generator], Made]] = {
        "moons": lambda g: _of_sklearn("make_moons", g, n_samples, noise=noise),
        "circles": lambda g: _of_sklearn("make_circles", g, n_samples, noise=noise, factor=0.5),
        "blobs": lambda g: _blobs(g, n_samples, n_classes, noise),
        "spiral": lambda g: _spiral(g, n_samples, n_classes, noise, turns),
        "mixture": lambda g: _mixture(g, n_samples, seed),
        **{name: partial(_curve, n_samples, noise, of) for name, of in CURVES.items()},
    }
    if kind not in makers:
        raise Mistake(f"data.kind={kind}: write one of {', '.join(makers)}")
    _check(n_samples=(n_samples, 2), n_classes=(n_classes, 2))
    if noise < 0:
        raise Mistake(f"data.noise={noise}: must not be negative")
    _say_idle(kind, noise=noise, n_classes=n_classes, turns=turns)
    x, y = makers[kind](make_numbers(seed))
    return _source(f"toy {kind}", x, y, kind in CURVES)


def _say_idle(kind: str, **values: float) -> None:
    """Say which settings of other kinds were changed in vain."""
    usual = inspect.signature(toy).parameters
    for name, value in values.items():
        if kind not in _USES[name] and value != usual[name].default:
            of = " and ".join(_USES[name]) if len(_USES[name]) < 3 else "other kinds"
            _log.warning(f"data.{name}={value}: changes nothing of data.kind={kind}; it is of {of}")


def gaussian(
    n_samples: int = 1000,
    features: int = 500,
    n_classes: int = 10,
    seed: int = 0,
    cache: str | None = None,
    report: Report | None = None,
) -> Source:
    """Numbers from N(0, 1) and classes drawn beside them: there is nothing to learn."""
    _check(n_samples=(n_samples, 2), features=(features, 1), n_classes=(n_classes, 2))
    generator = make_numbers(seed)
    x = generator.standard_normal((n_samples, features))
    return _source("gaussian", x, np.arange(n_samples) % n_classes, False)


def mixture_means(seed: int) -> Array:
    """(2, 10, 2) The means of a mixture's Gaussians, of each class; their covariance is I/5.

    Those of class 0 are drawn from N((1, 0), I), those of class 1 from N((0, 1), I): Hastie,
    Tibshirani, Friedman 2009, The Elements of Statistical Learning, 2.3.3.
    """
    generator = np.random.default_rng([seed, 1])
    centres = np.array([[1.0, 0.0], [0.0, 1.0]])
    drawn: Array = centres[:, None] + generator.standard_normal((2, MEANS, 2))
    return drawn


def mixture_odds(x: Array, seed: int) -> Array:
    """(n,) p(class 1)/p(class 0) at points (n, 2) of a mixture: 1 at the Bayes boundary."""
    squares = ((x[:, None, None] - mixture_means(seed)) ** 2).sum(-1)  # (n, 2, MEANS)
    densities = np.exp(-2.5 * squares).sum(-1)
    odds: Array = densities[:, 1] / densities[:, 0]
    return odds


def _of_sklearn(name: str, generator: np.random.Generator, samples: int, **options: Any) -> Made:
    from sklearn import datasets

    drawn = int(generator.integers(2**31))
    x, y = getattr(datasets, name)(samples, random_state=drawn, **options)
    return x, y


def _blobs(generator: np.random.Generator, samples: int, classes: int, noise: float) -> Made:
    """Gaussians around equally distant points of the unit circle."""
    y = np.arange(samples) % classes
    angles = 2 * np.pi * y / classes
    centres = np.stack([np.cos(angles), np.sin(angles)], 1)
    return centres + noise * generator.standard_normal((samples, 2)), y


def _spiral(
    generator: np.random.Generator, samples: int, classes: int, noise: float, turns: float
) -> Made:
    """Arms of a spiral, one a class, of radius 0 to 1; the noise is that of the angle."""
    y = np.arange(samples) % classes
    radius = np.sqrt(generator.random(samples))
    angle = 2 * np.pi * (y / classes + turns * radius) + noise * generator.standard_normal(samples)
    return radius[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1), y


def _mixture(generator: np.random.Generator, samples: int, seed: int) -> Made:
    y = np.arange(samples) % 2
    means = mixture_means(seed)[y, generator.integers(MEANS, size=samples)]
    return means + np.sqrt(1 / 5) * generator.standard_normal((samples, 2)), y


def _curve(
    samples: int, noise: float, of: Callable[[Array], Array], generator: np.random.Generator
) -> Made:
    x = generator.random((samples, 1))
    return x, of(x) + noise * generator.standard_normal((samples, 1))


def _source(name: str, x: Array, y: Array, regression: bool) -> Source:
    x = x.astype(np.float32)
    y = y.astype(np.float32 if regression else np.int64)
    classes = () if regression else tuple(map(str, range(int(y.max()) + 1)))
    hashes = hash_samples(x)
    return Source(
        name=name,
        x=torch.from_numpy(x),
        y=torch.from_numpy(y),
        hashes=torch.from_numpy(hashes),
        digest=hash_content(hashes, y, classes, {}),
        classes=classes,
        columns=("x", "y")[: x.shape[1]] if x.shape[1] <= 2 else (),
    )


def _check(**counts: tuple[int, int]) -> None:
    """Raise Mistake for a count that is less than the least it may be."""
    for name, (count, least) in counts.items():
        if count < least:
            raise Mistake(f"data.{name}={count}: must be at least {least}")
