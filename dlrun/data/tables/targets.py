"""What is to be predicted: classes or numbers, and how whole numbers are taken."""

import logging
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlrun import shell
from dlrun.data import Source
from dlrun.data.tables import cells
from dlrun.data.tables.columns import EVIDENT, Column, hardly_repeats, other_dates
from dlrun.errors import Mistake

TASKS = ("auto", "classification", "regression", "multilabel")
MOST, EACH = 1000, 5
"""Whole numbers are classes if there are at most `MOST`, with `EACH` samples of each on average."""

_WHOLE = 2**24  # above, float32 has no fractions: every number looks whole
_log = logging.getLogger("dlrun")

Array = NDArray[Any]


def require_task(task: str) -> None:
    """Raise ValueError for a task that there is not."""
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, got {task}")


def encode(y: Array, task: str = "auto") -> tuple[Array, tuple[str, ...]]:
    """Targets as (n,) int64 classes 0..K-1 and their names, or (n, targets) float32 and ().

    Objects of Python are taken where all of them are strings, as pandas gives a column of text.
    auto: strings are classes, fractions are numbers; whole numbers are classes where there
    are two different ones, or at most 1000, each of them 5 times on average; several columns of
    0 and 1 alone are labels, and numbers here.
    Classes are in the order of their values. Raises Mistake for what is neither.
    """
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.dtype.kind == "O":
        y = _as_texts(y)
    if y.ndim not in (1, 2):
        raise Mistake(f"y has the shape {y.shape}; expected (n,) or (n, targets)")
    kind = y.dtype.kind
    if kind not in "iubfUS":
        raise Mistake(f"y has the type {y.dtype}; expected numbers or strings")
    if task == "auto" and y.ndim == 2 and kind in "iubf" and ((y == 0) | (y == 1)).all():
        task = "multilabel"
    if task == "auto":
        task = "regression" if are_numbers(y) else "classification"
    if kind == "f" and not np.isfinite(y).all():
        many = int((~np.isfinite(y)).sum())
        raise Mistake(f"y has {shell.counted(many, 'missing or infinite value')}")
    if kind == "S":
        try:
            y = np.char.decode(y, "utf-8")
        except UnicodeDecodeError as error:
            raise Mistake("y has bytes that are not UTF-8 text") from error
    if task in ("regression", "multilabel"):
        numbers = _as_numbers(y)
        if task == "multilabel":
            require_labels(numbers)
        return numbers, ()
    if y.ndim != 1:
        raise Mistake(
            f"y has the shape {y.shape}, classes must be (n,); "
            "data.task=regression predicts several numbers"
        )
    if kind == "f" and (y != np.round(y)).any():
        raise Mistake(
            "data.task=classification: the target has fractions; use data.task=regression"
        )
    values, labels = np.unique(y, return_inverse=True)
    names = tuple(str(int(v) if kind == "f" else v) for v in values.tolist())
    return labels.astype(np.int64), names


def _as_texts(y: Array) -> Array:
    """Strings that are objects as an array of strings. Raises Mistake for other objects."""
    values = y.ravel().tolist()
    missing = [place for place, one in enumerate(values) if one is None or one != one]
    if missing:
        raise Mistake(
            f"y lacks {len(missing):,} of {len(values):,} values, first y[{missing[0]}], which is "
            f"{values[missing[0]]}; leave those samples out, or give them a value"
        )
    odd = next((place for place, one in enumerate(values) if not isinstance(one, str)), None)
    if odd is None:
        return y.astype(str)
    numbers = all(isinstance(one, int | float | np.number | np.bool_) for one in values)
    cure = "y.astype(float)" if numbers else "y.astype(str)"
    raise Mistake(
        f"y has the type object, and y[{odd}] is {values[odd]!r:.50}; expected numbers or strings: "
        f"{cure} makes them such"
    )


def require_labels(y: Array) -> None:
    """Raise Mistake where targets (n, labels) are not each 0 or 1."""
    odd = y[(y != 0) & (y != 1)]
    if len(odd):
        raise Mistake(
            f"data.task=multilabel: the target has the value {odd[0]:g}; each label is 0 or 1, in "
            "a column of its own"
        )


