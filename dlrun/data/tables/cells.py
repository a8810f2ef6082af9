"""What the texts in a table mean: numbers, booleans, missing values.

A number has ASCII digits, a sign, a decimal point or comma and an exponent, and nothing else;
Python's own int and float also take 1_000, ١٢, nan and infinity.
"""

import functools
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from math import isnan

import numpy as np
from numpy.typing import NDArray

DECIMALS = ("point", "comma")
MISSING = ("", "na", "n/a", "nan", "null", "none", "?")
"""How files write a missing value, in lower case, unless the user names markers."""

_SIGNED = frozenset("0123456789+-")
_EXPONENT = _SIGNED | frozenset("eE")
_BOOLEANS = {"false": 0.0, "true": 1.0}
_GROUPED = re.compile(
    r"[+-]?[1-9][0-9]{0,2}(?:([,.'’ \u00a0\u2009\u202f])[0-9]{3})(?:\1[0-9]{3})*((?!\1)[.,][0-9]+)?"
)
_LONGEST = 60  # characters of a text that are shown
_EXACT = 2.0**53  # below, every whole number is a float
_UNITS = " $€£¥%"
_MEASURED = re.compile(r"([$€£¥]?)\s*([-+]?[0-9][0-9.,'’]*)\s*([^\d.,]{0,10})")
_UNIT_NAMES = 5  # at most so many different ones; more are words beside numbers
_MARK = {"point": ".", "comma": ","}


def require_decimal(decimal: str | None) -> None:
    """Raise ValueError for what is no decimal mark; None is let pass."""
    if decimal not in (None, *DECIMALS):
        raise ValueError(f"decimal must be one of {', '.join(DECIMALS)}, got {decimal}")


def find_missing(markers: Sequence[object] | None) -> Callable[[str], bool]:
    """A function that says whether a text means a missing value.

    markers: texts as written, numbers by their value; None: `MISSING`, in upper case too. null,
    true, false and nan, which the command line reads as values, mean these words, in upper case
    too. Raises ValueError for what is neither text nor number.
    """
    if markers is None:
        return lambda text: len(text) <= 4 and text.lower() in MISSING
    if any(isinstance(marker, list | dict) for marker in markers):
        raise ValueError(f"missing must be a list of texts and numbers, got {markers}")
    texts = {marker.strip() for marker in markers if isinstance(marker, str)}
    words, values = set(), set()
    for marker in markers:
        if marker is None:
            words.add("null")
        elif isinstance(marker, bool) or (isinstance(marker, float) and isnan(marker)):
            words.add(str(marker).lower())
        elif isinstance(marker, int | float):
            values.add(float(marker))

    def is_missing(text: str) -> bool:
        if text in texts or (words and text.lower() in words):
            return True
        number = read_numbers([text], "point") if values else None
        return number is not None and float(number[0]) in values

    return functools.cache(is_missing)


def read_numbers(texts: Collection[str], decimal: str) -> NDArray[np.float64] | None:
    """All texts as numbers, infinite where too large; None unless all are numbers."""
    mark = _MARK[decimal]
    if not _EXPONENT.issuperset("".join(texts).replace(mark, "")):
        return None
    try:
        if decimal == "comma":
            texts = [text.replace(",", ".") for text in texts]
        return np.array(list(map(float, texts)), np.float64)
    except ValueError:
        return None


def read_each(texts: Sequence[str], decimal: str) -> NDArray[np.float64]:
    """Each text as a number, a boolean as 0 or 1; nan where it is neither."""
    whole = read_numbers(texts, decimal)
    if whole is not None:
        return whole
    known = dict.fromkeys(texts, np.nan)
    for text in known:
        for read in (read_numbers([text], decimal), read_booleans([text])):
            if read is not None:
                known[text] = float(read[0])
    return np.array([known[text] for text in texts], np.float64)


def read_booleans(texts: Collection[str]) -> NDArray[np.float64] | None:
    """0 for false, 1 for true, in upper case too; None where a text is neither."""
    if not {text.lower() for text in set(texts)} <= _BOOLEANS.keys():
        return None
    return np.array([_BOOLEANS[text.lower()] for text in texts], np.float64)


def read_whole(texts: Collection[str]) -> NDArray[np.int64] | None:
    """All texts as whole numbers; None where one is not as str(int) writes it, or over 64 bits.

    Different texts are then different numbers: 007, +7 and 7_0 are not accepted.
    """
    if not _SIGNED.issuperset("".join(texts)):
        return None
    try:
        numbers = [int(text) for text in texts]
        if any(str(number) != text for number, text in zip(numbers, texts, strict=True)):
            return None
        return np.array(numbers, np.int64)
    except (ValueError, OverflowError):
        return None


