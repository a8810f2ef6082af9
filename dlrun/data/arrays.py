"""Arrays from a file: .npz, .safetensors or CSV, for classification or regression."""

import difflib
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlrun.data import Report, Source
from dlrun.data.cache import FORMAT, Labels, Writer, load
from dlrun.data.fingerprint import hash_files, stat_files
from dlrun.data.table import read_csv
from dlrun.errors import Mistake

TASKS = ("auto", "classification", "regression")
SPLITS = ("train", "val", "test")
_log = logging.getLogger("dlrun")

Array = NDArray[Any]


def arrays(
    path: str,
    target: str | None = None,
    task: str = "auto",
    cache: str | None = None,
    report: Report | None = None,
) -> Source:
    """Read x and y from a file.

    path: an .npz or .safetensors file with arrays x and y, or with x_train and y_train and
        maybe x_val, y_val, x_test, y_test; or a CSV whose first line names the columns.
    target: the CSV's column to predict; all others are features and must hold numbers.
    task: auto takes y of whole numbers or strings for classes, and fractions for regression.

    x uint8 counts as images: (n, h, w) becomes (n, 1, h, w), and (n, h, w, 1 or 3 or 4)
    is turned to channels first. Every other type becomes float32 and keeps its shape.
    Returns y (n,) int64, or (n, targets) float32 in regression.
    Raises ValueError for an argument out of range, Mistake for what the file lacks, and
    for values that are missing or not finite.
    """
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, got {task}")
    file = Path(path).expanduser()
    if not file.is_file():
        raise Mistake(f"data.path={path}: there is no such file")
    if file.suffix.lower() not in (".npz", ".safetensors", ".csv", ".tsv", ".txt"):
        raise Mistake(f"data.path={path}: expected a file .npz, .safetensors or .csv")

    if target is not None and file.suffix.lower() in (".npz", ".safetensors"):
        raise Mistake(f"data.target={target}: names a column of a table; {path} has x and y")

    def build(writer: Writer) -> Labels:
        if file.suffix.lower() in (".npz", ".safetensors"):
            x, y, given = _join(path, _read_arrays(path, file))
        else:
            x, y = _read_table(path, file, target)
            given = {}
        x = _as_samples(path, x)
        y, classes = encode_targets(path, y, task)
        if len(x) != len(y):
            raise Mistake(f"data.path={path}: x has {len(x)} samples but y has {len(y)}")
        for start in range(0, len(x), 10_000):
            writer.add(x[start : start + 10_000])
            if report:
                report(min(start + 10_000, len(x)), len(x))
        return Labels(y, classes, given)

    source, _ = load("arrays", hash_files(stat_files([file]), FORMAT, target, task), build, cache)
    return replace(source, name=file.stem)


