"""Whether the best values of a sweep lie at the end of what was searched, and what lies beyond."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from dlrun import record
from dlrun.record.sweep import Dimension, Sweep, number
from dlrun.report import commands
from dlrun.report.commands import Remark

EDGE = 0.05
"""The part of a range, on its own scale, that counts as its edge."""
NEAR = 0.15
"""The part that does where the best value is the outermost one of a range that was tried."""
WEAK = 0.05
"""The share of the variation below which a hyperparameter hardly matters."""
ERRORS = 2.0
"""Standard errors of a difference within which it is called noise."""


def at_the_edge(sweep: Sweep, importance: Mapping[str, float]) -> list[Remark]:
    """The best value lies within 5 % of the end of its range, on its own scale.

    Or within 15 % where nothing was tried beyond it: few points are drawn so far out.
    Silent where all that was tried beyond it failed, where an inner point is as good within
    its noise, for a hyperparameter that hardly matters, and where the range ends for good:
    at 0, at 1 for a fraction.
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
        if len({point.values[key] for point in points}) < 3:
            continue
        place = dimension.place(float(best.values[key]))
        if not _outermost(sweep, dimension, place) or _as_good_inside(sweep, dimension):
            continue
        wider = _wider(dimension, place > 0.5)
        if wider is not None:
            end, word = wider
            low, high = dimension.ends
            text = (
                f"The best {key}, {best.values[key]:.3g}, lies at the "
                f"{'upper' if place > 0.5 else 'lower'} edge of its range "
                f"({low:.3g} to {high:.3g}); better ones may lie beyond: widen it to {end:.3g}."
            )
            found.append(Remark(text, commands.again(sweep, {key: word})))
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


def _as_good_inside(sweep: Sweep, dimension: Dimension) -> bool:
    """Whether a repeated point away from the edges equals the best within its noise."""
    best = sweep.ranked[0]
    for point in sweep.ranked[1:]:
        if _inside(dimension, dimension.place(float(point.values[dimension.key]))):
            if best.stderr is None or point.stderr is None:
                return False
            error = math.hypot(best.stderr, point.stderr)
            return abs(best.mean - point.mean) < ERRORS * error
    return False


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
    whole = all(isinstance(choice, int) for choice in dimension.choices)
    ratios = dimension.log or _even_ratios(values)
    new: list[float] = []
    for _ in range(2):
        beyond = last * last / before if ratios else 2 * last - before
        beyond = round(beyond) if whole else float(f"{beyond:.2g}")
        fraction = not whole and not dimension.log and low >= 0 and high <= 1 < beyond
        if beyond == last or fraction or (low >= 0 and beyond <= 0):
            break
        new.append(beyond)
        before, last = last, beyond
    if not new:
        return None
    listed = ",".join([words[values[-1]], *map(number, new)])
    return new[-1], f"{dimension.prefix}{dimension.key}={listed}"


def _further(dimension: Dimension, low: float, high: float, up: bool) -> float | None:
    """The end of a range moved out by a decade, or half its width where it is linear."""
    if dimension.log:
        factor = 2.0 if dimension.whole else max(10.0, math.sqrt(high / low))
        end = high * factor if up else low / factor
        end = max(1, round(end)) if dimension.whole else float(f"{end:.1g}")
        return end if end != (high if up else low) else None
    if not up and low in (0, 1):
        return None
    end = high + (high - low) / 2 if up else low - (high - low) / 2
    if not up and low > 0:
        end = max(end, 1.0 if dimension.whole else 0.0)
    if up and not dimension.whole and low >= 0 and high <= 1:
        end = min(end, 1.0)  # what lies between 0 and 1 may be a fraction
    if dimension.step is not None:
        end = low + math.ceil((end - low) / dimension.step) * dimension.step
    end = round(end) if dimension.whole else float(f"{end:.3g}")
    return end if abs(end - (high if up else low)) > EDGE * (high - low) else None


def _even_ratios(values: Sequence[float]) -> bool:
    """Whether neighbours differ by a factor rather than by a step."""
    if len(values) < 3 or min(values) <= 0:
        return False
    first, second = values[-2] / values[-3], values[-1] / values[-2]
    steps = values[-2] - values[-3], values[-1] - values[-2]
    return abs(math.log(first / second)) < abs(math.log(steps[0] / steps[1]))
