"""Reads tables, CSV or Arrow: the features and the target."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlrun import shell
from dlrun.data.tables import cells, columns
from dlrun.data.tables.columns import Column
from dlrun.data.tables.file import FLAT, File, read_file
from dlrun.data.tables.targets import (
    are_numbers,
    has_fractions,
    holds,
    odd,
    read_target,
    refuse_written,
    require_numbers,
)
from dlrun.errors import Mistake

_LISTED = 10  # the most columns in a word that is proposed
_INFINITE = ("inf", "infinity")
_MARKS = 3  # the most texts that stand for missing values in a column of numbers
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Table:
    """The rows of a table that have a target.

    x: (n, columns): numbers, nan where missing; of a text its place in `values`.
    y: (n,) int64, float64 or strings. groups: (n,) int64, numbered, or None.
    reading: how the columns are read, as `encode` has it, not fitted yet; with `absent`, the
        number of values that are missing, `values`, the number of different texts, and `out`,
        why other columns are left out.
    values: the different texts, in order, of each column of texts.
    notes: what was guessed and left out, a sentence each. rows: those of the file, in order.
    """

    x: NDArray[np.float64]
    y: NDArray[Any]
    groups: NDArray[np.int64] | None
    reading: Mapping[str, Any]
    values: Mapping[str, Sequence[str]]
    notes: Sequence[str]
    rows: Sequence[int]


def read_table(
    path: Path,
    target: str | None,
    features: Sequence[str] | None = None,
    group: str | None = None,
    task: str = "auto",
    missing: Sequence[object] | None = None,
    decimal: str | None = None,
    kinds: Mapping[str, str] | None = None,
) -> Table:
    """Read the columns that can help to predict the target.

    features: the columns to use, in this order; None takes all but the target, the group and
    those that `columns.why_useless` finds. group: the column whose texts are groups. missing: see
    `cells.find_missing`. decimal: point, comma, or None for what the columns show. kinds: what
    columns hold, of `columns.KINDS` or a form of dates, where they are not to show it themselves.
    Rows without a target are left out.
    Raises Mistake where there is no such column, and for columns that cannot be used.
    """
    file = read_file(path)
    _require_target(file, target, group)
    assert target is not None
    file, notes = with_target(file, target, missing)
    said = dict(kinds or {})
    groups = None
    if group is not None:
        groups = read_groups(file, group, missing)
        notes.append(
            f"the column {group} makes {groups.max() + 1:,} groups, each of which stays in one "
            "split; it is not a feature"
        )
    used = _used(file, target, features, group, said)
    missing_rows = {target: [], **_find_missing_rows(file, used, missing)}
    if decimal is None:
        decimal, more = _guess_decimal(file.texts, missing_rows)
        notes += more
    found = {
        name: columns.read(name, file.texts[name], rows, decimal, said.get(name, ""))
        for name, rows in missing_rows.items()
    }
    _refuse_two_marks(found, {*said, target} if task == "classification" else said)
    y, what = read_target(found[target], task, decimal)
    form = found[target].form
    notes += _on_target(found[target], y, what)
    kept, more = _clear([found[name] for name in used], said, decimal)
    notes += more
    out = {name: "as data.columns says" for name, kind in said.items() if kind == "out"}
    if features is None:
        kept, more, why = _choose(kept, found[target], decimal, file.nameless, said)
        notes += more
        out |= why
    notes += _check(kept, said, groups is not None, decimal)
    values = {each.name: sorted(set(_filled(each))) for each in kept if each.kind == "text"}
    return Table(
        x=np.stack([_as_numbers(each, values.get(each.name)) for each in kept], 1),
        y=y,
        groups=groups,
        reading={
            "target": target,
            **({"target_format": form} if form and y is found[target].numbers else {}),
            "missing": None if missing is None else list(missing),
            "decimal": decimal,
            "columns": [_described(each, values.get(each.name)) for each in kept],
            "out": {**out, **file.unusable},
        },
        values=values,
        notes=[*file.notes, *notes],
        rows=range(len(y)) if file.kept is None else file.kept,
    )


def read_targets(
    texts: Mapping[str, Sequence[str]], names: Sequence[str], task: str, decimal: str | None
) -> tuple[NDArray[Any], list[str]]:
    """One column, or several of numbers, (n, columns), as `encode` takes them, and notes on them.

    texts: of columns that lack no value. decimal: as in `read_table`.
    Raises Mistake for what is neither classes nor numbers.
    """
    notes: list[str] = []
    if decimal is None:
        decimal, notes = _guess_decimal(texts, {name: [] for name in names})
    found = [columns.read(name, texts[name], (), decimal) for name in names]
    if len(found) == 1:
        y, what = read_target(found[0], task, decimal)
        return y, [*notes, *_on_target(found[0], y, what)]
    if marks := cells.two_marks({name: texts[name] for name in names}):
        raise Mistake(marks)
    wrong = "of several columns to predict each must hold numbers, or 0 and 1 of a label"
    y = np.stack([require_numbers(column, decimal, wrong) for column in found], 1)
    for column, numbers in zip(found, y.T, strict=True):
        what = "holds dates, taken for numbers, days since 1970" if column.kind == "date" else ""
        notes += _on_target(column, numbers, what)
    return y, notes


def _on_target(column: Column, y: NDArray[Any], what: str) -> list[str]:
    """Notes on a column to predict. what: of `read_target`, without its subject."""
    lost = columns.merged(column) if are_numbers(y) else ""
    return [*([f"the column {column.name} {what}"] if what else []), *filter(None, [lost])]


def _require_target(file: File, target: str | None, group: str | None) -> None:
    if target is None:
        named = [name for name in file.texts if name not in file.nameless] or list(file.texts)
        right = shell.quote(shell.setting("data.target", named[-1]))
        raise Mistake(
            f"data.target=null: name the column to predict, e.g. {right}; there are "
            f"{shell.some(named)}"
        )
    if target not in file.texts and not all(cells.not_number(name, "point") for name in file.texts):
        raise Mistake("its first line must name the columns, it holds numbers")
    require_column("data.target", target, file.texts, file.unusable)
    require_single(target, file)
    if group == target:
        raise Mistake(f"data.group={group}: is data.target, which is to be predicted")


def with_target(
    file: File, target: str, missing: Sequence[object] | None
) -> tuple[File, list[str]]:
    """The rows that have a target, and notes on the others.

    missing: see `cells.find_missing`. Beside other words, None is a class: an answer as good as
    Some. Raises Mistake where no row has one.
    """
    without = set(_find_missing_rows(file, [target], missing)[target])
    texts, notes = file.texts[target], []
    present = columns.without(texts, without)
    nones = [row for row in without if texts[row].lower() == "none"] if missing is None else []
    if nones and present and columns.read(target, present, (), "point").kind == "text":
        without -= set(nones)
        notes.append(
            f"the column {target} holds {cells.shown(texts[nones[0]])} in "
            f"{shell.counted(len(nones), 'row')}, taken for a class; "
            f"data.missing=[{texts[nones[0]]}] takes it for missing"
        )
    if not without:
        return file, notes
    if len(without) == len(texts):
        raise Mistake(f"the column {target}, which is to be predicted, has no values")
    marks = {texts[row] for row in without}
    word = min(filter(None, marks), default="")
    said = left_out(len(without), len(texts), target)
    if word and missing is None:
        right = "'data.missing=[\"\"]'" if "" in marks else "data.missing=[]"
        said += f"; where {cells.shown(word)} is a value, {right}"
    return file.without(without), [*notes, said]


def left_out(lacking: int, rows: int, target: str) -> str:
    """A note on the rows that lack a target."""
    are, lack = ("is", "it lacks") if lacking == 1 else ("are", "they lack")
    return f"{lacking:,} of {rows:,} rows {are} left out: {lack} a value of {target}"


def _used(
    file: File,
    target: str,
    features: Sequence[str] | None,
    group: str | None,
    said: Mapping[str, str],
) -> list[str]:
    """The columns that may be features."""
    taken = {target: "data.target", group: "data.group"}
    for name in said:
        require_column("data.columns", name, file.texts, file.unusable)
        if name in taken:
            raise Mistake(f"data.columns: has {name}, which is {taken[name]}; leave it out")
    if features is not None:
        only = file.nameless[0] if len(file.nameless) == 1 else ""
        used = [name or only for name in features]
        _require_features(used, taken, file)
        for name in used:
            if said.get(name) == "out":
                raise Mistake(f"data.features: has {name}, which data.columns leaves out")
        return used
    used = [name for name in file.texts if name not in taken and said.get(name) != "out"]
    if not used:
        others = f"it has no column besides {' and '.join(filter(None, (target, group)))}"
        why = [f"{name}: {reason}" for name, reason in file.unusable.items()]
        raise Mistake(f"{others} that can be read ({shell.some(why)}); {FLAT}" if why else others)
    return used


def read_groups(file: File, group: str, missing: Sequence[object] | None) -> NDArray[np.int64]:
    """The number of each row's group, (n,); rows with the same text are one.

    missing: see `cells.find_missing`. Raises Mistake where there is no such column, or a value of
    it is missing.
    """
    require_column("data.group", group, file.texts, file.unusable)
    texts, rows = file.texts[group], _find_missing_rows(file, [group], missing)[group]
    if rows:
        raise Mistake(
            f"the column {group} lacks {len(rows)} of {len(texts)} values, first in row "
            f"{rows[0] + 1} ({cells.shown(texts[rows[0]])}); fill them in, or leave those rows out"
        )
    return np.unique(texts, return_inverse=True)[1].astype(np.int64)


def _find_missing_rows(
    file: File, names: Sequence[str], missing: Sequence[object] | None
) -> dict[str, list[int]]:
    """The rows that lack a value, by column."""
    is_missing = cells.find_missing(missing)
    return {
        name: [
            row
            for row, text in enumerate(file.texts[name])
            if is_missing(text) or (file.typed and not text)
        ]
        for name in names
    }


def _guess_decimal(
    texts: Mapping[str, Sequence[str]], missing_rows: Mapping[str, Sequence[int]]
) -> tuple[str, list[str]]:
    """The decimal mark that the columns show, and a note where it is the comma."""
    present = {name: columns.without(texts[name], rows) for name, rows in missing_rows.items()}
    decimal, name, text = cells.guess_decimal(present)
    if not name:
        return decimal, []
    return decimal, [
        f"{text} in the column {name} is read as {text.replace(',', '.')}, with a decimal comma; "
        "data.decimal=point says otherwise"
    ]


def _choose(
    found: Sequence[Column],
    target: Column,
    decimal: str,
    nameless: Collection[str],
    said: Collection[str],
) -> tuple[list[Column], list[str], dict[str, str]]:
    """The columns that may be features, notes on the others, and why each of these is none."""
    why = {
        one.name: columns.why_useless(one, target, decimal, one.name in nameless)
        for one in found
        if one.name not in said
    }
    out = {name: reason for name, reason in why.items() if reason}
    kept = [one for one in found if one.name not in out]
    notes: list[str] = []
    last = [
        one
        for one in found
        if out.get(one.name) == columns.CONSECUTIVE and not columns.says_identifier(one.name)
    ]
    if not kept and last:
        kept = last[:1]
        del out[kept[0].name]
        notes.append(
            f"the column {kept[0].name} counts the rows; it is taken in, since no other is left"
        )
    for reason in dict.fromkeys(out.values()):
        left = [one for one in found if out.get(one.name) == reason]
        if len(left) > _LISTED:
            names = shell.some(one.name for one in left)
            notes.append(f"{len(left)} columns are left out: of each, {reason}: {names}")
            continue
        for one in left:
            subject = f"the column {one.name}"
            if one.name in nameless:
                subject = f"the column without a name, here {one.name},"
            with_it = [each.name for each in found if each in kept or each is one]
            short = len(with_it) <= _LISTED
            word = columns.features(with_it) if short else "naming it in data.features"
            more = f"; {word} takes it in" if _usable(one) else ""
            more += _in_units(one, reason, decimal)
            notes.append(f"{subject} is left out: {reason}{more}")
    if not kept:
        reasons = shell.some(
            f"{one.name}: {out[one.name]}{_in_units(one, out[one.name], decimal)}" for one in found
        )
        usable = [one.name for one in found if _usable(one)]
        word = f"; {columns.features(usable)} takes them anyway" if usable else ""
        raise Mistake(f"it leaves no column to predict {target.name} from ({reasons}){word}")
    return kept, notes, out


def _in_units(column: Column, reason: str, decimal: str) -> str:
    """What to do about numbers with a unit that are left out as names of the rows."""
    return cells.in_units(column.present, decimal) if reason == columns.DIFFERENT else ""


def _usable(column: Column) -> bool:
    """Whether it has numbers, which can be taken in all the same."""
    return column.numbers is not None and len(column.missing_rows) < len(column.texts)


def _clear(
    found: Sequence[Column], said: Collection[str], decimal: str
) -> tuple[list[Column], list[str]]:
    """The columns, those that hold both numbers and texts as one of them, and notes on these.

    Texts that lack any digit stand for missing numbers; with digits, whole numbers are labels as
    they are. Raises Mistake for fractions among what is no number.
    """
    clear, notes = [], []
    for column in found:
        mixed: set[str] = set()
        if column.kind == "text" and column.name not in said:
            column, more = _clear_dates(column, decimal)
            notes += more
        if column.kind == "text" and column.name not in said:
            _refuse_infinite(column, decimal)
            as_text, as_number = _words(column, "text"), _words(column, "number")
            refuse_written(column, decimal, f"{as_text} takes every text for a class")
            mixed = odd(column, decimal)
        if not mixed:
            clear.append(column)
        elif len(mixed) <= _MARKS and not any(map(str.isdigit, "".join(mixed))):
            texts = ", ".join(map(cells.shown, sorted(mixed)))
            notes.append(
                f"the column {column.name} holds {texts} among numbers, which counts as missing; "
                f"{as_text} says otherwise"
            )
            clear.append(
                columns.read(column.name, column.texts, column.missing_rows, decimal, "number")
            )
        else:
            numbers = set(column.present) - mixed
            if has_fractions(numbers or mixed):
                missing = f"{as_number} takes it for missing, " if numbers else ""
                taken = f"{missing}{as_text}{'' if numbers else ' takes it'} for a class"
                raise Mistake(f"{holds(column, decimal)}; write plain numbers; {taken}")
            other = f"{as_number} counts what is not a number as missing"
            other = other if numbers else "plain numbers would be read as such"
            notes.append(f"{holds(column, decimal)}, and is taken for text; {other}")
            clear.append(column)
    return clear, notes


def _clear_dates(column: Column, decimal: str) -> tuple[Column, list[str]]:
    """A column of texts, as dates where some words among these stand for missing ones.

    Raises Mistake for dates of another form among them.
    """
    form, others = columns.dates_among(column)
    if not form:
        return column, []
    texts, as_text = ", ".join(map(cells.shown, sorted(others)[:_MARKS])), _words(column, "text")
    if len(others) <= _MARKS and not any(map(str.isdigit, "".join(others))):
        note = f"the column {column.name} holds {texts} among dates, which counts as missing; "
        dates = columns.read(column.name, column.texts, column.missing_rows, decimal, form)
        return dates, [f"{note}{as_text} says otherwise"]
    said, right = columns.other_dates(column), f"{_words(column, form)} takes it for missing"
    raise Mistake(f"{said}; {right}, {as_text} for a class")


def _words(column: Column, kind: str) -> str:
    """The word that says what a column holds, as a shell takes it."""
    return columns.kinds(column.name, kind)


def _check(kept: Sequence[Column], said: Collection[str], grouped: bool, decimal: str) -> list[str]:
    """Notes on features that may be meant otherwise. Raises Mistake for what none can be.

    said: columns of which it is said what they hold. grouped: whether another one makes groups.
    """
    notes = []
    for column in kept:
        if len(column.missing_rows) == len(column.texts):
            raise Mistake(f"the column {column.name} has no values")
        if column.kind == "date" and columns.month_or_day(column):
            other = column.form.replace("%m/%d", "%d/%m")
            notes.append(
                f"{column.present[0]} in the column {column.name} is read with the month first; "
                f"{_words(column, other)} says otherwise"
            )
        if not grouped and column.name not in said and columns.names_cases(column):
            notes.append(_on_cases(column))
        if column.kind == "text" and column.name not in said and columns.hardly_repeats(column):
            notes.append(
                f"the column {column.name} has {len(set(column.present)):,} different texts, fewer "
                f"than two rows each: of most nothing can be learned; {_words(column, 'out')} "
                f"leaves it out{cells.in_units(column.present, decimal)}"
            )
        notes += filter(None, [columns.merged(column)])
        large = None if column.numbers is None else np.abs(column.numbers) > _LARGEST
        if large is not None and large.any():
            row = int(np.argmax(large))
            held = f"holds {cells.shown(column.texts[row])} in row {row + 1}"
            raise Mistake(f"the column {column.name} {held}; numbers end at {_LARGEST:.2g}")
    return notes


def _on_cases(column: Column) -> str:
    """A note on a feature that says of which case each row is."""
    cases = len(set(column.present))
    group = shell.quote(shell.setting("data.group", column.name))
    return (
        f"the column {column.name} seems to name {cases:,} cases of several rows each: where new "
        f"rows will be of others, {group} keeps those of each in one split; "
        f"{_words(column, 'text')} takes it for names all the same"
    )


def _filled(column: Column) -> list[str]:
    """The texts, "" where there is no value."""
    texts = list(column.texts)
    for row in column.missing_rows:
        texts[row] = ""
    return texts


def _as_numbers(column: Column, values: Sequence[str] | None) -> NDArray[np.float64]:
    if column.numbers is not None:
        return column.numbers
    places = {text: float(place) for place, text in enumerate(values or ())}
    return np.array([places[text] for text in _filled(column)], np.float64)


def _described(column: Column, values: Sequence[str] | None) -> dict[str, Any]:
    found: dict[str, Any] = {"name": column.name, "kind": column.kind}
    if column.kind == "date":
        found["format"] = column.form
    if values is not None:
        found["values"] = len(values)
    return found | {"absent": len(column.missing_rows)}


def _refuse_two_marks(found: Mapping[str, Column], said: Collection[str]) -> None:
    """Raise Mistake where no decimal mark reads all columns of numbers.

    said: columns of which it is said what they hold.
    """
    texts = {name: column.present for name, column in found.items() if name not in said}
    if marks := cells.two_marks(texts):
        raise Mistake(f"{marks}, or say in data.columns that one holds text")


def _refuse_infinite(column: Column, decimal: str) -> None:
    without = set(column.missing_rows)
    rows = [(row, text) for row, text in enumerate(column.texts) if row not in without]
    odd = [(row, text) for row, text in rows if cells.not_number(text, decimal)]
    infinite = [text for _, text in odd if text.lower().lstrip("+-") in _INFINITE]
    if infinite and len(infinite) == len(odd):
        raise Mistake(
            f"the column {column.name} has missing or infinite values in "
            f"{shell.counted(len(odd), 'sample')}, first {infinite[0]!r} in row {odd[0][0] + 1}"
        )


def _require_features(features: Sequence[str], taken: Mapping[str | None, str], file: File) -> None:
    """taken: columns that cannot be features, each with the setting that names it."""
    if not features:
        raise Mistake(f"data.features=[]: name at least one of {shell.some(file.texts)}")
    for name in features:
        require_column("data.features", name, file.texts, file.unusable)
    for name in features:
        if name in taken:
            raise Mistake(f"data.features: has {name}, which is {taken[name]}; leave it out")
    if len(set(features)) < len(features):
        twice = next(name for name in features if features.count(name) > 1)
        raise Mistake(f"data.features: names {twice} twice")


def require_single(target: str, file: File) -> None:
    """Raise Mistake where several columns of a file have the target's name."""
    if target in file.repeated:
        raise Mistake(
            f"data.target={target}: several columns have this name; rename all but one of them"
        )


def require_column(
    key: str, name: str, columns: Collection[str], unusable: Mapping[str, str] | None = None
) -> None:
    """Raise Mistake where a setting names a column that is not there, or cannot be read.

    unusable: why, by the name of the column, as in `File`.
    """
    if unusable and name in unusable:
        raise Mistake(f"{key}={name}: {unusable[name]}; {FLAT}")
    if name not in columns:
        near = difflib.get_close_matches(name, columns, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {shell.some(columns)}"
        raise Mistake(f"{key}={name}: there is no such column; {hint}")
