"""CSV files: which numbers, classes and columns they hold."""

import random
import shlex

import numpy as np
import pandas as pd
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from dlrun.data import split
from dlrun.data.arrays import arrays
from dlrun.data.tables import columns
from dlrun.errors import Mistake


@pytest.fixture
def table(tmp_path):
    """table(a=[...], b=[...]) is the path of a CSV with these columns."""

    def made(separator=",", **named):
        lines = [separator.join(named), *map(separator.join, zip(*named.values(), strict=True))]
        path = tmp_path / "made.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return str(path)

    return made


def fractions(count, seed=0):
    return [f"{value:.6f}" for value in np.random.default_rng(seed).normal(size=count)]


def names(source):
    """Each row's class name."""
    return [source.classes[label] for label in source.y.tolist()]


@pytest.mark.parametrize(
    "labels",
    [
        ["001", "1", "010", "10"],
        ["1_1", "11"],
        ["+1", "-1", "1"],
        ["-0", "0"],
        ["12345678901234567890", "12345678901234567891"],
        ["9223372036854775808", "9223372036854775807"],
        ["9" * 400, "9" * 401],
        ["١", "1"],
        ["True", "False"],
        ["FALSE", "TRUE"],
        ["true", "1"],
        ["inf", "infinity"],
        ["0x1", "1"],
    ],
)
def test_each_label_is_a_class_of_its_own(table, labels):
    texts = labels * 10
    path = table(a=fractions(len(texts)), kind=texts)
    for task in ("auto", "classification"):
        source = arrays(path, target="kind", task=task)
        assert names(source) == texts
        assert sorted(source.classes) == sorted(labels)


def test_usual_whole_numbers_are_in_the_order_of_their_values(table):
    texts = ["10", "9", "-1"] * 10
    source = arrays(table(a=fractions(30), kind=texts), target="kind")
    assert source.classes == ("-1", "9", "10")


def test_that_numbers_were_taken_for_names_is_said(table, caplog):
    path = table(a=fractions(20), kind=["001", "1"] * 10)
    for _ in range(2):  # the second time from the cache
        caplog.clear()
        arrays(path, target="kind")
        [record] = caplog.records
        assert "the column kind holds '001': its 2 different texts" in record.getMessage()
        assert "data.task=regression" in record.getMessage()
    source = arrays(path, target="kind", task="regression")
    assert source.y.squeeze(1).tolist() == [1] * 20


@pytest.mark.parametrize(
    ("texts", "values"), [(["1.50", "1e3"], [1.5, 1000]), (["-0", "2.5"], [0, 2.5])]
)
def test_fractions_are_numbers(table, texts, values):
    source = arrays(table(a=fractions(20), price=texts * 10), target="price")
    assert source.classes == ()
    assert source.y.squeeze(1).tolist() == values * 10


def test_whole_fractions_as_classes_are_named_as_written(table):
    source = arrays(
        table(a=fractions(20), b=["1.0", "2.0"] * 10), target="b", task="classification"
    )
    assert source.classes == ("1.0", "2.0")


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ("50,000", r"holds '50,000' in row 1; .* write 50000; .* data\.decimal=comma"),
        ("1.234,5", r"holds '1\.234,5' in row 1; .* write 1234\.5"),
        ("50 000", "holds '50 000' in row 1; .* write 50000"),
        ("n.a.", r"holds 'n\.a\.' in row 1, among 39 different numbers; write plain numbers"),
        ("inf", "holds 'inf' in row 1, among 39 different numbers"),
        ("$5", "holds '.5' in row 1, among 40 different numbers"),
        ("007", r"holds both '007' and '2\.5'; data\.task=classification"),
    ],
)
def test_a_target_that_is_meant_for_numbers(table, odd, message):
    texts = [f"{value}.5" for value in range(2, 41)]
    path = table(";", a=fractions(40), price=[odd, *texts])
    with pytest.raises(Mistake, match=message) as raised:
        arrays(path, target="price")
    assert "data.task=classification" in str(raised.value)
    assert len(arrays(path, target="price", task="classification").classes) == 40


def test_all_with_separators_between_thousands(table):
    texts = [f"{value},000" for value in range(10, 50)]
    with pytest.raises(Mistake, match="write 10000"):
        arrays(table(";", a=fractions(40), price=texts), target="price")
    with pytest.raises(Mistake, match=r"the column price holds '10,000'.*write 10000"):
        arrays(table(";", price=texts, kind=["a", "b"] * 20), target="kind")
    path = table(";", a=["1", "2"] * 20, price=texts)
    source = arrays(path, target="price", decimal="comma")
    assert source.y.squeeze(1).tolist() == list(range(10, 50))


