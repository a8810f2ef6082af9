"""How much each hyperparameter of a sweep matters."""

from collections.abc import Sequence
from typing import Any

from dlrun.record.sweep import Dimension, Point, Sweep, named

LEAST = 10
"""Finished points below which nothing is said about importance, and five a dimension."""


def enough(sweep: Sweep) -> int:
    """The finished points that it takes to say which hyperparameter matters."""
    return max(LEAST, 5 * len(sweep.dimensions))


def importances(sweep: Sweep) -> dict[str, float]:
    """The share of the objective's variation that each dimension explains, largest first.

    Mean decrease in impurity of a random forest (Louppe, Wehenkel, Sutera, Geurts 2013), by
    Optuna. Empty where it has no meaning: fewer finished points than `enough`, fewer than two
    dimensions that took several values, or an objective that never changed.
    """
    points = sweep.ranked
    if len(points) < enough(sweep) or len({point.mean for point in points}) < 2:
        return {}
    used = [each for each in sweep.dimensions if len({_text(p, each.key) for p in points}) > 1]
    if len(used) < 2:
        return {}
    # Imported here: Optuna and the forest cost a second.
    import optuna
    from optuna.importance import MeanDecreaseImpurityImportanceEvaluator, get_param_importances

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        distributions = {each.key: _distribution(each, points) for each in used}
        study = optuna.create_study(direction="maximize" if sweep.maximize else "minimize")
        study.add_trials(
            [
                optuna.trial.create_trial(
                    params={each.key: _param(each, point) for each in used},
                    distributions=distributions,
                    value=point.mean,
                )
                for point in points
            ]
        )
        forest = MeanDecreaseImpurityImportanceEvaluator(seed=0)
        shares = get_param_importances(study, evaluator=forest)
    finally:
        optuna.logging.set_verbosity(before)
    return {key: float(share) for key, share in shares.items()}


def _distribution(dimension: Dimension, points: Sequence[Point]) -> Any:
    from optuna import distributions

    values = [float(p.values[dimension.key]) for p in points] if dimension.numeric else []
    if not values:
        return distributions.CategoricalDistribution(
            sorted({_text(point, dimension.key) for point in points})
        )
    low, high = dimension.ends  # a stage around the best may reach beyond them
    return distributions.FloatDistribution(min(low, *values), max(high, *values), log=dimension.log)


def _param(dimension: Dimension, point: Point) -> Any:
    if dimension.numeric:
        return float(point.values[dimension.key])
    return _text(point, dimension.key)


def _text(point: Point, key: str) -> str:
    return named(point.values.get(key))
