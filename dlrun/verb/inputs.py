"""Unlabelled samples from files, in batches, such as a run takes them: images, arrays, tables.

Memory stays flat: a batch is read at a time.
"""

import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dlrun import shell
from dlrun.data import npz
from dlrun.data.tables.columns import says_identifier
from dlrun.data.tables.file import FORMS, Parts, read_parts
from dlrun.errors import Mistake
from dlrun.verb.labelled import reading, require_alike

if TYPE_CHECKING:
    from dlrun.data.images.read import Format

Array = NDArray[Any]
IMAGES, ARRAYS, TABLES = "images", "arrays", "tables"
_FORMS = {ARRAYS: (".npz", ".npy", ".safetensors"), TABLES: FORMS}
_X = "x"
_ROWS = 4096
"""Of a table that are encoded at a time, at least: a few take as long as many."""


@dataclass(frozen=True)
class Batch:
    """Some samples in the order of their files.

    ids: of each, what it is known by, a text for each column of `Inputs.ids`. done: how much of
    the whole has been read by now, in the unit of `Inputs.total`.
    """

    x: Array
    ids: Sequence[Sequence[str]]
    done: int


@dataclass
class Inputs:
    """What is to be predicted.

    ids: the columns that say which sample it is. total: of images, rows, or bytes.
    faults: files that could not be read, and why; known at the end. notes: what was done with
    the others, a sentence each; known at the end. unread: how many values of tables could not be
    read, and count as missing; known at the end.
    """

    kind: str
    ids: Sequence[str]
    total: int
    batches: Callable[[int], Iterator[Batch]]
    faults: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unread: int = 0


def is_input(word: str) -> bool:
    """Whether a word names files to predict, rather than a run."""
    path = shell.path(word, "run")
    if path.is_dir():
        return not (path / "run.json").is_file() and not (path / "sweep.json").is_file()
    return path.is_file()


def of(words: Sequence[str], about: Mapping[str, Any]) -> Inputs:
    """The inputs in files and folders of one kind.

    about: what the record of the run says of its data. Raises Mistake where there is none, or
    several kinds.
    """
    paths = [shell.path(word, "input") for word in words]
    kinds = dict[str, Path]()
    for path in paths:
        if not path.exists():
            raise Mistake(f"{shell.name(path)}: there is no such file or folder")
        kinds.setdefault(_kind(path), path)
    if len(kinds) > 1:
        one, other, *_ = (f"{shell.name(path)} ({kind})" for kind, path in kinds.items())
        raise Mistake(f"{one} and {other}: predict one kind at a time")
    [kind] = kinds
    if kind == TABLES:
        return _tables(paths, about)
    return _images(paths, about) if kind == IMAGES else _arrays(paths, about)


def _taken(about: Mapping[str, Any]) -> str:
    """What a run takes, in words."""
    if columns := about["reading"].get("columns"):
        return f"a table with the columns {shell.some(column['name'] for column in columns)}"
    if reading(dict(about)):
        return "images or a folder of them"
    shape = "×".join(map(str, about["shape"]))
    return f"arrays (.npz, .npy or .safetensors) of {about['types']['x']} samples of {shape}"


def _kind(path: Path) -> str:
    """What a file or folder holds."""
    if path.is_dir():
        return IMAGES
    suffix = path.suffix.lower()
    for kind, forms in _FORMS.items():
        if suffix in forms:
            return kind
    from dlrun.data.images.scan import suffixes

    if suffix in suffixes():
        return IMAGES
    raise Mistake(
        f"{shell.name(path)}: expected images or a folder of them, .npz, .npy, .safetensors, .csv, "
        ".parquet or .arrow"
    )