@pytest.mark.parametrize("times", [2, 10])
@pytest.mark.parametrize("word", ["more", "007", "1_1", "$4"])
def test_words_among_few_numbers_are_classes(table, times, word):
    texts = ["1", "2", "3", "4", "5", word] * times
    assert names(arrays(table(a=fractions(len(texts)), kind=texts), target="kind")) == texts


def test_labels_in_npz_files(tmp_path):
    path = tmp_path / "made.npz"
    x = np.random.default_rng(0).normal(size=(20, 2))
    for labels, classes in (
        (["001", "1"], ("001", "1")),
        ([b"001", b"1"], ("001", "1")),
        ([1e20, 2e20], ("100000000000000000000", "200000000000000000000")),
        (np.array([2**63, 2**64 - 1], np.uint64), (str(2**63), str(2**64 - 1))),
    ):
        np.savez(path, x=x, y=np.concatenate([labels] * 10))
        source = arrays(str(path), task="classification")
        assert source.classes == classes
        assert source.y.tolist() == [0, 1] * 10
    np.savez(path, x=x, y=np.array([b"\xff", b"a"] * 10))
    with pytest.raises(Mistake, match="y has bytes that are not UTF-8 text"):
        arrays(str(path))
    np.savez(path, x=x, y=np.array([1e300, 1.5] * 10))
    with pytest.raises(Mistake, match="the target has 10 values beyond"):
        arrays(str(path))
    np.savez(path, x=x, y=np.array(["1.5", "2"] * 10))
    assert arrays(str(path), task="regression").y.squeeze(1).tolist() == [1.5, 2] * 10
    np.savez(path, x=x > 0, y=x[:, 0])
    np.testing.assert_array_equal(arrays(str(path)).x.numpy(), (x > 0).astype(np.float32))


LEFT = {
    "counts from 0": ("", [str(i) for i in range(20)]),
    "counts from 1": ("", [str(i + 1) for i in range(20)]),
    "counts in two tables": ("", [str(i % 10) for i in range(20)]),
    "is without a name and shuffled": ("", [str(i * 7 % 20 * 3) for i in range(20)]),
    "pandas' name of such a column": ("Unnamed: 0", [str(i * 3) for i in range(20)]),
    "counts": ("nr", [str(i + 100) for i in range(20)]),
    "counts downwards": ("nr", [str(20 - i) for i in range(20)]),
    "counts, shuffled": ("nr", [str(i * 7 % 20) for i in range(20)]),
    "counts as fractions": ("nr", [f"{i}.0" for i in range(20)]),
    "counts beyond 2^53": ("nr", [str(2**60 + i) for i in range(20)]),
    "one value": ("unit", ["7"] * 20),
    "one value, written in two ways": ("unit", ["7", "7.0"] * 10),
    "one word": ("unit", ["m²"] * 20),
    "no value": ("notes", [""] * 20),
    "text": ("town", [f"n{i}" for i in range(20)]),
    "codes": ("code", [f"0{i * i}" for i in range(20)]),
    "names of rows": ("", [f"n{i}" for i in range(20)]),
    **{
        f"is called {name}": (name, [str(i * i + 3) for i in range(20)])
        for name in (
            *("id", "ID", "customer_id", "PassengerId", "rowIndex", "Row", "key", "sort key"),
            *("RowNumber", "userid", "index", "idx", "Id2"),
        )
    },
    "copy": ("copy", ["0", "1", "1", "0"] * 5),
    "copy, written otherwise": ("copy", ["0.0", "1e0", "1", "0"] * 5),
    "copy in words": ("copy", ["False", "True", "true", "false"] * 5),
}


@pytest.mark.parametrize(("name", "texts"), LEFT.values(), ids=LEFT)
def test_what_is_left_out(table, caplog, name, texts):
    path = table(**{name: texts, "a": fractions(20), "y": ["0", "1", "1", "0"] * 5})
    for _ in range(2):  # the second time from the cache
        caplog.clear()
        source = arrays(path, target="y")
        assert source.x.shape == (20, 1)
        [record] = caplog.records
        assert "is left out: it" in record.getMessage()
    assert f"the column {name or 'without a name, here column_1,'} is left" in record.getMessage()
    named = name or "column_1"
    if columns.read("", texts, (), "point").kind != "text":
        assert columns.features([named, "a"]) + " takes it in" in record.getMessage()
        caplog.clear()
        assert arrays(path, target="y", features=[named, "a"]).x.shape == (20, 2)
        assert not caplog.records


