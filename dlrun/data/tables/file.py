"""The columns of a table as its file has them: CSV, Parquet, or Arrow (Feather)."""

import csv
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from dlrun import shell
from dlrun.data.tables import cells
from dlrun.errors import Mistake

TYPED = (".parquet", ".pq", ".feather", ".arrow")
FORMS = (".csv", ".tsv", ".txt", *TYPED)
"""How the names of files with tables end."""

FLAT = "a table has a column for each value"
"""What is right where a column holds lists, or what is no value."""

_SNIFFED = 100  # lines searched for the separator
_LONGEST = 2**24  # characters of a value; a mark that is not closed must not fill the memory
_UTF16 = (b"\xff\xfe", b"\xfe\xff")  # the marks that files in UTF-16 begin with


@dataclass(frozen=True)
class File:
    """A table as texts.

    texts: of each column by its name, without spaces around them.
    nameless: the columns that have no name in the file; they are called after their place.
    typed: whether an empty text always means a missing value, whatever the user says.
    notes: what was renamed, a sentence each. unusable: why columns are left out.
    repeated: the names that several columns have in the file.
    kept: the rows of the file that these are; None for all.
    """

    texts: Mapping[str, Sequence[str]]
    nameless: Sequence[str] = ()
    typed: bool = False
    notes: Sequence[str] = ()
    unusable: Mapping[str, str] = field(default_factory=dict)
    repeated: Collection[str] = ()
    kept: Sequence[int] | None = None

    def without(self, rows: Collection[int]) -> "File":
        """The same table without these rows."""
        kept = {
            name: [text for row, text in enumerate(column) if row not in rows]
            for name, column in self.texts.items()
        }
        count = len(next(iter(self.texts.values())))
        before = range(count) if self.kept is None else self.kept
        left = [place for row, place in enumerate(before) if row not in rows]
        return replace(self, texts=kept, kept=left)


def read_file(path: Path) -> File:
    """All columns of a table, under names that can be typed.

    The first line of a CSV names them; one without a name is called after its place, column_1, and
    a name that comes again gets a number, as pandas has it: age, age.1.
    Raises Mistake where it is no such file, or has no rows.
    """
    typed = path.suffix.lower() in TYPED
    header, columns, unusable = _read_arrow(path) if typed else _read_csv(path)
    if unusable and not columns:
        why = "; ".join(f"{name}: {reason}" for name, reason in unusable.items())
        raise Mistake(f"no column of it can be read ({why}); {FLAT}")
    if not columns or not columns[0]:
        raise Mistake("it has no rows" if typed else "it has no data below its first line")
    names, nameless, notes = _names(header)
    notes += [f"the column {name} is left out: {why}" for name, why in unusable.items()]
    texts = dict(zip(names, columns, strict=True))
    given = [cells.typable(name) for name in header]
    repeated = {name for name in given if name and given.count(name) > 1}
    return File(texts, nameless, typed, notes, unusable, repeated)


@dataclass
class Parts:
    """A table that is read a few rows at a time.

    names, nameless: as in `File`. rows: how many there are, about. odd: the lines of a CSV that
    have too few values or too many, and are left out; known at the end.
    """

    names: Sequence[str]
    nameless: Sequence[str]
    rows: int
    parts: Callable[[int], Iterator[Mapping[str, Sequence[str]]]]
    odd: list[tuple[int, str]] = field(default_factory=list)


def read_parts(path: Path) -> Parts:
    """The same columns, for tables that are larger than memory. Raises Mistake as `read_file`."""
    if path.suffix.lower() in TYPED:
        with _arrow(path) as table:
            rows, header = table.rows, _columns(table.empty)[0]
    else:
        rows, header = max(1, _newlines(path) - 1), next(_lines(path), [])
    if not header:
        raise Mistake("it holds nothing")
    names, nameless, _ = _names(header)
    made = Parts(names, nameless, rows, lambda size: _parts(path, made, size))
    return made


def _parts(path: Path, made: Parts, size: int) -> Iterator[Mapping[str, Sequence[str]]]:
    if path.suffix.lower() in TYPED:
        with _arrow(path) as table:
            for part in table.parts(size):
                yield dict(zip(made.names, _columns(part)[1], strict=True))
        return
    lines = _lines(path, made.odd)
    next(lines, None)
    while rows := list(islice(lines, size)):
        yield dict(zip(made.names, _across(rows), strict=True))


def _newlines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(partial(file.read, 2**20), b""))


