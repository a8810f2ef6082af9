"""Which columns of a table cannot help to predict: identifiers, constants, copies of the target."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlrun import shell
from dlrun.data.tables import cells
from dlrun.data.tables.cells import is_amount, is_padded, read_whole
from dlrun.errors import Mistake

FEWEST = 10
"""With fewer rows, values that all differ prove nothing; a column's name still does."""

EVIDENT = 20
"""At most so many different values are taken for classes without a warning."""

_IDENTIFIES = re.compile(
    r"(id|key|index|idx|row|(row|record|sample|subject|case|item|product|order|user|customer"
    r"|client|person|patient|passenger|guest|image|u|uu|gu)id|row(index|key|num|number))"
)
_CASE = re.compile(
    r"(patient|subject|participant|person|customer|client|user|household|student|pupil|animal"
    r"|mouse|site|donor)s?[ _.-]?(id|nr|no|num|number|code|name)?|(.*[ _.-])?id"
)
_FAR = 1000  # times their spread; nearer to 0 float32 has digits enough
_COARSE = 256  # as many different numbers are enough to learn from
_UNNAMED = re.compile(r"Unnamed: [0-9.]+")  # what pandas calls a column without a name
_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
CONSECUTIVE = "its whole numbers are consecutive, one for each row"
DIFFERENT = "its text is different in every row"
_VALUES = ("null", "true", "false", "nan", "inf")  # Hydra reads them as such


_DATE = re.compile(
    r"[0-9]{4}([-/.])[0-9]{1,2}\1[0-9]{1,2}([T ][0-9:.+Z-]+)?"
    r"|[0-9]{1,2}([/.])[0-9]{1,2}\3[0-9]{4}( [0-9:]+)?"
    r"|[0-9]{1,2}[- ][A-Za-z]{3,9}[- ][0-9]{4}|[A-Za-z]{3,9} [0-9]{1,2}, [0-9]{4}"
)
_FORMS = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y"),
    *("%d-%b-%Y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y"),
    *(f"{day} {time}" for day in ("%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y")
      for time in ("%H:%M", "%H:%M:%S")),
    "ISO8601",
)  # fmt: skip
MONTH_FIRST = "%m/%d/%Y"
"""The form of dates such as 3/4/2001, where no day above 12 tells the month from the day."""

KINDS = ("number", "text", "date", "out")
"""What data.columns takes, beside a form of dates such as %d/%m/%Y."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    texts: without the spaces around them. missing_rows: the rows without a value.
    kind: number, boolean, date or text. form: of its dates.
    numbers: the values of all rows, booleans as 0 and 1, dates as days, nan where missing; None
        for texts.
    """

    name: str
    texts: Sequence[str]
    missing_rows: Sequence[int]
    kind: str
    numbers: NDArray[np.float64] | None
    form: str = ""

    @property
    def present(self) -> list[str]:
        """The texts that are values."""
        return without(self.texts, self.missing_rows)


def read(
    name: str, texts: Sequence[str], missing_rows: Sequence[int], decimal: str, kind: str = ""
) -> Column:
    """A column, as its texts show, or of this kind: then what is not so counts as missing."""
    if kind == "text":
        return Column(name, texts, missing_rows, "text", None)
    present = without(texts, missing_rows)
    if kind == "number":
        return _forced(name, texts, missing_rows, "number", cells.read_each(present, decimal))
    if kind:
        form = _form_of(present) if kind == "date" else kind
        if not form:
            raise Mistake(
                f"data.columns: {name} holds {cells.shown(next(iter(present), ''))}, and dates in "
                "no known form; write theirs instead of date, e.g. %d/%m/%Y"
            )
        return _forced(name, texts, missing_rows, "date", _dates(present, form), form)
    numbers = cells.read_numbers(present, decimal)
    if numbers is not None:
        return Column(name, texts, missing_rows, "number", _filled(numbers, texts, missing_rows))
    numbers = cells.read_booleans(present)
    if numbers is not None:
        return Column(name, texts, missing_rows, "boolean", _filled(numbers, texts, missing_rows))
    if form := _form_of(present):
        days = _filled(_dates(present, form), texts, missing_rows)
        return Column(name, texts, missing_rows, "date", days, form)
    return Column(name, texts, missing_rows, "text", None)


