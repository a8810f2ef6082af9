"""The classical image sets that torchvision can download and read."""

import gzip
import posixpath
import shutil
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from dlrun import shell
from dlrun.data import Report, Source
from dlrun.data.cache import FORMAT, Labels, Writer, home, load
from dlrun.data.fingerprint import hash_files, stat_files
from dlrun.errors import Mistake

_IDX = tuple(
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)
_BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")


@dataclass(frozen=True)
class _Set:
    """kind: torchvision's class. inside: the folder below root that must hold these files."""

    name: str
    kind: str
    inside: str
    files: tuple[str, ...]


def _source(which: _Set) -> Callable[..., Source]:
    def read(
        root: str | None = None,
        download: bool = False,
        cache: str | None = None,
        report: Report | None = None,
    ) -> Source:
        """Images as x (n, channels, height, width) uint8, with the test split of the source.

        root: the folder of the files, by default the folder data of the cache. It must hold
            them in their own folder, or packed as they are published, unless `download`
            fetches them.
        Raises Mistake where files are missing or damaged.
        """
        place = shell.path(root, "data.root") if root else home(cache) / "data"
        _provide(which, place, download)
        key = hash_files(stat_files([place / which.inside / file for file in which.files]), FORMAT)
        return load(which.name, key, lambda writer: _read(which, place, report, writer), cache)[0]

    read.__name__ = read.__qualname__ = which.name
    return read


# LeCun et al., 1998: digits, (70000, 1, 28, 28), 60,000 for training.
mnist = _source(_Set("mnist", "MNIST", "MNIST/raw", _IDX))
# Xiao et al., 2017: clothes, (70000, 1, 28, 28), 60,000 for training.
fashion_mnist = _source(_Set("fashion_mnist", "FashionMNIST", "FashionMNIST/raw", _IDX))
# Krizhevsky, 2009: small photographs, (60000, 3, 32, 32), 50,000 for training.
cifar10 = _source(_Set("cifar10", "CIFAR10", "cifar-10-batches-py", _BATCHES))
cifar100 = _source(_Set("cifar100", "CIFAR100", "cifar-100-python", ("train", "test", "meta")))


def _provide(which: _Set, place: Path, download: bool) -> None:
    """Make sure that the files are there: unpack an archive, or download."""
    name, files, folder = which.name, which.files, place / which.inside
    try:
        _unpack(folder, files)
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise Mistake(f"data.root={place}: {name}'s archive cannot be unpacked: {error}") from error
    missing = [file for file in files if not (folder / file).is_file()]
    if not missing:
        return
    archives = f"{folder}/*.gz" if which.kind.endswith("MNIST") else f"{_archive(folder)}"
    where = f"put {', '.join(files)} into {folder}, or {archives} instead"
    if not download:
        raise Mistake(
            f"data={name}: {missing[0]} is not in {folder}. Set data.download=true, or {where}; "
            "data.root names another place"
        )
    from torchvision import datasets  # takes seconds to import

    try:
        getattr(datasets, which.kind)(place, download=True)
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else repr(error)
        raise Mistake(
            f"data.download=true: {name} cannot be fetched ({reason}); {where}"
        ) from error


def _archive(folder: Path) -> Path:
    """CIFAR's archive, beside the folder that it unpacks to."""
    return folder.with_name(folder.name.replace("batches-py", "python") + ".tar.gz")


def _unpack(folder: Path, files: tuple[str, ...]) -> None:
    """Unpack the files that are missing, and nothing else of the archive."""
    missing = {file for file in files if not (folder / file).exists()}
    for file in missing:
        packed = folder / f"{file}.gz"
        if packed.is_file():
            with gzip.open(packed) as source:
                _copy(source, folder / file)
    if missing and _archive(folder).is_file():
        folder.mkdir(exist_ok=True)
        with tarfile.open(_archive(folder)) as tar:
            for member in tar:
                path = PurePosixPath(posixpath.normpath(member.name))
                content = tar.extractfile(member) if member.isfile() else None
                if content and str(path.parent) == folder.name and path.name in missing:
                    _copy(content, folder / path.name)


def _copy(source: IO[bytes] | gzip.GzipFile, path: Path) -> None:
    """Copy a file whole or not at all, even if killed."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as target:
        shutil.copyfileobj(source, target)
    partial.rename(path)


def _read(which: _Set, place: Path, report: Report | None, writer: Writer) -> Labels:
    from torchvision import datasets

    labels: list[Any] = []
    classes: tuple[str, ...] = ()
    try:
        for train in (True, False):
            part = getattr(datasets, which.kind)(place, train=train, download=False)
            x = np.asarray(part.data)
            x = x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)
            y = np.asarray(part.targets, np.int64)
            classes = tuple(part.classes)
            if len(x) != len(y) or not len(y) or not 0 <= y.min() <= y.max() < len(classes):
                raise ValueError(f"{len(x)} images, {len(y)} labels")
            writer.add(x)
            labels.append(y)
            if report:
                report(len(labels), 2)
    except (OSError, RuntimeError, ValueError, TypeError, AssertionError, LookupError) as error:
        raise Mistake(
            f"data={which.name}: the files in {place / which.inside} are damaged or incomplete "
            f"({error}); "
            "delete the folder and set data.download=true, or copy it again"
        ) from error
    if which.name == "mnist":
        classes = tuple("0123456789")
    split = len(labels[0])
    y = np.concatenate(labels)
    given = {"train": np.arange(split), "test": np.arange(split, len(y))}
    return Labels(y, classes, given)