def _images(paths: Sequence[Path], about: Mapping[str, Any]) -> Inputs:
    """Image files, and those in folders, read as those of the run were."""
    from dlrun.data.images.scan import scan

    form = _format(paths[0], about)
    files: list[tuple[str, str]] = []  # where it is, and as it is called
    notes: list[str] = []
    for path in paths:
        if not path.is_dir():
            files.append((str(path), str(path)))
            continue
        found = scan(str(path))
        notes += found.notes
        for name, _, _ in found.files:
            where = str(path / name)
            files.append((where, name if len(paths) == 1 else where))
    if not files:
        raise Mistake(f"{shell.name(paths[0])}: has no image that can be read")
    made = Inputs(
        IMAGES, ("file",), len(files), lambda size: _decoded(made, files, form), notes=notes
    )
    return made


def _format(path: Path, about: Mapping[str, Any]) -> "Format":
    """How images become samples of a run. Raises Mistake where it takes none."""
    from dlrun.data.images.read import Format

    known, floats = reading(dict(about)), about["types"]["x"] != "uint8"
    if not known:
        raise Mistake(f"{shell.name(path)}: is an image, the run takes {_taken(about)}")
    depth = about["reading"].get("depth")
    kind = "scaled" if depth or not floats else "float" if depth is None else "wide"
    height, width = known["size"]
    return Format(
        mode="RGB" if known["channels"] == "rgb" else "L",
        size=(height, width),
        resize=known.get("resize", "short"),
        kind=kind,
        depth=depth or 8,
        background=known.get("background", "white"),
    )


def _decoded(made: Inputs, files: Sequence[tuple[str, str]], form: "Format") -> Iterator[Batch]:
    """The images in batches; those that cannot be read are left out and noted."""
    from dlrun.data.images.decode import decode

    start, resized, beyond = 0, 0, list[float]()
    while start < len(files):
        left = [path for path, _ in files[start:]]
        with closing(decode(left, form, decisive=[False] * len(left))) as chunks:
            for chunk in chunks:
                names = [name for _, name in files[start : start + len(chunk.faults)]]
                told = list(zip(names, chunk.faults, strict=True))
                made.faults += [(name, why) for name, why in told if why]
                start += len(told)
                sizes = np.stack([chunk.infos["height"], chunk.infos["width"]], 1)
                resized += int((sizes[: len(chunk.x)] != form.size).any(1).sum())
                beyond += _beyond(chunk.infos, form)
                misfit = chunk.misfit is not None
                if misfit:
                    made.faults.append((files[start][1], _unlike(form)))
                    start += 1
                yield Batch(chunk.x, [(name,) for name, why in told if not why], start)
                if misfit:
                    break
    if resized:
        side = "its short side" if resized == 1 else "their short sides"
        way = {"short": f"scaled by {side}, then cropped to the middle", "squash": "squashed"}
        how = way.get(form.resize or "", "padded with the edge")
        height, width = form.size
        were = f"{shell.counted(resized, 'image')} {'was' if resized == 1 else 'were'}"
        made.notes.append(f"{were} not {height}x{width}: {how}")
    if beyond:
        has = f"{shell.counted(len(beyond), 'image')} {'has' if len(beyond) == 1 else 'have'}"
        scale = f"0 to {form.white:,}, which the run was trained on"
        made.notes.append(f"{has} values outside of {scale}, up to {max(beyond):,.0f}: cut off")


def _beyond(infos: Array, form: "Format") -> list[float]:
    """The largest value of each image that has some outside of the scale of a run."""
    if form.kind != "scaled":
        return []
    outside = (infos["least"] < 0) | (infos["largest"] > form.white)
    return [float(value) for value in infos["largest"][outside]]


def _unlike(form: "Format") -> str:
    what = {"scaled": "whole numbers", "wide": "whole numbers", "float": "floats"}[form.kind]
    return f"its values have another scale than the {what} that the run was trained on"


