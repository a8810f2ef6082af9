from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dlrun.data import split
from dlrun.data.arrays import arrays
from dlrun.data.tables.file import read_file
from dlrun.errors import Mistake
from dlrun.preprocessing import chain, fit
from dlrun.preprocessing.affine import rescale

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(20, 3))
LABELS = np.arange(20) % 4


def npz(tmp_path, **content):
    path = tmp_path / "made.npz"
    np.savez(path, **content)
    return str(path)


def csv(tmp_path, text, name="made.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.proves("data=arrays")
def test_npz_classification(tmp_path):
    source = arrays(npz(tmp_path, x=TABLE, y=LABELS))
    assert source.name == "made"
    assert source.x.dtype == torch.float32
    np.testing.assert_array_equal(source.x.numpy(), TABLE.astype(np.float32))
    assert source.y.tolist() == LABELS.tolist()
    assert source.y.dtype == torch.int64
    assert source.classes == ("0", "1", "2", "3")
    data = split.make(source)
    assert data.shape == (3,)
    assert data.outputs == 4
    assert len(data.train) + len(data.val) + len(data.test) == 20


@pytest.mark.parametrize(
    ("y", "labels", "classes"),
    [
        ([7, 3, 7, 100], [1, 0, 1, 2], ("3", "7", "100")),
        ([-1, 1, 1, -1], [0, 1, 1, 0], ("-1", "1")),
        (["no", "yes", "no", "maybe"], [1, 2, 1, 0], ("maybe", "no", "yes")),
        ([b"x", b"y", b"x", b"x"], [0, 1, 0, 0], ("x", "y")),
        ([True, False, True, True], [1, 0, 1, 1], ("False", "True")),
        ([[2], [5], [2], [2]], [0, 1, 0, 0], ("2", "5")),
    ],
)
def test_labels_become_contiguous(tmp_path, y, labels, classes):
    source = arrays(npz(tmp_path, x=TABLE, y=np.concatenate([y] * 5)))
    assert source.y.tolist() == labels * 5
    assert source.classes == classes


@pytest.mark.proves("data=arrays")
def test_regression(tmp_path):
    y = RNG.normal(size=20)
    source = arrays(npz(tmp_path, x=TABLE, y=y))
    assert source.y.shape == (20, 1)
    assert source.y.dtype == torch.float32
    np.testing.assert_array_equal(source.y[:, 0].numpy(), y.astype(np.float32))
    assert source.classes == ()
    assert split.make(source, "60/20/20").outputs == 1


def test_regression_with_several_targets_and_with_whole_numbers(tmp_path):
    source = arrays(npz(tmp_path, x=TABLE, y=TABLE[:, :2]))
    assert split.make(source).outputs == 2
    source = arrays(npz(tmp_path, x=TABLE, y=LABELS), task="regression")
    assert source.y.squeeze(1).tolist() == LABELS.tolist()


def test_classes_written_as_fractions_of_one(tmp_path):
    source = arrays(npz(tmp_path, x=TABLE, y=LABELS.astype(float)), task="classification")
    assert source.classes == ("0", "1", "2", "3")


def test_given_splits(tmp_path):
    content = {
        "x_train": TABLE[:12],
        "y_train": LABELS[:12],
        "x_test": TABLE[12:],
        "y_test": LABELS[12:],
    }
    source = arrays(npz(tmp_path, **content))
    assert source.given["train"].tolist() == list(range(12))
    assert source.given["test"].tolist() == list(range(12, 20))
    np.testing.assert_array_equal(source.x.numpy(), TABLE.astype(np.float32))


def test_x_and_y_beside_a_test_split_are_those_of_train(tmp_path):
    content = {"x": TABLE[:12], "y": LABELS[:12], "x_test": TABLE[12:], "y_test": LABELS[12:]}
    source = arrays(npz(tmp_path, **content))
    assert {name: rows.tolist() for name, rows in source.given.items()} == {
        "train": list(range(12)),
        "test": list(range(12, 20)),
    }
    np.testing.assert_array_equal(source.x.numpy(), TABLE.astype(np.float32))
    data = split.make(source, val=0.25)
    assert data.test.rows.tolist() == list(range(12, 20))
    assert len(data.val) == 3


@pytest.mark.parametrize(
    ("shape", "stored"),
    [((20, 5, 6), (20, 1, 5, 6)), ((20, 5, 6, 3), (20, 3, 5, 6)), ((20, 3, 5, 6), (20, 3, 5, 6))],
)
def test_bytes_are_images_and_stay_bytes(tmp_path, shape, stored):
    x = RNG.integers(0, 256, shape, dtype=np.uint8)
    source = arrays(npz(tmp_path, x=x, y=LABELS))
    assert source.x.dtype == torch.uint8
    assert source.x.shape == stored
    if stored[1:] == (3, 5, 6) and shape[-1] == 3:
        x = np.moveaxis(x, -1, 1)
    np.testing.assert_array_equal(source.x.numpy(), x.reshape(stored))


def test_a_table_of_bytes_is_a_table_as_any(tmp_path):
    x = RNG.integers(0, 100, (20, 7), dtype=np.uint8)
    source = arrays(npz(tmp_path, x=x, y=LABELS))
    assert source.x.dtype == torch.float32
    np.testing.assert_array_equal(source.x.numpy(), x)
    steps = chain([rescale()])
    fit(steps, lambda: [source.x])
    lowest, most = x.min(0), x.max(0)
    wanted = 2 * (x.astype(float) - lowest) / (most.astype(float) - lowest) - 1
    np.testing.assert_allclose(steps(source.x), wanted, atol=1e-5)


def test_safetensors(tmp_path):
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    content = {"x": x.bfloat16(), "y": torch.from_numpy(LABELS), "other": torch.zeros(1)}
    save_file(content, tmp_path / "made.safetensors")
    source = arrays(str(tmp_path / "made.safetensors"))
    assert torch.equal(source.x, x.bfloat16().float())
    assert source.y.tolist() == LABELS.tolist()


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_with_strings_for_classes(tmp_path, separator):
    lines = ["\ufefflength, width ,kind", '1.5,2,"cat"', "-3e2,4,dog", "", "0,5,cat"]
    path = csv(tmp_path, "\r\n".join(lines).replace(",", separator) + "\r\n")
    source = arrays(path, target="kind")
    assert source.x.tolist() == [[1.5, 2], [-300, 4], [0, 5]]
    assert source.y.tolist() == [0, 1, 0]
    assert source.classes == ("cat", "dog")


@pytest.mark.proves("data=arrays")
def test_csv_regression_and_whole_numbers(tmp_path):
    path = csv(tmp_path, "a,price,rooms\n1,2.5,3\n2,3.5,4\n3,4.5,3\n")
    source = arrays(path, target="price")
    assert source.y.tolist() == [[2.5], [3.5], [4.5]]
    assert source.x.tolist() == [[1, 3], [2, 4], [3, 3]]
    assert arrays(path, target="rooms").classes == ("3", "4")
    assert arrays(path, target="rooms", task="regression").y.tolist() == [[3], [4], [3]]


def test_a_changed_file_is_read_anew(tmp_path):
    path = csv(tmp_path, "a,b\n1,0\n2,1\n")
    arrays(path, target="b")
    csv(tmp_path, "a,b\n1,0\n2,1\n5,1\n")
    assert arrays(path, target="b").x.tolist() == [[1], [2], [5]]


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (np.arange(60) * 7, 0),  # prices
        (np.arange(60) % 13, 0),  # not quite 5 of each
        (np.arange(60) % 12, 12),
        (np.arange(5005) % 1001, 0),
        (np.arange(5000) % 1000, 1000),
        (np.array([0, 1, 1, 0]), 2),
    ],
)
def test_whole_numbers_are_classes_where_they_plausibly_are(tmp_path, y, classes):
    source = arrays(npz(tmp_path, x=np.zeros((len(y), 1)), y=y))
    assert len(source.classes) == classes


