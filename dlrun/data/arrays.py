"""Arrays from a file: .npz, .safetensors or a table, for classification or regression."""

import re
import zlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from dlrun import shell
from dlrun.data import Report, Source, blame, npz
from dlrun.data.cache import FORMAT, Labels, Writer, load
from dlrun.data.fingerprint import coincide, hash_files, stat_files, with_targets
from dlrun.data.place import STORED, require_file
from dlrun.data.tables.cells import find_missing, require_decimal
from dlrun.data.tables.columns import Column, merged, read_kinds
from dlrun.data.tables.file import FORMS as TABLES
from dlrun.data.tables.read import Table, read_table
from dlrun.data.tables.settle import settle
from dlrun.data.tables.targets import encode, for_task, require_task
from dlrun.errors import Mistake

SPLITS = ("train", "val", "test")
_UNNAMED = re.compile("arr_[0-9]+")  # what numpy.savez calls an array without a name

Array = NDArray[Any]


def arrays(
    path: str,
    target: str | list[str] | None = None,
    features: list[str] | None = None,
    group: str | None = None,
    columns: dict[str, str] | list[str] | None = None,
    missing: list[Any] | None = None,
    decimal: str | None = None,
    task: str = "auto",
    scale_targets: bool | None = None,
    cache: str | None = None,
    report: Report | None = None,
) -> Source:
    """Read x and y from a file.

    path: an .npz or .safetensors file with arrays x and y, or with x_train and y_train and
        perhaps x_val, y_val, x_test, y_test, beside which x and y are x_train and y_train;
        or a table: a CSV whose first line names the
        columns, a Parquet or an Arrow file.
    target: the table's column to predict; rows that lack it are left out. Several are refused.
    features: the table's columns to predict it from. None takes all others except identifiers,
        constants and copies of the target.
    group: the table's column whose rows with one value stay in one split; it is no feature.
    columns: what columns hold, by name: number, text, date or a form of dates such as %d/%m/%Y;
        or out, which leaves one out; or a list of texts such as 'zip: text'. Others hold what
        their texts show.
    missing: the texts that mean a missing value in a table, instead of the usual ones.
    decimal: the decimal mark of a table, point or comma; None: as its columns show.
    task: auto takes strings for classes and fractions for regression; whole numbers are classes
        where there are two different ones, or at most 1000, each 5 times on average. multilabel:
        columns of 0 and 1.
    scale_targets: train on (y − mean)/std in regression; None does so unless all targets lie
        in 0..1.

    x uint8 counts as images: (n, h, w) becomes (n, 1, h, w), and (n, h, w, 1 or 3 or 4)
    is turned to channels first. Every other x becomes float32 and keeps its shape, a table
    (n, features) of uint8, too.
    Columns of a table that are no numbers are encoded once the rows to train on are known.
    Returns y (n,) int64, or (n, targets) float32 in regression.
    Raises ValueError for an argument out of range, Mistake for what the file lacks, and
    for values that are missing or not finite.
    """
    require_task(task)
    require_decimal(decimal)
    find_missing(missing)  # raises ValueError
    kinds = read_kinds(columns) or None
    file = shell.path(path, "data.path")
    asked = {"target": target, "features": features, "group": group, "columns": kinds}
    asked |= {"missing": missing, "decimal": decimal}
    with blame(f"data.path={path}"):
        require_file(file, path)
        _check_file(file, asked)
        key = hash_files(stat_files([file]), FORMAT, *asked.values(), task)
        build = partial(_build, file, task, asked, report)
        source, _ = load("arrays", key, build, cache)
    source = replace(for_task(source, task, scale_targets), name=file.stem)
    return settling(source) if source.reading else source


def settling(source: Source) -> Source:
    """A table as the cache has it, which is encoded once the rows to train on are known."""
    reading = dict(source.reading)
    values = reading.pop("texts")
    hashes = with_targets(source.hashes.numpy(), source.y.numpy())
    source = replace(source, reading=reading, hashes=torch.from_numpy(hashes))
    return replace(source, settle=partial(settle, source, values))


