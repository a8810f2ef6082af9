"""Bias, variance and noise of a recipe on a known function, over many training sets.

Geman, Bienenstock, Doursat 1992, Neural Networks and the Bias/Variance Dilemma.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dlrun.data import Data
from dlrun.data.sample import make_generator
from dlrun.data.toy import CURVES
from dlrun.errors import Mistake
from dlrun.procedure import LENGTH, Lab, Outcome, Training, by_variant, procedure
from dlrun.procedure.contrast import labs
from dlrun.procedure.regions import Rule, known, line, points, says
from dlrun.report.chart import Chart

Array = NDArray[Any]
_DEALT = 11  # a use of the seed; others are elsewhere
_DRAWN = 20  # curves of a variant that are drawn, at most


@procedure(judged=False)
def bias_variance(lab: Lab, variants: dict[str, Any] | None = None, sets: int = 20) -> Outcome:
    """The procedure `bias_variance`: the parts of the error of variants.

    variants: as `contrast` takes them, each on its own data; None for the recipe alone.
    sets: into how many training sets the training split is dealt.

    Raises Mistake for data that are no known function, and for fewer than two sets of two samples.
    """
    named = labs(lab, variants) if variants else {"fitted": lab}
    data = {name: each.data() for name, each in named.items()}
    for name, of in data.items():
        _check(of, sets, f"procedure.variants.{name}: " if variants else "")
    seed = int(lab.recipe["seed"])
    runs, parts, charts = [], {}, {}
    for name, each in named.items():
        rows, own = _dealt(data[name].train.rows, sets, seed), int(each.recipe["seed"])
        trained = each.train([_wanted(name, part, own, place) for place, part in enumerate(rows)])
        rules = [partial(says, each.trained(run)) for run in trained]
        x, y = points(data[name], data[name].val)
        truth = known(data[name])
        assert truth is not None
        parts[name] = decomposed(np.stack([rule(x) for rule in rules]), truth(x), y)
        charts[name] = _curves(name, line(x[:, 0])[:, None], rules[:_DRAWN], truth)
        runs += trained
    best = min(parts, key=lambda name: parts[name]["error"])
    sizes = {len(of.train) // sets for of in data.values()}
    size = f"of {sizes.pop()} samples" if len(sizes) == 1 else "of each variant's own size"
    said = f"{best} has the lowest error:" if len(parts) > 1 else "the error is"
    first, *_, last = [*parts, *parts]
    return Outcome(
        runs=runs,
        values=by_variant(parts),
        text=f"Over {sets} training sets {size}, {said} {_told(parts[best])}",
        table=[{"": name, **found} for name, found in parts.items()],
        chart=[
            *([_sums(parts)] if len(parts) > 1 else []),
            *(charts[name] for name in dict.fromkeys([first, best, last])),
        ],
    )


def _check(data: Data, sets: int, where: str) -> None:
    """Raise Mistake for data that have no such parts. where: is said before it."""
    if known(data) is None:
        raise Mistake(
            f"{where}procedure=bias_variance: needs a function that is known: data=toy data.kind="
            f"{' or '.join(CURVES)}; for other data, procedure=ensemble tells variance"
        )
    if sets < 2 or len(data.train) < 2 * sets:
        raise Mistake(
            f"{where}procedure.sets={sets}: must be at least 2, of 2 samples each; the training "
            f"split has {len(data.train)}"
        )
    if not len(data.val):
        raise Mistake(f"{where}procedure=bias_variance: there is no validation split to measure on")


def _dealt(rows: Tensor, sets: int, seed: int) -> list[list[int]]:
    """The rows of each of so many training sets, which are equally large."""
    many = len(rows) // sets
    order = torch.randperm(len(rows), generator=make_generator(_DEALT, seed, 0))
    return [rows[part].tolist() for part in order[: many * sets].split(many)]


def _wanted(name: str, rows: Sequence[int], seed: int, place: int) -> Training:
    """The training of a variant on one of the sets, which there is no validation split beside."""
    return Training(
        name=f"{name}, set {place + 1}",
        settings={"monitor": "train/loss", "seed": seed + place},
        rows={"train": rows},
        ends=LENGTH,
        test=False,
        export=False,
    )


def decomposed(said: Array, truth: Array, y: Array) -> dict[str, float]:
    """The squared error of models in parts: error ≈ bias_squared + variance + noise.

    said: (models, n), each trained on other samples. truth: (n,) the function; y: (n,) the same
    with noise. Variance and bias² are estimated without bias of their own: the square of a mean
    over few models has a part of their variance in it, which is taken off. The three miss the error
    by the chance product of both deviations, whose expectation is 0.
    """
    models = len(said)
    variance = said.var(0, ddof=1).mean()
    return {
        "bias_squared": float(((said.mean(0) - truth) ** 2).mean() - variance / models),
        "variance": float(variance),
        "noise": float(((y - truth) ** 2).mean()),
        "error": float(((said - y) ** 2).mean()),
    }


def _told(found: Mapping[str, float]) -> str:
    bias, variance, noise, error = found.values()
    return f"{error:.4g} ≈ bias² {bias:.3g} + variance {variance:.3g} + noise {noise:.3g}"


def _sums(parts: Mapping[str, Mapping[str, float]]) -> Chart:
    """The parts of the error by variant."""
    names = {"bias_squared": "bias²", "variance": "variance", "noise": "noise", "error": "error"}
    return Chart(
        "bias_variance",
        "variant",
        "squared error",
        title="error and its parts",
        at=list(range(len(parts))),
        names=list(parts),
        curves={said: [found[key] for found in parts.values()] for key, said in names.items()},
    )


def _curves(name: str, along: Array, rules: Sequence[Rule], truth: Rule) -> Chart:
    """What models of one variant have learned of different samples."""
    places, fits = along[:, 0].tolist(), [rule(along) for rule in rules]
    thin = [(places, fit.tolist()) for fit in fits]
    paths = {"their mean": (places, np.mean(fits, 0).tolist())}
    paths |= {"function": (places, truth(along).tolist())}
    return Chart("bias_variance", "x", "y", title=name, paths=paths, thin=thin, linear=True)
