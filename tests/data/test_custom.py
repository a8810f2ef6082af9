"""A user's own set: what its function gives becomes samples, and is read again when it changes."""

import itertools
import sys
from functools import partial

import numpy as np
import pandas
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from dlrun import record
from dlrun.__main__ import main
from dlrun.data import Source, split
from dlrun.data.custom import custom
from dlrun.errors import Mistake
from dlrun.job.session import Session

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 3)), RNG.integers(0, 2, 40)
IMAGES = RNG.integers(0, 256, (40, 5, 6, 3), dtype=np.uint8)


CALLS = itertools.count()


class Pictures(Dataset):
    """Images of PIL with names for their classes."""

    classes = ("cat", "dog", "owl")

    def __init__(self, mode: str = "RGB") -> None:
        self.mode = mode

    def __len__(self) -> int:
        return 40

    def __getitem__(self, place: int):
        return Image.fromarray(IMAGES[place]).convert(self.mode), int(Y[place])


class Items(Dataset):
    """Whatever a function of the place gives."""

    def __init__(self, item, count: int = 20) -> None:
        self.item, self.count = item, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: int):
        return self.item(place)


def read(made, **options) -> Source:
    return custom(partial(made), {"call": next(CALLS)}, [made], **options)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DLRUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.proves("data=custom")
@pytest.mark.parametrize(
    "made",
    [
        lambda: (X, Y),
        lambda: [torch.from_numpy(X), torch.from_numpy(Y)],
        lambda: TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)),
        lambda: Items(lambda i: (list(X[i]), torch.tensor(Y[i])), 40),
    ],
    ids=["numpy", "torch", "dataset", "lists"],
)
def test_every_form_gives_the_same_samples(made):
    source = read(made)
    assert source.x.dtype == torch.float32
    np.testing.assert_array_equal(source.x.numpy(), X.astype(np.float32))
    assert source.y.tolist() == Y.tolist()
    assert source.classes == ("0", "1")


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_images_of_pil(mode):
    source = read(lambda: Pictures(mode))
    assert source.x.dtype == torch.uint8
    assert source.x.shape == (40, 1 if mode == "L" else 3, 5, 6)
    assert source.classes == ("cat", "dog", "owl")
    wanted = Image.fromarray(IMAGES[7]).convert(mode).convert("L" if mode == "L" else "RGB")
    found = source.x[7].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(found.squeeze(), np.asarray(wanted))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L"])