def _check_file(file: Path, asked: Mapping[str, Any]) -> None:
    """Raise Mistake for a file of another kind, and for words about columns where it has none."""
    form = file.suffix.lower()
    if form not in (*STORED, *TABLES):
        raise Mistake("expected a file .npz, .safetensors, .csv, .parquet or .arrow")
    for key, value in asked.items() if form in STORED else ():
        if value is not None:
            about = ("target", "features", "group", "columns")
            does = "names a column" if key in about else "is for the texts"
            typed = f"data.{key}={shell.shown(value)}"
            raise Mistake(f"{typed}: {does} of a table; {file.name} has x and y")
    if form in TABLES and isinstance(asked["target"], list):
        raise Mistake(
            f"data.target={shell.shown(asked['target'])}: of a table name one column; several are "
            "predicted from an .npz or .safetensors file whose y has a column for each"
        )


def _build(
    file: Path, task: str, asked: Mapping[str, Any], report: Report | None, writer: Writer
) -> Labels:
    """Read the file into the cache."""
    table, given, lost = None, dict[str, NDArray[np.int64]](), list[str]()
    if file.suffix.lower() in STORED:
        x, y, given = _join(_read_arrays(file))
        lost, x = _merged(x), as_samples(x)
    else:
        options = dict(asked)
        table = read_table(file, task=task, kinds=options.pop("columns"), **options)
        x, y = table.x.astype(np.float32), table.y
    y, classes = encode(y, task)
    if len(x) != len(y):
        raise Mistake(f"x has {shell.counted(len(x), 'sample')} but y has {len(y):,}")
    for start in range(0, len(x), 10_000):
        writer.add(x[start : start + 10_000])
        if report:
            report(min(start + 10_000, len(x)), len(x))
    if table is None:
        return Labels(y, classes, given, notes=tuple(lost))
    return labels_of(table, y, classes, given)


def labels_of(
    table: Table, y: Array, classes: tuple[str, ...], given: dict[str, NDArray[np.int64]]
) -> Labels:
    """What the cache keeps of a table beside its numbers, with its encoded target."""
    return Labels(
        y,
        classes,
        given,
        notes=tuple(table.notes),
        groups=table.groups,
        chance=coincide(np.c_[table.x.astype(np.float32), y.astype(np.float32)]),
        columns=tuple(column["name"] for column in table.reading["columns"]),
        reading={**table.reading, "texts": table.values},
    )


def _merged(x: Array) -> list[str]:
    """Notes on the columns of x (n, features) whose numbers float32 makes equal."""
    if x.ndim != 2 or x.dtype not in (np.int32, np.uint32, np.int64, np.uint64, np.float64):
        return []
    named = ((f"x[:,{place}]", each.astype(np.float64)) for place, each in enumerate(x.T))
    found = (merged(Column(name, (), (), "number", numbers)) for name, numbers in named)
    return list(filter(None, found))


def as_samples(x: Array, before: int = 0) -> Array:
    """Samples as they are kept: images (n, channels, h, w) uint8, else float32 of any shape.

    A table of uint8 holds small numbers, which are no shares of 255.
    before: how many samples come before these. Raises Mistake for what is neither images nor
    numbers, and for values that are missing or not finite.
    """
    if x.ndim < 2:
        raise Mistake(f"x has the shape {x.shape}; expected (n, features) or more{_axis(x)}")
    if len(x) == 0 or x[0].size == 0:
        raise Mistake(f"x is empty, its shape is {x.shape}")
    if x.dtype == np.uint8 and x.ndim > 2:
        if x.ndim == 3:
            return x[:, None]
        last = x.ndim == 4 and x.shape[3] in (1, 3, 4) and x.shape[1] not in (1, 3, 4)
        return x.transpose(0, 3, 1, 2) if last else x
    if x.dtype.kind not in "iubf":
        raise Mistake(f"x has the type {x.dtype}; expected numbers{_cure(x, before)}")
    with np.errstate(over="ignore"):  # said below
        x = x.astype(np.float32)
    if not np.isfinite(x).all():
        rows = (~np.isfinite(x.reshape(len(x), -1))).any(1)
        raise Mistake(
            f"x has missing or infinite values in {shell.counted(int(rows.sum()), 'sample')}, "
            f"first in x[{before + np.argmax(rows)}]"
        )
    return x


