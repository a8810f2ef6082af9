"""Sets in the form of the library `datasets`: a local folder of Parquet or Arrow files."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dlrun import shell
from dlrun.data import Report, Source, blame
from dlrun.data.arrays import labels_of, settling
from dlrun.data.cache import FORMAT, Labels, Writer, load
from dlrun.data.fingerprint import hash_files, stat_below
from dlrun.data.images.format import Wanted
from dlrun.data.images.layout import split_named
from dlrun.data.images.read import channels_first, converted, flatten
from dlrun.data.images.resize import resized
from dlrun.data.images.samples import read_wanted, reading_of
from dlrun.data.parts import Part, write
from dlrun.data.place import require_folder
from dlrun.data.tables.read import left_out, read_table, require_column
from dlrun.data.tables.targets import MOST, encode, for_task, require_task
from dlrun.errors import Mistake

_CHUNK = 256
_LEAVE_OUT = "leave such rows out of the set, by its filter, and save it again"
_TARGETS = ("label", "labels", "target", "fine_label", "class", "y")
_NEEDS = "needs the library datasets, which is not installed: pip install datasets"

Array = NDArray[Any]
Rows = Mapping[str, Sequence[Any]]


def huggingface(
    root: str,
    target: str | None = None,
    image: str | None = None,
    features: list[str] | None = None,
    task: str = "auto",
    scale_targets: bool | None = None,
    size: int | list[int] | None = None,
    resize: str = "short",
    channels: str = "auto",
    cache: str | None = None,
    report: Report | None = None,
) -> Source:
    """Read a folder that `save_to_disk` has written, or one of Parquet files; from no network.

    Files of splits are known by their names or folders, as train-00000-of-00002.parquet or
    test/0.parquet; a single split is dealt out as any set is.
    target: the column to predict. None takes the only one of class labels, or one called label.
    image: the column of images. None takes the first one; where there is none, it is a table.
    features: the columns of a table to predict it from, as for `arrays`.
    size, resize, channels: as for `imagefolder`; task, scale_targets: as for `arrays`.
    Raises ValueError for an argument out of range, Mistake for what the folder lacks.
    """
    require_task(task)
    wanted = read_wanted(size, resize, channels, None, "white")
    folder = shell.path(root, "data.root").absolute()
    with blame(f"data.root={root}"):
        require_folder(folder, root, "name one with files .parquet or .arrow")
        asked = {"target": target, "image": image, "features": features, "task": task}
        key = hash_files(stat_below(folder), FORMAT, *asked.values(), wanted)
        build = partial(_build, folder, asked, wanted, report)
        source, _ = load("huggingface", key, build, cache)
    source = replace(for_task(source, task, scale_targets), name=folder.name)
    if source.reading:
        return settling(source)
    return replace(source, reading=reading_of(source, wanted))


@dataclass(frozen=True)
class _Split:
    """Rows of one split. features: what the columns hold.

    batches: given columns, or None for all, some rows of them at a time, decoded.
    """

    features: Mapping[str, Any]
    count: int
    batches: Callable[[list[str] | None], Iterator[Rows]]


def _build(
    folder: Path, asked: Mapping[str, Any], wanted: Wanted, report: Report | None, writer: Writer
) -> Labels:
    datasets = _library()
    splits, notes = _splits(datasets, folder)
    features = next(iter(splits.values())).features
    image = asked["image"]
    if image is None:
        pictures = (name for name, kind in features.items() if isinstance(kind, datasets.Image))
        image = next(pictures, None)
    else:
        require_column("data.image", image, features)
    target = _target(datasets, features, asked["target"], image)
    if image is None:
        labels = _table(datasets, splits, target, asked, writer)
    else:
        if asked["features"] is not None:
            raise Mistake(f"data.features: is about tables; the images of {image} are the features")
        labels = _images(datasets, splits, image, target, (asked, wanted, report), writer)
    return replace(labels, notes=(*notes, *labels.notes))


def _library() -> ModuleType:
    """The library `datasets`, which is kept from the network."""
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    try:
        import datasets
    except ImportError:
        raise Mistake(f"data=huggingface: {_NEEDS}") from None
    found: ModuleType = datasets
    return found


def _splits(datasets: ModuleType, folder: Path) -> tuple[dict[str, _Split], list[str]]:
    """The splits of a folder, and what is said of others; a single one is called ""."""
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        with blame("data.root"):
            saved = datasets.load_from_disk(str(folder))
        saved = saved if isinstance(saved, dict) else {"train": saved}
        found = {name: _saved(each) for name, each in saved.items()}
    else:
        found = _of_files(datasets, folder)
    if len(found) == 1:
        return {"": next(iter(found.values()))}, []
    known: dict[str, _Split] = {}
    for name in found:
        split = split_named(name)
        if split and split not in known:
            known[split] = found[name]
    if "train" not in known:
        raise Mistake(f"it has the splits {', '.join(found)}, and no train among them")
    out = [name for name in found if known.get(split_named(name)) is not found[name]]
    said = [f"{', '.join(out)} is none of train, val and test; left out"] if out else []
    return {name: known[name] for name in ("train", "val", "test") if name in known}, said


def _saved(each: Any) -> _Split:
    def batches(columns: list[str] | None) -> Iterator[Rows]:
        chosen = each if columns is None else each.select_columns(columns)
        yield from chosen.iter(batch_size=_CHUNK)

    return _Split(each.features, len(each), batches)


def _of_files(datasets: ModuleType, folder: Path) -> dict[str, _Split]:
    """The splits of Parquet files, by the beginnings of their names, or their folders."""
    import pyarrow as pa
    from pyarrow import parquet

    by_split: dict[str, list[Path]] = {}
    for path, _, _ in stat_below(folder):
        file = Path(path)
        if file.suffix.lower() in (".parquet", ".pq"):
            stem = file.stem.partition("-")[0]
            names = [stem, *(part for part in file.relative_to(folder).parts[-2::-1])]
            name = next(filter(split_named, names), names[0] if file.stem != stem else "train")
            by_split.setdefault(name, []).append(file)
    if not by_split:
        raise Mistake("it has no files .parquet, and was not written by save_to_disk")
    found = {}
    for name, files in by_split.items():
        try:
            opened = [parquet.ParquetFile(file) for file in files]
        except (pa.ArrowException, OSError) as error:
            raise Mistake(f"{name}: cannot be read as Parquet: {error}") from error
        features = datasets.Features.from_arrow_schema(opened[0].schema_arrow)
        for column, kind in features.items():
            if isinstance(kind, dict) and set(kind) == {"bytes", "path"}:  # of another library
                features[column] = datasets.Image()
        count = sum(each.metadata.num_rows for each in opened)
        found[name] = _Split(features, count, partial(_batches, opened, features))
    return found


def _batches(files: Sequence[Any], features: Any, columns: list[str] | None) -> Iterator[Rows]:
    for file in files:
        for batch in file.iter_batches(_CHUNK, columns=columns):
            yield features.decode_batch(batch.to_pydict())


def _target(
    datasets: ModuleType, features: Mapping[str, Any], asked: str | None, image: str | None
) -> str:
    if asked is not None:
        require_column("data.target", asked, features)
        if asked == image:
            raise Mistake(f"data.target={asked}: holds the images")
        return asked
    labels = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    named = [name for name in _TARGETS if name in features and name != image]
    others = [name for name in features if name != image]
    for found in (labels, named, others):
        if len(found) == 1 or (found and found is named):
            return found[0]
    raise Mistake(f"data.target=null: name the column to predict: {shell.some(others)}")


def _class_names(datasets: ModuleType, kind: Any) -> tuple[str, ...]:
    """The names of the classes that a column has numbers or lists of; empty where it has none."""
    inner = getattr(kind, "feature", kind)
    return tuple(inner.names) if isinstance(inner, datasets.ClassLabel) else ()


def _images(
    datasets: ModuleType,
    splits: Mapping[str, _Split],
    image: str,
    target: str,
    how: tuple[Mapping[str, Any], Wanted, Report | None],
    writer: Writer,
) -> Labels:
    """Read images, grey ones where none has colour, and what is to be predicted of each."""
    asked, wanted, report = how
    labels, notes = _labels(datasets, splits, target)
    modes = {"auto": ("L", "RGB"), "grey": ("L",), "rgb": ("RGB",)}[wanted.channels]
    for mode in modes:
        look = _Look(image, target, mode, wanted)
        parts = {}
        for name, split in splits.items():
            names = _class_names(datasets, split.features[target])
            samples = _pictures(split, look, labels.get(name), bool(names))
            said = names or tuple(map(str, labels.get(name, ())))
            parts[name] = Part(samples, split.count, said)
        try:
            found = write(parts, asked["task"], report, writer, f"no row has a value of {target}")
        except _ColourError:
            writer.clear()
            continue
        rows = sum(split.count for split in splits.values())
        if lacking := rows - len(found.y):
            notes.append(left_out(lacking, rows, target))
        return replace(found, notes=(*found.notes, *notes))
    raise AssertionError("an image with colour was read as grey")


def _labels(
    datasets: ModuleType, splits: Mapping[str, _Split], target: str
) -> tuple[dict[str, Sequence[Any]], list[str]]:
    """The labels that the lists of a column hold, by split, and notes on them.

    They are classes, by their numbers; words; and whole numbers in lists of several lengths.
    Empty where the column holds nothing of these. Raises Mistake for too many words.
    """
    kinds = {
        name: getattr(split.features[target], "feature", None) for name, split in splits.items()
    }
    types = {str(getattr(kind, "dtype", "")).removeprefix("large_") for kind in kinds.values()}
    if not all(each == "string" or "int" in each for each in types):
        return {}, []
    lists = [
        each
        for split in splits.values()
        for batch in split.batches([target])
        for each in batch[target]
        if each is not None
    ]
    if all(isinstance(kind, datasets.ClassLabel) for kind in kinds.values()):
        none = sum(-1 in each for each in lists)
        rows = f"-1 in {shell.counted(none, 'row')}"
        notes = [f"the column {target} holds {rows}, which stands for no label"] if none else []
        return {name: range(kind.num_classes) for name, kind in kinds.items() if kind}, notes
    if "string" not in types and len(set(map(len, lists))) < 2:
        return {}, []
    found = sorted({label for each in lists for label in each if label is not None})
    if len(found) > MOST:
        raise Mistake(
            f"data.target={target}: its lists hold {len(found):,} different values; at most "
            f"{MOST:,} are taken for labels"
        )
    listed = shell.some(found)
    return dict.fromkeys(splits, found), [f"the lists of {target} are taken for labels: {listed}"]


@dataclass(frozen=True)
class _Look:
    """The columns of images and targets, and how an image is to look; mode: L or RGB."""

    image: str
    target: str
    mode: str
    wanted: Wanted


class _ColourError(Exception):
    """An image has colour among grey ones."""


def _pictures(
    split: _Split, look: _Look, labels: Sequence[Any] | None, classes: bool
) -> Iterator[tuple[Array, Array]]:
    """Images and targets, without the rows that have no target.

    labels: that lists hold. classes: whether the targets are class numbers; −1 stands for none.
    """
    size, before = look.wanted.size, 0
    for batch in split.batches([look.image, look.target]):
        found, kept = [], []
        rows = zip(batch[look.image], batch[look.target], strict=True)
        for row, (one, y) in enumerate(rows, before + 1):
            none = y is None or (isinstance(y, float) and y != y)
            if none or (classes and labels is None and y < 0):
                continue
            if one is None:
                raise Mistake(f"the column {look.image} has no image in row {row}; {_LEAVE_OUT}")
            found.append(_picture(one, look, size))
            size = size or found[0].shape[1:]
            kept.append(y)
        before += len(batch[look.target])
        if found:
            yield np.stack(found), _values(kept, labels, look.target)


def _picture(one: Any, look: _Look, size: tuple[int, int] | None) -> Array:
    """The pixels of an image, (channels, h, w). size: that it must have, or gets."""
    wide = getattr(one, "mode", "F") in ("I", "F") or one.mode.startswith("I;")
    if not isinstance(one, Image.Image) or wide:
        kind = getattr(one, "mode", type(one).__name__)
        raise Mistake(f"the column {look.image} holds {kind}; images of 8 bits are read here")
    if look.mode == "L" and look.wanted.channels == "auto" and one.mode not in ("1", "L", "LA"):
        raise _ColourError
    own = one.height, one.width
    if look.wanted.size is None and own != (size or own):
        assert size is not None
        raise Mistake(
            f"the images differ in size ({size[0]}x{size[1]}, {own[0]}x{own[1]}, height x width); "
            "data.size=32 makes them all 32x32"
        )
    how = look.wanted.resize if look.wanted.size else None
    seen = converted(flatten(one, look.wanted.background)[0], look.mode)
    return channels_first(resized(seen, size or own, how))


def _values(values: Sequence[Any], labels: Sequence[Any] | None, target: str) -> Array:
    """Targets as an array; lists of labels as columns of 0 and 1, one for each label."""
    if labels is None:
        try:
            return np.asarray(values)
        except ValueError:
            raise Mistake(
                f"data.target={target}: its lists differ in length; make them equally long, or "
                "lists of words, which are taken for labels"
            ) from None
    places = {label: place for place, label in enumerate(labels)}
    found = np.zeros((len(values), len(labels)), np.int64)
    for row, held in enumerate(values):
        for label in held:
            if label in places:
                found[row, places[label]] = 1
            elif label is not None and label >= 0:
                raise Mistake(f"data.target={target}: holds the class {label} of {len(labels)}")
    return found


def _table(
    datasets: ModuleType,
    splits: Mapping[str, _Split],
    target: str,
    asked: Mapping[str, Any],
    writer: Writer,
) -> Labels:
    """Read a table as `arrays` does; class labels by their names."""
    import pandas as pd

    frames, of_split = [], list[str]()
    for name, split in splits.items():
        for batch in split.batches(None):
            columns = {key: _named(datasets, split.features[key], batch[key]) for key in batch}
            frames.append(pd.DataFrame(columns))
        of_split += [name] * split.count
    with tempfile.TemporaryDirectory(prefix="dlrun-") as folder:
        file = Path(folder) / "table.parquet"
        pd.concat(frames, ignore_index=True).to_parquet(file)
        table = read_table(file, target, asked["features"], task=asked["task"])
    y, classes = encode(table.y, asked["task"])
    named = [_class_names(datasets, split.features[target]) for split in splits.values()]
    names = tuple(dict.fromkeys(name for some_names in named for name in some_names))
    if classes and set(classes) <= set(names):
        y, classes = np.array([names.index(name) for name in classes])[y], names
    writer.add(table.x.astype(np.float32))
    kept = np.array(of_split)[table.rows]
    given = {name: np.flatnonzero(kept == name) for name in splits if name}
    return labels_of(table, y, classes, given)


def _named(datasets: ModuleType, kind: Any, values: Sequence[Any]) -> Sequence[Any]:
    """The values of a column, class labels by their names; −1 stands for none."""
    if not isinstance(kind, datasets.ClassLabel):
        return values
    return [None if value is None or value < 0 else kind.names[value] for value in values]
