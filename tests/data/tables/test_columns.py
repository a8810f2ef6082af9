"""What the columns of a table hold, and what is said of it."""

import datetime
import math
import re
import shlex

import numpy as np
import pyarrow as pa
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from pyarrow import feather, parquet

from dlrun.data import split
from dlrun.data.arrays import arrays
from dlrun.data.tables import columns
from dlrun.errors import Mistake

ROWS = 40


def write(tmp_path, separator=",", name="made.csv", encoding="utf-8", **named):
    lines = [separator.join(named), *map(separator.join, zip(*named.values(), strict=True))]
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return str(path)


def fractions(seed=0):
    return [f"{value:.6f}" for value in np.random.default_rng(seed).normal(size=ROWS)]


def read(path, **options):
    """The columns as they are read, by name."""
    source = arrays(path, target="y", **options)
    return {column.pop("name"): column for column in map(dict, source.reading["columns"])}


KINDS = {
    "numbers": (["1.5", "2", "-3e2", ""], "number"),
    "true and false": (["TRUE", "False", "NA", "true"], "boolean"),
    "texts": (["Rome", "Oslo", "", "Bern"], "text"),
    "ordered texts": (["0-9g/day", "10-19", "20-29", "30+"], "text"),
    "seasons": (["1999-00", "2000-01", "2001-02", "2002-03"], "text"),
    "versions": (["1.2.3", "1.2.4", "1.3.0", "2.0.0"], "text"),
    "yes and no": (["yes", "no", "", "no"], "text"),
}


@pytest.mark.parametrize(("texts", "kind"), KINDS.values(), ids=KINDS)
def test_what_a_column_holds(tmp_path, caplog, texts, kind):
    path = write(tmp_path, a=fractions(), b=texts * 10, y=["0", "1"] * 20)
    found = read(path)["b"]
    assert found["kind"] == kind
    assert found["absent"] == 10 * sum(text in ("", "NA") for text in texts)
    assert not caplog.records


DATES = {
    "%Y-%m-%d": ["2001-02-28", "1969-12-31"],
    "ISO8601": ["2001-02-28T12:00:00", "1969-12-31 18:00"],
    "%Y/%m/%d": ["2001/2/28", "1969/12/31"],
    "%d.%m.%Y": ["28.2.2001", "31.12.1969"],
    "%m/%d/%Y": ["2/28/2001", "12/31/1969"],
    "%d/%m/%Y": ["28/02/2001", "31/12/1969"],
    "%d-%b-%Y": ["28-Feb-2001", "31-Dec-1969"],
    "%b %d, %Y": ["Feb 28, 2001", "Dec 31, 1969"],
    "%d.%m.%Y %H:%M": ["28.2.2001 12:00", "31.12.1969 18:00"],
}


@pytest.mark.parametrize(("form", "texts"), DATES.items(), ids=DATES)
def test_dates_become_days_since_1970(tmp_path, caplog, form, texts):
    path = write(tmp_path, ";", a=fractions(), b=[*texts, "", texts[0]] * 10, y=["0", "1"] * 20)
    source = arrays(path, target="y")
    assert source.reading["columns"][1] == {
        "name": "b",
        "kind": "date",
        "format": form,
        "absent": 10,
    }
    noon = 0.5 if ":" in texts[0] else 0
    last = (datetime.date(2001, 2, 28) - datetime.date(1970, 1, 1)).days + noon
    first = -1 + (0.75 if ":" in texts[0] else 0)
    found = source.x[:4, 1].tolist()
    assert found[:2] == [last, first]
    assert math.isnan(found[2])
    assert not caplog.records


def test_whether_the_month_comes_first_is_said(tmp_path, caplog):
    path = write(tmp_path, a=fractions(), b=["3/4/2001", "1/2/2001"] * 20, y=["0", "1"] * 20)
    assert read(path)["b"]["format"] == "%m/%d/%Y"
    [said] = caplog.messages
    word = "'data.columns={b: %d/%m/%Y}'"
    assert said == f"3/4/2001 in the column b is read with the month first; {word} says otherwise"
    caplog.clear()
    assert read(path, columns={"b": "%d/%m/%Y"})["b"]["format"] == "%d/%m/%Y"
    assert not caplog.records