def test_what_whole_numbers_were_taken_for_is_said_on_every_start(tmp_path, caplog):
    x, prices, many = np.zeros((600, 1)), np.arange(600), np.arange(600) % 100
    path = npz(tmp_path, x=x, y=prices)
    for _ in range(2):  # the second time from the cache
        caplog.clear()
        arrays(path)
        assert (
            "the target has 600 different whole numbers in 600 samples, taken for numbers"
            in caplog.text
        )
        assert "data.task=classification" in caplog.text
    path = npz(tmp_path, x=x, y=many)
    for _ in range(2):
        caplog.clear()
        arrays(path)
        assert (
            "the target has 100 different whole numbers in 600 samples, taken for classes"
            in caplog.text
        )
        assert "data.task=regression" in caplog.text


def test_nothing_is_said_where_it_is_evident(tmp_path, caplog):
    names = np.array([f"{i % 30} m" for i in range(300)])
    for y in (LABELS, TABLE[:, 0], TABLE[:, :2], names):
        arrays(npz(tmp_path, x=np.zeros((len(y), 1)), y=y))
    for task in ("regression", "classification"):
        arrays(npz(tmp_path, x=np.zeros((600, 1)), y=np.arange(600)), task=task)
    assert not caplog.records


def test_the_columns_that_are_used(tmp_path):
    path = csv(tmp_path, "a,town,b,price\n1,Rome,10,0.5\n2,Oslo,,1.5\n3,Oslo,30,2.5\n")
    assert arrays(path, target="price", features=["a"]).x.tolist() == [[1], [2], [3]]
    path = csv(tmp_path, "a,town,b,price\n1,Rome,10,0.5\n2,Oslo,20,1.5\n3,Oslo,30,2.5\n")
    assert arrays(path, target="price", features=["a"]).x.tolist() == [[1], [2], [3]]
    assert arrays(path, target="price", features=["b", "a"]).x.tolist() == [
        [10, 1],
        [20, 2],
        [30, 3],
    ]


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (["areaa"], r"data\.features=areaa: there is no such column; did you mean area\?"),
        (["zzz"], "there are area, town, price"),
        (["price", "area"], "data.features: has price, which is data.target"),
        (["area", "area"], "data.features: names area twice"),
        ([], r"data\.features=\[\]: name at least one of area, town, price"),
    ],
)
def test_columns_that_cannot_be_features(tmp_path, features, message):
    path = csv(tmp_path, "area,town,price\n1,Rome,0.5\n2,Oslo,1.5\n")
    with pytest.raises(Mistake, match=message):
        arrays(path, target="price", features=features)


