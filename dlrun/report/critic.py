"""What the results of a sweep say, in words, each with the command to type next.

Pure functions of plain data. A finding is made only where the points support it.
"""

import math
import statistics
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from dlrun import record, shell
from dlrun.finding import FAIL, NOTE, WARN, Finding
from dlrun.record.sweep import WITHOUT, Dimension, Point, Sweep, named
from dlrun.report import commands, edges, evidence
from dlrun.report.curves import Curve, mean_curve
from dlrun.report.evidence import (
    LEVEL,
    MOST_SEEDS,
    SAMPLES,
    WEAK,
    Difference,
    alike,
    chance,
    difference,
    enough,
    slope,
    split_chance,
    tail,
    varied,
)

CHANCE = 0.05
"""How often a split of failed and finished points may come about by chance."""
SURE = 0.1
"""How often chance must part the points as much before a hyperparameter hardly matters."""
REPEATS = 3
"""Seeds that are proposed where there was one."""
LITTLE = 0.05
"""The part of the error that a doubling of the data must take away to be worth it."""


def findings(
    sweep: Sweep,
    importance: Mapping[str, float],
    curves: Mapping[int, Sequence[Curve]],
    diagnosis: Container[str] = (),
    guessing: Mapping[str, float] | None = None,
) -> list[Finding]:
    """Everything the results support, the most pressing first.

    importance: the share of each dimension, as `evidence.importances` gives it.
    curves: of the objective, for each run of a point, by the point's trial.
    diagnosis: the names of what is said of the best run.
    guessing: what guessing gives on the validation split, the loss as `undecided`, and the
    accuracy or mae as `guess`, as far as the best run knows it.
    """
    if not sweep.ranked:
        return nothing_finished(sweep)
    # A plateau of the run's own says that much less would do.
    longer = [] if "plateau" in diagnosis else still_improving(sweep, curves)
    if sweep.whole:
        return ingredients(sweep) + longer
    found = above_a_rate(sweep, guessing)
    if len(sweep.ranked) < 2:
        return [*found, *too_few(sweep), *longer]
    alike = all_equal(sweep)
    if alike:
        return found + alike
    found += too_few(sweep) + edges.at_the_edge(sweep, importance)
    return (
        found + more_data(sweep) + within_noise(sweep) + hardly_matters(sweep, importance) + longer
    )


def nothing_finished(sweep: Sweep) -> list[Finding]:
    """No point came to its end, and at least one failed."""
    troubles = sweep.troubles()
    if not troubles or record.FINISHED in sweep.counts():
        return []
    message, points = next(iter(troubles.items()))
    text = f"No point finished. {len(points)} of {len(sweep.points)} say: {message}"
    numbers = {"failed": len(points), "points": len(sweep.points)}
    return [Finding("points_failed", FAIL, text, numbers, commands.once(sweep, points[0]))]


def all_equal(sweep: Sweep) -> list[Finding]:
    """At least three points that differ, and all of them with one score and one loss."""
    points = sweep.ranked
    scores = {score for point in points for score in point.scores}
    if len(points) < 3 or len(scores) > 1 or len({point.loss for point in points}) > 1:
        return []
    changed = [dimension.key for dimension in varied(sweep)]
    if not changed:  # the same point, drawn again
        return []
    keys = shell.listed(changed)
    text = (
        f"All {len(points)} points give the same {sweep.objective}, {points[0].mean:.4g}: "
        f"{keys} had no effect at all. See whether the recipe holds what you changed."
    )
    command = commands.once(sweep, points[-1], "--cfg", "job")
    return [Finding("no_effect", WARN, text, {"points": len(points)}, command)]


def too_few(sweep: Sweep) -> list[Finding]:
    """Fewer drawn points than it takes to say what matters. A grid has what it has."""
    if sweep.sampler == "grid" or not sweep.dimensions:
        return []
    # The keys of a zip have as many values together as each of them.
    apart = {one.key if one.zip is None else one.zip: one.many for one in sweep.dimensions}
    wanted = int(min(enough(sweep), math.prod(apart.values())))
    many = len(sweep.ranked)
    if many >= wanted:
        return []
    lost = sum(point.status != record.FINISHED for point in sweep.points)
    more = math.ceil((sweep.trials + wanted - many) / 10) * 10
    said = f" ({lost} did not)" if lost else ""
    text = (
        f"Only {shell.counted(many, 'point')} finished{said}, too few to say much about "
        f"{shell.counted(len(sweep.dimensions), 'hyperparameter')}; "
        f"{wanted} would be enough."
    )
    command = commands.again(sweep, {"sweep.trials": f"sweep.trials={more}"})
    return [Finding("too_few_points", NOTE, text, {"points": many, "wanted": wanted}, command)]


