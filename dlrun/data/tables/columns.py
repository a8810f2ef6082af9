"""Which columns of a table cannot help to predict: identifiers, constants, copies of the target."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dlrun import shell
from dlrun.data.tables.cells import is_amount, is_padded, read_booleans, read_numbers, read_whole

FEWEST = 10
"""With fewer rows, values that all differ prove nothing; a column's name still does."""

_IDENTIFIES = re.compile(
    r"(id|key|index|idx|row|(row|record|sample|subject|case|item|product|order|user|customer"
    r"|client|person|patient|passenger|guest|image|u|uu|gu)id|row(index|key|num|number))"
)
_UNNAMED = re.compile(r"Unnamed: [0-9.]+")  # what pandas calls a column without a name
_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_VALUES = ("null", "true", "false", "nan", "inf")  # Hydra reads them as such


@dataclass(frozen=True)
class Column:
    """A column of a table.

    texts: without the spaces around them. missing_rows: the rows without a value.
    numbers: the texts as numbers, or booleans as 0 and 1; None where they are neither.
    """

    name: str
    texts: Sequence[str]
    missing_rows: Sequence[int]
    numbers: NDArray[np.float64] | None


def read_feature(texts: Sequence[str], decimal: str) -> NDArray[np.float64] | None:
    """Numbers, or booleans as 0 and 1; None where they are neither."""
    numbers = read_numbers(texts, decimal)
    return read_booleans(texts) if numbers is None else numbers


def why_useless(column: Column, target: Column, decimal: str, nameless: bool = False) -> str:
    """Why a column is useless as a feature; empty where it may be one.

    nameless: whether the column has no name in the table.
    """
    texts, numbers, rows = column.texts, column.numbers, len(column.texts)
    if len(column.missing_rows) == rows:
        return "it has no values"
    if column.missing_rows or rows < 2:
        return ""
    if texts.count(texts[0]) == rows or (numbers is not None and (numbers == numbers[0]).all()):
        return "it has one value in all rows"
    if texts == target.texts or _same(numbers, target.numbers):
        return "it is a copy of the target"
    nameless = nameless or bool(_UNNAMED.fullmatch(column.name))
    if nameless and numbers is not None and np.isfinite(numbers).all() and _counts(numbers):
        return "it counts the rows"
    return _identifies(column, decimal, nameless or says_identifier(column.name))


def _identifies(column: Column, decimal: str, named_so: bool) -> str:
    """How a column of different values identifies the rows; empty where it does not."""
    texts, numbers, rows = column.texts, column.numbers, len(column.texts)
    if rows < FEWEST and not named_so:
        return ""
    if numbers is not None and not (np.isfinite(numbers) & (numbers == np.round(numbers))).all():
        return ""
    if len(set(texts)) < rows:
        return ""
    if numbers is None:
        amounts = sum(is_amount(text, decimal) for text in texts)
        return "its text is different in every row" if 2 * amounts < rows else ""
    exact = read_whole(texts)
    whole = numbers if exact is None else exact
    if int(np.max(whole)) - int(np.min(whole)) == rows - 1:
        return "its whole numbers are consecutive, one for each row"
    if named_so or any(map(is_padded, texts)):
        return "its whole numbers are different in every row"
    return ""


def _same(one: NDArray[np.float64] | None, other: NDArray[np.float64] | None) -> bool:
    return one is not None and other is not None and np.array_equal(one, other)


def _counts(numbers: NDArray[np.float64]) -> bool:
    """Whether each is one more than the last, or starts again, as in tables put together."""
    return bool(((np.diff(numbers) == 1) | (numbers[1:] == numbers[0])).all())


def says_identifier(name: str) -> bool:
    """Whether a word of the name is id, key, index or row: customer_id, PassengerId, row."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return any(_IDENTIFIES.fullmatch(word.lower()) for word in words)


def features(names: Sequence[str]) -> str:
    """The word that chooses these columns, as a shell takes it."""
    written = [name if _is_bare(name) else shell.quoted(name) for name in names]
    word = f"data.features=[{','.join(written)}]"
    return word if all(map(_is_bare, names)) else shell.quote(word)


def _is_bare(name: str) -> bool:
    return bool(_BARE.fullmatch(name)) and name.lower() not in _VALUES
