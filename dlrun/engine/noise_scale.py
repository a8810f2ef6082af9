"""The gradient noise scale: how many samples a step can use before more of them hardly help.

McCandlish, Kaplan, Amodei, OpenAI Dota Team 2018, An Empirical Model of Large-Batch Training:
B = tr(Σ)/|G|², Σ the covariance of the gradient of one sample, G the gradient of all. The best
rate for mini-batches of b samples is in proportion to 1/(1 + B/b): to b while b is far below B,
and hardly larger beyond.
"""

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from dlrun.engine.batches import order
from dlrun.engine.look import untouched
from dlrun.engine.run import Run
from dlrun.engine.step import training_batches

SAMPLES, PARTS = 2048, 32
"""Of the training split, at most; gradients of equal parts of them."""
_NUMBERS = 2**28  # of all these gradients, at most
_FEWEST = 8  # parts
_LEAST = 2  # samples of a part: one gives batch norm no variance
FEWEST_SAMPLES = _FEWEST * _LEAST
"""Of the training split, from which on anything can be said."""


class Noise(NamedTuple):
    """The noise scale in samples, and what a jackknife says of its standard error.

    Infinite where the parts are too few or too noisy to show a common gradient.
    """

    scale: float
    error: float

    def best(self, batch: float, base: float) -> float:
        """Times what the best rate for mini-batches of `base` samples is that for `batch`."""
        if self.scale == inf:
            return batch / base
        return (1 + self.scale / base) / (1 + self.scale / batch)


def noise_scale(run: Run) -> Noise:
    """Of a run with the weights that it has, on what training sees; nothing of it is changed."""
    weights = run.weights
    numbers = sum(weight.numel() for weight in weights)
    parts = max(_FEWEST, min(PARTS, _NUMBERS // numbers))
    with untouched(run), torch.enable_grad():
        run.model.train()
        rows = order(run.order(0), epoch=0, seed=0)[:SAMPLES]  # parts that are alike, in any order
        seen = list(training_batches(run, rows))
        x, y = (torch.cat(each) for each in zip(*seen, strict=True))
        size = max(_LEAST, len(x) // parts)
        gradients = []
        for bx, by in zip(x.split(size), y.split(size), strict=True):
            if len(bx) == size:
                loss = run.objective(run.uncompiled(bx), by)
                found = torch.autograd.grad(loss, weights, allow_unused=True)
                gradients.append(torch.cat([g.flatten() for g in found if g is not None]))
    return estimated(gradients, size)


def estimated(gradients: Sequence[Tensor], size: int) -> Noise:
    """From independent gradients, each (n,) the mean over `size` samples.

    Without bias in |G|² and tr(Σ), by the paper's appendix A.1, where all of them together are
    the large batch.
    """
    count = len(gradients)
    if count < _FEWEST:
        return Noise(inf, inf)
    together = torch.stack(list(gradients)).double()
    total, squares = together.sum(0), together.square().sum(1)
    own = _of(float(total.square().sum()), float(squares.sum()), count, size)
    if own == inf:
        return Noise(inf, inf)
    # The same without one of them at a time.
    left = total.square().sum() - 2 * together @ total + squares
    rest = (squares.sum() - squares).tolist()
    without = [_of(a, b, count - 1, size) for a, b in zip(left.tolist(), rest, strict=True)]
    mean = sum(without) / count
    spread = sum((each - mean) ** 2 for each in without)
    return Noise(own, ((count - 1) / count * spread) ** 0.5 if mean < inf else inf)


def _of(total: float, squares: float, count: int, size: int) -> float:
    """tr(Σ)/|G|² from |Σg|² and Σ|g|² of `count` gradients."""
    small, large = squares / count, total / count**2
    length = (count * large - small) / (count - 1)
    covariance = (small - large) * size * count / (count - 1)
    return covariance / length if length > 0 else inf
