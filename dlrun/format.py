"""Numbers as tables and lines show them: short, without meaningless digits."""

import math
from typing import TypeGuard


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite number and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def value(number: float) -> str:
    """A loss, an accuracy, an error: four digits, without an exponent where possible."""
    if 1000 <= abs(number) < 1e7:
        return f"{number:,.0f}"
    return f"{number:.4g}"


def cell(number: float) -> str:
    """The same for a table, where decimal points line up."""
    if number == 0 or 1e-3 <= abs(number) < 1000:
        return f"{number:.4f}"
    return value(number)


def mean(number: float, error: float | None) -> str:
    """A mean as in a table, with its standard error to the same decimals; None where unknown.

    An error that these would show as none, or beside an exponent, has two digits.
    """
    text = cell(number)
    if error is None:
        return text
    decimals = len(text.partition(".")[2])
    same = f"{error:,.{decimals}f}" if "e" not in text else ""
    shows = same and (error == 0 or any(digit in same for digit in "123456789"))
    return f"{text} ± {same if shows else f'{error:.2g}'}"


def epoch(number: float, of: float = 0.0) -> str:
    """A number of epochs, with fewer digits the more there are: 1.25, 12.5, 125. of: the total."""
    decimals = 2 if max(number, of) < 10 else 1 if max(number, of) < 100 else 0
    text = f"{number:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if decimals else text


def rate(number: float) -> str:
    """Samples a second, to three digits: 12,345.6 is 12,300."""
    if number >= 100:
        number = float(f"{number:.3g}")
        return f"{number:,.0f} samples/s"
    return f"{number:.3g} samples/s"