def read_target(column: Column, task: str, decimal: str) -> tuple[Array, str]:
    """A column of a table as `encode` takes it, and a note on it.

    int64 where every text is a whole number as usually written, so that 001 and 1 stay two
    classes; float64 for numbers with fractions or exponents; else strings. Regression takes any
    number, 001 too.
    Raises Mistake for what is meant as numbers but not written as such.
    """
    texts, name = column.texts, column.name
    numbers = cells.read_numbers(texts, decimal)
    if task in ("regression", "multilabel"):
        return require_numbers(column, decimal, f"data.task={task}: the target has strings"), ""
    whole = cells.read_whole(texts)
    if whole is not None:
        return whole, ""
    padded = next(filter(cells.is_padded, texts), None)
    fraction = next((text for text in texts if set(text) & set(".,eE")), None)
    if numbers is None:
        return _read_names(column, task, decimal)
    if task == "classification" and (padded or (numbers == np.round(numbers)).all()):
        return np.array(texts), ""
    if fraction and padded:
        raise Mistake(
            f"the column {name} holds both {padded!r} and {fraction!r}; "
            "data.task=classification takes them for class names, data.task=regression for numbers"
        )
    if fraction:
        return numbers, ""
    odd = next(text for text in texts if not cells.is_whole(text))
    return np.array(texts), (
        f"holds {cells.shown(odd)}: its {len(set(texts))} different texts are taken for class "
        "names, as they are written; data.task=regression takes them for numbers"
    )


def require_numbers(column: Column, decimal: str, wrong: str) -> NDArray[np.float64]:
    """The numbers of a column. Raises Mistake, which says what is wrong, where it holds texts."""
    if column.numbers is None:
        units = cells.in_units(column.present, decimal)
        raise Mistake(f"{wrong}: {other_dates(column) or _odd(column, decimal) + units}")
    return column.numbers


def _read_names(column: Column, task: str, decimal: str) -> tuple[Array, str]:
    """A column that does not hold numbers, as strings."""
    texts = column.texts
    if task == "auto":
        _refuse_numbers(column, decimal)
        if column.kind == "date" and column.numbers is not None and hardly_repeats(column):
            return column.numbers, (
                "holds dates, taken for numbers, days since 1970; data.task=classification takes "
                "them for classes"
            )
        _refuse_names(column, decimal)
    booleans = cells.read_booleans(texts)
    if booleans is not None and len(set(texts)) > 2:
        names = np.array(["False", "True"])[booleans.astype(np.int64)]
        return names, "writes true and false in several ways, taken for two classes"
    if "" in texts:
        blank = f"has {list(texts).count('')} empty values, taken for a class of their own"
        return np.array(texts), f"{blank}; 'data.missing=[\"\"]' takes them for missing"
    return np.array(texts), ""


def _refuse_names(column: Column, decimal: str) -> None:
    """Raise Mistake where texts are dates of several forms, or too different to be classes."""
    if said := other_dates(column):
        raise Mistake(f"{said}; data.task=classification takes every text for a class name")
    rows, different = len(column.texts), len(set(column.texts))
    if hardly_repeats(column):
        raise Mistake(
            f"the column {column.name}, which is to be predicted, has {different:,} different "
            f"texts in {rows:,} rows, fewer than two rows each: nothing can be learned of most; "
            "data.task=classification takes them for classes anyway"
            f"{cells.in_units(column.present, decimal)}"
        )


def _refuse_numbers(column: Column, decimal: str) -> None:
    """Raise Mistake where texts meant as numbers would become class names."""
    right = "data.task=classification takes every text for a class name"
    refuse_written(column, decimal, right)
    if odd(column, decimal):
        raise Mistake(f"{holds(column, decimal)}; write plain numbers; {right}")


def refuse_written(column: Column, decimal: str, right: str) -> None:
    """Raise Mistake where all that is no number is one, with other marks between its digits.

    right: what takes it for text all the same.
    """
    different = {text for text in set(column.present) if cells.not_number(text, decimal)}
    if all(cells.advice(text, decimal) for text in different):
        if both := cells.both_marks(column.present):
            both = f"the column {column.name} holds {both}; write one decimal mark in the file"
            raise Mistake(f"{both}; {right}")
        raise Mistake(f"{_odd(column, decimal)}; {right}")