def test_columns_of_what_is_no_table(tmp_path):
    with pytest.raises(Mistake, match=r"data\.features=\[a\]: names a column of a table"):
        arrays(npz(tmp_path, x=TABLE, y=LABELS), features=["a"])


def test_which_targets_are_standardized(tmp_path):
    prices, shares = TABLE[:, :1] * 1e5, RNG.uniform(size=(20, 2))
    path = npz(tmp_path, x=TABLE, y=prices)
    assert arrays(path).scale_targets
    assert not arrays(path, scale_targets=False).scale_targets
    path = npz(tmp_path, x=TABLE, y=shares)
    assert not arrays(path).scale_targets
    assert arrays(path, scale_targets=True).scale_targets
    path = npz(tmp_path, x=TABLE, y=LABELS)
    assert not arrays(path).scale_targets
    with pytest.raises(Mistake, match=r"data\.scale_targets=true: there are classes"):
        arrays(path, scale_targets=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": TABLE, "b": LABELS}, "holds a, b; expected x and y, or x_train and y_train"),
        ({"x": TABLE}, "holds x; expected x and y"),
        ({"x": TABLE, "y": LABELS, "x_test": TABLE}, "lacks y_test"),
        ({"x": TABLE, "y": LABELS, "x_test": TABLE[:, :2], "y_test": LABELS}, r", x \(20, 3\)"),
        (
            {"x": TABLE, "y": LABELS, "x_train": TABLE, "y_train": LABELS},
            "x and y beside x_train and y_train; leave one of them out",
        ),
        ({"x": TABLE, "y": LABELS[:19]}, "x has 20 samples but y has 19"),
        ({"x_train": TABLE, "y_train": LABELS, "x_test": TABLE}, "lacks y_test"),
        (
            {"x_train": TABLE, "y_train": LABELS, "x_test": TABLE[:, :2], "y_test": LABELS},
            r"x_test is \(20, 2\)",
        ),
        ({"x_train": TABLE, "y_train": LABELS[:3]}, "x_train has 20 samples, y_train 3"),
        ({"x": np.where(TABLE > 1, np.nan, TABLE), "y": LABELS}, "missing or infinite values in"),
        ({"x": TABLE * 1e300, "y": LABELS}, "missing or infinite values in 20 samples"),
        ({"x": TABLE, "y": np.full(20, np.nan)}, "y has 20 missing"),
        ({"x": TABLE.astype(str), "y": LABELS}, "x has the type <U"),
        (
            {"x": TABLE[:, 0], "y": LABELS},
            r"x has the shape \(20,\); .*: x\[:, None\] is 20 samples of one number, x\[None\]",
        ),
        ({"arr_0": TABLE}, "holds arr_0; .*, or x_train and y_train; numpy.savez.file, x=x, y=y."),
        ({"x_train": np.float32(3), "y_train": LABELS}, "x_train is a single number; expected"),
        ({"x": TABLE, "y": LABELS, "x_test": TABLE, "y_test": np.int64(3)}, "y_test is a single"),
        ({"x": TABLE[:0], "y": TABLE[:0, 0]}, "x is empty"),
        ({"x": TABLE, "y": 3 * np.eye(20, 4, dtype=int)}, "classes must be"),
        ({"x": TABLE, "y": LABELS.astype(complex)}, "y has the type complex128"),
        (
            {"x": TABLE.astype(object), "y": LABELS},
            r"npz: x holds Python objects, which are not read; save e.g. numbers: x.astype",
        ),
        (
            {"x": TABLE, "y": LABELS.astype(str).astype(object)},
            r"npz: y holds Python objects, which are not read; save e.g. texts: y.astype\(str\)",
        ),
    ],
)
def test_content_that_cannot_be(tmp_path, content, message):
    with pytest.raises(Mistake, match=message) as raised:
        arrays(npz(tmp_path, **content))
    assert "data.path=" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        (
            "a,b\n1,2\n",
            None,
            r"data\.target=null: name the column to predict, e\.g\. data\.target=b; there are a, b",
        ),
        ("age,kind\n1,2\n", "knd", r"data\.target=knd: .* did you mean kind\?"),
        ("age,kind\n1,2\n", "zzz", "there are age, kind"),
        ("a,b\n1,\n2,\n", "b", "the column b, which is to be predicted, has no values"),
        ("a,b\n,0\n,1\n", "b", "leaves no column to predict b from .a: it has no values"),
        ("a,b\n1,0\ninf,1\n", "b", "missing or infinite values in 1 sample"),
        ("a,b\n1,0\n2\n", "b", "line 3 has 1 value, the first line names 2"),
        ("1,2\n3,4\n", "b", "first line must name the columns"),
        ("a,b\n", "b", "has no data"),
        ("", "b", "has no data"),
        ("b\n1\n2\n", "b", "no column besides b"),
    ],
)
def test_tables_that_cannot_be(tmp_path, text, target, message):
    with pytest.raises(Mistake, match=message):
        arrays(csv(tmp_path, text), target=target)


