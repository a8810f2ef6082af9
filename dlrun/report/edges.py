"""Whether the best of a sweep lies at the edge of a range, and how far that is to be widened."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

from dlrun import record
from dlrun.finding import WARN, Finding
from dlrun.record.sweep import Dimension, Sweep, named, number
from dlrun.report import commands, evidence
from dlrun.report.evidence import SAMPLES, WEAK, difference

EDGE = 0.05
"""The part of a range, on its own scale, that counts as its edge."""
NEAR = 0.15
"""The part that does where the best value is the outermost one of a range that was tried."""
DECADE = 10.0
"""How many times as far a logarithmic range goes on, or a step of listed values, at most."""


def at_the_edge(sweep: Sweep, importance: Mapping[str, float]) -> list[Finding]:
    """The best value lies within 5 % of the end of its range, on its own scale.

    Or within 15 % where nothing was tried beyond it: few points are drawn so far out.
    Silent where all that was tried beyond it failed, where noise may have brought it there
    (`_by_chance`), for a hyperparameter that hardly matters, and where the range ends for good:
    at 0, at 1 for a share.
    """
    found = []
    points = sweep.ranked
    best = points[0]
    if len(points) < 3:
        return []
    for dimension in sweep.dimensions:
        key = dimension.key
        if not dimension.numeric or dimension.zip is not None or importance.get(key, 1.0) < WEAK:
            continue
        if key == SAMPLES:  # more are better, which `more_data` looks at
            continue
        if len({point.values[key] for point in points}) < 3:
            continue
        place = dimension.place(float(best.values[key]))
        if not _outermost(sweep, dimension, place) or _by_chance(sweep, dimension, place > 0.5):
            continue
        wider = _wider(dimension, place > 0.5)
        if wider is not None:
            end, word = wider
            low, high = dimension.ends
            text = (
                f"The best {key}, {named(best.values[key])}, lies at the "
                f"{'upper' if place > 0.5 else 'lower'} edge of its range ({named(low)} to "
                f"{named(high)}); better ones may lie beyond: widen it to {named(end)}."
            )
            numbers = {"best": float(best.values[key]), "low": low, "high": high, "wider": end}
            command = commands.again(sweep, {key: word})
            found.append(Finding("at_the_edge", WARN, text, numbers, command))
    return found


def _outermost(sweep: Sweep, dimension: Dimension, best: float) -> bool:
    """Whether the best value, at this place, says nothing about what lies beyond it."""
    beyond = [
        point.status
        for point in sweep.points
        if point.status in (record.FINISHED, record.FAILED)
        and (dimension.place(float(point.values[dimension.key])) - best) * (best - 0.5) > 0
    ]
    if beyond and record.FINISHED not in beyond:
        return False
    near = dimension.ranged and not beyond and not NEAR < best < 1 - NEAR
    return near or not _inside(dimension, best)


def _inside(dimension: Dimension, place: float) -> bool:
    """Whether a place is away from the edges; a list of values ends with its last."""
    edge = EDGE if dimension.ranged else 1e-9
    return edge < place < 1 - edge


def _by_chance(sweep: Sweep, dimension: Dimension, up: bool) -> bool:
    """Whether noise alone may have brought the best value to this edge.

    Neither is the best better than each point away from the edges by more than the noise of both,
    nor do the scores of the outer half of the range rise towards the edge: the slope of their
    least-squares line, which has the noise that each score brings. No where nothing tells that.
    """
    best = sweep.ranked[0]
    places = [(p, dimension.place(float(p.values[dimension.key]))) for p in sweep.ranked]
    apart = [difference(sweep, best, p) for p, at in places[1:] if _inside(dimension, at)]
    if all(each is None or each.decided for each in apart):
        return False
    outer = [(at if up else -at, p) for p, at in places if (at >= 0.5 if up else at <= 0.5)]
    middle = statistics.fmean(at for at, _ in outer)
    rise = sum(
        (at - middle) * sweep.sign * point.mean for at, point in outer
    )  # over ∑(at - middle)²
    errors = ((at - middle) * (evidence.error(sweep, point) or 0.0) for at, point in outer)
    repeats = sum(len(point.scores) - 1 for _, point in outer)
    factor = evidence.quantile(repeats) if repeats else evidence.ERRORS
    return rise <= factor * math.hypot(*errors)


def _wider(dimension: Dimension, up: bool) -> tuple[float, str] | None:
    """A new end for a range and the word to type; None where it cannot go further."""
    low, high = dimension.ends
    if dimension.ranged:
        end = _further(dimension, low, high, up)
        if end is None:
            return None
        ends = (low, end) if up else (end, high)
        return end, replace(dimension, low=ends[0], high=ends[1]).word()
    words = dict(zip(map(float, dimension.choices), dimension.words(), strict=True))
    values = sorted(words, reverse=not up)
    last, before = values[-1], values[-2]
    ratios = dimension.log or _even_ratios(values)
    new: list[float] = []
    for _ in range(2):
        beyond = 2 * last - before
        if ratios:
            beyond = last * min(max(last / before, 1 / DECADE), DECADE)
        beyond = _beyond(dimension, last, beyond, 2)
        if beyond == last:
            break
        new.append(beyond)
        before, last = last, beyond
    if not new:
        return None
    listed = ",".join([words[values[-1]], *map(number, new)])
    return new[-1], f"{dimension.prefix}{dimension.key}={listed}"


def _further(dimension: Dimension, low: float, high: float, up: bool) -> float | None:
    """The end of a range moved out by a decade, or half its width where it is linear."""
    edge = high if up else low
    if dimension.log:
        factor = 2.0 if dimension.whole else DECADE
        end = _beyond(dimension, edge, edge * factor if up else edge / factor, 1)
        return end if end != edge else None
    if not up and low in (0, 1):
        return None
    wide = (high - low) / 2
    end = _beyond(dimension, edge, edge + wide if up else edge - wide, 3)
    if dimension.step is not None and end != edge:
        end = dimension.rounded(low + math.ceil((end - low) / dimension.step) * dimension.step)
        if up and end >= _bound(dimension, up):
            end = dimension.rounded(end - dimension.step)
    return end if abs(end - edge) > EDGE * (high - low) else None


def _beyond(dimension: Dimension, edge: float, meant: float, digits: int) -> float:
    """A number beyond the edge, about as far as is meant; the edge where none can be.

    Half of what is left where that would reach the bound. It has as few digits, `digits` at
    least, as take it no further from what is meant than half the way.
    """
    bound = _bound(dimension, meant > edge)
    if edge == bound or not math.isfinite(meant):
        return edge
    if (meant - bound) / (edge - bound) < 1e-9:  # as sums of steps are not exact
        meant = (edge + bound) / 2
    listed = bool(dimension.choices) and all(isinstance(each, int) for each in dimension.choices)
    if dimension.whole or listed:
        return max(round(meant), min(1, edge)) if bound == 0 else round(meant)
    rounded = (float(f"{meant:.{many}g}") for many in range(digits, 18))
    near = (value for value in rounded if 2 * abs(value - meant) <= abs(meant - edge))
    return next(value for value in near if value != bound)


def _bound(dimension: Dimension, up: bool) -> float:
    """What its values must not reach: 0 from above; 1 from below, as they may be shares."""
    low, high = dimension.ends
    if not up:
        return 0.0 if low >= 0 else -math.inf
    return 1.0 if low >= 0 and high <= 1 and not (dimension.log or dimension.whole) else math.inf


def _even_ratios(values: Sequence[float]) -> bool:
    """Whether neighbours differ by a factor rather than by a step."""
    if len(values) < 3 or min(values) <= 0:
        return False
    first, second = values[-2] / values[-3], values[-1] / values[-2]
    steps = values[-2] - values[-3], values[-1] - values[-2]
    return abs(math.log(first / second)) < abs(math.log(steps[0] / steps[1]))
