"""Choosing by the test split, on purpose: what the best of many tries promises there, and keeps."""

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from dlrun.errors import Mistake
from dlrun.finding import WARN, Finding
from dlrun.procedure import Lab, Outcome, RecordedRun, Training
from dlrun.procedure.cross_validate import standard_error
from dlrun.record import PREDICTIONS, the_arrays
from dlrun.report.chart import Chart

TESTED = "tested"
SURE = 2.0
"""Standard errors by which the promise must be above what is kept."""


def tuned_on_test(lab: Lab, tries: int = 40, size: int = 100) -> Outcome:
    """A procedure whose value is the accuracy, on fresh samples, of the best by the test split.

    tries: trainings that differ in their seed alone, as settings do that do not matter. size: of
    a test split; so many are dealt from the recipe's as there are, each once that by which the best
    is chosen, while all others are fresh. What is told is the mean over them.
    Raises Mistake where there are not two of them.
    """
    data, first = lab.data(), int(lab.recipe["seed"])
    parts = len(data.test) // max(size, 1)
    if tries < 2 or parts < 2:
        raise Mistake(
            f"procedure.tries={tries} procedure.size={size}: takes 2 tries or more, and a test "
            f"split of twice the size or more, which has {len(data.test)} samples"
        )
    rows = {
        "train": data.train.rows.tolist(),
        "val": data.val.rows.tolist(),
        TESTED: data.test.rows.tolist()[: parts * size],
    }
    wanted = [
        Training(
            f"try {n + 1}", {"seed": first + n}, rows, predict=TESTED, test=False, export=False
        )
        for n in range(tries)
    ]
    return _judged(lab.train(wanted), size)


def _judged(runs: Sequence[RecordedRun], size: int) -> Outcome:
    """What the best of these runs promises and keeps, by test splits of this size."""
    tested = np.stack([_right(run).reshape(-1, size).mean(1) for run in runs])
    tries, parts = tested.shape
    others = (tested.sum(1, keepdims=True) - tested) / (parts - 1)
    val = np.repeat([[run.value] for run in runs], parts, 1)
    courses = {
        "chosen by the test split, reported there": _course(tested, tested),
        "the same, on fresh samples": _course(tested, others),
        "chosen by validation, reported on test": _course(val, tested),
    }
    promised, kept, honest = (float(course[-1].mean()) for course in courses.values())
    counts, mean = list(range(1, tries + 1)), float(tested.mean())
    expected = [expected_best(mean, size, count) for count in counts]
    gaps = _course(tested, tested - others)[-1]
    return Outcome(
        value=kept,
        runs=runs,
        findings=_finding(gaps, promised, kept, f"{tries} tries by {size}"),
        values={
            "promised": promised,
            "kept": kept,
            "chosen by validation": honest,
            "expected of independent tries": expected[-1],
        },
        text=(
            f"the best of {tries} by {size} test samples has an accuracy of {promised:.3f} there, "
            f"and of {kept:.3f} on others; the mean of {parts} test splits"
        ),
        chart=Chart(
            "tuned_on_test",
            "tries",
            "accuracy of the best",
            counts,
            {name: course.mean(1).tolist() for name, course in courses.items()}
            | {"expected of independent tries": expected},
            linear=True,
        ),
    )


def _right(run: RecordedRun) -> NDArray[np.float64]:
    """Of each sample that a run was tested on, in order, whether its answer is right."""
    kept = the_arrays(run.directory / PREDICTIONS)
    right: NDArray[np.bool_] = kept["output"].argmax(1) == kept["y"]
    return right[np.argsort(kept["row"])].astype(np.float64)


def _course(by: NDArray[np.float64], value: NDArray[np.float64]) -> NDArray[np.float64]:
    """`value` of the best by `by`, after each number of tries: (tries, parts) gives the same."""
    tries, parts = by.shape
    return np.array(
        [[best_of(by[:, p], value[:, p], k) for p in range(parts)] for k in range(1, tries + 1)]
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


def _finding(gaps: NDArray[np.float64], promised: float, kept: float, tries: str) -> list[Finding]:
    """That a promise is not kept: gaps, (parts,), by how much."""
    error = standard_error(gaps)
    if promised - kept <= SURE * error:
        return []
    return [
        Finding(
            "validation_overused",
            WARN,
            f"The best of {tries} test samples is right on {promised:.1%} of them, and on "
            f"{kept:.1%} of others: where a split has chosen, it no longer measures.",
            {"promised": promised, "kept": kept, "error": error},
        )
    ]
