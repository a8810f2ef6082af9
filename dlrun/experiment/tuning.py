"""Choosing by the test split, on purpose: what the best of many tries promises there, and keeps."""

from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from dlrun.errors import Mistake
from dlrun.finding import WARN, Finding
from dlrun.procedure import Lab, Outcome, Training
from dlrun.report.chart import Chart

CHOSEN, FRESH = "chosen_by", "fresh"
SURE = 2.0
"""Standard errors by which the promise must be above what is kept."""


def tuned_on_test(lab: Lab, tries: int = 40) -> Outcome:
    """A procedure whose value is the accuracy, on fresh samples, of the best by the test split.

    tries: trainings that differ in their seed alone, as settings do that do not matter. The test
    split is dealt in two: by the smaller part, of as many samples as validation, the best is
    chosen, and the rest nobody looks at before. Raises Mistake where it is too small for that.
    """
    data, first = lab.data(), int(lab.recipe["seed"])
    test, many = data.test.rows.tolist(), len(data.val)
    if tries < 2 or not 0 < many < len(test):
        raise Mistake(
            f"procedure.tries={tries}: takes 2 or more, and a test split larger than val, whose "
            f"sizes are {len(test)} and {many}"
        )
    rows = {
        "train": data.train.rows.tolist(),
        "val": data.val.rows.tolist(),
        CHOSEN: test[:many],
        FRESH: test[many:],
    }
    runs = lab.train(
        [
            Training(f"try {n + 1}", {"seed": first + n}, rows, test=False, export=False)
            for n in range(tries)
        ]
    )
    val = np.array([run.value for run in runs])
    chosen, fresh = (
        np.array([run.last[f"{name}/accuracy"] for run in runs]) for name in (CHOSEN, FRESH)
    )
    counts = list(range(1, tries + 1))
    promised = [float(best_of(chosen, chosen, k)) for k in counts]
    kept = [float(best_of(chosen, fresh, k)) for k in counts]
    honest = [float(best_of(val, chosen, k)) for k in counts]
    error = sqrt(promised[-1] * (1 - promised[-1]) / many)
    values = {
        "promised by the test split": promised[-1],
        "on fresh samples": kept[-1],
        "chosen by validation, on test": honest[-1],
        "expected of the best": expected_best(float(chosen.mean()), many, tries),
    }
    found = _finding(promised[-1], kept[-1], error, tries, many)
    return Outcome(
        value=kept[-1],
        runs=runs,
        findings=found,
        values=values | {"finding/validation_overused": float(bool(found))},
        text=(
            f"the best of {tries} by {many} test samples has an accuracy of {promised[-1]:.3f} "
            f"there, and of {kept[-1]:.3f} on {len(test) - many:,} samples nobody has chosen by"
        ),
        chart=Chart(
            "tuned_on_test",
            "tries",
            "accuracy of the best",
            counts,
            {
                "chosen and reported on the same test samples": promised,
                "the same network on fresh samples": kept,
                "chosen by validation, reported on test": honest,
            },
            levels={"all tries, on average": float(fresh.mean())},
            linear=True,
        ),
    )


def best_of(by: NDArray[np.float64], value: NDArray[np.float64], k: int) -> float:
    """The mean of `value` at the highest `by`, over all choices of k tries; ties in their order.

    The r-th highest of n is the best of C(n − r, k − 1) of the C(n, k) choices.
    """
    order = np.argsort(-by, kind="stable")
    n, weights, left = len(by), np.zeros(len(by)), 1.0
    for place in range(n - k + 1):  # hypergeometric: none of the better ones is among the k
        weights[place] = left * k / (n - place)
        left *= 1 - k / (n - place)
    return float(weights @ value[order])


def expected_best(accuracy: float, samples: int, tries: int) -> float:
    """The highest share of right answers to expect of independent tries that are equally good.

    p + √(p(1 − p)/n)·Φ⁻¹((k − 0.375)/(k + 0.25)), by the normal distribution: Blom 1958.
    """
    place = NormalDist().inv_cdf((tries - 0.375) / (tries + 0.25))
    return accuracy + sqrt(accuracy * (1 - accuracy) / samples) * place


def _finding(promised: float, kept: float, error: float, tries: int, many: int) -> list[Finding]:
    if promised - kept <= SURE * error:
        return []
    return [
        Finding(
            "validation_overused",
            WARN,
            f"The best of {tries} tries by {many} test samples is right on {promised:.1%} of them, "
            f"and on {kept:.1%} of fresh ones: what was chosen by a split says nothing there.",
            {"promised": promised, "kept": kept, "error": error},
        )
    ]