KEPT = {
    "fractions, all different": ("b", fractions(20, 1)),
    "whole numbers, all different": ("area", [str(i * i + 3) for i in range(20)]),
    "every second number": ("b", [str(2 * i) for i in range(20)]),
    "almost consecutive": ("b", [*map(str, range(19)), "20"]),
    "an id that comes twice": ("id", [*map(str, range(19)), "3"]),
    "fractions of an index": ("index", fractions(20, 1)),
    "a name with id in it": ("width", [str(i * i) for i in range(20)]),
    "a paid sum": ("paid", [str(i * i) for i in range(20)]),
    "a key that is none": ("monkeys", [str(i * i) for i in range(20)]),
    "true and false": ("b", ["True", "FALSE"] * 10),
    "one other value": ("b", [*["7"] * 19, "8"]),
    "almost a copy": ("b", [*["0", "1", "1", "0"] * 4, *"0111"]),
}


@pytest.mark.parametrize(("name", "texts"), KEPT.values(), ids=KEPT)
def test_what_is_not_left_out(table, caplog, name, texts):
    path = table(**{name: texts, "a": fractions(20), "y": ["0", "1", "1", "0"] * 5})
    assert arrays(path, target="y").x.shape == (20, 2)
    assert not caplog.records


def test_a_tiny_table_has_no_identifiers_but_by_name(table, caplog):
    path = table(a=list("123"), town=["Rome", "Oslo", "Bonn"], y=["0", "1", "1"])
    assert arrays(path, target="y").columns == ("a", "town")
    assert arrays(
        table(a=list("123"), id=list("123"), y=["0", "1", "1"]), target="y"
    ).x.tolist() == [*([1], [2], [3])]
    assert "the column id is left out" in caplog.text


@pytest.mark.parametrize("odd", ["50,000", "5 %"])
def test_a_column_that_is_meant_for_numbers_is_no_identifier(table, odd):
    texts = [odd, *fractions(19)]
    with pytest.raises(Mistake, match=f"the column b holds '{odd}'"):
        arrays(table(";", a=fractions(20), b=texts, y=["0", "1"] * 10), target="y")


def test_the_column_without_a_name_by_its_empty_name(table):
    path = table(**{"": map(str, range(20)), "a": fractions(20), "y": ["0", "1"] * 10})
    source = arrays(path, target="y", features=["a", ""])
    assert source.x[:, 1].tolist() == list(range(20))


def test_of_many_columns_none_are_listed(table, caplog):
    many = {f"c{i}": fractions(20, i) for i in range(10)}
    arrays(table(**many, nr=map(str, range(20)), y=["0", "1"] * 10), target="y")
    assert caplog.messages[0].endswith("one for each row; naming it in data.features takes it in")


def test_many_columns_that_are_left_out_for_one_reason_share_a_line(table, caplog):
    many = {f"c{i}": ["7"] * 20 for i in range(12)}
    path = table(**many, nr=map(str, range(20)), a=fractions(20), y=["0", "1"] * 10)
    assert arrays(path, target="y").x.shape == (20, 1)
    first, second = caplog.messages
    assert "12 columns are left out: of each, it has one value in all rows: c0, c1" in first
    assert "the column nr is left out" in second


def test_infinity_in_a_column_without_a_name(table):
    path = table(**{"": ["1e999", "1e999", *fractions(18)], "y": ["0", "1"] * 10})
    with pytest.raises(Mistake, match="the column column_1 holds '1e999' in row 1"):
        arrays(path, target="y")


@pytest.mark.parametrize("more", [[], ["NA"], ["", "?"]])
def test_infinity_beside_missing_values_is_refused_as_without_them(table, more):
    texts = ["0.5", "inf", "-Infinity", *more]
    path = table(a=[*texts, *fractions(40 - len(texts))], y=["0", "1"] * 20)
    said = "the column a has missing or infinite values in 2 samples, first 'inf' in row 2"
    with pytest.raises(Mistake, match=said):
        arrays(path, target="y")


