"""The statistics behind the critic's findings: what may be chance, a trend, and what matters."""

import math
import random
import statistics
from collections.abc import Sequence
from typing import Any

from dlrun.record.sweep import Dimension, Point, Sweep, named

NEIGHBOURS = 0.05
"""The part by which numbers of a range may differ and still be the same for any purpose."""
LEAST = 10
"""Finished points below which nothing is said about importance, and five a dimension."""


def error(sweep: Sweep, point: Point) -> float | None:
    """The standard error of a point's score; None where nothing tells it.

    Of its repeats where it has some; else, of an accuracy, the binomial one of the samples
    that it was measured on.
    """
    if point.stderr is not None:
        return point.stderr
    if not sweep.metric.share or not point.samples:
        return None
    share = min(max(point.mean, 0.0), 1.0)
    return math.sqrt(share * (1 - share) / point.samples)


def alike(sweep: Sweep, one: Point, other: Point) -> bool:
    """Whether two points are the same for any practical purpose.

    They agree in every choice, and in every number of a range within 5 %.
    """
    for dimension in sweep.dimensions:
        a, b = one.values.get(dimension.key), other.values.get(dimension.key)
        if not dimension.ranged:
            if named(a) != named(b):
                return False
        elif a is None or b is None or abs(a - b) > NEIGHBOURS * max(abs(a), abs(b)):
            return False
    return True


def chance(dimension: Dimension, points: Sequence[Point], draws: int = 500) -> float:
    """How often chance alone would part the points as much as this dimension does.

    A permutation test on ranks (Kruskal, Wallis 1952): the points are grouped by their choice,
    or into thirds of a range, so that an optimum in the middle shows too.
    """
    ordered = sorted(points, key=lambda point: point.mean)
    rank = {id(point): place for place, point in enumerate(ordered)}
    groups = _groups(dimension, points)
    sizes = [len(group) for group in groups]
    ranks = [rank[id(point)] for group in groups for point in group]

    def parted(ranks: list[int]) -> float:
        total, start = 0.0, 0
        for size in sizes:
            total += sum(ranks[start : start + size]) ** 2 / size
            start += size
        return total

    observed = parted(ranks) * (1 - 1e-12)
    shuffle = random.Random(0)
    hits = 0
    for _ in range(draws):
        shuffle.shuffle(ranks)
        hits += parted(ranks) >= observed
    return (hits + 1) / (draws + 1)


def tail(total: int, bad: int, drawn: int, found: int) -> float:
    """The chance of at least `found` bad ones among `drawn` of `total`, `bad` of which are."""
    ways = sum(
        math.comb(bad, many) * math.comb(total - bad, drawn - many)
        for many in range(found, min(bad, drawn) + 1)
    )
    return ways / math.comb(total, drawn)


def slope(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """The least-squares slope and its standard error."""
    middle, mean = statistics.fmean(x), statistics.fmean(y)
    spread = sum((each - middle) ** 2 for each in x)
    steepness = sum((a - middle) * (b - mean) for a, b in zip(x, y, strict=True)) / spread
    left = sum((b - mean - steepness * (a - middle)) ** 2 for a, b in zip(x, y, strict=True))
    return steepness, math.sqrt(left / (len(x) - 2) / spread)


def varied(sweep: Sweep) -> list[Dimension]:
    """The dimensions that took several values among the finished points."""
    taken = {
        one.key: {named(point.values.get(one.key)) for point in sweep.ranked}
        for one in sweep.dimensions
    }
    return [one for one in sweep.dimensions if len(taken[one.key]) > 1]


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
    used = varied(sweep)
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


def _groups(dimension: Dimension, points: Sequence[Point]) -> list[list[Point]]:
    if dimension.ranged:
        ordered = sorted(points, key=lambda point: float(point.values[dimension.key]))
        third = math.ceil(len(ordered) / 3)
        return [ordered[start : start + third] for start in range(0, len(ordered), third)]
    groups: dict[str, list[Point]] = {}
    for point in points:
        groups.setdefault(named(point.values.get(dimension.key)), []).append(point)
    return list(groups.values())


def _distribution(dimension: Dimension, points: Sequence[Point]) -> Any:
    from optuna import distributions

    values = [float(p.values[dimension.key]) for p in points] if dimension.numeric else []
    if not values:
        return distributions.CategoricalDistribution(
            sorted({named(point.values.get(dimension.key)) for point in points})
        )
    low, high = dimension.ends  # a stage around the best may reach beyond them
    return distributions.FloatDistribution(min(low, *values), max(high, *values), log=dimension.log)


def _param(dimension: Dimension, point: Point) -> Any:
    if dimension.numeric:
        return float(point.values[dimension.key])
    return named(point.values.get(dimension.key))