def _arrays(paths: Sequence[Path], about: Mapping[str, Any]) -> Inputs:
    """Files of arrays; of those with splits, none is chosen silently."""
    opened = [_stored(path) for path in paths]
    for path, each in zip(paths, opened, strict=True):
        if not each.count:
            raise Mistake(f"{shell.name(path)}: it holds no samples")
    total = sum(each.count for each in opened)
    several = len(paths) > 1
    ids = ("file", "row") if several else ("row",)

    def batches(size: int) -> Iterator[Batch]:
        done = 0
        for path, stored in zip(paths, opened, strict=True):
            start = 0
            for x in stored.parts(size):
                whole = _finite(x)
                names = [str(start + row) for row in range(len(x))]
                start, done = start + len(x), done + len(x)
                made.faults += [
                    (f"{path}: row {name}" if several else f"row {name}", "has nan or infinity")
                    for name, good in zip(names, whole, strict=True)
                    if not good
                ]
                good = [name for name, good in zip(names, whole, strict=True) if good]
                ids = [(str(path), name) if several else (name,) for name in good]
                yield Batch(_as_run(path, x[whole], about), ids, done)

    made = Inputs(ARRAYS, ids, total, batches)
    if any(each.labelled for each in opened):
        made.notes.append("y is left out: predict takes only x; dlrun evaluate compares with y")
    return made


@dataclass(frozen=True)
class _Stored:
    """An array in a file. labelled: whether there is y beside it."""

    count: int
    parts: Callable[[int], Iterator[Array]]
    labelled: bool = False


def _stored(path: Path) -> _Stored:
    """The samples in a file. Raises Mistake where it has none."""
    try:
        if path.suffix.lower() == ".npy":
            x = _npy(path)
            return _Stored(_count(x.shape), lambda size: _cut(x, size))
        if path.suffix.lower() == ".npz":
            return _zipped(path)
        from safetensors import safe_open

        with safe_open(path, "np") as file:
            names = list(file.keys())
            name = _chosen(path, names)
            count = _count(file.get_slice(name).get_shape())
            return _Stored(count, lambda size: _sliced(path, name, count, size), "y" in names)
    except Mistake:
        raise
    except Exception as error:  # each format has errors of its own
        raise Mistake(f"{shell.name(path)}: cannot be read: {error}") from error


def _count(shape: Sequence[int]) -> int:
    """How many samples an array of this shape holds. Raises ValueError for a single number."""
    if not shape:
        raise ValueError("it is a single number, and no samples (n, ...)")
    return shape[0]


def _npy(path: Path) -> Array:
    """The array of an .npy, which is read as it is needed."""
    if why := npz.not_npy(path):
        raise Mistake(f"{shell.name(path)}: {why}")
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except ValueError as error:
        if "Python objects" not in str(error):
            raise
        raise Mistake(f"{shell.name(path)}: {npz.objects('x')}") from error


def _chosen(path: Path, names: Sequence[str]) -> str:
    """The array that holds the samples."""
    names = [name.removesuffix(".npy") for name in names]
    if _X in names:
        return _X
    if len(names) == 1:
        return names[0]
    raise Mistake(f"{shell.name(path)}: holds {', '.join(names) or 'nothing'}; expected x")


def _cut(x: Array, size: int) -> Iterator[Array]:
    for start in range(0, len(x), size):
        yield np.ascontiguousarray(x[start : start + size])


def _sliced(path: Path, name: str, count: int, size: int) -> Iterator[Array]:
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        stored = file.get_slice(name)
        for start in range(0, count, size):
            yield stored[start : min(start + size, count)]