def test_where_nothing_is_left(table):
    path = table(**{"": map(str, range(20)), "row": map(str, range(20)), "y": ["0", "1"] * 10})
    with pytest.raises(Mistake) as raised:
        arrays(path, target="y")
    assert "column_1: it counts the rows, row: its whole numbers are consecutive" in str(
        raised.value
    )
    assert "data.features=[column_1,row] takes them anyway" in str(raised.value)


def test_samples_without_their_number_are_found_to_be_identical(table, caplog):
    copied = {name: fractions(10, seed) * 4 for seed, name in enumerate("abc")}
    path = table(**{"": map(str, range(40)), **copied, "y": ["0", "1"] * 20})
    source = arrays(path, target="y")
    assert len(source.hashes.unique()) == 10
    assert split.make(source).hashes is not None
    assert "identical to samples of train" in caplog.text
    caplog.clear()
    other = arrays(table(**copied, y=fractions(40, 9)), target="y")
    assert len(other.hashes.unique()) == 40, "another target makes another row"
    split.make(other)
    assert not caplog.records


def test_rows_of_few_values_are_identical_by_chance(table, caplog):
    draw = np.random.default_rng(0)
    few = {name: list(map(str, draw.integers(0, 3, 60))) for name in "abc"}
    path = table(**few, y=["0", "1"] * 30)
    source = arrays(path, target="y")
    assert split.make(source).hashes is None
    assert not caplog.records
    split.make(source, leaks="drop")
    assert "data.leaks=drop removed" in caplog.text


def test_a_column_that_is_constant_in_train_alone_stays(table):
    path = table(a=fractions(20), b=[*["7"] * 19, "8"], y=["0", "1"] * 10)
    source = arrays(path, target="y")
    data = split.make(source, "60/20/20")
    assert source.x.shape == (20, 2)
    assert data.shape == (2,)


NAMES = [
    *("a", "a b", "größe", "a,b", "a[0]", "[a]", "it's", 'say "x"', "x=1", "a\\b", "a\\", 'a\\"b'),
    *("$x", "null", "True", "1_1", "nan", "Inf", "a:b", "{a}", "(m²)"),
    *(
        "%",
        "-x",
        "a.b",
        "#a",
        "~a",
        "*",
        '"',
        "'",
        '\\"',
        "a'b\"c",
        "!x",
        "`x`",
        "a;b",
        "*?",
        "é ü",
    ),
]


@pytest.mark.parametrize("name", NAMES)
def test_columns_are_proposed_as_they_are_typed(name):
    [word] = shlex.split(columns.features([name, "b"]))
    value = OverridesParser.create().parse_override(word).value()
    assert OmegaConf.to_container(OmegaConf.create({"it": value}), resolve=True) == {
        "it": [name, "b"]
    }


def test_any_name_can_be_proposed():
    draw = random.Random(0)
    for _ in range(300):
        name = "".join(draw.choices("ab1 ,;'\"\\$={}[]()é-", k=6)).strip() or "a"
        if "${" in name:
            continue  # above
        [word] = shlex.split(columns.features([name]))
        assert OverridesParser.create().parse_override(word).value() == [name]


def test_none_is_a_class_where_it_is_said(table, caplog):
    texts = ["None", "NA", "x", "?"] * 10
    path = table(a=fractions(40), kind=texts)
    assert names(arrays(path, target="kind")) == ["None", "x"] * 10
    assert "holds 'None' in 10 rows, taken for a class; data.missing=[None]" in caplog.messages[0]
    assert "20 of 40 rows are left out" in caplog.messages[1]
    caplog.clear()
    numbers = table(a=fractions(40), kind=["1", "2", "3", "None"] * 10)
    assert arrays(numbers, target="kind").classes == ("1", "2", "3")
    caplog.clear()
    path = table(a=fractions(40), kind=texts)
    assert names(arrays(path, target="kind", missing=[])) == texts
    assert not caplog.records
    without = [text for text in texts if text != "?"]
    assert names(arrays(path, target="kind", missing=["?"])) == without
    [said] = caplog.messages
    assert said == "10 of 40 rows are left out: they lack a value of kind"
    caplog.clear()
    path = table(a=fractions(40), kind=["", "NA", "x", "y"] * 10)
    assert names(arrays(path, target="kind")) == ["x", "y"] * 10
    assert "where 'NA' is a value, 'data.missing=[\"\"]'" in caplog.messages[0]
    path = table(a=fractions(40), kind=["", "x"] * 20)
    assert names(arrays(path, target="kind", missing=[])) == ["", "x"] * 20
    assert "has 20 empty values, taken for a class of their own" in caplog.text