def without(texts: Sequence[str], missing_rows: Collection[int]) -> list[str]:
    """The texts of all other rows."""
    missing = set(missing_rows)
    return [text for row, text in enumerate(texts) if row not in missing]


def _filled(
    values: NDArray[np.float64], texts: Sequence[str], missing_rows: Sequence[int]
) -> NDArray[np.float64]:
    """The values in their rows, nan elsewhere."""
    if not missing_rows:
        return values
    whole = np.full(len(texts), np.nan)
    there = np.ones(len(texts), bool)
    there[list(missing_rows)] = False
    whole[there] = values
    return whole


def _forced(
    name: str,
    texts: Sequence[str],
    missing_rows: Sequence[int],
    kind: str,
    values: NDArray[np.float64],
    form: str = "",
) -> Column:
    """A column whose kind is said; it lacks what is not of this kind, too.

    Raises Mistake where no value is of this kind.
    """
    if len(values) and np.isnan(values).all():
        present = without(texts, missing_rows)
        what = f"a date of the form {form}" if form else "a number"
        right = f"{_form_of(present) or 'the form of its dates'}" if form else "text or out"
        raise Mistake(
            f"data.columns: {name} holds {cells.shown(present[0])}, and in no row {what}; write "
            f"{right} instead of {form or kind}"
        )
    whole = _filled(values, texts, missing_rows)
    return Column(name, texts, np.flatnonzero(np.isnan(whole)).tolist(), kind, whole, form)


def _form_of(present: Sequence[str]) -> str:
    """The first form that all dates have; empty where these are no dates."""
    if not present or not all(map(_DATE.fullmatch, present)):
        return ""
    return next((form for form in _FORMS if not np.isnan(_dates(present, form)).any()), "")


def dates_among(column: Column) -> tuple[str, set[str]]:
    """The form that most of a column's dates have, and its texts that are no dates of this form.

    "" where most values are no dates, or so few differ that they may be classes.
    """
    present = column.present
    different = set(present)
    dates = sorted(filter(_DATE.fullmatch, different))
    if len(dates) <= EVIDENT or 2 * sum(map(set(dates).__contains__, present)) < len(present):
        return "", set()
    read = {form: ~np.isnan(_dates(dates, form)) for form in _FORMS}
    form = max(read, key=lambda each: int(read[each].sum()))
    return form, different - {
        date for date, is_read in zip(dates, read[form], strict=True) if is_read
    }


def other_dates(column: Column) -> str:
    """Which text is no date of the form that most have, where, and what to do about it; else ""."""
    form, others = dates_among(column) if column.kind == "text" else ("", set())
    if not others:
        return ""
    row = next(row for row, text in enumerate(column.texts) if text in others)
    dates = f"{len(set(column.present) - others):,} different dates of the form {form}"
    return (
        f"the column {column.name} holds {cells.shown(column.texts[row])} in row {row + 1}, among "
        f"{dates}; write all in one form"
    )


def merged(column: Column) -> str:
    """A note where float32, as which numbers are kept, makes most of the different ones equal."""
    numbers = column.numbers
    if numbers is None or not np.isfinite(numbers).any():
        return ""
    there = numbers[np.isfinite(numbers)]
    if np.ptp(there) >= np.abs(there).max() / _FAR:
        return ""
    with np.errstate(over="ignore"):  # such are refused
        before, after = len(np.unique(there)), len(np.unique(there.astype(np.float32)))
    if after > min(before / 2, _COARSE):
        return ""
    right = f"subtract a constant in the file, such as {np.median(there):.10g}"
    if column.kind == "date":
        right = "write the time since the first one in the file"
    return (
        f"the {before:,} different numbers of the column {column.name} become {after:,}, because "
        f"float32 keeps about 7 digits; {right}"
    )


