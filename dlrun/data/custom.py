"""A set of the user's own: a map-style Dataset, or arrays, by the function that makes it."""

import hashlib
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dlrun import shell
from dlrun.data import Report, Source
from dlrun.data.cache import FORMAT, Labels, Writer, load
from dlrun.data.fingerprint import hash_files, stat_below
from dlrun.data.images.read import channels_first, converted, flatten
from dlrun.data.parts import Part, write
from dlrun.data.split import NAMES
from dlrun.data.tables.targets import for_task, require_task
from dlrun.errors import DlrunError, Mistake, told

OWN = ("task", "scale_targets", "cache")
"""The settings that are not for the user's function, unless it takes them itself."""

_CHUNK = 256
_FORM = "a Dataset of (x, y), arrays (x, y), or one of these for each of train, val and test"

Array = NDArray[Any]


def custom(
    made: Callable[[], Any],
    arguments: Mapping[str, Any],
    code: Sequence[Callable[..., Any]],
    task: str = "auto",
    scale_targets: bool | None = None,
    cache: str | None = None,
    report: Report | None = None,
) -> Source:
    """What a user's function gives, read once into the cache.

    made: the function with its arguments. arguments: as they are written; the entry is known by
        them and by the files and folders that they name.
    code: the function, and what else the arguments name, by whose modules it is known, too.
    task, scale_targets: as for `arrays`.

    A `Source` that the function gives is taken as it is.
    Returns y (n,) int64, or (n, targets) float32 in regression.
    Raises ValueError for a task that there is not, Mistake for what is no set.
    """
    require_task(task)
    files = [file for path in _paths(arguments) for file in stat_below(path)]
    key = hash_files(files, FORMAT, arguments, list(map(_digest, code)), task)
    try:
        source, _ = load("custom", key, partial(_build, made, task, report), cache)
    except _GivenError as given:
        return given.source
    name = str(getattr(code[0], "__name__", "custom"))
    return replace(for_task(source, task, scale_targets), name=name)


class _GivenError(Exception):
    """The function gives a `Source`, which needs no cache."""

    def __init__(self, source: Source) -> None:
        self.source = source


def _build(made: Callable[[], Any], task: str, report: Report | None, writer: Writer) -> Labels:
    with _users():
        found = made()
    if isinstance(found, Source):
        raise _GivenError(found)
    splits = dict(found) if isinstance(found, Mapping) else {"": found}
    if strange := [name for name in splits if name not in ("", *NAMES)] or not splits:
        raise Mistake(f"it gives a mapping of {strange if splits else 'nothing'}; expected {_FORM}")
    parts = {name: _part(given) for name, given in splits.items()}
    return write(parts, task, report, writer)


def _part(given: Any) -> Part:
    """The samples of what a function gives."""
    if isinstance(given, torch.utils.data.DataLoader):
        raise Mistake("it gives a DataLoader; give its dataset: mini-batches are made here")
    if isinstance(given, Sequence) and len(given) == 2 and all(map(_is_array, given)):
        x, y = map(_array, given)
        if len(x) != len(y):
            raise Mistake(f"x has {shell.counted(len(x), 'sample')} but y has {len(y):,}")
        places = range(0, len(x), 10_000)
        return Part(((x[at : at + 10_000], y[at : at + 10_000]) for at in places), len(x))
    takes = hasattr(given, "__getitem__") and hasattr(given, "__len__")
    if not takes or _is_array(given) or isinstance(given, str | bytes):
        why = "; a stream has no length, and cannot be split" if hasattr(given, "__iter__") else ""
        raise Mistake(f"it gives a {type(given).__name__}, not {_FORM}{why}")
    inner = given
    while not hasattr(inner, "classes") and hasattr(inner, "dataset"):  # of a Subset
        inner = inner.dataset
    names, unnamed = _names(getattr(inner, "classes", ()))
    return Part(_read(given), len(given), names, (*_changing(given), *unnamed))


def _names(classes: Any) -> tuple[Sequence[str], tuple[str, ...]]:
    """The names of classes, or of columns of labels, and a sentence where they cannot be such."""
    names = classes.tolist() if isinstance(classes, np.ndarray) else classes
    if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
        return names, ()
    return (), ("its attribute `classes` is not a list of texts, so its classes are numbered",)


def _changing(given: Any) -> tuple[str, ...]:
    """A sentence where the first sample is another one when it is read again."""
    if not len(given):
        return ()
    first, again = _sample(given, 0)[0], _sample(given, 0)[0]
    if first.shape == again.shape and np.array_equal(first, again):
        return ()
    return (
        "each time that it is read, sample 0 is another one, and it is read once: take random "
        "transforms out of the function; augmentation= has such",
    )


def _read(given: Any) -> Iterator[tuple[Array, Array]]:
    """A map-style Dataset, some samples at a time."""
    for start in range(0, len(given), _CHUNK):
        places = range(start, min(start + _CHUNK, len(given)))
        xs, ys = zip(*(_sample(given, place) for place in places), strict=True)
        for name, values in (("x", xs), ("y", ys)):
            for place, value in zip(places, values, strict=True):
                if value.shape != values[0].shape:
                    raise Mistake(
                        f"{name} of sample {place} has the shape {value.shape}, and that of sample "
                        f"{start} {values[0].shape}; make them alike"
                    )
        yield np.stack(xs), np.stack(ys)


def _sample(given: Any, place: int) -> tuple[Array, Array]:
    with _users():
        item = given[place]
    if not isinstance(item, tuple | list) or len(item) != 2:
        many = f" of {len(item)}" if isinstance(item, tuple | list) else ""
        raise Mistake(f"sample {place} is a {type(item).__name__}{many}; expected (x, y)")
    return _array(item[0]), _array(item[1])


def _array(value: Any) -> Array:
    """A tensor, an image (channels, h, w), or anything that numpy takes, as an array."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        found: Array = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
        return found
    if isinstance(value, Image.Image):
        if value.mode != "F" and value.mode[0] != "I":
            mode = "L" if value.mode in ("1", "L") else "RGB"
            value = converted(flatten(value, "white")[0], mode)
        return channels_first(np.asarray(value))
    return np.asarray(value)


def _is_array(value: Any) -> bool:
    """Whether a value is a tensor, an array, or a table or column of pandas and the like."""
    return isinstance(value, Tensor | np.ndarray) or hasattr(value, "to_numpy")


@contextmanager
def _users() -> Iterator[None]:
    """Inside, whatever the user's own code raises is a Mistake that says where."""
    try:
        yield
    except DlrunError:
        raise
    except (Exception, SystemExit) as error:
        raise Mistake(told(error)) from error


def _paths(node: Any) -> Iterable[Path]:
    """The files and folders that arguments name."""
    if isinstance(node, Mapping):
        return [path for value in node.values() for path in _paths(value)]
    if isinstance(node, list):
        return [path for value in node for path in _paths(value)]
    with suppress(OSError, ValueError):  # too long for a name, or with a zero in it
        if isinstance(node, str) and os.path.exists(node):
            return [Path(node)]
    return []


def _digest(made: Callable[..., Any]) -> str:
    """Of the file that a function or class stands in; of its name where there is none."""
    with suppress(TypeError, OSError):
        file = inspect.getsourcefile(inspect.unwrap(made))
        if file is not None:
            return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    return repr(made)
