"""Columns as inputs: as scikit-learn has them, learned of the training rows alone."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from dlrun.data import split
from dlrun.data.arrays import arrays
from dlrun.data.tables import encode, other, told
from dlrun.errors import Mistake

ROWS = 400
COLUMNS = [
    {"name": "age", "kind": "number"},
    {"name": "town", "kind": "text"},
    {"name": "whole", "kind": "number"},
    {"name": "street", "kind": "text"},
    {"name": "never", "kind": "number"},
]


def frame(seed):
    """Numbers with holes, a short text with holes, a whole column, 90 texts, no number at all."""
    draw = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": np.where(draw.random(ROWS) < 0.2, np.nan, draw.normal(size=ROWS)),
            "town": pd.Series(draw.choice(["", "Rome", "Oslo", "Bern"], ROWS), dtype=object),
            "whole": draw.normal(size=ROWS),
            "street": pd.Series([f"s{i}" for i in draw.integers(0, 90, ROWS)], dtype=object),
            "never": np.full(ROWS, np.nan),
        }
    )


@pytest.mark.parametrize("seed", range(3))
def test_what_was_learned_makes_the_same_transformer(seed):
    """Against scikit-learn, fitted in the usual way."""
    train, others = frame(seed), frame(seed + 10)
    others.loc[:9, "whole"], others.loc[:9, "town"] = np.nan, "Paris"
    numbers, texts = ["age", "whole", "never"], ["town", "street"]
    imputer = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    coder = OneHotEncoder(
        max_categories=50, handle_unknown="infrequent_if_exist", sparse_output=False
    )
    usual = ColumnTransformer([("n", imputer, numbers), ("t", coder, texts)]).fit(train)
    known = json.loads(json.dumps(encode.fit(train, COLUMNS)))
    for some in (train, others):
        expected = usual.transform(some).astype(np.float32)
        np.testing.assert_array_equal(encode.transform(some, known), expected)
    names = encode.names(known)
    assert len(names) == expected.shape[1] == 3 + 2 + 4 + 50
    assert names[:6] == (
        "age",
        "whole",
        "never",
        "age is missing",
        "never is missing",
        "town is missing",
    )
    assert names[-1] == "street is rare"
    assert known[0]["fill"] == np.nanmedian(train["age"])


@pytest.mark.parametrize(("values", "kept", "rare"), [(49, 49, 0), (50, 50, 0), (51, 49, 1)])
def test_only_more_than_50_values_share_an_input(values, kept, rare):
    texts = [f"{value:02d}" for value in range(values)]
    rows = pd.DataFrame({"street": texts + texts[:30], "town": "Rome"})
    known = encode.fit(rows, [{"name": name, "kind": "text"} for name in rows])
    assert [len(known[0]["kept"]), len(known[0]["rare"])] == [kept, rare]
    x = encode.transform(rows, known)
    assert x.shape[1] == len(encode.names(known)) == kept + rare + 1
    assert (x.sum(1) == 2).all()
    np.testing.assert_array_equal(x[:30, :30], np.eye(30))  # those that come twice


def csv(path, table):
    table.to_csv(path)
    return str(path)


@pytest.fixture
def table():
    """A table with holes, texts, dates and booleans, as pandas has it."""
    draw = np.random.default_rng(0)
    days = pd.Timestamp("2001-02-28") + pd.to_timedelta(draw.integers(0, 900, 200), "D")
    return pd.DataFrame(
        {
            "age": np.where(draw.random(200) < 0.2, np.nan, draw.integers(18, 90, 200)),
            "town": draw.choice(["Rome", "Oslo", "Bern", None], 200),
            "sold": days.strftime("%Y-%m-%d"),
            "rich": draw.random(200) < 0.5,
            "zip": [f"{code}" for code in draw.integers(100, 110, 200)],
            "kind": draw.choice(["a", "b"], 200),
        }
    )


def test_the_training_rows_alone_are_learned_from(tmp_path, table):
    data = split.make(arrays(csv(tmp_path / "t.csv", table), target="kind"), "50/25/25")
    rows = data.train.rows.numpy()
    age = next(each for each in data.reading["columns"] if each["name"] == "age")
    assert age["fill"] == np.nanmedian(table["age"][rows])
    held = np.concatenate([data.val.rows.numpy(), data.test.rows.numpy()])
    table.loc[held, "age"] = 1e6
    table.loc[held, "town"] = "Paris"
    again = split.make(arrays(csv(tmp_path / "t.csv", table), target="kind"), "50/25/25")
    assert again.columns == data.columns
    assert torch.equal(again.train.x[again.train.rows], data.train.x[data.train.rows])
    fewer = split.make(arrays(csv(tmp_path / "t.csv", table), target="kind"), samples=20)
    known = next(each for each in fewer.reading["columns"] if each["name"] == "age")
    assert known["fill"] == np.nanmedian(table["age"][fewer.train.rows.numpy()])


def test_numbers_that_lack_none_stay_as_they_are(tmp_path):
    values = np.random.default_rng(0).normal(size=(50, 3))
    table = pd.DataFrame(values, columns=list("abc")).assign(y=[0, 1] * 25)
    source = arrays(csv(tmp_path / "t.csv", table), target="y")
    data = split.make(source)
    assert data.train.x is source.x, "still the file that is mapped"
    np.testing.assert_array_equal(data.train.x.numpy(), values.astype(np.float32))
    medians = [column["fill"] for column in data.reading["columns"]]
    seen = values.astype(np.float32)[data.train.rows.numpy()].astype(np.float64)
    assert medians == np.median(seen, 0).tolist()
    assert told.summary(data.reading, 3) == told.listed({**data.reading, "out": {}}) == []


def test_other_tables_are_read_in_the_same_way(tmp_path, table):
    path = csv(tmp_path / "t.csv", table)
    data = split.make(arrays(path, target="kind", columns={"zip": "text"}))
    reading = json.loads(json.dumps(data.reading))
    expected = data.train.x.numpy()
    shuffled = table[["kind", "zip", "rich", "sold", "town", "age"]]
    for raw in (other.read_frame(Path(path)), pd.read_csv(path), table, shuffled):
        found = other.encode(raw, reading)
        np.testing.assert_array_equal(found.x, expected)
        assert not found.unread
        assert not found.unknown
        y, rows = other.targets(raw, reading, data.classes)
        assert torch.equal(torch.from_numpy(y), data.train.y)
        assert rows.tolist() == list(range(200))


def test_what_other_tables_lack_or_hold_besides(tmp_path, table):
    data = split.make(arrays(csv(tmp_path / "t.csv", table), target="kind"))
    strange = table.astype({"age": object})
    strange.loc[0, "age"], strange.loc[1, "town"], strange.loc[2, "sold"] = "old", "Paris", "soon"
    found = other.encode(strange, data.reading)
    assert found.unread == {"age": 1, "sold": 1}
    assert found.unknown == {"town": 1}
    names = list(data.columns)
    assert found.x[0, names.index("age is missing")] == 1
    towns = [place for place, name in enumerate(names) if name.startswith("town")]
    assert found.x[1, towns].sum() == 0
    with pytest.raises(Mistake, match=r"^the table lacks the columns age, rich$"):
        other.encode(table.drop(columns=["age", "rich"]), data.reading)
    with pytest.raises(Mistake, match="lacks the column kind, which is the target"):
        other.targets(table.drop(columns="kind"), data.reading, data.classes)
    with pytest.raises(Mistake, match="the column kind holds 'c', none of the 2 classes"):
        other.targets(table.assign(kind="c"), data.reading, data.classes)
    for kind, said in (
        ("boolean", "on values that are true or false there"),
        ("date", "on dates of the form %Y there"),
        ("number", "on numbers there"),
    ):
        columns = [{"name": "t", "kind": kind, "format": "%Y"}]
        with pytest.raises(Mistake, match=f"of 3; the run was trained {said}"):
            other.refuse_unread({"t": 3}, {"t": 0}, {"columns": columns})
    table.loc[0, "kind"] = None
    _, rows = other.targets(table, data.reading, data.classes)
    assert rows.tolist() == list(range(1, 200))


@pytest.mark.parametrize("marker", [True, False, 1, 0, None, 7.5])
def test_what_means_a_missing_value_means_it_in_columns_of_pandas_too(marker):
    """Against the same table as texts."""
    columns = [{"name": "a", "kind": "number"}, {"name": "b", "kind": "boolean"}]
    reading = {"columns": columns, "missing": [marker], "decimal": "point"}
    typed = pd.DataFrame({"a": [0, 1, 7.5, 3], "b": [True, False, True, False]})
    texts = other.as_frame({"a": ["0", "1", "7.5", "3"], "b": ["True", "False", "True", "False"]})
    expected, _ = encode.typed(texts, reading)
    for raw in (typed, typed.astype({"b": "boolean"})):
        pd.testing.assert_frame_equal(encode.typed(raw, reading)[0], expected)


def test_numbers_to_predict_of_other_tables(tmp_path, table):
    path = csv(tmp_path / "t.csv", table)
    data = split.make(arrays(path, target="age"))
    y, rows = other.targets(table, data.reading, ())
    there = table["age"].notna().to_numpy()
    assert rows.tolist() == np.flatnonzero(there).tolist()
    np.testing.assert_array_equal(y[:, 0], table["age"][there].to_numpy(np.float32))
    with pytest.raises(Mistake, match="the column age has 200 values that are no numbers"):
        other.targets(table.assign(age="old"), data.reading, ())


@pytest.mark.parametrize(
    ("labels", "missing"),
    [(["None", "Some"], None), (["", "x"], []), (["NA", "x"], []), (["x", "y"], None)],
)
def test_a_class_is_no_missing_value_in_other_tables(tmp_path, labels, missing):
    path = csv(tmp_path / "t.csv", pd.DataFrame({"a": range(40), "y": labels * 20}))
    source = arrays(path, target="y", features=["a"], missing=missing)
    reading = json.loads(json.dumps(source.reading))
    texts = [*labels, *labels[:1]]
    raw = other.as_frame({"a": ["1"] * 3, "y": texts})
    y, rows = other.targets(raw, reading, source.classes)
    assert [source.classes[place] for place in y] == texts
    assert rows.tolist() == [0, 1, 2]
    lacking = other.as_frame({"a": ["1"] * 3, "y": ["?", labels[1], "?"]})
    for said in (["?"], None):
        _, rows = other.targets(lacking, {**reading, "missing": said}, source.classes)
        assert rows.tolist() == [1]


@pytest.mark.parametrize("labels", [["True", "False"], ["TRUE", "false", "true", "False"]])
def test_true_and_false_are_classes_however_another_table_writes_them(tmp_path, labels):
    path = csv(
        tmp_path / "t.csv", pd.DataFrame({"a": range(40), "y": labels * (40 // len(labels))})
    )
    source = arrays(path, target="y", features=["a"])
    texts = ["TRUE", "true", "FALSE", "False", "fAlse", "NA"]
    y, rows = other.targets(other.as_frame({"y": texts}), source.reading, source.classes)
    assert [source.classes[place] for place in y] == ["True", "True", "False", "False", "False"]
    assert rows.tolist() == [0, 1, 2, 3, 4]
    y, _ = other.targets(pd.DataFrame({"y": [False, True]}), source.reading, source.classes)
    assert y.tolist() == [0, 1]
    with pytest.raises(Mistake, match="the column y holds '1', none of the 2 classes"):
        other.targets(other.as_frame({"y": ["1"]}), source.reading, source.classes)


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y %H:%M"])
@pytest.mark.parametrize("task", ["auto", "regression"])
def test_dates_to_predict_of_other_tables(tmp_path, form, task):
    days = pd.date_range("2001-01-20", periods=40, freq="36h")
    texts = days.strftime(form).tolist()
    path = csv(tmp_path / "t.csv", pd.DataFrame({"a": range(40), "y": texts}))
    source = arrays(path, target="y", features=["a"], task=task)
    reading = json.loads(json.dumps(source.reading))
    y, rows = other.targets(other.as_frame({"y": [*texts, "NA"]}), reading, ())
    assert rows.tolist() == list(range(40))
    assert y.tolist() == source.y.tolist()
    whole = days if "%H" in form else days.normalize()
    np.testing.assert_allclose(y[:, 0], (whole - pd.Timestamp(0)) / pd.Timedelta("1D"))
    with pytest.raises(Mistake, match=f"y has 2 values that are no dates of the form {form}"):
        other.targets(other.as_frame({"y": ["soon", "7", texts[0]]}), reading, ())


@pytest.mark.parametrize("form", ["%Y%m%d", "%d%m%Y", "%y%m%d", "%d.%m.%Y", "%Y-%m-%d", "ISO8601"])
@pytest.mark.parametrize("lacking", [[], [""]])
def test_dates_are_the_same_days_however_pandas_has_read_them(form, lacking):
    times = pd.date_range("2001-01-29", periods=20, freq="11D")
    iso = form == "ISO8601"
    texts = [time.isoformat() if iso else time.strftime(form) for time in times] + lacking
    reading = {
        "columns": [{"name": "d", "kind": "date", "format": form}],
        "missing": None,
        "decimal": "point",
    }
    expected = [*((times - pd.Timestamp(0)) / pd.Timedelta("1D")), *[np.nan] * len(lacking)]
    texts_read = pd.Series(texts, name="d", dtype=object)
    there = pd.Series([*times, *[pd.NaT] * len(lacking)], name="d")
    ways = [texts_read, there, there.dt.date.astype(object)]
    if not {".", "-", "I"} & set(form):
        ways.append(
            pd.read_csv(io.StringIO("\n".join(["d,x", *(f"{each},1" for each in texts)]))).d
        )
        assert ways[-1].dtype == (float if lacking else int)
    for raw in ways:
        found, unread = encode.typed(raw.to_frame(), reading)
        assert not unread
        np.testing.assert_array_equal(found["d"], expected)


def test_days_and_other_numbers_are_no_dates_of_a_form():
    columns = [{"name": "d", "kind": "date", "format": "%Y%m%d"}]
    reading = {"columns": columns, "missing": [-1], "decimal": "point"}
    raw = pd.DataFrame({"d": [11123, 20010131, 20010131.5, -1, 20011345]})
    found, unread = encode.typed(raw, reading)
    assert unread == {"d": 3}
    assert found["d"].notna().tolist() == [False, True, False, False, False]


def test_a_table_is_settled_as_another_run_has_it(tmp_path, table):
    source = arrays(csv(tmp_path / "t.csv", table), target="kind")
    rows = {name: np.arange(100) for name in ("train", "val", "test", "fit")}
    fitted = source.settle(rows, None)
    again = source.settle({**rows, "fit": np.arange(100, 200)}, fitted.reading)
    assert torch.equal(again.x, fitted.x)


def test_a_value_that_training_does_not_have_is_told_and_not_counted_as_an_input(tmp_path):
    towns = np.resize(["bern", "oslo", ""], 60)
    towns[50] = "rome"
    table = pd.DataFrame({"town": towns, "y": np.arange(60) % 2})
    source = arrays(csv(tmp_path / "t.csv", table), target="y")
    rows = {"train": np.arange(50), "val": np.arange(50, 60), "fit": np.arange(50)}
    settled = source.settle({**rows, "test": np.arange(0)}, None)
    assert settled.x.shape[1] == 3
    first, *_ = told.summary(settled.reading, 3)
    assert first == "columns  1 text, one-hot: town (3, all 0 for 1 value outside training)"
    row, *_ = told.listed(settled.reading)
    assert row["becomes"] == "3 inputs, all 0 for 1 value outside training"


def test_what_was_done_is_told_in_a_few_lines(tmp_path, table):
    table = table.assign(
        street=[f"s{i % 70}" for i in range(200)], id=[f"i{i}" for i in range(200)]
    )
    data = split.make(arrays(csv(tmp_path / "t.csv", table), target="kind"))
    lines = told.summary(data.reading, data.shape[0])
    absent = int(table["age"].isna().sum())
    assert [line.strip() for line in lines] == [
        f"columns  2 numbers: age ({absent} missing: median), zip",
        "1 true or false, as 1 or 0: rich",
        "1 date, as days: sold",
        "2 texts, one-hot: town (4), street (70, 21 rare as one)",
        "2 left out: column_1, id",
        f"{data.shape[0]} inputs in all",
    ]
    rows = told.listed(data.reading)
    assert [row["from the table"] for row in rows][-2:] == ["column_1", "id"]
    assert rows[0]["becomes"].startswith("itself; missing ones ")
    wide = pd.DataFrame({f"c{i}": np.r_[np.nan, np.arange(199) / 7] for i in range(40)})
    data = split.make(arrays(csv(tmp_path / "t.csv", wide.assign(y=[0, 1] * 100)), target="y"))
    assert max(map(len, told.summary(data.reading, 80))) < 200