def test_columns_are_what_the_user_says(tmp_path, caplog):
    named = {
        "zip": [f"{code}" for code in range(1000, 1000 + ROWS)],
        "size": ["1", "2", "large", "3"] * 10,
        "note": fractions(1),
        "y": ["0", "1"] * 20,
    }
    path = write(tmp_path, **named)
    said = {"zip": "text", "size": "number", "note": "out"}
    source = arrays(path, target="y", columns=said)
    assert source.reading["columns"] == [
        {"name": "zip", "kind": "text", "values": ROWS, "absent": 0},
        {"name": "size", "kind": "number", "absent": 10},
    ]
    assert source.reading["out"] == {"note": "as data.columns says"}
    assert not caplog.records, "what was said needs no advice"
    as_list = ["zip: text", "size: number", "note: out"]
    assert arrays(path, target="y", columns=as_list).reading == source.reading
    with pytest.raises(Mistake, match="no column besides y"):
        arrays(path, target="y", columns=dict.fromkeys(("zip", "size", "note"), "out"))
    with pytest.raises(Mistake, match=r"dates in no known form; .* e.g. %d/%m/%Y"):
        arrays(path, target="y", columns={"size": "date"})
    with pytest.raises(ValueError, match=r"^columns must give each name one of number, text"):
        arrays(path, target="y", columns=["size"])


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("number", "size holds '3 m2', and in no row a number; write text or out instead"),
        (
            "%d/%m/%Y",
            "sold holds '2020-01-01', and in no row a date of the form %d/%m/%Y; write",
        ),
        ("%H:%M", "size holds '3 m2', .* %H:%M; write the form of its dates instead of %H:%M"),
    ],
)
def test_a_kind_that_no_value_has_is_said_with_one(tmp_path, kind, said):
    path = tmp_path / "t.csv"
    path.write_text("size,sold,y\n3 m2,2020-01-01,3.5\n1 m2,2020-01-02,1.5\n2 m2,2020-01-03,2.5\n")
    with pytest.raises(Mistake, match=f"data.columns: {said}"):
        arrays(path, target="y", columns={said.partition(" ")[0]: kind})


@pytest.mark.parametrize("name", ["a", "größe (m²)", "a b", "it's", "null", "12", "x: y"])
@pytest.mark.parametrize("kind", ["text", "%b %d, %Y"])
def test_what_a_column_holds_is_proposed_as_it_is_typed(name, kind):
    [word] = shlex.split(columns.kinds(name, kind))
    value = OverridesParser.create().parse_override(word).value()
    plain = OmegaConf.to_container(OmegaConf.create({"it": value}), resolve=True)["it"]
    assert columns.read_kinds(plain) == {name: kind}


def test_marks_among_numbers_count_as_missing(tmp_path, caplog):
    for numbers in (fractions(), [str(i * i) for i in range(ROWS)]):
        caplog.clear()
        texts = [*numbers[:-2], "n.a.", "-"]
        path = write(tmp_path, a=fractions(1), b=texts, y=["0", "1"] * 20)
        assert read(path)["b"] == {"kind": "number", "absent": 2}
        [said] = caplog.messages
        assert said.startswith("the column b holds '-', 'n.a.' among numbers, which counts as")
        assert "'data.columns={b: text}' says otherwise" in said


def test_words_among_dates_count_as_missing(tmp_path, caplog):
    dates = [f"{1 + n % 28}.{1 + n // 28}.2001" for n in range(ROWS)]
    texts = [*dates[:-2], "open", "-"]
    path = write(tmp_path, a=fractions(), b=texts, y=["0", "1"] * 20)
    assert read(path)["b"] == {"kind": "date", "format": "%d.%m.%Y", "absent": 2}
    [said] = caplog.messages
    assert said.startswith("the column b holds '-', 'open' among dates, which counts as missing")
    assert "'data.columns={b: text}' says otherwise" in said
    few = [*dates[:5], "open"] * 7
    assert (
        read(write(tmp_path, a=fractions(), b=few[:ROWS], y=["0", "1"] * 20))["b"]["kind"] == "text"
    )