def text_of(value: object) -> str:
    """A value of a typed column as the text that a CSV would have for it, without outer spaces.

    None is "", a whole float a whole number: what pandas has read as 7.0 beside missing values.
    """
    if value is None:
        return ""
    if isinstance(value, float | np.floating) and abs(float(value)) < _EXACT:
        return str(int(value)) if value == int(value) else str(value)
    if hasattr(value, "isoformat"):  # a day alone is written as a CSV has it
        return str(value.isoformat()).removesuffix("T00:00:00")
    return str(value).strip()


def typable(name: str) -> str:
    """The name of a column without control characters and line breaks, which nobody can type."""
    return "".join(filter(str.isprintable, " ".join(name.split())))


def is_whole(text: str) -> bool:
    """Whether the text is a whole number as str(int) writes it, of at most 64 bits."""
    return read_whole([text]) is not None


def is_padded(text: str) -> bool:
    """Whether a number begins with zeros, as codes do: 007."""
    return re.match(r"[+-]?0[0-9]", text) is not None


def not_number(text: str, decimal: str) -> bool:
    """Whether the text is not a number."""
    return read_numbers([text], decimal) is None


def is_amount(text: str, decimal: str) -> bool:
    """Whether the text is a number, or meant for one: 50,000 or 5 %."""
    bare = text.strip(_UNITS)
    return not not_number(bare, decimal) or bool(advice(bare, decimal))


def in_units(texts: Collection[str], decimal: str) -> str:
    """What to do where all texts are numbers with a unit, as 5 cm and 0.5 m are; else ""."""
    found = [_MEASURED.fullmatch(text) for text in set(texts)]
    units = {one and (one[1] + one[3]).strip() for one in found}
    numbers = {one[2] for one in found if one}
    if not 0 < len(units) <= _UNIT_NAMES or not all(units):
        return ""
    if not all(is_amount(number, decimal) for number in numbers):
        return ""
    one_unit = ", all in one unit" if len(units) > 1 else ""
    named = ", ".join(sorted(filter(None, units)))
    return f"; if these are numbers with a unit ({named}), write plain numbers{one_unit}"


def shown(text: str) -> str:
    """A text in quotes, cut where it is long."""
    return repr(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}...")


def advice(text: str, decimal: str) -> str:
    """What to do about a number with separators between thousands, or with the other mark.

    Empty where the text is not meant as a number.
    """
    other = next(name for name in DECIMALS if name != decimal)
    is_number = not not_number(text, other)
    grouped = _GROUPED.fullmatch(text)
    if not grouped:
        return f"data.decimal={other} reads it as a number" if is_number else ""
    whole, fraction = text, ""
    if grouped[2]:
        whole, fraction = text[: grouped.start(2)], _MARK[decimal] + grouped[2][1:]
    plain = f"write {whole.replace(grouped[1], '')}{fraction}"
    if not is_number:
        return f"it has separators between thousands: {plain}"
    value = text.replace(",", ".")
    return (
        f"if it has separators between thousands, {plain}; if it is {value}, data.decimal={other}"
    )


def guess_decimal(columns: Mapping[str, Sequence[str]]) -> tuple[str, str, str]:
    """point or comma; for the comma also a column and a text in it that show so.

    columns: texts that are not missing, by the column's name. The comma is taken where a
    column of numbers has commas that cannot separate thousands, as in 1,5, and no column has
    such points.
    """
    found = ((name, _shows(texts, "comma")) for name, texts in columns.items())
    shown = next(((name, text) for name, text in found if text), None)
    if shown is None or any(_shows(texts, "point") for texts in columns.values()):
        return "point", "", ""
    return "comma", *shown


def two_marks(columns: Mapping[str, Sequence[str]]) -> str:
    """What is wrong where one column of numbers shows the point and another the comma; else ""."""
    shown: list[str] = []
    for decimal in reversed(DECIMALS):  # few tables have commas: most are done with the first
        found = ((name, _shows(texts, decimal)) for name, texts in columns.items())
        one = next((f"the column {name} writes {text}" for name, text in found if text), "")
        if not one:
            return ""
        shown.insert(0, one)
    return f"{', and '.join(shown)}; write one decimal mark in the file"


def both_marks(texts: Collection[str]) -> str:
    """Two texts of one column that have different decimal marks beyond doubt; else ""."""
    shown = [
        next((text for text in _marked(texts, decimal) if not not_number(text, decimal)), "")
        for decimal in DECIMALS
    ]
    return " and ".join(map(repr, shown)) if all(shown) else ""


def _shows(texts: Sequence[str], decimal: str) -> str:
    """A text that has this decimal mark beyond doubt, in a column of numbers."""
    text = next(_marked(texts, decimal), "")
    return text if text and read_numbers(texts, decimal) is not None else ""


def _marked(texts: Collection[str], decimal: str) -> Iterator[str]:
    """The texts in which this mark groups no thousands."""
    return (text for text in texts if _MARK[decimal] in text and not _GROUPED.fullmatch(text))