def _axis(x: Array) -> str:
    """What a list of numbers is with one axis more."""
    if x.ndim == 0 or len(x) < 2:
        return ""
    n = len(x)
    return f": x[:, None] is {n:,} samples of one number, x[None] is one sample of {n:,}"


def _cure(x: Array, before: int) -> str:
    """What makes numbers of objects; else the first of them that is none."""
    if x.dtype.kind != "O":
        return ""
    for place, row in enumerate(x.reshape(len(x), -1), before):
        for value in row:
            if not isinstance(value, int | float | np.number | np.bool_):
                return f", and x[{place}] holds {value!r:.50}"
    return ": x.astype('float32') makes them such"


def _read_arrays(file: Path) -> dict[str, Array]:
    """The arrays of the file that `_join` takes."""
    wanted = {"x", "y", *(f"{part}_{split}" for part in "xy" for split in SPLITS)}
    try:
        if file.suffix.lower() == ".npz":
            names, found = _read_npz(file, wanted)
        else:
            from safetensors.torch import load_file

            tensors = load_file(file)
            names = list(tensors)
            found = {
                # numpy has no bfloat16
                name: (tensor.float() if tensor.dtype.is_floating_point else tensor).numpy()
                for name, tensor in tensors.items()
                if name in wanted
            }
    except Mistake:
        raise
    except Exception as error:  # each format has errors of its own
        raise Mistake(f"it cannot be read: {error}") from error
    if not ({"x", "y"} <= found.keys() or {"x_train", "y_train"} <= found.keys()):
        named = f"; {npz.SAVED}" if names and all(map(_UNNAMED.fullmatch, names)) else ""
        raise Mistake(
            f"it holds {shell.some(names) or 'nothing'}; expected x and y, or x_train and "
            f"y_train{named}"
        )
    return found


def _read_npz(file: Path, wanted: Collection[str]) -> tuple[list[str], dict[str, Array]]:
    """The names of all arrays, and those that are wanted."""
    if why := npz.not_npz(file):
        raise Mistake(why)
    found: dict[str, Array] = {}
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        for name in filter(wanted.__contains__, archive.files):
            try:
                found[name] = archive[name]
            except (BadZipFile, EOFError, zlib.error) as error:
                raise Mistake(npz.damaged(error)) from error
            except ValueError as error:
                if "allow_pickle" not in str(error):
                    raise
                raise Mistake(npz.objects(name)) from error
        return archive.files, found


def _join(found: dict[str, Array]) -> tuple[Array, Array, dict[str, NDArray[np.int64]]]:
    """One x and one y, and the rows of each split."""
    names = {split: (f"x_{split}", f"y_{split}") for split in SPLITS}
    if {"x", "y"} <= found.keys():
        if len(found) == 2:
            return found["x"], found["y"], {}
        if both := sorted(found.keys() & set(names["train"])):
            raise Mistake(f"it holds x and y beside {' and '.join(both)}; leave one of them out")
        names["train"] = ("x", "y")
    xs: list[Array] = []
    ys: list[Array] = []
    given, start = {}, 0
    for split, (x_name, y_name) in names.items():
        x, y = found.get(x_name), found.get(y_name)
        if x is None and y is None:
            continue
        if x is None or y is None:
            raise Mistake(f"it lacks {x_name if x is None else y_name}")
        if single := next((name for name, one in ((x_name, x), (y_name, y)) if not one.ndim), ""):
            raise Mistake(f"{single} is a single number; expected one row for each sample")
        if len(x) != len(y):
            has = shell.counted(len(x), "sample")
            raise Mistake(f"{x_name} has {has}, {y_name} {len(y):,}")
        if xs and (x.shape[1:] != xs[0].shape[1:] or x.dtype != xs[0].dtype):
            first = f"{names['train'][0]} {xs[0].shape} {xs[0].dtype}"
            raise Mistake(f"{x_name} is {x.shape} {x.dtype}, {first}")
        xs.append(x)
        ys.append(y)
        given[split] = np.arange(start, start + len(x))
        start += len(x)
    return np.concatenate(xs), np.concatenate(ys), given