@pytest.mark.parametrize("other", ["2001-12-24", "99.99.9999", "12/24/2001", "in 2001"])
def test_dates_of_another_form_are_named(tmp_path, other):
    dates = [f"{1 + n % 28}.{1 + n // 28}.2001" for n in range(ROWS)]
    path = write(tmp_path, a=fractions(), b=[*dates[:-2], other, ""], y=["0", "1"] * 20)
    message = rf"b holds '{other}' in row 39, among 38 different dates of the form %d\.%m\.%Y"
    with pytest.raises(Mistake, match=message) as raised:
        read(path)
    assert "'data.columns={b: %d.%m.%Y}' takes it for missing" in str(raised.value)
    assert read(path, columns={"b": "%d.%m.%Y"})["b"]["absent"] == 2
    assert read(path, columns={"b": "text"})["b"]["kind"] == "text"


def test_texts_that_hardly_repeat_are_named(tmp_path, caplog):
    texts = [f"word{n if n < 30 else 0}" for n in range(ROWS)]
    path = write(tmp_path, a=fractions(), b=texts, y=["0", "1"] * 20)
    read(path)
    [said] = caplog.messages
    assert said.startswith("the column b has 30 different texts, fewer than two rows each")
    assert said.endswith("'data.columns={b: out}' leaves it out")
    caplog.clear()
    read(path, columns={"b": "text"})
    read(write(tmp_path, a=fractions(), b=texts[:20] * 2, y=["0", "1"] * 20))
    assert not caplog.records


@pytest.mark.parametrize("name", ["patient", "Customer No", "userId", "store_id"])
@pytest.mark.parametrize("written", ["P{}", "{}"])
def test_cases_of_several_rows_are_named(tmp_path, caplog, name, written):
    cases = [written.format(7 * (n % 25) + 1) for n in range(75)]
    named = {name: cases, "a": (fractions() * 2)[:75], "y": ["0", "1", "1"] * 25}
    path = write(tmp_path, **named)
    read(path)
    [said] = caplog.messages
    assert said.startswith(f"the column {name} seems to name 25 cases of several rows each")
    assert "data.group=" in said
    caplog.clear()
    read(path, columns={name: "text"})
    assert not caplog.records


@pytest.mark.parametrize("name", ["heat_index", "family_size", "humid", "patients_seen"])
def test_other_numbers_are_no_cases(tmp_path, caplog, name):
    counts = [str(n % 25) for n in range(75)]
    read(write(tmp_path, **{name: counts, "a": (fractions() * 2)[:75], "y": ["0", "1", "1"] * 25}))
    assert not caplog.records