def month_or_day(column: Column) -> bool:
    """Whether the dates of a column may as well be read with the day before the month."""
    return column.form.startswith(MONTH_FIRST) and not (
        np.isnan(_dates(column.present, column.form.replace("%m/%d", "%d/%m"))).any()
    )


def _dates(texts: Sequence[str], form: str) -> NDArray[np.float64]:
    from dlrun.data.tables.encode import read_dates  # imports pandas and scikit-learn

    return read_dates(texts, form)


def why_useless(column: Column, target: Column, decimal: str, nameless: bool = False) -> str:
    """Why a column is useless as a feature; empty where it may be one.

    nameless: whether the column has no name in the table.
    """
    texts, numbers, rows = column.texts, column.numbers, len(column.texts)
    if len(column.missing_rows) == rows:
        return "it has no values"
    if rows < 2:
        return ""
    if column.missing_rows:
        present = column.present
        names = column.kind == "text" and len(present) >= FEWEST
        return DIFFERENT if names and len(set(present)) == len(present) else ""
    if texts.count(texts[0]) == rows or (numbers is not None and (numbers == numbers[0]).all()):
        return "it has one value in all rows"
    if texts == target.texts or _same(numbers, target.numbers):
        return "it is a copy of the target"
    nameless = nameless or bool(_UNNAMED.fullmatch(column.name))
    if nameless and numbers is not None and np.isfinite(numbers).all() and _counts(numbers):
        return "it counts the rows"
    named_so = nameless or says_identifier(column.name)
    return "" if column.kind == "date" else _identifies(column, decimal, named_so)


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
        return DIFFERENT if 2 * amounts < rows else ""
    exact = read_whole(texts)
    whole = numbers if exact is None else exact
    if int(np.max(whole)) - int(np.min(whole)) == rows - 1:
        return CONSECUTIVE
    if named_so or any(map(is_padded, texts)):
        return "its whole numbers are different in every row"
    return ""


def names_cases(column: Column) -> bool:
    """Whether a column says of which patient, customer, ... each row is, several rows of each.

    By its name. Few cases may be all that there are: then they tell something of new rows.
    """
    present = column.present
    numbers = column.numbers
    different = len(set(present))
    whole = numbers is None or (np.isnan(numbers) | (numbers == np.round(numbers))).all()
    says = _CASE.fullmatch(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column.name).lower())
    return bool(says) and whole and EVIDENT < different <= len(present) / 2


def hardly_repeats(column: Column) -> bool:
    """Whether there are fewer than two rows of each text."""
    present = column.present
    return len(present) >= FEWEST and 2 * len(set(present)) > len(present)


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


def kinds(name: str, kind: str) -> str:
    """The word that says what a column holds, as a shell takes it."""
    if _is_bare(name) and "," not in kind:
        return shell.quote(f"data.columns={{{name}: {kind}}}")
    return shell.quote(f"data.columns=[{shell.quoted(f'{name}: {kind}')}]")


def read_kinds(asked: Mapping[Any, Any] | Sequence[Any] | None) -> dict[str, str]:
    """What columns hold, by name, of the forms {zip: text} and ['zip: text'].

    The second one takes names that the first cannot have in a command. Raises ValueError for
    another form.
    """
    if isinstance(asked, Mapping):
        found = {"null" if name is None else str(name): kind for name, kind in asked.items()}
    else:
        found = {}
        for one in [asked] if isinstance(asked, str) else asked or ():
            name, _, kind = str(one).rpartition(": ")
            found[name.strip()] = kind.strip()
    for name, kind in found.items():
        if not name or (kind not in KINDS and "%" not in str(kind)):
            raise ValueError(
                f"columns must give each name one of {', '.join(KINDS)} or a form of dates such as "
                f"%d/%m/%Y, got {shell.shown(asked)}"
            )
    return found


def _is_bare(name: str) -> bool:
    return bool(_BARE.fullmatch(name)) and name.lower() not in _VALUES