def encode_targets(path: str, y: Array, task: str = "auto") -> tuple[Array, tuple[str, ...]]:
    """Targets as (n,) int64 classes 0..K-1 and their names, or (n, targets) float32 and ().

    Classes are in the order of their values.
    """
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    kind = y.dtype.kind
    if kind not in "iubfUS":
        raise Mistake(f"data.path={path}: y has the type {y.dtype}; expected numbers or strings")
    if task == "auto":
        task = "regression" if kind == "f" else "classification"
    if kind == "f" and not np.isfinite(y).all():
        raise Mistake(
            f"data.path={path}: y has {(~np.isfinite(y)).sum()} missing or infinite values"
        )
    if task == "regression":
        if kind in "US" or y.ndim not in (1, 2):
            what = "strings" if kind in "US" else f"the shape {y.shape}"
            raise Mistake(
                f"data.task=regression: y has {what}; expected numbers, (n,) or (n, targets)"
            )
        return y.reshape(len(y), -1).astype(np.float32), ()
    if y.ndim != 1:
        raise Mistake(
            f"data.path={path}: y has the shape {y.shape}, classes must be (n,); "
            "data.task=regression predicts several numbers"
        )
    if kind == "f":
        if (y != np.round(y)).any():
            raise Mistake("data.task=classification: y has fractions; use data.task=regression")
        y = y.astype(np.int64)
    values, labels = np.unique(y, return_inverse=True)
    if len(values) < 2:
        raise Mistake(
            f"data.path={path}: y has the single class {values[0]}; at least 2 are needed"
        )
    if kind in "iu" and len(values) > max(len(y) // 4, 20):
        _log.warning(
            f"y has {len(values)} different whole numbers in {len(y)} samples, taken for classes; "
            "data.task=regression takes them for numbers"
        )
    names = tuple(v.decode() if isinstance(v, bytes) else str(v) for v in values.tolist())
    return labels.astype(np.int64), names


def _as_samples(path: str, x: Array) -> Array:
    if x.ndim < 2:
        raise Mistake(
            f"data.path={path}: x has the shape {x.shape}; expected (n, features) or more"
        )
    if len(x) == 0 or x[0].size == 0:
        raise Mistake(f"data.path={path}: x is empty, its shape is {x.shape}")
    if x.dtype == np.uint8:
        if x.ndim == 3:
            return x[:, None]
        last = x.ndim == 4 and x.shape[3] in (1, 3, 4) and x.shape[1] not in (1, 3, 4)
        return x.transpose(0, 3, 1, 2) if last else x
    if x.dtype.kind not in "iubf":
        raise Mistake(f"data.path={path}: x has the type {x.dtype}; expected numbers")
    with np.errstate(over="ignore"):  # said below
        x = x.astype(np.float32)
    if not np.isfinite(x).all():
        rows = (~np.isfinite(x.reshape(len(x), -1))).any(1)
        raise Mistake(
            f"data.path={path}: x has missing or infinite values in {rows.sum()} samples, "
            f"first in x[{rows.argmax()}]"
        )
    return x


def _read_arrays(path: str, file: Path) -> dict[str, Array]:
    """Those arrays of the file that have one of the names that `_join` takes."""
    wanted = {"x", "y", *(f"{part}_{split}" for part in "xy" for split in SPLITS)}
    try:
        if file.suffix.lower() == ".npz":
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                names = stored.files
                found = {name: stored[name] for name in names if name in wanted}
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
    except Exception as error:  # each format has errors of its own
        raise Mistake(f"data.path={path} cannot be read: {error}") from error
    if not ({"x", "y"} <= found.keys() or {"x_train", "y_train"} <= found.keys()):
        raise Mistake(
            f"data.path={path} holds {_some(names) or 'nothing'}; "
            "expected x and y, or x_train and y_train"
        )
    return found


def _join(path: str, found: dict[str, Array]) -> tuple[Array, Array, dict[str, NDArray[np.int64]]]:
    """One x and one y, and which rows are of which split."""
    if "x" in found and "y" in found:
        return found["x"], found["y"], {}
    xs: list[Array] = []
    ys: list[Array] = []
    given, start = {}, 0
    for split in SPLITS:
        x, y = found.get(f"x_{split}"), found.get(f"y_{split}")
        if x is None and y is None:
            continue
        if x is None or y is None:
            lacking = f"x_{split}" if x is None else f"y_{split}"
            raise Mistake(f"data.path={path} lacks {lacking}")
        if len(x) != len(y):
            raise Mistake(f"data.path={path}: x_{split} has {len(x)} samples, y_{split} {len(y)}")
        if xs and (x.shape[1:] != xs[0].shape[1:] or x.dtype != xs[0].dtype):
            raise Mistake(
                f"data.path={path}: x_{split} is {x.shape} {x.dtype}, "
                f"x_train {xs[0].shape} {xs[0].dtype}"
            )
        xs.append(x)
        ys.append(y)
        given[split] = np.arange(start, start + len(x))
        start += len(x)
    return np.concatenate(xs), np.concatenate(ys), given


def _read_table(path: str, file: Path, target: str | None) -> tuple[Array, Array]:
    columns = read_csv(path, file)
    if target is None:
        raise Mistake(f"data.target=null: name the column to predict: {_some(list(columns))}")
    if target not in columns:
        near = difflib.get_close_matches(target, columns, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {_some(list(columns))}"
        raise Mistake(f"data.target={target}: {path} has no such column; {hint}")
    y = columns.pop(target)
    if not columns:
        raise Mistake(f"data.path={path} has no column besides {target}")
    words = [name for name, values in columns.items() if values.dtype.kind == "U"]
    if words:
        first = columns[words[0]]
        odd = next(value for value in first.tolist() if not _is_number(value))
        raise Mistake(
            f"data.path={path}: the column {words[0]} holds {odd!r}; "
            "features must be numbers: leave it out or encode it"
        )
    return np.stack([values.astype(np.float64) for values in columns.values()], 1), y


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