def test_strings_are_no_regression_and_fractions_no_classes(tmp_path):
    with pytest.raises(Mistake, match=r"data\.task=regression: the target has strings"):
        arrays(csv(tmp_path, "a,b\n1,x\n2,y\n"), target="b", task="regression")
    with pytest.raises(Mistake, match=r"data\.task=classification: the target has fractions"):
        arrays(csv(tmp_path, "a,b\n1,0.5\n2,1.5\n"), target="b", task="classification")


def test_files_that_cannot_be(tmp_path):
    with pytest.raises(Mistake, match=r"data\.path=nowhere\.npz: there is no such file"):
        arrays("nowhere.npz")
    with pytest.raises(Mistake, match=r"expected a file \.npz, \.safetensors, \.csv, \.parquet"):
        arrays(csv(tmp_path, "", "made.xlsx"))
    with pytest.raises(Mistake, match=r"made\.safetensors: it cannot be read"):
        arrays(csv(tmp_path, "nonsense", "made.safetensors"))
    path = tmp_path / "latin.csv"
    path.write_bytes("a,b\n1,\xe9\n".encode("latin-1"))
    said = r"latin\.csv: line 2 is not in UTF-8 \(it has the byte 0xe9\); save it as UTF-8"
    with pytest.raises(Mistake, match=said):
        arrays(str(path), target="b")


