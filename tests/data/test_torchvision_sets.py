"""Small files in the sets' own formats stand in for the real ones."""

import gzip
import pickle
import shutil
import tarfile
from urllib.error import URLError

import numpy as np
import pytest
import torch

from dlrun.data import split
from dlrun.data.torchvision_sets import cifar10, cifar100, fashion_mnist, mnist
from dlrun.errors import Mistake

RNG = np.random.default_rng(0)
IMAGES = {
    "train": RNG.integers(0, 256, (30, 28, 28), dtype=np.uint8),
    "t10k": RNG.integers(0, 256, (10, 28, 28), dtype=np.uint8),
}
LABELS = {part: (np.arange(len(x)) % 10).astype(np.uint8) for part, x in IMAGES.items()}


def idx(array):
    """LeCun's format: two zeros, 8 for unsigned bytes, the number of sizes, the sizes."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def write_mnist(folder, packed):
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        for name, array in (("images-idx3", IMAGES[part]), ("labels-idx1", LABELS[part])):
            path = folder / f"{part}-{name}-ubyte"
            if packed:
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(idx(array)))
            else:
                path.write_bytes(idx(array))


@pytest.mark.proves("data=mnist", "data=fashion_mnist")
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("load", "folder"), [(mnist, "MNIST"), (fashion_mnist, "FashionMNIST")])
def test_mnist(tmp_path, load, folder, packed):
    write_mnist(tmp_path / folder / "raw", packed)
    source = load(str(tmp_path))
    np.testing.assert_array_equal(source.x[:30, 0].numpy(), IMAGES["train"])
    np.testing.assert_array_equal(source.x[30:, 0].numpy(), IMAGES["t10k"])
    assert source.x.shape == (40, 1, 28, 28)
    assert source.y.tolist() == [*LABELS["train"], *LABELS["t10k"]]
    assert source.given["train"].tolist() == list(range(30))
    assert source.given["test"].tolist() == list(range(30, 40))
    assert len(source.classes) == 10
    assert source.classes[0] == ("0" if load is mnist else "T-shirt/top")


def test_the_second_start_reads_the_cache(tmp_path, monkeypatch):
    write_mnist(tmp_path / "MNIST" / "raw", packed=False)
    first = mnist(str(tmp_path))
    monkeypatch.setattr("dlrun.data.torchvision_sets._read", None)
    assert torch.equal(mnist(str(tmp_path)).x, first.x)


def cifar_batch(rng, count, key, classes):
    labels = [int(label) for label in np.arange(count) % classes]
    data = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
    return {"data": data, key: labels, "filenames": [f"{i}.png" for i in range(count)]}


def write_cifar(root, kind):
    rng = np.random.default_rng(1)
    names = [f"class{i}" for i in range(10)]
    if kind == "cifar10":
        folder, key, meta, parts = "cifar-10-batches-py", "labels", "batches.meta", 5
        names_key, files = "label_names", [f"data_batch_{i}" for i in range(1, parts + 1)]
        files.append("test_batch")
    else:
        folder, key, meta = "cifar-100-python", "fine_labels", "meta"
        names_key, files = "fine_label_names", ["train", "test"]
    (root / folder).mkdir(parents=True)
    written = [cifar_batch(rng, 10, key, 10) for _ in files]
    for name, content in zip([*files, meta], [*written, {names_key: names}], strict=True):
        (root / folder / name).write_bytes(pickle.dumps(content))
    x = np.concatenate([content["data"] for content in written]).reshape(-1, 3, 32, 32)
    return root / folder, x, [label for content in written for label in content[key]]


@pytest.fixture
def any_checksum(monkeypatch):
    """The files of these tests are not those whose checksums torchvision knows."""
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5=None: True)


@pytest.mark.proves("data=cifar10", "data=cifar100")
@pytest.mark.usefixtures("any_checksum")
@pytest.mark.parametrize("load", [cifar10, cifar100])
@pytest.mark.parametrize("packed", [True, False])
def test_cifar(tmp_path, load, packed):
    folder, x, y = write_cifar(tmp_path, load.__name__)
    if packed:
        archive = {"cifar10": "cifar-10-python.tar.gz", "cifar100": "cifar-100-python.tar.gz"}
        with tarfile.open(tmp_path / archive[load.__name__], "w:gz") as tar:
            tar.add(folder, folder.name)
        shutil.rmtree(folder)
    source = load(str(tmp_path))
    np.testing.assert_array_equal(source.x.numpy(), x)
    assert source.y.tolist() == y
    assert source.given["test"].tolist() == list(range(len(y) - 10, len(y)))
    assert source.classes == tuple(f"class{i}" for i in range(10))


@pytest.mark.usefixtures("any_checksum")
def test_an_archive_gives_the_files_of_its_set_and_nothing_else(tmp_path):
    root = tmp_path / "root"
    folder, x, _ = write_cifar(root, "cifar10")
    secret = tmp_path / "secret"
    secret.write_text("not an image")
    link = tarfile.TarInfo(f"{folder.name}/link")
    link.type, link.linkname = tarfile.SYMTYPE, str(secret)
    with tarfile.open(root / "cifar-10-python.tar.gz", "w:gz") as tar:
        for name in ("../out", str(tmp_path / "absolute"), f"{folder.name}/../../up", "readme"):
            tar.add(secret, name)
        tar.addfile(link)
        for path in folder.iterdir():
            tar.add(path, f"./{folder.name}/{path.name}")
    files = {path.name for path in folder.iterdir()}
    shutil.rmtree(folder)
    np.testing.assert_array_equal(cifar10(str(root)).x.numpy(), x)
    assert {path.name for path in folder.iterdir()} == files
    assert {path.name for path in root.iterdir()} == {"cifar-10-python.tar.gz", folder.name}
    assert {path.name for path in tmp_path.iterdir()} >= {"root", "secret"}
    assert not {"out", "absolute", "up"} & {path.name for path in tmp_path.iterdir()}


@pytest.mark.usefixtures("any_checksum")
def test_an_archive_that_was_unpacked_in_part_is_unpacked_to_its_end(tmp_path):
    folder, x, _ = write_cifar(tmp_path, "cifar10")
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as tar:
        tar.add(folder, folder.name)
    (folder / "data_batch_3").unlink()
    (folder / "data_batch_4").rename(folder / "data_batch_4.partial")
    np.testing.assert_array_equal(cifar10(str(tmp_path)).x.numpy(), x)


def test_an_archive_cut_short_is_said(tmp_path):
    folder, *_ = write_cifar(tmp_path, "cifar10")
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    shutil.rmtree(folder)
    archive.write_bytes(archive.read_bytes()[:20_000])
    with pytest.raises(
        Mistake, match=f"data.root={tmp_path}: cifar10's archive cannot be unpacked"
    ):
        cifar10(str(tmp_path))


def test_cifar_with_other_content_than_its_checksum_is_refused(tmp_path):
    write_cifar(tmp_path, "cifar10")
    with pytest.raises(Mistake, match=r"data=cifar10: the files in .*cifar-10-batches-py are dam"):
        cifar10(str(tmp_path))


@pytest.mark.parametrize(
    ("load", "folder", "file", "archive"),
    [
        (mnist, "MNIST/raw", "train-images-idx3-ubyte", "MNIST/raw/*.gz"),
        (fashion_mnist, "FashionMNIST/raw", "train-images-idx3-ubyte", "FashionMNIST/raw/*.gz"),
        (cifar10, "cifar-10-batches-py", "data_batch_1", "cifar-10-python.tar.gz"),
        (cifar100, "cifar-100-python", "train", "cifar-100-python.tar.gz"),
    ],
)
def test_missing_files_are_said_with_their_place(tmp_path, load, folder, file, archive):
    with pytest.raises(Mistake) as raised:
        load(str(tmp_path))
    message = str(raised.value)
    assert f"{file} is not in {tmp_path}/{folder}" in message
    assert f"{tmp_path}/{archive}" in message
    assert "data.download=true" in message
    assert "data.root" in message


def test_the_default_root_is_in_the_cache(own_cache):
    with pytest.raises(Mistake, match=f"{own_cache}/data/MNIST/raw"):
        mnist()


def test_a_download_that_fails_says_what_to_do(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fail)
    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", fail)
    for load in (cifar10, mnist):
        with pytest.raises(Mistake, match=r"data\.download=true: .*no network.*put ") as raised:
            load(str(tmp_path), download=True)
        assert str(tmp_path) in str(raised.value)


def test_what_is_there_is_not_downloaded(tmp_path, monkeypatch):
    write_mnist(tmp_path / "MNIST" / "raw", packed=True)
    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", None)
    assert len(mnist(str(tmp_path), download=True).x) == 40


def test_a_truncated_file_is_said(tmp_path):
    folder = tmp_path / "MNIST" / "raw"
    write_mnist(folder, packed=False)
    images = folder / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-500])
    with pytest.raises(Mistake, match=r"data=mnist: the files in .* are damaged"):
        mnist(str(tmp_path))


def test_labels_that_do_not_match_are_said(tmp_path):
    folder = tmp_path / "MNIST" / "raw"
    write_mnist(folder, packed=False)
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(LABELS["t10k"]))
    with pytest.raises(Mistake, match="30 images, 10 labels"):
        mnist(str(tmp_path))


@pytest.mark.parametrize("spoil", [lambda gz: gz[:-30], lambda gz: b"nonsense"])
def test_a_damaged_archive_is_said_and_leaves_nothing_half_unpacked(tmp_path, spoil):
    folder = tmp_path / "MNIST" / "raw"
    write_mnist(folder, packed=True)
    packed = folder / "train-images-idx3-ubyte.gz"
    packed.write_bytes(spoil(packed.read_bytes()))
    with pytest.raises(Mistake, match="archive cannot be unpacked"):
        mnist(str(tmp_path))
    assert not (folder / "train-images-idx3-ubyte").exists()


def test_the_given_test_split_stays_and_val_comes_from_train(tmp_path):
    write_mnist(tmp_path / "MNIST" / "raw", packed=False)
    data = split.make(mnist(str(tmp_path)), val=0.34)
    assert data.test.rows.tolist() == list(range(30, 40))
    assert (len(data.train), len(data.val)) == (20, 10)
    assert data.shape == (1, 28, 28)
    assert data.outputs == 10