def test_labels_among_which_most_are_numbers_are_texts(tmp_path, caplog):
    texts = [str(i) for i in range(ROWS // 2)] + [f"c{i}" for i in range(10)]
    path = write(tmp_path, a=fractions(), b=[*texts, *texts][:ROWS], y=["0", "1"] * 20)
    assert read(path)["b"]["kind"] == "text"
    assert "among" not in caplog.text, "as many texts as numbers"
    caplog.clear()
    path = write(tmp_path, a=fractions(), b=[*map(str, range(39)), "c1"], y=["0", "1"] * 20)
    assert read(path)["b"]["kind"] == "text"
    said, _ = caplog.messages
    assert "holds 'c1' in row 40, among 39 different numbers, and is taken for text" in said
    assert "'data.columns={b: number}' counts what is not a number as missing" in said


def test_numbers_with_a_unit_are_told_from_words(tmp_path, caplog):
    lengths = [f"{i}.5 m" if i % 2 else f"{i}50 cm" for i in range(39)]
    unit = r"; if these are numbers with a unit (cm, m), write plain numbers, all in one unit"
    labels = ["0", "1"] * 20
    read(write(tmp_path, a=fractions(), b=[*lengths, lengths[0]], y=labels))
    assert caplog.messages[0].endswith(f"'data.columns={{b: out}}' leaves it out{unit}")
    caplog.clear()
    read(write(tmp_path, a=fractions(), b=[*lengths, "90 m"], y=labels))
    assert caplog.messages == [
        f"the column b is left out: its text is different in every row{unit}"
    ]
    path = write(tmp_path, a=fractions(), b=[*lengths, lengths[0]])
    for task in ("auto", "regression"):
        with pytest.raises(Mistake, match=re.escape(unit)):
            arrays(path, target="b", task=task)
    path = write(tmp_path, b=[*lengths, "90 m"], y=labels)
    with pytest.raises(Mistake, match=re.escape(f"different in every row{unit})")):
        arrays(path, target="y")


def test_words_and_codes_are_no_numbers_with_a_unit(tmp_path, caplog):
    for texts in (
        [f"{i} {chr(97 + i % 20)}" for i in range(39)],
        [f"P{i}" for i in range(39)],
        [*(f"{i} m" for i in range(38)), "far"],
    ):
        caplog.clear()
        read(write(tmp_path, a=fractions(), b=[*texts, texts[0]], y=["0", "1"] * 20))
        assert "of most nothing can be learned" in caplog.text
        assert "unit" not in caplog.text


def test_columns_of_percent_are_not_offered_as_numbers(tmp_path, caplog):
    labels = ["0", "1"] * 20
    shares = [f"{i}.5%" for i in range(ROWS)]
    message = (
        r"holds '0\.5%' in row 1, among 40 different numbers; write plain numbers; "
        r"'data\.columns={b: text}' takes it for a class$"
    )
    with pytest.raises(Mistake, match=message):
        read(write(tmp_path, a=fractions(), b=shares, y=labels))
    read(write(tmp_path, a=fractions(), b=[f"{i % 30} %" for i in range(ROWS)], y=labels))
    assert "taken for text; plain numbers would be read as such" in caplog.text
    assert "number}" not in caplog.text


def test_both_decimal_marks_in_one_column(tmp_path):
    texts = [f"{i},25" if i % 2 else f"{i}.25" for i in range(ROWS)]
    for named, target in (({"y": ["0", "1"] * 20, "b": texts}, "y"), ({"b": texts}, "b")):
        message = "the column b holds '0.25' and '1,25'; write one decimal mark in the file; "
        with pytest.raises(Mistake, match=re.escape(message)):
            arrays(write(tmp_path, ";", a=fractions(), **named), target=target)


def test_names_that_come_again(tmp_path, caplog):
    path = tmp_path / "made.csv"
    path.write_text("a,a,,a,y\n" + "\n".join(f"{i},{i * i},x,{i % 3},{i % 2}" for i in range(20)))
    assert list(read(str(path), features=["a", "a.1", "a.2"])) == ["a", "a.1", "a.2"]
    assert caplog.messages == [
        "the name a comes again: column 2 is a.1 here",
        "the name a comes again: column 4 is a.2 here",
    ]


@pytest.mark.parametrize(
    ("separator", "encoding"),
    [("|", "utf-8"), ("\t", "utf-16"), (";", "utf-8-sig"), (",", "utf-8")],
)
def test_files_as_programs_write_them(tmp_path, separator, encoding):
    named = {"größe": fractions(), '"a\nb"': ['"x\ny"', '"z, ;|"'] * 20, "y": ["0", "1"] * 20}
    path = write(tmp_path, separator, encoding=encoding, **named)
    source = arrays(path, target="y")
    assert source.columns == ("größe", "a b")
    assert source.x.shape == (ROWS, 2)


def arrow(tmp_path, name, **columns):
    table = pa.table(columns)
    path = tmp_path / name
    (parquet.write_table if name.endswith(".parquet") else feather.write_feather)(table, path)
    return str(path)


@pytest.mark.parametrize("name", ["made.parquet", "made.feather", "made.arrow"])
def test_parquet_and_arrow(tmp_path, caplog, name):
    day = datetime.datetime(2001, 2, 28, 12)
    path = arrow(
        tmp_path,
        name,
        whole=pa.array([1, None, 3, 4] * 10),
        real=pa.array(np.arange(ROWS) / 7),
        nan=pa.array([1.5, math.nan, 2.5, 3.5] * 10),
        flag=pa.array([True, False, None, True] * 10),
        when=pa.array([day, None, day + datetime.timedelta(days=1), day] * 10),
        town=pa.array(["Rome", "Oslo", None, "Rome"] * 10).dictionary_encode(),
        tags=pa.array([["a"], [], None, ["b"]] * 10),
        y=pa.array(["no", "yes"] * 20),
    )
    source = arrays(path, target="y")
    kinds = {column["name"]: column["kind"] for column in source.reading["columns"]}
    assert kinds == {
        **dict.fromkeys(("whole", "real", "nan"), "number"),
        **{"flag": "boolean", "when": "date", "town": "text"},
    }
    np.testing.assert_array_equal(source.x[:, 1], (np.arange(ROWS) / 7).astype(np.float32))
    assert [column["absent"] for column in source.reading["columns"]] == [10, 0, 10, 10, 10, 10]
    [said] = caplog.messages
    assert said.startswith("the column tags is left out: it holds list<")
    assert split.make(source).shape == (5 + 4 + 3,)


def test_files_of_arrow_that_cannot_be(tmp_path):
    path = tmp_path / "made.parquet"
    path.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(Mistake, match="it cannot be read as Parquet or Arrow: "):
        arrays(str(path), target="y")
    path = arrow(tmp_path, "none.parquet", a=pa.array([], pa.int64()), y=pa.array([], pa.int64()))
    with pytest.raises(Mistake, match="it has no rows"):
        arrays(path, target="y")


def test_a_column_of_names_with_holes_is_left_out(tmp_path, caplog):
    names = ["", "", *(f"n{i}" for i in range(ROWS - 2))]
    path = write(tmp_path, a=fractions(), who=names, y=["0", "1"] * 20)
    assert list(read(path)) == ["a"]
    assert caplog.messages == ["the column who is left out: its text is different in every row"]


def test_texts_that_hardly_come_twice_are_no_classes(tmp_path, caplog):
    texts = [f"n{i // 2 if i < 10 else i}" for i in range(ROWS)]
    path = write(tmp_path, a=fractions(), y=texts)
    with pytest.raises(Mistake, match=r"has 35 different texts in 40 rows, fewer than two rows"):
        arrays(path, target="y")
    assert len(arrays(path, target="y", task="classification").classes) == 35
    days = [f"2001-01-{1 + i % 31:02d}" for i in range(ROWS)]
    path = write(tmp_path, a=fractions(), y=days)
    found = arrays(path, target="y").y.squeeze(1)
    assert "the column y holds dates, taken for numbers, days since 1970" in caplog.text
    assert (found - found[0]).tolist() == [i % 31 for i in range(ROWS)]


@pytest.mark.parametrize("other", ["2001-12-24", "open"])
def test_dates_of_another_form_are_named_where_they_are_to_be_predicted(tmp_path, other):
    days = [f"{1 + n % 28}.{1 + n // 28}.2001" for n in range(ROWS)]
    path = write(tmp_path, a=fractions(), y=[*days[:-1], other])
    said = rf"y holds '{other}' in row 40, among 39 different dates of the form %d\.%m\.%Y; write"
    with pytest.raises(Mistake, match=rf"{said} all in one form; data\.task=classification takes"):
        arrays(path, target="y")
    with pytest.raises(
        Mistake, match=rf"data\.task=regression: the target has strings: the column {said}"
    ):
        arrays(path, target="y", task="regression")
    assert len(arrays(path, target="y", task="classification").classes) == ROWS


def numbers_of(values):
    return columns.read("t", [repr(float(value)) for value in values], (), "point")


def test_numbers_that_float32_makes_equal_are_said_with_what_to_do():
    steps = np.linspace(0, 100, 60)
    said = columns.merged(numbers_of(1.7e9 + steps))
    after = len(np.unique((1.7e9 + steps).astype(np.float32)))
    assert f"the 60 different numbers of the column t become {after}, because" in said
    constant = float(said.rpartition("such as ")[2])
    assert columns.merged(numbers_of(1.7e9 + steps - constant)) == ""


@pytest.mark.parametrize("values", [[1.7e9] * 5, [0, 1.7e9, 1.7e9 + 1], np.arange(50) + 1e6])
def test_numbers_that_float32_keeps_apart_need_no_word(values):
    assert columns.merged(numbers_of(values)) == ""