def test_transparent_pixels_show_white(mode):
    pixels = np.zeros((4, 5, 4), np.uint8)
    pixels[:2, :, 3] = 255
    image = Image.fromarray(pixels).convert("L" if mode == "P" else mode)
    if mode in ("L", "P"):
        image = Image.fromarray(pixels[..., 3] // 255).convert(mode)
        image.info["transparency"] = 0
    x = read(lambda: Items(lambda i: (image, Y[i]))).x
    assert x.shape[1] == (1 if mode == "L" else 3)
    assert (x[:, :, :2] <= 1).all()
    assert (x[:, :, 2:] == 255).all()


def test_a_small_image_keeps_its_channels_first():
    tiny = Image.fromarray(IMAGES[0][:4, :3])
    assert read(lambda: Items(lambda i: (tiny, Y[i]))).x.shape == (20, 3, 4, 3)


def test_names_of_classes_are_found_through_a_subset_and_text_is_a_class():
    assert read(lambda: Subset(Pictures(), range(5, 30))).classes == Pictures.classes
    named = read(lambda: Items(lambda i: (X[i], "ab"[Y[i]])))
    assert named.classes == ("a", "b")
    assert named.y.tolist() == Y[:20].tolist()


def test_objects_that_are_text_are_classes():
    source = read(lambda: (X, np.array(["no", "yes"], object)[Y]))
    assert source.classes == ("no", "yes")
    assert source.y.tolist() == Y.tolist()


def test_splits_as_they_are_given():
    source = read(
        lambda: {"train": (X[:30], Y[:30]), "test": Items(lambda i: (X[30 + i], Y[30 + i]), 10)}
    )
    assert source.given["train"].tolist() == list(range(30))
    assert source.given["test"].tolist() == list(range(30, 40))
    data = split.make(source, leaks="drop", val=0.2)
    assert (len(data.train), len(data.val)) == (24, 6)


class Named(Items):
    """Samples whose classes or labels have these names."""

    def __init__(self, names: str, item, count: int = 20) -> None:
        super().__init__(item, count)
        self.classes = names.split()


def test_splits_that_number_their_classes_differently_are_matched_by_name():
    parts = {"train": "cat dog", "val": "dog owl cat", "test": "dog cat"}
    made = {name: Named(said, lambda i: (X[i], i % 2)) for name, said in parts.items()}
    source = read(lambda: made)
    assert source.classes == ("cat", "dog", "owl")
    named = np.array(source.classes)[source.y.numpy()]
    for name, said in parts.items():
        assert named[source.given[name]].tolist() == said.split()[:2] * 10


def test_labels_keep_their_names_and_splits_match_by_them():
    parts = {
        "train": Named("red old", lambda i: (X[i], [1, i % 2])),
        "test": Named("wet red", lambda i: (X[i], [i % 2, 0])),
    }
    source = read(lambda: parts)
    assert source.targets == ("red", "old", "wet")
    assert source.y[source.given["train"]].tolist() == [[1, i % 2, 0] for i in range(20)]
    assert source.y[source.given["test"]].tolist() == [[0, 0, i % 2] for i in range(20)]
    assert split.make(source).targets == source.targets
    single = read(lambda: Named("red", lambda i: (X[i], [i % 2])), task="multilabel")
    assert single.targets == ("red",)
    assert read(lambda: Named("red", lambda i: (X[i], [i % 2]))).classes == ("0", "1")
    plain = read(lambda: (X, np.stack([Y, 1 - Y], 1)))
    assert plain.targets == ()


def test_numbers_that_a_split_does_not_have_are_named():
    parts = {
        "train": Named("a b", lambda i: (X[i], X[i, :2])),
        "test": Named("a", lambda i: (X[i], X[i, :1])),
    }
    with pytest.raises(Mistake, match="a split has no b to predict"):
        read(lambda: parts)


def test_a_class_number_without_a_name_is_refused_where_splits_differ():
    parts = {
        "train": Named("a b", lambda i: (X[i], i % 2)),
        "test": Named("b a", lambda i: (X[i], 2)),
    }
    with pytest.raises(Mistake, match=r"y has the class 2, and `classes` has 2 names \(b, a\)"):
        read(lambda: parts)


@pytest.mark.parametrize(
    ("names", "y", "said"),
    [
        ("cat crane crane", lambda i: i % 3, "two classes are called 'crane'; give each one"),
        ("cat dog", lambda i: i % 2 + 1, r"class 2, .* 2 names \(cat, dog\), counted from 0"),
        ("cat dog", lambda i: i % 2 * 2 - 1, "class -1"),
        ("cat dog", lambda i: [i % 2 + 1], "class 2"),
        ("cat", lambda i: i % 2, r"class 1, .* 1 name \(cat\), counted from 0"),
    ],
)
def test_names_that_do_not_tell_which_class_is_meant_are_refused(names, y, said):
    with pytest.raises(Mistake, match=said):
        read(lambda: Named(names, lambda i: (X[i], y(i))))


@pytest.mark.parametrize("task", ["auto", "classification"])
@pytest.mark.parametrize("y", [lambda i: i % 2 > 0, lambda i: [i % 2]], ids=["bool", "column"])
def test_class_numbers_in_other_forms_keep_their_names(y, task):
    source = read(lambda: Named("old new", lambda i: (X[i], y(i))), task=task)
    assert source.classes == ("old", "new")
    assert source.y.tolist() == [i % 2 for i in range(20)]


def test_whole_floats_keep_their_names_where_they_are_classes():
    made = Named("old new", lambda i: (X[i], float(i % 2)))
    assert read(lambda: made, task="classification").classes == ("old", "new")
    assert read(lambda: made).classes == ()
    assert read(lambda: made, task="regression").y.tolist() == [[i % 2] for i in range(20)]


def test_names_of_another_form_are_taken_or_said_to_be_left_out(caplog):
    made = Named("", lambda i: (X[i], i % 2))
    made.classes = np.array(["old", "new"])
    assert read(lambda: made).classes == ("old", "new")
    made.classes = [("crane", "bird"), ("crane",)]  # as torchvision's ImageNet has them
    assert read(lambda: made).classes == ("0", "1")
    assert "its attribute `classes` is not a list of texts" in caplog.text


def test_numbers_are_standardized_and_columns_of_0_and_1_are_labels():
    numbers = read(lambda: (X, 100 * X[:, 0]))
    assert numbers.scale_targets
    assert numbers.classes == ()
    assert not read(lambda: (X, 100 * X[:, 0]), scale_targets=False).scale_targets
    labels = read(lambda: (X, np.stack([Y, 1 - Y], 1)))
    assert labels.labels is None
    assert labels.y.dtype == torch.float32
    assert read(lambda: (X, Y), task="multilabel").labels is True


def test_a_transform_that_draws_at_random_is_named(caplog):
    read(lambda: Items(lambda i: (X[i] + np.random.random(3), Y[i])))
    assert "take random transforms out" in caplog.text


def test_a_table_of_pandas_is_an_array():
    columns = {f"column {k}": X[:, k] for k in range(X.shape[1])}
    table = read(lambda: (pandas.DataFrame(columns), pandas.Series(Y)))
    plain = read(lambda: (X, Y))
    assert torch.equal(table.x, plain.x)
    assert torch.equal(table.y, plain.y)


def bad_sample(place: int):
    if place == 3:
        raise KeyError("gone")
    return X[place], Y[place]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (5, "gives a int, not a Dataset"),
        (pandas.DataFrame({"x": [1.0, 2.0]}), "gives a DataFrame, not a Dataset"),
        ((x for x in X), "a stream has no length"),
        (DataLoader(TensorDataset(torch.ones(3, 2), torch.ones(3))), "give its dataset"),
        ({"training": (X, Y)}, r"a mapping of \['training'\]"),
        ({}, "a mapping of nothing"),
        ((X, Y[:3]), "x has 40 samples but y has 3"),
        ((X[:1], Y[:3]), "x has 1 sample but y has 3"),
        (Items(lambda i: X[i]), "sample 0 is a ndarray; expected"),
        (Items(lambda i: (X[i], 1, 2)), "sample 0 is a tuple of 3; expected"),
        (Items(lambda i: (X[i][: 3 - i // 9], 1)), "x of sample 9 has the shape"),
        (Items(lambda i: (X[0] if i < 256 else X[0][:2], 1), 300), "make them alike"),
        (Items(lambda i: (X[0] / (i - 4), i % 2), 9), r"infinite values in 1 sample.* x\[4\]"),
        (Items(bad_sample), r"KeyError: 'gone' \(.*test_custom.py:\d+\)"),
        (Items(lambda i: (X[i], {}), 5), r"y has the type object, and y\[0\] is {}; expected"),
        ((X, np.array(["a", None] * 20)), r"y lacks 20 of 40 values, first y\[1\], which is None"),
        ((X, np.array(["a", 3] * 20, object)), r"y\[1\] is 3; .* y.astype\(str\) makes them"),
        ((X, Y.astype(object)), r"y\[0\] is \d; .* y.astype\(float\) makes them such"),
        ((X.astype(object), Y), r"x has the type object; .*: x.astype\('float32'\) makes them"),
        ((X.astype(str).astype(object), Y), r"x has the type object; .*, and x\[0\] holds '"),
        (Items(lambda i: (X[i], 1), 0), "gives no samples"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_what_is_no_set(given, message):
    with pytest.raises(Mistake, match=message):
        read(lambda: given)


def test_a_source_of_ones_own_is_taken_as_it_is():
    source = Source("s", torch.ones(2, 3), torch.tensor([0, 1]), torch.tensor([1, 2]), "", ("a",))
    assert read(lambda: source) is source


CODE = """
from pathlib import Path

import numpy as np


def load(file, scale: float = 1.0):
    with open("calls", "a") as calls:
        calls.write("x")
    x = scale * np.loadtxt(file).reshape(-1, 2)
    return x, np.arange(len(x)) % 2
"""


def test_it_is_read_again_when_its_code_its_arguments_or_their_files_change(
    tmp_path, monkeypatch, compose_recipe
):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "ownset.py").write_text(CODE)
    np.savetxt("numbers.txt", RNG.normal(size=(40, 2)))
    own = ("data=custom", "data._target_=ownset.load", "+data.file=numbers.txt")

    def calls(*words: str) -> int:
        monkeypatch.delitem(sys.modules, "ownset", raising=False)
        Session().data(compose_recipe(*own, *words))
        return len((tmp_path / "calls").read_text())

    assert calls() == 1
    assert calls("data.split=60/20/20") == 1, "splitting is no reason"
    assert calls("+data.scale=2") == 2
    (tmp_path / "ownset.py").write_text(CODE + "\nMORE = 1\n")
    assert calls() == 3
    np.savetxt("numbers.txt", RNG.normal(size=(44, 2)))
    assert calls() == 4
    tiny = ("tracking=none", "threads=1", "epochs=1 steps", "test=false", "preflight=off")
    assert main([*tiny, *own]) == 0
    assert calls() == 4
    info = record.read_json(record.find("outputs", "last") / "run.json")
    assert info["data"]["name"] == "load"
    assert "ownset" in info["code"]