def test_other_markers(table):
    path = table(a=fractions(20), b=["-999", *fractions(19)], y=["0", "1"] * 10)
    assert arrays(path, target="y").x.shape == (20, 2)
    described = arrays(path, target="y", missing=[-999]).reading["columns"]
    assert [column["absent"] for column in described] == [0, 1]
    assert arrays(path, target="y", missing=[-999], features=["a"]).x.shape == (20, 1)


def test_booleans_are_0_and_1(table, caplog):
    path = table(a=["True", "FALSE", "true", "false"] * 5, y=["TRUE", "FALSE", "FALSE", "TRUE"] * 5)
    source = arrays(path, target="y")
    assert source.x.squeeze(1).tolist() == [1, 0, 1, 0] * 5
    assert source.classes == ("FALSE", "TRUE")
    assert not caplog.records
    assert arrays(path, target="y", task="regression").y.squeeze(1).tolist() == [1, 0, 0, 1] * 5
    assert arrays(path, target="a").classes == ("False", "True")
    assert "writes true and false in several ways, taken for two classes" in caplog.text
    assert arrays(path, target="a", task="classification").y.tolist() == [1, 0, 1, 0] * 5


@pytest.mark.parametrize("separator", [";", "\t"])
def test_decimal_commas(table, caplog, separator):
    values = np.random.default_rng(0).normal(size=(20, 2)).round(3)
    a, b = ([str(value).replace(".", ",") for value in column] for column in values.T)
    path = table(separator, **{"Größe, netto": a, "n": ["1", "2"] * 10, "Preis": b})
    for _ in range(2):
        caplog.clear()
        source = arrays(path, target="Preis")
        np.testing.assert_allclose(source.x[:, 0].numpy(), values[:, 0], rtol=1e-6)
        np.testing.assert_allclose(source.y[:, 0].numpy(), values[:, 1], rtol=1e-6)
        [record] = caplog.records
        assert f"{b[0]} in the column Preis is read as {values[0, 1]}" in record.getMessage()
    caplog.clear()
    assert (arrays(path, target="Preis", decimal="comma").x == source.x).all()
    assert not caplog.records
    with pytest.raises(Mistake, match=r"holds .* in row 1; data\.decimal=comma reads it"):
        arrays(path, target="Preis", decimal="point")


def test_points_where_commas_are_said(table):
    path = table(a=fractions(20), y=["0", "1"] * 10)
    with pytest.raises(Mistake, match=r"the column a holds .*data\.decimal=point reads it"):
        arrays(path, target="y", decimal="comma")


@pytest.mark.parametrize("decimal", [None, "point", "comma"])
@pytest.mark.parametrize("target", ["y", "b"])
def test_columns_that_differ_in_their_decimal_mark(table, target, decimal):
    path = table(";", a=["1,5", "2"] * 10, b=fractions(20), y=["0", "1"] * 10)
    with pytest.raises(Mistake, match=r"column b writes .*column a writes 1,5; .*columns"):
        arrays(path, target=target, decimal=decimal)
    for name in {"a", "b"} - {target}:
        other = "comma" if name == "b" else "point"
        assert arrays(path, target="y", decimal=other, columns={name: "text"}).y.shape == (20,)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ('"a, b",c,y\n1.5,2,0\n2.5,3,1\n', 2),
        ("a, b;c;y\n1.5;2;0\n2.5;3;1\n", 2),
        ("Preis, netto;y\n1,5;0\n2,5;1\n", 1),
        ("a;y\n1;0\n2;1\n", 1),
        ("a,b;c,y\n1.5,2,0\n2.5,3,1\n", 2),
        ('a,"b\nc",y\n1.5,2,0\n2.5,3,1\n', 2),
    ],
)
def test_the_separator_is_what_the_lines_show(tmp_path, text, shape):
    path = tmp_path / "made.csv"
    path.write_text(text, encoding="utf-8")
    assert arrays(str(path), target="y").x.shape == (2, shape)


