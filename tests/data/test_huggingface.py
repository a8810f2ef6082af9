"""Sets of the library `datasets`."""

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from dlrun.data import split
from dlrun.data.huggingface import huggingface
from dlrun.errors import Mistake

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 6, 8, 3), dtype=np.uint8)
FEATURES = datasets.Features(
    {
        "id": datasets.Value("int64"),
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=["cat", "dog"]),
        "tags": datasets.Sequence(datasets.ClassLabel(names=["red", "old", "wet"])),
        "breed": datasets.Value("string"),
        "age": datasets.Value("float32"),
    }
)


def rows(first: int, last: int, mode: str = "RGB") -> "datasets.Dataset":
    places = range(first, last)
    columns = {
        "id": list(places),
        "image": [Image.fromarray(PIXELS[i]).convert(mode) for i in places],
        "label": [i % 2 for i in places],
        "tags": [[0, 2] if i % 3 else [i % 2] for i in places],
        "breed": ["pug" if i % 4 else "boxer" for i in places],
        "age": [i / 2 for i in places],
    }
    return datasets.Dataset.from_dict(columns, features=FEATURES)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("DLRUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    datasets.disable_progress_bars()
    return tmp_path


def saved(place, form, mode="RGB", **parts):
    """The root of splits, as `save_to_disk` writes them, or as Parquet in two forms."""
    given = {name: rows(*ends, mode) for name, ends in parts.items()}
    root = place / form
    if form == "disk":
        datasets.DatasetDict(given).save_to_disk(str(root))
    for name, part in given.items() if form != "disk" else ():
        file = root / "data" / f"{name}-00000-of-00001.parquet"
        file = file if form == "names" else root / name / "0000.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        part.to_parquet(str(file))
    return str(root)


SPLITS = {"train": (0, 40), "validation": (40, 50), "test": (50, 60)}


@pytest.mark.proves("data=huggingface")
@pytest.mark.parametrize("form", ["disk", "names", "folders"])
def test_images_labels_and_splits_as_they_come(place, form):
    source = huggingface(saved(place, form, **SPLITS))
    assert source.classes == ("cat", "dog")
    assert source.x.dtype == torch.uint8
    np.testing.assert_array_equal(source.x.permute(0, 2, 3, 1).numpy(), PIXELS)
    assert source.y.tolist() == [i % 2 for i in range(60)]
    data = split.make(source)
    assert [len(part) for part in (data.train, data.val, data.test)] == [40, 10, 10]
    assert data.val.rows.tolist() == list(range(40, 50))
    assert huggingface(saved(place, "grey", "L", **SPLITS)).x.shape == (60, 1, 6, 8)
    assert huggingface(str(place / form), size=4, channels="rgb").x.shape == (60, 3, 4, 4)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_show_white_as_the_record_says(place, mode):
    pixels = np.zeros((4, 5, 4), np.uint8)
    pixels[:2, :, 3] = 255
    image = Image.fromarray(pixels).convert(mode)
    columns = {"image": [image] * 20, "label": [i % 2 for i in range(20)]}
    kinds = datasets.Features({name: FEATURES[name] for name in columns})
    datasets.Dataset.from_dict(columns, features=kinds).save_to_disk(str(place / "clear"))
    source = huggingface(str(place / "clear"))
    assert source.x.shape[1] == len(mode) - 1
    assert (source.x[:, :, :2] == 0).all()
    assert (source.x[:, :, 2:] == 255).all()
    assert source.reading["background"] == "white"


def test_images_with_colour_after_many_grey_ones_make_all_of_them_rgb(place):
    pixels = np.random.default_rng(1).integers(0, 256, (300, 4, 5), dtype=np.uint8)
    images = [Image.fromarray(one) for one in pixels[:290]]
    images += [Image.fromarray(one).convert("RGB") for one in pixels[290:]]
    columns = {"image": images, "label": [i % 2 for i in range(300)]}
    kinds = datasets.Features({name: FEATURES[name] for name in columns})
    datasets.Dataset.from_dict(columns, features=kinds).save_to_disk(str(place / "late"))
    x = huggingface(str(place / "late")).x.numpy()
    np.testing.assert_array_equal(x, np.repeat(pixels[:, None], 3, 1))


def test_texts_numbers_and_lists_to_predict(place):
    root = saved(place, "names", **SPLITS)
    assert huggingface(root, target="breed").classes == ("boxer", "pug")
    age = huggingface(root, target="age")
    assert age.scale_targets
    assert age.y[:, 0].tolist() == [i / 2 for i in range(60)]
    tags = huggingface(root, target="tags")
    assert tags.y[:3].tolist() == [[1, 0, 0], [1, 0, 1], [1, 0, 1]]
    assert tags.classes == ()
    assert tags.targets == ("red", "old", "wet")


def test_without_images_it_is_a_table(place):
    whole = rows(0, 60).remove_columns(["image", "tags"])
    whole.to_parquet(str(place / "t" / "train.parquet"))
    source = huggingface(str(place / "t"), features=["breed", "age"])
    assert source.classes == ("cat", "dog")
    assert source.given == {}, "a single split is dealt out"
    data = split.make(source)
    assert data.columns
    assert len(data.train) == 48
    assert data.shape == (3,), "two breeds and an age"


def test_rows_of_few_values_are_identical_by_chance(place, caplog):
    draw = np.random.default_rng(0)
    few = {name: draw.integers(0, 3, 60) for name in "abc"}
    table = datasets.Dataset.from_dict({**few, "label": [i % 2 for i in range(60)]})
    table.to_parquet(str(place / "few" / "train.parquet"))
    source = huggingface(str(place / "few"))
    assert len(source.hashes.unique()) < 60
    assert split.make(source).hashes is None
    assert "identical" not in caplog.text


def test_rows_without_a_label_and_other_splits_are_left_out(place, caplog):
    part = rows(0, 20)
    without = part.map(lambda row: {"label": -1 if row["id"] < 4 else row["label"]})
    datasets.DatasetDict({"train": without.cast(FEATURES), "extra": rows(20, 24)}).save_to_disk(
        str(place / "d")
    )
    source = huggingface(str(place / "d"))
    assert len(source.x) == 16
    assert "4 of 20 rows are left out: they lack a value of label" in caplog.text
    assert "extra is none of train, val and test; left out" in caplog.text


def kept(place, name, columns, kinds):
    """The root of a set with these columns, of these kinds."""
    kinds = datasets.Features({**kinds, **{k: FEATURES[k] for k in columns if k not in kinds}})
    datasets.Dataset.from_dict(columns, features=kinds).to_parquet(str(place / name))
    return str((place / name).parent)


def pictures(count):
    return [Image.fromarray(PIXELS[i]) for i in range(count)]


def test_splits_that_number_their_classes_differently_are_matched_by_name(place):
    for lists in (False, True):
        for name, said in (("train", ["cat", "dog"]), ("test", ["dog", "owl", "cat"])):
            kind = datasets.ClassLabel(names=said)
            y = [said.index("cat" if i % 3 else "dog") for i in range(30)]
            kinds = {"y": datasets.Sequence(kind) if lists else kind}
            columns = {"image": pictures(30), "y": [[one] for one in y] if lists else y}
            root = kept(place, f"{lists}/{name}.parquet", columns, kinds)
        source = huggingface(root)
        assert (source.targets if lists else source.classes) == ("cat", "dog", "owl")
        y = source.y.argmax(1) if lists else source.y
        assert y.tolist() == [0 if i % 3 else 1 for i in range(30)] * 2


def test_rows_without_a_number_are_left_out_as_a_table_leaves_them_out(place, caplog):
    age = [float("nan") if i < 3 else i / 2 for i in range(30)]
    source = huggingface(kept(place, "a/train.parquet", {"image": pictures(30), "age": age}, {}))
    assert source.y[:, 0].tolist() == age[3:]
    assert "3 of 30 rows are left out: they lack a value of age" in caplog.text
    none = {"image": pictures(3), "label": [None] * 3}
    with pytest.raises(Mistake, match="no row has a value of label"):
        huggingface(kept(place, "none/train.parquet", none, {}))


def test_rows_of_a_table_without_a_label_stay_out_of_its_splits(place, caplog):
    for name, label in (("train", [None, 0, 1] * 10), ("test", [1, 0, -1] * 10)):
        columns = {"age": [float(i % 7) for i in range(30)], "label": label}
        root = kept(place, f"t/{name}.parquet", columns, {})
    source = huggingface(root)
    assert {name: rows.tolist() for name, rows in source.given.items()} == {
        "train": list(range(20)),
        "test": list(range(20, 40)),
    }
    assert source.y.tolist() == [0, 1] * 10 + [1, 0] * 10
    assert "20 of 60 rows are left out: they lack a value of label" in caplog.text
    breed = {"age": [float(i % 7) for i in range(30)], "breed": ["pug", "", "boxer"] * 10}
    for name in ("train", "test"):
        root = kept(place, f"e/{name}.parquet", breed, {})
    assert len(huggingface(root, target="breed").given["train"]) == 20


def test_minus_one_in_a_list_is_no_label(place, caplog):
    columns = {"image": pictures(20), "tags": [[-1] if i % 2 else [2, -1] for i in range(20)]}
    source = huggingface(kept(place, "m/train.parquet", columns, {}))
    assert source.y.tolist() == [[0, 0, 0] if i % 2 else [0, 0, 1] for i in range(20)]
    assert "the column tags holds -1 in 20 rows, which stands for no label" in caplog.text


@pytest.mark.parametrize(
    ("held", "kind", "names", "first"),
    [
        ([["b", "a"], []], "string", ("a", "b"), [1, 1]),
        ([["b"], ["a"]], "string", ("a", "b"), [0, 1]),
        ([[7], [7, 3]], "int64", ("3", "7"), [0, 1]),
        ([[0, 1], [1, 1]], "int64", (), [0, 1]),
    ],
)
def test_lists_of_words_and_of_several_lengths_hold_labels(place, caplog, held, kind, names, first):
    kinds = {"y": datasets.Sequence(datasets.Value(kind))}
    root = kept(place, "l/train.parquet", {"image": pictures(20), "y": held * 10}, kinds)
    source = huggingface(root)
    assert source.targets == names
    assert source.y[0].tolist() == first
    assert ("the lists of y are taken for labels: " in caplog.text) == bool(names)


def test_classes_of_a_table_are_in_the_order_of_the_file(place):
    names = datasets.ClassLabel(names=["no", "maybe", "always"])
    columns = {"age": [float(i % 7) for i in range(30)], "y": [0, 2, 2] * 10}
    source = huggingface(kept(place, "c/train.parquet", columns, {"y": names}))
    assert source.classes == ("no", "maybe", "always")
    assert source.y.tolist() == [0, 2, 2] * 10


def test_what_lists_and_images_cannot_be(place):
    numbers = {"y": datasets.Sequence(datasets.Value("float32"))}
    for columns, kinds, message in (
        ({"image": pictures(2), "y": [[0.5], [1, 2]]}, numbers, "data.target=y: its lists differ"),
        ({"image": [*pictures(3), None], "label": [0, 1, 0, 1]}, {}, "image has no image in row 4"),
        ({"y": [[0.5], [1]], "label": [0, 1]}, numbers, "no column besides label that can be read"),
    ):
        with pytest.raises(Mistake, match=message):
            huggingface(kept(place, f"{len(message)}/train.parquet", columns, kinds))


def test_what_cannot_be(place):
    root = saved(place, "names", **SPLITS)
    (place / "empty").mkdir()
    for options, message in (
        ({"root": str(place / "no")}, "there is no such folder"),
        ({"root": str(place / "empty")}, "no files .parquet"),
        ({"target": "lable"}, "data.target=lable: there is no such column; did you mean label"),
        ({"image": "pic"}, "data.image=pic: there is no such column"),
        ({"target": "image"}, "data.target=image: holds the images"),
        ({"features": ["age"]}, "data.features: is about tables"),
    ):
        with pytest.raises(Mistake, match=message):
            huggingface(**{"root": root, **options})