def _zipped(path: Path) -> _Stored:
    """An array of an .npz, which is read as it is unpacked."""
    if why := npz.not_npz(path):
        raise Mistake(f"{shell.name(path)}: {why}")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        name = _chosen(path, names)
        member = f"{name}.npy" if f"{name}.npy" in names else name
        with archive.open(member) as stream:
            shape, columnwise, dtype = _header(stream)
    if dtype.hasobject:
        raise Mistake(f"{shell.name(path)}: {npz.objects(name)}")

    def parts(size: int) -> Iterator[Array]:
        if columnwise:
            with np.load(path, allow_pickle=False) as loaded:
                yield from _cut(loaded[name], size)
            return
        each = int(np.prod(shape[1:])) * dtype.itemsize
        with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
            _header(stream)
            for start in range(0, shape[0], size):
                rows = min(size, shape[0] - start)
                content = stream.read(rows * each)
                yield np.frombuffer(content, dtype).reshape(rows, *shape[1:])

    return _Stored(_count(shape), parts, "y.npy" in names)


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """The shape, whether the first index moves fastest, and the type of an array in a file."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    return np.lib.format.read_array_header_2_0(stream)


def _finite(x: Array) -> NDArray[np.bool_]:
    """Which samples hold finite numbers alone."""
    if x.dtype.kind != "f":
        return np.ones(len(x), bool)
    return np.asarray(np.isfinite(x.reshape(len(x), -1)).all(1))


def _as_run(path: Path, x: Array, about: Mapping[str, Any]) -> Array:
    """Samples in the form of the run's. Raises Mistake where they are of another shape or type."""
    from dlrun.data.arrays import as_samples

    with blame_file(path):
        x = as_samples(x) if len(x) else np.empty((0, *about["shape"]), about["types"]["x"])
    require_alike(f"{shell.name(path)}:", x, about)
    return x


def _tables(paths: Sequence[Path], about: Mapping[str, Any]) -> Inputs:
    """Tables in the terms of the one that the run was trained on."""
    reading = about["reading"]
    if "columns" not in reading:
        raise Mistake(f"{shell.name(paths[0])}: is a table, the run takes {_taken(about)}")
    opened = []
    for path in paths:
        with blame_file(path):
            opened.append(read_parts(path))
    takes = [column["name"] for column in reading["columns"]]
    head = _id_of(opened[0], takes)
    ids = ("file", head or "row") if len(paths) > 1 else (head or "row",)
    made = Inputs(TABLES, ids, 0, lambda size: _encoded(made, paths, opened, about, head, size))
    made.total = sum(each.rows for each in opened)
    names = opened[0].names
    if reading["target"] in names:
        made.notes.append(f"the column {reading['target']} is the target, and is left out")
    known = (*takes, reading["target"], head)
    if other := [name for name in names if name not in known]:
        made.notes.append(f"columns that the run does not take: {shell.some(other)}")
    return made


def _id_of(table: Parts, takes: Sequence[str]) -> str:
    """The first column, where it says which row it is and is no feature; else nothing."""
    first = next(iter(table.names), "")
    says = first in table.nameless or says_identifier(first)
    return first if says and first not in takes else ""


def _encoded(
    made: Inputs,
    paths: Sequence[Path],
    opened: Sequence[Parts],
    about: Mapping[str, Any],
    head: str,
    size: int,
) -> Iterator[Batch]:
    """The rows of tables as the run takes them; lines that cannot be read are noted."""
    from dlrun.data.tables import encode, other

    reading = about["reading"]
    transformer = encode.transformer(reading["columns"])
    unread, unknown, read = Counter[str](), Counter[str](), Counter[str]()
    done = 0
    for path, table in zip(paths, opened, strict=True):
        start = 0
        for texts in table.parts(max(size, _ROWS)):
            with blame_file(path):
                found = other.encode(other.as_frame(texts), reading, transformer)
                unread.update(found.unread)
                unknown.update(found.unknown)
                read.update(found.read)
                other.refuse_unread(unread, read, reading)
            count = len(found.x)
            names = texts.get(head) or [str(row) for row in range(start, start + count)]
            start, done = start + count, done + count
            ids = [(str(path), name) if len(paths) > 1 else (name,) for name in names]
            yield Batch(found.x, ids, min(done, made.total))
        if not start and not table.odd:
            raise Mistake(f"{shell.name(path)}: it has no data below its first line")
        where = f"{path}: " if len(paths) > 1 else ""
        made.faults += [(f"{where}line {line}", why) for line, why in table.odd]
    made.unread = sum(unread.values())
    made.notes += other.notes(unread, unknown)


@contextmanager
def blame_file(path: Path) -> Iterator[None]:
    """A mistake found inside is that of this file."""
    try:
        yield
    except Mistake as mistake:
        raise Mistake(f"{shell.name(path)}: {mistake}") from None
