"""How the scale and the correlation of inputs make gradient descent slow: the condition number."""

from collections.abc import Mapping, Sequence
from math import log
from typing import Any

import numpy as np
import torch

from dlrun.data import Report, Source
from dlrun.data.fingerprint import hash_content, hash_samples
from dlrun.data.sample import make_numbers
from dlrun.engine.batches import gather
from dlrun.engine.evaluate import ready
from dlrun.engine.run import Run
from dlrun.experiment.fit import check_correlation
from dlrun.procedure import Lab, Outcome, RecordedRun, Training, procedure
from dlrun.procedure.contrast import varied
from dlrun.report.chart import Chart

_LOSS = "train/loss"


def badly_scaled(
    n_samples: int = 500,
    correlation: float = 0.9,
    seed: int = 0,
    cache: str | None = None,
    report: Report | None = None,
) -> Source:
    """Two correlated inputs, the second with another scale and mean, and a line through them.

    z ~ N(0, [[1, correlation], [correlation, 1]]), x = (z₁, 4·z₂ + 4), y = z₁ + 2·z₂ + 1.
    Raises Mistake for a correlation that cannot be.
    """
    check_correlation(correlation)
    generator = make_numbers(seed)
    covariance = [[1.0, correlation], [correlation, 1.0]]
    z = generator.multivariate_normal([0.0, 0.0], covariance, n_samples)
    x = (z * [1.0, 4.0] + [0.0, 4.0]).astype(np.float32)
    y = (z @ [[1.0], [2.0]] + 1).astype(np.float32)
    hashes = hash_samples(x)
    return Source(
        name="badly scaled",
        x=torch.from_numpy(x),
        y=torch.from_numpy(y),
        hashes=torch.from_numpy(hashes),
        digest=hash_content(hashes, y, (), {}),
        columns=("x1", "x2"),
    )


@procedure(judged=False)
def scaling(lab: Lab, variants: dict[str, Any], target: float = 1e-4) -> Outcome:
    """Train a linear model in each variant at the best rate, 2/(λmin + λmax), to a loss.

    λ: eigenvalues of the Hessian. With κ = λmax/λmin the error falls by at least
    (κ − 1)/(κ + 1) a step, and the loss by its square.
    """
    runs: list[RecordedRun] = []
    found: dict[str, dict[str, float]] = {}
    for name, words in variants.items():
        other = varied(lab, name, words)
        with other.built(Training(recorded=False)) as built:
            low, high = curvature(built.run)
        rate = 2 / (low + high)
        wanted = Training(name, {"optimizer.lr": rate}, until={_LOSS: target}, export=False)
        runs += other.train([wanted])
        steps = float(runs[-1].points[-1]["step"])
        found[name] = {"condition": high / low, "rate": rate, "steps": steps}
    return Outcome(
        runs=runs,
        values={f"{name} {key}": v for name, row in found.items() for key, v in row.items()},
        table=[{"variant": name, **row} for name, row in found.items()],
        chart=_charts([*found], [row["condition"] for row in found.values()], runs, target),
    )


def curvature(run: Run) -> tuple[float, float]:
    """The smallest and largest eigenvalue of the Hessian of a linear model's mean squared error.

    2·E[x̃x̃ᵀ] over the training split, x̃ = (x, 1).
    """
    split = run.data.train
    x, _ = gather(split.x, split.y, split.rows)
    inputs = ready(run, run.evaluation(x.to(run.device))).double().flatten(1)
    inputs = torch.cat([inputs, torch.ones_like(inputs[:, :1])], 1)
    found = torch.linalg.eigvalsh(2 * inputs.T @ inputs / len(inputs))
    return float(found[0]), float(found[-1])


def bound(condition: float, first: float, target: float) -> float:
    """The step at which the loss has come from the first to the target at the latest.

    The loss of a step is measured before it, so that the first one is that of step 1.
    """
    rate = (condition - 1) / (condition + 1)
    return 1 + log(first / target) / (-2 * log(rate))


def _charts(
    names: Sequence[str], conditions: Sequence[float], runs: Sequence[RecordedRun], target: float
) -> list[Chart]:
    """The losses by step, and the steps by condition number beside what theory allows."""
    losses = {name: _course(run.points) for name, run in zip(names, runs, strict=True)}
    first = next(iter(losses.values()))[1][0]
    places = np.geomspace(min(conditions), max(conditions), 50).tolist()
    return [
        Chart("scaling", "step", "training loss", paths=losses, title="Each at its best rate"),
        Chart(
            name="condition",
            x="condition number",
            y=f"steps to a loss of {target:g}",
            paths={"at most": (places, [bound(each, first, target) for each in places])},
            dots={
                name: ([condition], [run.points[-1]["step"]])
                for name, condition, run in zip(names, conditions, runs, strict=True)
            },
            log=True,
            title="Steps grow with the condition number",
        ),
    ]


def _course(points: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    """The training loss by step."""
    found = [(each["step"], each["values"][_LOSS]) for each in points if _LOSS in each["values"]]
    return [step for step, _ in found], [loss for _, loss in found]
