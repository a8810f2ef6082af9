"""The statistics behind the critic's findings: what may be chance, a trend, and what matters."""

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dlrun.record.sweep import Dimension, Point, Sweep, named

LEVEL = 0.95
"""How often an interval of a difference holds the true one."""
ERRORS = 2.0
"""Standard errors that stand for it where the difference is not one of paired seeds."""
MOST_SEEDS = 100
"""Seeds beyond which a difference is too small to be worth the decision."""

NEIGHBOURS = 0.05
"""The part by which numbers of a range may differ and still be the same for any purpose."""
LEAST = 10
"""Finished points below which nothing is said about importance, and five a dimension."""
WEAK = 0.05
"""The share of the variation below which a hyperparameter hardly matters."""
SAMPLES = "data.samples"
"""The dimension that is no choice of a recipe but asks for a learning curve."""


@dataclass(frozen=True)
class Difference:
    """By how much one point is better than another, and how sure that is.

    mean: above 0 where it is better. error: the standard error. factor: how many of them the
    interval reaches to either side. pairs: how many seeds both were run with; 0 where the runs
    are not paired.
    """

    mean: float
    error: float
    factor: float
    pairs: int = 0

    @property
    def noise(self) -> float:
        """Half the width of the interval."""
        return self.factor * self.error

    @property
    def ends(self) -> tuple[float, float]:
        """The interval: of 95 % where the seeds are paired, else of two standard errors."""
        return self.mean - self.noise, self.mean + self.noise

    @property
    def decided(self) -> bool:
        """Whether the interval leaves out 0."""
        return abs(self.mean) > self.noise

    @property
    def wanted(self) -> int:
        """How many paired seeds would decide, one more than there are at least; 0 if too many.

        They do where the spread of the differences and their mean stay as they are.
        """
        spread = self.error * math.sqrt(self.pairs)
        for many in range(max(self.pairs + 1, 2), MOST_SEEDS + 1):
            if abs(self.mean) > quantile(many - 1) * spread / math.sqrt(many):
                return many
        return 0


def difference(sweep: Sweep, one: Point, other: Point) -> Difference | None:
    """By how much a point is better than another; None where nothing tells what is chance.

    Where both were run with the same seeds, two at least: the mean of the differences by seed,
    and Student's interval of it (Student 1908). Else the difference of the means, with the
    errors of both as `error` gives them.
    """
    here, there = ({run.seed: float(run.value or 0.0) for run in p.scored} for p in (one, other))
    seeds = sorted(here.keys() & there.keys())
    if len(seeds) > 1:
        apart = [sweep.sign * (here[seed] - there[seed]) for seed in seeds]
        spread = max(statistics.stdev(apart), _rounding(sweep, one))
        error_of_mean = spread / math.sqrt(len(seeds))
        factor = quantile(len(seeds) - 1)
        return Difference(statistics.fmean(apart), error_of_mean, factor, len(seeds))
    errors = error(sweep, one), error(sweep, other)
    if errors[0] is None or errors[1] is None:
        return None
    gap = sweep.sign * (one.mean - other.mean)
    return Difference(gap, math.hypot(errors[0], errors[1]), ERRORS)


def gains(sweep: Sweep) -> list[tuple[Point, Difference]]:
    """What each ingredient of an ablation gives, the most first: the recipe against that without.

    Empty where the sweep is no ablation, or the whole recipe has no result.
    """
    whole = sweep.whole
    if whole is None:
        return []
    found = [
        (
            point,
            difference(sweep, whole, point)
            or Difference(sweep.sign * (whole.mean - point.mean), math.inf, ERRORS),
        )
        for point in sweep.ranked
        if point is not whole
    ]
    return sorted(found, key=lambda pair: -pair[1].mean)


def _rounding(sweep: Sweep, point: Point) -> float:
    """The least spread of differences of an accuracy, which goes by steps of one sample.

    Few seeds may agree to the last step; each of the two is rounded to it, with a variance of
    step²/12 (Sheppard 1898).
    """
    return 1 / (point.samples * math.sqrt(6)) if sweep.metric.share and point.samples else 0.0


def quantile(degrees: int) -> float:
    """How many standard errors an interval of Student's distribution reaches to either side."""
    from scipy.special import stdtrit  # takes 0.2 s to import

    return float(stdtrit(degrees, (1 + LEVEL) / 2))


def error(sweep: Sweep, point: Point) -> float | None:
    """The standard error of a point's score; None where nothing tells it.

    Of its repeats where it has some; else, of an accuracy, the binomial one of the samples
    that it was measured on and four more, half of them right: so that it is above 0 where all
    or none are right (Agresti, Coull 1998).
    """
    if point.stderr is not None:
        return point.stderr
    if not sweep.metric.share or not point.samples:
        return None
    many = point.samples + ERRORS**2
    share = (min(max(point.mean, 0.0), 1.0) * point.samples + ERRORS**2 / 2) / many
    return math.sqrt(share * (1 - share) / many)


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


def split_chance(sizes: Sequence[int], bad: int, least: float) -> float:
    """How often chance has a split of ordered groups by a `tail` of at most `least`.

    sizes: of the groups, from the one on; bad: how many are so in all. Exact: the arrangements
    without such a split are counted, group by group.
    """
    total, drawn, ways = sum(sizes), 0, {0: 1}
    for size in sizes:
        drawn += size
        grown: dict[int, int] = {}
        for found, many in ways.items():
            for more in range(min(size, bad - found) + 1):
                grown[found + more] = grown.get(found + more, 0) + many * math.comb(size, more)
        limit = least * (1 + 1e-9) if drawn < total else -1.0
        ways = {found: n for found, n in grown.items() if tail(total, bad, drawn, found) > limit}
    return 1 - ways.get(bad, 0) / math.comb(total, bad)


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
        study = optuna.create_study(direction=sweep.direction)
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