def odd(column: Column, decimal: str) -> set[str]:
    """The texts that are no numbers, in a column that is meant for numbers; else none."""
    present = column.present
    different = set(present)
    meant = {text for text in different if cells.is_amount(text, decimal)}
    rows = sum(text in meant for text in present)
    most = _most(len(present))
    if not has_fractions(meant):  # labels, perhaps, one of them a word
        most = max(most, EVIDENT)
    if 2 * rows < len(present) or len(meant) <= most:
        return set()
    return {text for text in different if cells.not_number(text, decimal)}


def has_fractions(texts: Collection[str]) -> bool:
    """Whether some are no whole numbers, if they are numbers."""
    return bool(set("".join(texts)) & set(".,"))


def holds(column: Column, decimal: str) -> str:
    """Which text is not a number, where, and among how many numbers."""
    amounts = {text for text in set(column.present) if cells.is_amount(text, decimal)}
    return f"{_odd(column, decimal)}, among {len(amounts)} different numbers"


def _odd(column: Column, decimal: str) -> str:
    """Which text is not a number, where, and what to do about it."""
    without = set(column.missing_rows)
    row, text = next(
        (row, text)
        for row, text in enumerate(column.texts)
        if row not in without and cells.not_number(text, decimal)
    )
    hint = cells.advice(text, decimal)
    where = f"the column {column.name} holds {cells.shown(text)} in row {row + 1}"
    return f"{where}; {hint}" if hint else where


def for_task(source: Source, task: str, scale_targets: bool | None) -> Source:
    """The source with what its task says of the targets; of `auto` it says what that took.

    scale_targets: None standardizes numbers unless all of them lie in 0..1.
    """
    if task == "auto":
        say_what_for(source)
    labels = None if task == "auto" else task == "multilabel"
    if scale_targets and (labels or source.classes):
        there = "labels are 0 and 1" if labels else "there are classes"
        raise Mistake(f"data.scale_targets=true: {there}; data.task=regression has numbers")
    if scale_targets is None:
        y = source.y
        scale_targets = not source.classes and not (y.min() >= 0 and y.max() <= 1)
    return replace(source, scale_targets=scale_targets, labels=labels)


def say_what_for(source: Source) -> None:
    """Say what `auto` took whole numbers for, where something else may be meant."""
    if source.classes:
        names, found = source.classes, len(source.classes)
        if found > EVIDENT and all(map(cells.is_whole, names)):
            _log.warning(
                f"the target has {found} different whole numbers in {len(source.y)} samples, taken "
                "for classes; data.task=regression takes them for numbers"
            )
        return
    y = source.y.numpy()
    if y.shape[1] == 1 and (y == np.round(y)).all() and np.abs(y).max() < _WHOLE:
        _log.warning(
            f"the target has {len(np.unique(y))} different whole numbers in {len(y)} samples, "
            "taken for numbers (regression); data.task=classification takes them for classes"
        )


def are_numbers(y: Array) -> bool:
    """Whether `auto` takes targets for numbers, rather than for classes."""
    if y.dtype.kind not in "iu" or y.ndim != 1:
        return y.dtype.kind == "f"
    return len(np.unique(y)) > _most(len(y))


def _most(rows: int) -> int:
    """The most different whole numbers that are classes."""
    return min(MOST, max(2, rows // EACH))


def _as_numbers(y: Array) -> NDArray[np.float32]:
    """Targets of a regression, (n, targets). Raises Mistake for what cannot be one."""
    if y.dtype.kind == "U":
        numbers = cells.read_numbers(y.ravel().tolist(), "point")
        if numbers is None:
            raise Mistake("data.task=regression: the target has strings; expected numbers")
        y = numbers.reshape(y.shape)
    with np.errstate(over="ignore"):  # said below
        y = y.reshape(len(y), -1).astype(np.float32)
    if not np.isfinite(y).all():
        raise Mistake(
            f"the target has {shell.counted(int((~np.isfinite(y)).sum()), 'value')} beyond 3.4e38"
        )
    return y
