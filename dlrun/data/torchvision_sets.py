"""The classical image sets that torchvision can download and read."""

import gzip
import posixpath
import shutil
import tarfile
import zlib
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


def mnist(
    root: str | None = None,
    download: bool = False,
    cache: str | None = None,
    report: Report | None = None,
) -> Source:
    """Digits, x (70000, 1, 28, 28) uint8; 60,000 for training (LeCun et al., 1998).

    root: the folder of the files, by default the folder data of the cache. It must hold
        MNIST/raw/train-images-idx3-ubyte and three more, or their .gz, unless
        `download` fetches them.
    Raises Mistake where files are missing or damaged.
    """
    return _load("mnist", "MNIST", "MNIST/raw", _IDX, root, download, cache, report)


def fashion_mnist(
    root: str | None = None,
    download: bool = False,
    cache: str | None = None,
    report: Report | None = None,
) -> Source:
    """Clothes, x (70000, 1, 28, 28) uint8; 60,000 for training (Xiao et al., 2017).

    Arguments and errors as for `mnist`, with the folder FashionMNIST/raw.
    """
    folder = "FashionMNIST/raw"
    return _load("fashion_mnist", "FashionMNIST", folder, _IDX, root, download, cache, report)


def cifar10(
    root: str | None = None,
    download: bool = False,
    cache: str | None = None,
    report: Report | None = None,
) -> Source:
    """Small photographs, x (60000, 3, 32, 32) uint8; 50,000 for training (Krizhevsky, 2009).

    Arguments and errors as for `mnist`; root holds the folder cifar-10-batches-py or the
    archive cifar-10-python.tar.gz.
    """
    files = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")
    folder = "cifar-10-batches-py"
    return _load("cifar10", "CIFAR10", folder, files, root, download, cache, report)


def cifar100(
    root: str | None = None,
    download: bool = False,
    cache: str | None = None,
    report: Report | None = None,
) -> Source:
    """As `cifar10` with 100 classes: the folder cifar-100-python or its .tar.gz."""
    files = ("train", "test", "meta")
    folder = "cifar-100-python"
    return _load("cifar100", "CIFAR100", folder, files, root, download, cache, report)


def _load(
    name: str,
    kind: str,
    inside: str,
    files: tuple[str, ...],
    root: str | None,
    download: bool,
    cache: str | None,
    report: Report | None,
) -> Source:
    place = shell.path(root, "data.root") if root else home(cache) / "data"
    folder = place / inside
    _provide(name, kind, place, folder, files, download)
    paths = [folder / file for file in files]

    def build(writer: Writer) -> Labels:
        return _read(name, kind, place, folder, writer, report)

    return load(name, hash_files(stat_files(paths), FORMAT), build, cache)[0]


def _provide(
    name: str, kind: str, place: Path, folder: Path, files: tuple[str, ...], download: bool
) -> None:
    """See to it that the files are there: unpack an archive that is, or download."""
    try:
        _unpack(folder, files)
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise Mistake(f"data.root={place}: {name}'s archive cannot be unpacked: {error}") from error
    missing = [file for file in files if not (folder / file).is_file()]
    if not missing:
        return
    archives = f"{folder}/*.gz" if kind.endswith("MNIST") else f"{_archive(folder)}"
    where = f"put {', '.join(files)} into {folder}, or {archives} in their stead"
    if not download:
        raise Mistake(
            f"data={name}: {missing[0]} is not in {folder}. Set data.download=true, or {where}; "
            "data.root names another place"
        )
    from torchvision import datasets  # takes seconds to import

    try:
        getattr(datasets, kind)(place, download=True)
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else repr(error)
        raise Mistake(f"data.download=true: {name} cannot be had ({reason}); {where}") from error


def _archive(folder: Path) -> Path:
    """CIFAR's archive, beside the folder that it unpacks to."""
    return folder.with_name(folder.name.replace("batches-py", "python") + ".tar.gz")


def _unpack(folder: Path, files: tuple[str, ...]) -> None:
    """Unpack those of the files that are missing, and nothing else that an archive holds."""
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
    """Copy a file whole or not at all, whenever the copying is killed."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as target:
        shutil.copyfileobj(source, target)
    partial.rename(path)


def _read(
    name: str, kind: str, place: Path, folder: Path, writer: Writer, report: Report | None
) -> Labels:
    from torchvision import datasets

    labels: list[Any] = []
    classes: tuple[str, ...] = ()
    try:
        for train in (True, False):
            part = getattr(datasets, kind)(place, train=train, download=False)
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
            f"data={name}: the files in {folder} are damaged or incomplete ({error}); "
            "delete the folder and set data.download=true, or copy it anew"
        ) from error
    if name == "mnist":
        classes = tuple("0123456789")
    split = len(labels[0])
    y = np.concatenate(labels)
    given = {"train": np.arange(split), "test": np.arange(split, len(y))}
    return Labels(y, classes, given)
