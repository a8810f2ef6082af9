"""A space narrowed to where the best points of a stage are, for the stage that follows."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import exp, log
from typing import Any

from dlrun.sweep.space import Dimension, Space, without_noise


def around(space: Space, best: Sequence[Mapping[str, Any]], margin: float) -> Space:
    """The space narrowed to where the best points are.

    Numbers: to their range, widened on either side by `margin` of the whole range, on the
    dimension's own scale, and never beyond it. Choices: to those that occur. What is zipped
    stays whole.
    """
    narrowed = []
    for one in space.dimensions:
        values = [point[one.key] for point in best]
        if one.zip is not None:
            narrowed.append(one)
        elif one.choices is not None:
            kept = [at for at, choice in enumerate(one.choices) if choice in values]
            choices = tuple(one.choices[at] for at in kept)
            narrowed.append(
                replace(one, choices=choices, typed=tuple(one.typed[at] for at in kept))
            )
        else:
            narrowed.append(_narrow(one, values, margin))
    return Space(space.fixed, tuple(narrowed))


def _narrow(one: Dimension, values: Sequence[float], margin: float) -> Dimension:
    assert one.low is not None
    assert one.high is not None
    there, back = (log, exp) if one.scale == "log" else (float, float)
    wide = margin * (there(one.high) - there(one.low))
    ends = back(there(min(values)) - wide), back(there(max(values)) + wide)
    # Rounding may lead beyond the range, so that comes first.
    low, high = (min(max(_written(one, end), one.low), one.high) for end in ends)
    return replace(one, low=low, high=high)


def _written(one: Dimension, end: float) -> float:
    """An end as one types it: on a step, whole, or with four digits."""
    if one.step is not None and one.low is not None:
        end = one.low + round((end - one.low) / one.step) * one.step
        return int(end) if one.kind == "int" else without_noise(end)
    return round(end) if one.kind == "int" else float(f"{end:.4g}")