def within_noise(sweep: Sweep) -> list[Finding]:
    """The best two may be as good as each other.

    Where both were run with the same seeds, by the interval of the paired differences; else
    where they differ by less than two standard errors: of the repeats, or, of an accuracy that
    was measured once, of so many samples. Where neither is known, that is said. The second is
    the best that is not the same as the first for any practical purpose.
    """
    if [dimension.key for dimension in varied(sweep)] == [SAMPLES]:
        return []
    first, *others = sweep.ranked
    second = next((point for point in others if not alike(sweep, first, point)), None)
    if second is None:
        return []
    apart = difference(sweep, first, second)
    if apart is not None and apart.decided:
        return []
    gap = abs(first.mean - second.mean)
    next_one = "the next" if second is others[0] else "the next that is not its neighbour"
    text = f"The best point ({_score(first)}) and {next_one} ({_score(second)}) "
    text += _differ(first, second, sweep.objective)
    numbers = {"gap": gap}
    if apart is None:
        repeats = REPEATS
        text += (
            f"trained once, they don't tell how much of {sweep.objective} is chance. "
            f"Repeat them with {REPEATS} seeds each."
        )
    elif apart.pairs:
        repeats = apart.wanted
        whose = f"the {LEVEL:.0%} interval of their difference in {sweep.objective}"
        text += f"{_interval(apart, whose)}, so this may be chance. {_decide(apart)}"
        numbers |= dict(zip(("low", "high"), apart.ends, strict=True))
    else:
        repeats, said = _unpaired(first, second, gap, apart.noise)
        text += f"two standard errors of {sweep.objective} are {said}"
    numbers |= {"seeds": repeats} | ({"noise": apart.noise} if apart else {})
    command = commands.compare(sweep, (first, second), repeats) if repeats else ""
    return [Finding("inconclusive", NOTE, text, numbers, command)]


def _differ(first: Point, second: Point, objective: str) -> str:
    """In what two points differ, with enough digits to see it."""
    if first.mean != second.mean:
        return f"differ by {abs(first.mean - second.mean):.2g}; "
    if first.of_loss != second.of_loss:
        return f"tie in {objective}, and their losses cannot be compared; "
    for digits in (4, 6, 8):
        losses = [f"{point.loss:.{digits}g}" for point in (first, second)]
        if losses[0] != losses[1]:
            return f"differ only in val/loss, {losses[0]} and {losses[1]}; "
    return "score the same; "


def _unpaired(first: Point, second: Point, gap: float, noise: float) -> tuple[int, str]:
    """How many seeds to repeat two points with that were run with different ones, and why."""
    now = min(len(first.scores), len(second.scores))
    if now < 2:
        samples = _samples(first, second)
        why = f"for accuracies of {samples} samples" if samples else "as their procedure gives them"
        repeats, how = REPEATS, f"{REPEATS} seeds each"
    else:
        why = f"over {now} seeds each"
        enough = now * (noise / gap) ** 2 if gap > 0 else math.inf  # errors fall as 1/√n
        repeats = math.ceil(min(max(enough, now + 2), max(10, 2 * now)) - 1e-9)
        how = f"{repeats - now} more seeds"
    return repeats, f"{noise:.2g} {why}, so this may be chance. Repeat them with {how}."


def _interval(apart: Difference, whose: str = f"its {LEVEL:.0%} interval") -> str:
    """The interval of paired differences, in words."""
    low, high = apart.ends
    return f"over the same {apart.pairs} seeds {whose} is {low:.2g} to {high:.2g}"


def _decide(apart: Difference) -> str:
    """How many more seeds it takes to know whether paired differences are above 0."""
    if not apart.wanted:
        return f"To tell them apart, {MOST_SEEDS} seeds would not be enough."
    more = apart.wanted - apart.pairs
    return f"About {shell.counted(more, 'more seed')} would decide."


