"""Images that a table names: classes, labels and numbers, and what is said of rows that lack."""

import numpy as np
import pandas as pd
import pytest
import torch

from dlrun import record
from dlrun.__main__ import main
from dlrun.data import split
from dlrun.data.imagetable import imagetable
from dlrun.errors import Mistake
from tests.data.folders import channels_first, pixels, save, save_png

NAMES = [f"sub/{i}.png" if i % 3 else f"{i}.png" for i in range(30)]


@pytest.fixture
def place(here, monkeypatch):
    """A folder of images, and a table that names them."""
    monkeypatch.setenv("DLRUN_CACHE", str(here / "cache"))
    for number, name in enumerate(NAMES):
        save(here / "photos" / name, pixels(number))
    return here


def table(path, names=NAMES, **columns):
    rows = zip(names, *columns.values(), strict=True)
    lines = [",".join(["picture", *columns]), *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


KINDS = ["cat" if i % 2 else "dog" for i in range(30)]


@pytest.mark.proves("data=imagetable")
def test_a_class_for_each_file(place):
    path = table(place / "labels.csv", kind=KINDS)
    source = imagetable(path, root="photos")
    assert source.name == "labels"
    assert source.classes == ("cat", "dog")
    assert source.y.tolist() == [int(kind == "dog") for kind in KINDS]
    for number in (0, 1, 29):
        found = source.x[number].numpy()
        np.testing.assert_array_equal(found, channels_first(pixels(number)))
    beside = table(place / "photos" / "labels.csv", kind=KINDS)
    assert torch.equal(imagetable(beside).x, source.x), "the names begin beside the table"


def test_several_columns_are_labels_or_numbers(place):
    cats, dogs = [i % 2 for i in range(30)], ["true" if i % 3 else "false" for i in range(30)]
    path = table(place / "t.csv", cat=cats, dog=dogs, far=[0.5 * i for i in range(30)])
    labels = imagetable(path, target=["cat", "dog"], root="photos")
    assert labels.classes == ()
    assert labels.labels is None
    assert labels.y.tolist() == [[i % 2, float(i % 3 > 0)] for i in range(30)]
    assert not labels.scale_targets
    numbers = imagetable(path, target=["cat", "far"], root="photos")
    assert numbers.scale_targets
    assert split.make(numbers).outputs == 2
    one = imagetable(path, target="far", root="photos")
    assert one.y[:, 0].tolist() == [0.5 * i for i in range(30)]
    assert imagetable(path, target="cat", task="regression", root="photos").y.shape == (30, 1)
    assert imagetable(path, target="cat", task="multilabel", root="photos").labels is True


def test_the_column_of_files_is_found_by_the_files(place):
    kinds, bare = [f"{kind}.png" for kind in KINDS], [name.removesuffix(".png") for name in NAMES]
    path = table(place / "t.csv", names=kinds, photo=bare, kind=KINDS)
    source = imagetable(path, target="picture", root="photos", suffix=".png")
    assert source.classes == ("cat.png", "dog.png")
    path = table(place / "t.csv", names=kinds, photo=NAMES, kind=KINDS)
    assert imagetable(path, target="kind", root="photos").classes == ("cat", "dog")
    path = table(place / "t.csv", names=KINDS, photo=["no", *bare[1:]], patient=range(30))
    with pytest.raises(Mistake) as wrong:
        imagetable(path, target="picture", suffix=".png", group="patient")
    said = f"no column holds names of files in {place} that end with data.suffix=.png; name it: "
    assert str(wrong.value).endswith(f"data.files=null: {said}photo")


def test_groups_and_rows_without_a_target(place, caplog):
    kinds = ["", *KINDS[1:]]
    path = table(place / "t.csv", kind=kinds, patient=[i // 5 for i in range(30)])
    source = imagetable(path, target="kind", root="photos", group="patient")
    assert len(source.x) == 29
    assert source.groups.tolist() == [i // 5 for i in range(1, 30)]
    assert "1 of 30 rows is left out: it lacks a value of kind" in caplog.text


def test_a_row_without_a_group_is_named(place):
    patients = ["NA" if i in (3, 7) else i // 5 for i in range(30)]
    path = table(place / "t.csv", kind=KINDS, patient=patients)
    options = {"target": "kind", "root": "photos", "group": "patient"}
    with pytest.raises(Mistake, match=r"patient lacks 2 of 30 values, first in row 4 \('NA'\)"):
        imagetable(path, **options)
    assert imagetable(path, **options, missing=[]).groups.unique().numel() == 7
    table(
        place / "t.csv", kind=["" if i in (3, 7) else KINDS[i] for i in range(30)], patient=patients
    )
    assert len(imagetable(path, **options).x) == 28, "these rows are left out"


@pytest.mark.parametrize("missing", [None, [], ["x"]])
def test_a_typed_table_lacks_what_it_has_no_value_of(place, missing):
    kinds = pd.Series([None, None, *KINDS[2:]], dtype=object)
    pd.DataFrame({"picture": NAMES, "kind": kinds}).to_parquet(place / "t.parquet")
    source = imagetable("t.parquet", root="photos", missing=missing)
    assert source.classes == ("cat", "dog")
    assert len(source.x) == 28


def test_none_is_a_class_beside_other_words(place, caplog):
    kinds = ["Some" if i % 2 else "None" for i in range(30)]
    source = imagetable(table(place / "t.csv", kind=kinds), root="photos")
    assert [source.classes[place] for place in source.y] == kinds
    assert "holds 'None' in 15 rows, taken for a class; data.missing=[None]" in caplog.text
    assert imagetable("t.csv", root="photos", missing=["None"]).classes == ("Some",)


AMOUNTS = [f"{4 + i % 7},{100 + i}" for i in range(30)]
FRACTIONS = [f"{3 + i * 0.37:.2f}" for i in range(30)]
DAYS = [f"2001-01-{1 + i:02d}" for i in range(30)]


@pytest.mark.parametrize(
    ("kinds", "classes", "said"),
    [
        (["+1" if i % 2 else "-1" for i in range(30)], ("+1", "-1"), "taken for class names"),
        ([f"1234567890123456789{i % 2}0" for i in range(30)], 2, "taken for class names"),
        (
            [("True", "TRUE", "false")[i % 3] for i in range(30)],
            2,
            "in several ways, taken for two",
        ),
        (DAYS, (), "holds dates, taken for numbers, days since 1970"),
        ([f"{i % 2},5" for i in range(30)], (), "with a decimal comma; data.decimal=point says"),
    ],
)
def test_a_column_to_predict_is_read_as_in_other_tables(place, caplog, kinds, classes, said):
    path = table(place / "t.csv", kind=[f'"{kind}"' for kind in kinds])
    source = imagetable(path, root="photos")
    assert source.classes == classes or len(source.classes) == classes
    assert said in caplog.text


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        (AMOUNTS, "the column kind holds '4,100' in row 1; if it has separators between thousands"),
        (["unknown", *FRACTIONS[1:]], "kind holds 'unknown' in row 1, among 29 different numbers"),
        ([f"caption {i}" for i in range(30)], "has 30 different texts in 30 rows"),
    ],
)
def test_what_other_tables_refuse_to_predict_is_refused(place, kinds, said):
    path = table(place / "t.csv", kind=[f'"{kind}"' for kind in kinds], far=FRACTIONS)
    with pytest.raises(Mistake, match=said):
        imagetable(path, target="kind", root="photos")
    with pytest.raises(
        Mistake, match=rf"of several columns .*: the column kind holds '{kinds[0]}'"
    ):
        imagetable(path, target=["far", "kind"], root="photos")


def test_several_columns_have_one_decimal_mark(place, caplog):
    path = table(place / "t.csv", a=[f'"{i},5"' for i in range(30)], b=[f'"{x}"' for x in AMOUNTS])
    source = imagetable(path, target=["a", "b"], root="photos")
    assert source.y[0].tolist() == pytest.approx([0.5, 4.1])
    assert "0,5 in the column a is read as 0.5, with a decimal comma" in caplog.text
    table(place / "t.csv", a=DAYS, b=range(30))
    assert imagetable(path, target=["a", "b"], root="photos").y[0].tolist() == [11323, 0]
    assert "the column a holds dates, taken for numbers" in caplog.text
    table(place / "t.csv", a=[f'"{i},25"' for i in range(30)], b=[f"{i}.5" for i in range(30)])
    for decimal in (None, "point", "comma"):
        with pytest.raises(
            Mistake, match=r"b writes 0\.5, and the column a writes 0,25; write one"
        ):
            imagetable(path, target=["a", "b"], root="photos", decimal=decimal)
    table(place / "t.csv", a=[f"{1.7e9 + i / 10}" for i in range(30)], b=range(30))
    imagetable(path, target=["a", "b"], root="photos")
    assert "the 30 different numbers of the column a become 1, because float32" in caplog.text
    with pytest.raises(ValueError, match="decimal must be one of point, comma, got dot"):
        imagetable(path, target=["a", "b"], root="photos", decimal="dot")


def test_files_that_are_not_there_are_named(place, caplog):
    names = ["gone.png", *NAMES[1:]]
    path = table(place / "t.csv", names, kind=KINDS)
    said = r"1 of 30 files named in the column picture is not in .*photos: gone.png; data.root"
    with pytest.raises(Mistake, match=said):
        imagetable(path, root="photos")
    source = imagetable(path, root="photos", skip_bad=True)
    assert len(source.x) == 29
    np.testing.assert_array_equal(source.x[0].numpy(), channels_first(pixels(1)))
    assert "gone.png; left out" in caplog.text
    save(place / "photos" / "gone.png", pixels(99))
    assert len(imagetable(path, root="photos", skip_bad=True).x) == 30, "it is there now"


@pytest.mark.parametrize(("name", "shown"), [("", "''"), ("sub", "sub")])
def test_a_folder_is_no_file(place, name, shown):
    path = table(place / "t.csv", [name, *NAMES[1:]], kind=KINDS)
    said = f"1 of 30 files named in the column picture is not in .*photos: {shown}; data.root"
    with pytest.raises(Mistake, match=said):
        imagetable(path, root="photos")
    assert len(imagetable(path, root="photos", skip_bad=True).x) == 29


def test_names_without_their_suffix(place):
    bare = [name.removesuffix(".png") for name in NAMES]
    path = table(place / "t.csv", bare, kind=KINDS)
    with pytest.raises(Mistake, match=r"did you mean data.suffix=\.png"):
        imagetable(path, files="picture", root="photos")
    assert len(imagetable(path, files="picture", root="photos", suffix=".png").x) == 30


def test_images_of_16_bits_keep_what_the_targets_are(place):
    for number, name in enumerate(NAMES):
        wide = np.random.default_rng(number).integers(0, 2**16, (6, 8))
        save_png(place / "photos" / name, wide)
    path = table(place / "t.csv", far=[100.0 + i for i in range(30)])
    data = split.make(imagetable(path, root="photos"))
    assert data.depth == 16
    assert data.scale is not None
    assert float(data.train.y[data.train.rows].mean()) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "kin"}, "data.target=kin: there is no such column; did you mean kind"),
        (
            {"files": "picture", "target": "picture"},
            "data.target=picture: is the column of the files",
        ),
        ({"target": []}, r"data.target=\[\]"),
        ({"target": ["kind", "far"]}, "kind holds 'dog'"),
        ({"target": ["kind", "far"], "task": "classification"}, "kind holds 'dog'"),
        ({}, "data.target=null: name the columns to predict: kind, far"),
        ({"files": "photo"}, "data.files=photo: there is no such column"),
        ({"files": "kind", "target": "far"}, "30 of 30 files .* data.root names the folder"),
        ({"root": "nowhere"}, "data.root=nowhere: there is no such folder"),
        ({"target": "kind", "group": "x"}, "data.group=x: there is no such column"),
        ({"target": "far", "task": "multilabel"}, "each label is 0 or 1"),
        ({"target": "kind", "scale_targets": True}, "data.scale_targets=true: there are classes"),
    ],
)
def test_what_cannot_be(place, options, message):
    path = table(place / "t.csv", kind=KINDS, far=[0.5 * i for i in range(30)])
    with pytest.raises(Mistake, match=message):
        imagetable(path, **{"root": "photos", **options})


def test_no_column_of_files(place):
    path = table(place / "t.csv", KINDS, far=range(30))
    with pytest.raises(Mistake, match=r"data\.files=null: no column holds names of images"):
        imagetable(path)


@pytest.mark.parametrize(("target", "loss"), [("kind", "cross_entropy"), ("[a,b]", "bce")])
def test_as_it_is_typed(place, target, loss):
    more = {"a": [i % 2 for i in range(30)], "b": [i // 15 for i in range(30)]}
    table(place / "t.csv", kind=KINDS, **more)
    tiny = ("tracking=none", "threads=1", "epochs=2 steps", "preflight=off")
    words = ("data=imagetable", "data.path=t.csv", "data.root=photos", "data.size=4")
    assert main([*tiny, *words, f"data.target={target}"]) == 0
    info = record.read_json(record.find("outputs", "last") / "run.json")
    assert info["choices"]["loss"] == loss
    assert info["data"]["reading"]["size"] == [4, 4]