def test_names_have_nothing_that_nobody_types(table):
    path = table(
        **{'"a\n b"': fractions(20), "c\u200b\x1b[31m": fractions(20, 1), "y": ["0", "1"] * 10}
    )
    assert arrays(path, target="y", features=["a b", "c[31m"]).x.shape == (20, 2)


def test_settings_of_a_table_are_none_of_other_files(tmp_path):
    path = tmp_path / "made.npz"
    np.savez(path, x=np.zeros((4, 2)), y=np.array([0, 1] * 2))
    with pytest.raises(Mistake, match=r"data\.missing=\[\]: is for the texts of a table"):
        arrays(str(path), missing=[])
    with pytest.raises(Mistake, match=r"data\.decimal=comma: is for the texts of a table"):
        arrays(str(path), decimal="comma")
    with pytest.raises(ValueError, match=r"^decimal must be one of point, comma, got ,"):
        arrays(str(path), decimal=",")


def test_a_number_that_is_too_large_is_named(table):
    path = table(a=["1e39", *fractions(19)], y=["0", "1"] * 10)
    with pytest.raises(
        Mistake, match=r"the column a holds '1e39' in row 1; numbers end at 3\.4e\+38"
    ):
        arrays(path, target="y")


def test_a_group_of_rows_stays_in_one_split_and_is_no_feature(table, caplog):
    patients = [f"p{n * n % 23}" for n in range(200)]
    path = table(patient=patients, a=fractions(200), y=["0", "1"] * 100)
    for _ in range(2):  # the second time from the cache
        caplog.clear()
        source = arrays(path, target="y", group="patient")
        [said] = caplog.messages
        assert said == (
            f"the column patient makes {len(set(patients))} groups, each of which stays in one "
            "split; it is not a feature"
        )
        assert source.x.shape == (200, 1)
        data = split.make(source, "60/20/20", samples="50%")
        found = [{patients[row] for row in part.rows} for part in (data.train, data.val, data.test)]
        assert sum(map(len, found)) == len(set.union(*found)), "no group is in two splits"
    alone = arrays(table(a=fractions(200), y=["0", "1"] * 100), target="y")
    assert source.digest != alone.digest, "the groups are part of the content"
    assert alone.groups is None


def test_rows_with_the_same_text_are_a_group(table):
    path = table(place=["01", "1", "01", " 1"] * 5, a=fractions(20), y=["0", "1"] * 10)
    source = arrays(path, target="y", group="place")
    assert source.groups.tolist() == [0, 1, 0, 1] * 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": "plac"}, r"data\.group=plac: there is no such column; did you mean place\?"),
        ({"group": "y"}, r"data\.group=y: is data\.target"),
        ({"group": "place", "features": ["a", "place"]}, r"has place, which is data\.group"),
        ({"group": "gaps"}, "the column gaps lacks 1 of 20 values, first in row 3"),
    ],
)
def test_what_cannot_be_a_group(table, options, message):
    gaps = ["a", "b", "", *"cdefghijklmnopqrs"]
    path = table(place=list("abcde") * 4, gaps=gaps, a=fractions(20), y=["0", "1"] * 10)
    with pytest.raises(Mistake, match=message):
        arrays(path, target="y", **options)


def test_a_count_of_the_rows_is_taken_in_where_nothing_else_is_left(table, caplog):
    source = arrays(table(time=[str(i) for i in range(20)], y=fractions(20)), target="y")
    assert source.x.squeeze(1).tolist() == list(range(20))
    assert caplog.messages == [
        "the column time counts the rows; it is taken in, since no other is left"
    ]


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ("xy", {}, r"no column besides y that can be read \(x: it holds list<.*a column for each"),
        ("xy", {"features": ["x"]}, "^data.features=x: it holds list<"),
        ("xzy", {"group": "x"}, "^data.group=x: it holds list<"),
        ("xzy", {"target": "x"}, "^data.target=x: it holds list<"),
        ("x", {}, r"no column of it can be read \(x: it holds list<"),
    ],
)
def test_a_column_of_lists_is_not_said_to_be_absent(tmp_path, columns, options, message):
    held = {"x": [[i, 2] for i in range(20)], "z": fractions(20), "y": ["no", "yes"] * 10}
    path = str(tmp_path / "lists.parquet")
    pd.DataFrame({name: held[name] for name in columns}).to_parquet(path)
    with pytest.raises(Mistake, match=message.replace("^", f"^(data.path={path}: )?")):
        arrays(path, **{"target": "y", **options})