def test_several_targets_of_a_table_are_told_where_they_go(tmp_path):
    (tmp_path / "made.csv").write_text("x,a,b\n1,2,3\n4,5,6\n")
    for target, shown in ((["a", "b"], r"\[a,b\]"), (["a"], r"\[a\]")):
        said = rf"data\.target={shown}: of a table name one column; several .* \.npz .* y has a"
        with pytest.raises(Mistake, match=said):
            arrays(str(tmp_path / "made.csv"), target=target)


def test_an_npz_that_is_none_says_what_would_be_one(tmp_path):
    whole = Path(npz(tmp_path, x=TABLE, y=LABELS)).read_bytes()
    np.save(tmp_path / "one.npy", TABLE)
    spoilt = bytearray(whole)
    spoilt[200] ^= 255
    for content, said in (
        (b"nonsense", "it is not an .npz file; numpy.savez"),
        (b"", "it is empty"),
        (whole[:-40], "it is cut off: its end is missing; copy it or write it again"),
        (bytes(spoilt), "it is damaged .*; copy it or write it again"),
        ((tmp_path / "one.npy").read_bytes(), "it is one array, an .npy"),
    ):
        (tmp_path / "made.npz").write_bytes(content)
        with pytest.raises(Mistake, match=f"made.npz: {said}"):
            arrays(str(tmp_path / "made.npz"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('a,b\n1,0\n"2,1\n3,0\n', "a quotation mark in line 3 is not closed"),
        ('a,b\n"1\n2",0\n3,"1\n4,0\n', "a quotation mark in line 4 is not closed"),
        ('a,b\n1,0\n"2,1\n' + "3,0\n" * 40_000, "a quotation mark in line 3 is not closed"),
        ('a,b\n1,0\n"2"3,1\n', "line 3 cannot be read as CSV: "),
    ],
)
def test_a_quotation_mark_that_is_not_closed_is_found(tmp_path, text, said):
    with pytest.raises(Mistake, match=said):
        arrays(csv(tmp_path, text), target="b")


@pytest.mark.parametrize("before", [0, 200])
def test_a_long_value_is_one_as_any_other_up_to_a_limit(tmp_path, before):
    text = "a;b\n" + "1;0\n" * before
    found = read_file(Path(csv(tmp_path, f"{text}{'x' * 140_000};1\n"))).texts
    assert [len(found["a"][-1]), found["b"][-1]] == [140_000, "1"]
    said = f"made.csv: a value that begins in line {before + 2} has over 16,777,216 characters"
    with pytest.raises(Mistake, match=said):
        arrays(csv(tmp_path, f"{text}{'x' * (2**24 + 1)};1\n"), target="b")


def test_a_task_out_of_range_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"^task must be one of auto, .* got cluster"):
        arrays("any.npz", task="cluster")


@pytest.mark.parametrize("kind", [np.int64, np.float64])
def test_numbers_that_float32_makes_equal_are_said(kind, tmp_path, caplog):
    x = np.stack([np.arange(40) * 1000, 2**30 + np.arange(40)], 1).astype(kind)
    np.savez(tmp_path / "made.npz", x=x, y=np.arange(40) % 2)
    arrays(str(tmp_path / "made.npz"))
    [said] = caplog.messages
    assert "the 40 different numbers of the column x[:,1] become 1, because float32" in said