def ingredients(sweep: Sweep) -> list[Finding]:
    """What an ablation says: what does harm, what changes nothing, what nobody can tell yet."""
    gains = evidence.gains(sweep)
    found = []
    for point, gives in gains:
        if gives.decided and gives.mean < 0:
            low, high = sorted(-end for end in gives.ends)
            text = (
                f"The recipe is better {_without(point)}: {sweep.objective} "
                f"{'rises' if sweep.maximize else 'falls'} by {-gives.mean:.2g} "
                f"({low:.2g} to {high:.2g})."
            )
            numbers = {"gain": -gives.mean, "low": low, "high": high}
            command = commands.once(sweep, point)
            found.append(Finding("better_without", WARN, text, numbers, command))
    idle = [p for p, _ in gains if sweep.whole and _results(p) == _results(sweep.whole)]
    if idle:
        names = shell.listed([_without(point) for point in idle])
        text = f"Every run ends exactly the same {names}."
        numbers = {"points": len(idle)}
        found.append(Finding("no_effect", NOTE, text, numbers, commands.once(sweep, idle[0])))
    open_ = [(p, gives) for p, gives in gains if not gives.decided and p not in idle]
    if open_:
        found.append(_undecided(sweep, open_))
    return found


def _undecided(sweep: Sweep, gains: Sequence[tuple[Point, Difference]]) -> Finding:
    """Ingredients of which chance may be all that is seen, and the seeds that would decide."""
    names = shell.listed([str(point.values[WITHOUT]) for point, _ in gains])
    several = len(gains) > 1
    which = f"The intervals of {names} contain" if several else f"The interval of {names} contains"
    text = f"{which} 0, so these effects may be chance. "
    repeats = min((gives.wanted for _, gives in gains if gives.wanted), default=0)
    first = [str(point.values[WITHOUT]) for point, gives in gains if gives.wanted == repeats]
    left = len(gains) - len(first)
    if not gains[0][1].pairs:
        repeats = REPEATS
        text += f"Repeat each point with {REPEATS} seeds."
    elif repeats:
        others = f"; the other{' needs' if left == 1 else 's need'} more" if left else ""
        text += f"About {repeats} seeds would decide on {shell.listed(first)}{others}."
    else:
        text += f"{MOST_SEEDS} seeds would not be enough to decide."
    changes = {"sweep.repeats": f"sweep.repeats={repeats}"}
    command = commands.again(sweep, changes) if repeats else ""
    numbers = {"ingredients": len(gains), "seeds": repeats}
    return Finding("inconclusive", NOTE, text, numbers, command)


def _without(point: Point) -> str:
    """What a point of an ablation does, as a part of a sentence."""
    name = str(point.values[WITHOUT])
    return f"without {name}" if "." in name else f"with the default {name}"


def _results(point: Point) -> list[tuple[int, float | None, float | None]]:
    """What came of each seed, to the last bit."""
    return [(run.seed, run.value, run.loss) for run in point.runs]


