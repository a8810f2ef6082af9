"""Durations: how long, in the unit that suits the reader.

A duration is typed as `5 epochs`, `200 steps` or `10%` (of the whole training, any
warm-up included); a bare number counts epochs. A function that takes one annotates its parameter
`Steps` and receives a plain number of optimizer steps: `build` converts.
"""

import re
from dataclasses import dataclass
from typing import NewType

from dlrun.errors import Mistake

Steps = NewType("Steps", int)
"""A number of optimizer steps; in a recipe, a duration."""

_FORM = re.compile(
    r"^\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*"
    r"(epochs?|steps?|seconds?|s|minutes?|min|hours?|h|days?|%)?\s*$"
)
LONGEST = 1e12
"""No duration is longer, in whatever unit: steps are counted in 64 bits. In %, it is 100."""
_UNITS = {"epoch": "epochs", "step": "steps", "second": "seconds", "s": "seconds", None: "epochs"}
_SECONDS = {"min": 60, "minute": 60, "h": 3600, "hour": 3600, "day": 86400}


@dataclass(frozen=True)
class Duration:
    """An amount and its unit: `epochs`, `steps`, `%` or `seconds`."""

    amount: float
    unit: str

    def steps(self, steps_per_epoch: int, total_steps: int | None = None) -> Steps:
        """The number of steps, rounded to the nearest; at least 1 unless the amount is 0.

        Raises Mistake for seconds, and for a percentage where no total is known.
        """
        if self.unit == "seconds":
            raise Mistake(f"{self} has no fixed number of steps; use epochs, steps or %")
        if self.unit == "%":
            if total_steps is None:
                raise Mistake(f"{self} of what? Give the length itself in epochs or steps")
            exact = self.amount / 100 * total_steps
        else:
            exact = self.amount * (steps_per_epoch if self.unit == "epochs" else 1)
        return Steps(max(round(exact), 1) if self.amount else 0)

    def __str__(self) -> str:
        amount = f"{self.amount:g}"
        return f"{amount}%" if self.unit == "%" else f"{amount} {self.unit}"


def parse(value: object) -> Duration:
    """Read a duration such as 5, '5 epochs', '200 steps', '10%', '30 seconds' or '2 hours'.

    Raises Mistake where it has another form, or is longer than `LONGEST`.
    """
    match = None if isinstance(value, bool) else _FORM.match(str(value))
    if match is None:
        raise Mistake(f"{value!r} is not a duration; write '5 epochs', '200 steps' or '10%'")
    amount, unit = match.groups()
    if float(amount) > (100 if unit == "%" else LONGEST):
        raise Mistake(f"{value!r} is too long; durations end at 100% or {LONGEST:g}")
    in_seconds = _SECONDS.get(str(unit).removesuffix("s"))
    if in_seconds:
        return Duration(float(amount) * in_seconds, "seconds")
    return Duration(float(amount), _UNITS.get(unit, unit))


def times(value: object, factor: int) -> int | float | str:
    """So many times a duration, as one types it: epochs as a number; at most 100%.

    Raises Mistake as `parse` does.
    """
    length = parse(value)
    amount = factor * length.amount
    if length.unit == "%":
        return f"{min(100.0, amount):g}%"
    text = f"{amount:.15g}"
    if length.unit != "epochs":
        return f"{text} {length.unit}"
    return int(text) if text.isdigit() else float(text)


def below_0(value: object) -> bool:
    """Whether a value that is no duration is one with a minus before it, or nan."""
    try:
        amount = float(str(value).split()[0].removesuffix("%"))
    except (ValueError, IndexError):
        return False
    return not isinstance(value, bool) and not amount >= 0


def uncounted(length: Duration) -> str:
    """What is wrong with a number of steps that is none; empty where it is whole."""
    if length.unit != "steps" or length.amount == int(length.amount):
        return ""
    return f"steps are whole numbers; write '{max(round(length.amount), 1)} steps'"


def spoken(seconds: float) -> str:
    """A time as one says it: 2 h 5 min, 3 min 20 s, 4.2 s, 350 ms."""
    if seconds < 0.9995:
        return f"{1000 * seconds:.3g} ms"
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{seconds:.1f} s"