def _names(header: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """The names of columns as they can be typed, those that have none in the file, and notes."""
    typable = [cells.typable(name) for name in header]
    names: list[str] = []
    notes = []
    for place, given in enumerate(typable, 1):
        name, again = given or f"column_{place}", 0
        while name in names:
            again += 1
            name = f"{given or f'column_{place}'}.{again}"
        if again:
            notes.append(f"the name {given or 'column'} comes again: column {place} is {name} here")
        names.append(name)
    nameless = [name for name, given in zip(names, typable, strict=True) if not given]
    return names, nameless, notes


def _lines(path: Path, odd: list[tuple[int, str]] | None = None) -> Iterator[list[str]]:
    """The lines of a CSV, the first of which names its columns.

    odd: takes those that have too few values or too many; None: such a one is a Mistake.
    """
    try:
        with path.open("rb") as file:
            wide = file.read(2) in _UTF16
        # utf-8-sig: spreadsheets put a mark at the start.
        with path.open(encoding="utf-16" if wide else "utf-8-sig", newline="") as stream:
            csv.field_size_limit(_LONGEST)
            separator = _separator(list(islice(stream, _SNIFFED)))
            stream.seek(0)
            lines = csv.reader(stream, delimiter=separator, skipinitialspace=True, strict=True)
            yield from _checked(lines, odd)
    except UnicodeError as error:
        raise Mistake(_not_utf8(path) or f"it cannot be read as CSV: {error}") from error


def _not_utf8(path: Path) -> str:
    """Which line is no text in UTF-8, and what to do about it."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                odd = f"0x{line[error.start]:02x}"
                return f"line {number} is not in UTF-8 (it has the byte {odd}); save it as UTF-8"
    return ""


def _rows(lines: Any) -> Iterator[list[str]]:
    """The rows of a reader. Raises Mistake for what is no CSV, with the line where it begins."""
    while True:
        begins = lines.line_num + 1
        try:
            row = next(lines, None)
        except csv.Error as error:
            if "end of data" in str(error):
                why = f"a quotation mark in line {begins} is not closed; close it or take it out"
            elif "field limit" in str(error):
                why = f"a value that begins in line {begins} has over {_LONGEST:,} characters; if "
                why += "a quotation mark there is not closed, close it; else shorten the value"
            else:
                why = f"line {lines.line_num} cannot be read as CSV: {error}"
            raise Mistake(why) from error
        if row is None:
            return
        yield row


def _checked(lines: Any, odd: list[tuple[int, str]] | None) -> Iterator[list[str]]:
    """The lines that have as many values as the first one, and it itself."""
    rows = _rows(lines)
    header: list[str] = next(rows, [])
    yield header
    for row in filter(None, rows):
        if len(row) == len(header):
            yield row
            continue
        has = f"has {shell.counted(len(row), 'value')}, the first line names {len(header)} columns"
        if odd is None:
            raise Mistake(f"line {lines.line_num} {has}")
        odd.append((lines.line_num, has))


def _across(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The columns of rows."""
    return [[text.strip() for text in column] for column in zip(*rows, strict=True)]


def _read_csv(path: Path) -> tuple[list[str], list[list[str]], dict[str, str]]:
    """The names, the columns, and nothing.

    Raises Mistake where a line has too few values or too many.
    """
    header, *rows = _lines(path)
    return header, _across(rows), {}


def _separator(lines: Sequence[str]) -> str:
    """Tab, semicolon, comma or bar: the one that most lines have as often as the first line."""

    def fit(separator: str) -> tuple[bool, int, int]:
        parsed = csv.reader(lines, delimiter=separator, skipinitialspace=True)
        try:
            widths = [len(row) for row in parsed if row] or [0]
        except csv.Error:  # said with its line once the table is read
            return False, 0, 0
        return widths[0] > 1, widths.count(widths[0]), widths[0]

    return max("\t;,|", key=fit)


def _read_arrow(path: Path) -> tuple[list[str], list[list[str]], dict[str, str]]:
    """The names and the columns as texts, "" where there is no value; those that hold no values."""
    with _arrow(path) as table:
        return _columns(table.whole())


class _Arrow(NamedTuple):
    """A table in a file: its rows, none of them, all of them, or a few at a time."""

    rows: int
    empty: Any
    whole: Callable[[], Any]
    parts: Callable[[int], Iterator[Any]]


@contextmanager
def _arrow(path: Path) -> Iterator[_Arrow]:
    """Inside, the file is open. Raises Mistake where it is neither Parquet nor Arrow."""
    import pyarrow as pa
    from pyarrow import feather, parquet

    try:
        with path.open("rb") as file:
            is_parquet = file.read(4) == b"PAR1"
        if is_parquet:
            with parquet.ParquetFile(path) as stored:
                yield _Arrow(
                    stored.metadata.num_rows,
                    stored.schema_arrow.empty_table(),
                    stored.read,
                    lambda size: (
                        pa.Table.from_batches([batch]) for batch in stored.iter_batches(size)
                    ),
                )
            return
        table = feather.read_table(path, memory_map=True)
        starts = partial(range, 0, table.num_rows)
        yield _Arrow(
            table.num_rows,
            table.slice(0, 0),
            lambda: table,
            lambda size: (table.slice(start, size) for start in starts(size)),
        )
    except (pa.ArrowException, OSError) as error:
        message = str(error).strip().splitlines()[0]
        raise Mistake(f"it cannot be read as Parquet or Arrow: {message}") from error


def _columns(table: Any) -> tuple[list[str], list[list[str]], dict[str, str]]:
    """The names and the columns as texts, "" where there is no value; those that hold no values.

    What pandas has stored as the index of the rows counts them, and is no column.
    """
    import pyarrow as pa

    names, columns, unusable = [], [], {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if name.startswith("__index_level_"):
            continue
        if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            unusable[name] = f"it holds {kind}, neither numbers nor texts"
            continue
        names.append(name)
        columns.append([_text(value) for value in column.to_pylist()])
    return names, columns, unusable


def _text(value: Any) -> str:
    """As a CSV would have it; not a number is no value."""
    return "" if value is None or value != value else cells.text_of(value)