def more_data(sweep: Sweep) -> list[Finding]:
    """Whether more training samples would help, where `data.samples` was searched.

    The best point with the most samples against the best one with half as many or fewer. What
    another doubling would gain is read from a power law through both, as learning curves follow
    (Hestness et al. 2017). More data help where both differ by more than chance, and hardly
    where a doubling would take away less than 5 % of the error.
    """
    best: dict[int, Point] = {}
    for point in sweep.ranked:
        if point.trained_on and any(one.key == SAMPLES for one in sweep.dimensions):
            best.setdefault(point.trained_on, point)
    most = max(best, default=0)
    halves = [count for count in best if 2 * count <= most]
    if len(best) < 3 or not halves:
        return []
    full, half = best[most], best[max(halves)]
    apart = difference(sweep, full, half)
    gain = apart.mean if apart else sweep.sign * (full.mean - half.mean)
    text = f"With {most:,} training samples {sweep.objective} is {full.mean:.4g}, with "
    text += f"{max(halves):,} {half.mean:.4g}: "
    numbers = {"samples": most, "half": max(halves), "gain": gain}
    noise = apart.noise if apart else math.inf
    wrong = 1 - full.mean if sweep.maximize else full.mean  # no score is above 1
    if wrong <= 0:
        return []

    def next_gain(gain: float) -> float:
        left = wrong / (wrong + max(gain, 0.0))
        return wrong * (1 - math.pow(left, 1 / math.log2(most / max(halves))))

    if gain > noise and next_gain(gain) > LITTLE * wrong:
        text += (
            f"another doubling would gain about {next_gain(gain):.2g}, so more data would help. "
        )
        numbers["next_gain"] = next_gain(gain)
        more, command = _with_more(sweep, full)
        return [Finding("too_little_data", WARN, text + more, numbers, command)]
    if gain > noise or next_gain(gain + noise) < LITTLE * wrong:
        text += (
            f"another doubling would gain {next_gain(gain + noise):.2g} at most, so more data "
            "would hardly help. To find a better recipe, fewer samples are enough."
        )
        numbers["next_gain"] = next_gain(gain + noise)
        return [Finding("enough_data", NOTE, text, numbers, commands.once(sweep, half))]
    seeds = min(len(full.scores), len(half.scores))
    repeats = 2 * seeds if seeds > 1 else REPEATS
    why = "trained once, they don't tell how much of it is chance"
    if apart and apart.pairs:
        why = f"the gain is {gain:.2g}, and {_interval(apart)}"
    elif apart:
        why = f"two standard errors of the difference are {noise:.2g}"
    text += f"{why}, so this doesn't say whether more data would help. Repeat with {repeats} seeds."
    command = commands.compare(sweep, (full, half), repeats)
    return [Finding("inconclusive", NOTE, text, numbers | {"seeds": repeats}, command)]


def _with_more(sweep: Sweep, full: Point) -> tuple[str, str]:
    """What to do for more training samples, and what to type where the set has more."""
    if full.values.get(SAMPLES) in (None, "100%"):
        return "All samples were used: collect more, or vary them by augmentation.", ""
    more = commands.once(sweep, full, f"{SAMPLES}=100%")
    if "%" in str(full.values[SAMPLES]):
        return "Train on all samples.", more
    return "Train on all samples; if these were all, collect more.", more  # of how many is unknown


def hardly_matters(sweep: Sweep, importance: Mapping[str, float]) -> list[Finding]:
    """A share below 5 %, and points no further apart than chance would have them."""
    found = []
    points = sweep.ranked
    if len(points) < enough(sweep):
        return []
    for dimension in sweep.dimensions:
        share = importance.get(dimension.key)
        if share is None or share >= WEAK or dimension.zip is not None or dimension.key == SAMPLES:
            continue
        if chance(dimension, points) < SURE:
            continue
        word = points[0].words.get(dimension.key)
        if word is not None:
            text = (
                f"{dimension.key} hardly matters here: it explains {share:.0%} of the variation. "
                f"Leave it at {word.partition('=')[2]} and search the others."
            )
            command = commands.again(sweep, {dimension.key: word})
            found.append(Finding("hardly_matters", NOTE, text, {"share": share}, command))
    return found


def above_a_rate(sweep: Sweep, guessing: Mapping[str, float] | None = None) -> list[Finding]:
    """Failed or diverged points gather above a value: the split by which chance is least.

    guessing: as `findings` takes it; which points have diverged by it, `_lost` says. Fisher's
    exact test (1922) of each split, and how often chance alone would have one as clear.
    """
    lost = _lost(sweep, guessing or {})
    ended = [p for p in sweep.points if p.status not in (record.RUNNING, record.KILLED)]
    best: tuple[float, Dimension, float, int, int] | None = None
    for dimension in sweep.dimensions:
        if not dimension.numeric or dimension.zip is not None:
            continue
        tried = [(p.values[dimension.key], p.trial in lost) for p in ended]
        values = sorted({value for value, _ in tried})
        bad = sum(failed for _, failed in tried)
        sizes = [sum(each == value for each, _ in tried) for value in reversed(values)]
        for below, above in pairwise(values):
            upper = [failed for value, failed in tried if value >= above]
            lower_bad = bad - sum(upper)
            mostly = sum(upper) >= 3 and 2 * sum(upper) > len(upper)
            if not mostly or 4 * lower_bad > len(tried) - len(upper):
                continue
            p = split_chance(sizes, bad, tail(len(tried), bad, len(upper), sum(upper)))
            if p < (CHANCE if best is None else best[0]):
                limit = _limit(dimension, below, above)
                best = p, dimension, limit, sum(upper), len(upper)
    if best is None:
        return []
    _, dimension, limit, many, of = best
    text = (
        f"{many} of the {of} points with {dimension.key} above {named(limit)} failed or diverged. "
        f"Search below it."
    )
    if dimension.ranged:
        word = replace(dimension, high=limit).word()
    else:
        listed = zip(dimension.choices, dimension.words(), strict=True)
        words = ",".join(word for choice, word in listed if choice <= limit)
        word = f"{dimension.prefix}{dimension.key}={words}"
    numbers = {"limit": limit, "failed": many, "points": of}
    command = commands.again(sweep, {dimension.key: word})
    return [Finding("points_failed", WARN, text, numbers, command)]


def still_improving(sweep: Sweep, curves: Mapping[int, Sequence[Curve]]) -> list[Finding]:
    """The best point's objective still rises over the last third of its training.

    Its slope there must be more than twice its standard error, and what it gained there more
    than 3 % of all it gained, and more than the standard error of its score: neighbouring
    validations err alike, which the slope's own error doesn't know.
    """
    best = sweep.ranked[0]
    epochs, values = mean_curve(curves.get(best.trial, ()))
    if len(values) < 4:
        return []
    signed = [sweep.sign * value for value in values]
    last = max(3, math.ceil(len(signed) / 3))
    rise, error = slope(epochs[-last:], signed[-last:])
    gained = rise * (epochs[-1] - epochs[-last])
    least = max(0.03 * (max(signed) - min(signed)), evidence.error(sweep, best) or 0.0)
    if rise <= 2 * error or gained <= least:
        return []
    longer = math.ceil(2 * epochs[-1])
    text = (
        f"The best point was still improving when it ended at epoch {epochs[-1]:.4g}: "
        f"{sweep.objective} {'rose' if sweep.maximize else 'fell'} by {gained:.2g} "
        f"over the last {epochs[-1] - epochs[-last]:.3g} epochs. Train longer."
    )
    numbers = {"gained": gained, "epochs": epochs[-1], "longer": longer}
    command = commands.once(sweep, best, f"epochs={longer}")
    return [Finding("still_improving", WARN, text, numbers, command)]


def _limit(dimension: Dimension, below: float, above: float) -> float:
    """The middle of two numbers, with as few digits as still lie between them, or the smaller."""
    if dimension.whole or dimension.step is not None:
        return below
    middle = math.sqrt(below * above) if dimension.log else (below + above) / 2
    rounded = (float(f"{middle:.{digits}g}") for digits in (1, 2, 3))
    return next((value for value in rounded if below <= value < above), below)


def _score(point: Point) -> str:
    spread = "" if point.stderr is None else f" ± {point.stderr:.2g}"
    return f"{point.label}: {point.mean:.4g}{spread}"


def _samples(*points: Point) -> str:
    """On how many samples the points that were not repeated were measured."""
    return " and ".join(dict.fromkeys(str(p.samples) for p in points if p.stderr is None))


def _lost(sweep: Sweep, guessing: Mapping[str, float]) -> set[int]:
    """The trials that failed or diverged: no better than guessing, and clearly worse than the best.

    Their loss is above that of guessing, and their score nearer to that of guessing than to the
    best. Or they share the worst score to the last digit, as networks do whose output no longer
    depends on their input, and have no lower loss than most.
    """
    failed = {point.trial for point in sweep.points if point.status == record.FAILED}
    ranked = sweep.ranked
    best, sign = ranked[0], sweep.sign
    worst = [point for point in ranked if point.mean == ranked[-1].mean]
    equal = worst if 1 < len(worst) < len(ranked) else []
    usual = statistics.median(point.loss for point in ranked[: -len(equal) or None])
    undecided = guessing.get("undecided", math.inf)
    half = math.inf * sign  # where the score is the loss, or nothing is known of guessing's
    if "guess" in guessing and sweep.objective in ("val/accuracy", "val/mae"):
        half = (best.mean + guessing["guess"]) / 2
    lost = [point for point in equal if point.loss >= usual]
    for point in ranked[1:]:
        if undecided < point.loss < math.inf and point.of_loss == best.of_loss:
            lost += [point] if sign * point.mean < sign * half else []
    apart = ((point, difference(sweep, best, point)) for point in lost)
    return failed | {point.trial for point, gap in apart if gap is None or gap.decided}
