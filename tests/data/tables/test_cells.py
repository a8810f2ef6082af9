import re

import numpy as np
import pytest

from dlrun.data.tables import cells

NO_NUMBERS = [
    *("1_1", "1_000.5", "١٢", "１", " 1", "1 ", "nan", "NaN", "inf", "-Infinity"),
    *("", ".", "-", "e5", "1e", "1,5", "0x1f", "1.2.3", "1j", "--1", "1-1", "²"),
]


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_no_number(text):
    assert cells.read_numbers([text], "point") is None
    assert cells.read_numbers(["1", text], "point") is None
    assert cells.read_whole([text]) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("-3e2", -300), ("1.50", 1.5), (".5", 0.5), ("2.", 2), ("+7", 7), ("007", 7)],
)
def test_numbers(text, value):
    assert cells.read_numbers([text], "point").tolist() == [value]
    assert cells.read_numbers([text.replace(".", ",")], "comma").tolist() == [value]
    if "." in text:
        assert cells.read_numbers([text], "comma") is None


def test_digits_beyond_all_bounds():
    assert cells.read_numbers(["9" * 5000], "point").tolist() == [np.inf]
    assert cells.read_whole(["9" * 5000]) is None


def test_whole_numbers_are_those_that_are_written_as_usual():
    assert cells.read_whole(["-7", "0", "12", str(2**63 - 1), str(-(2**63))]).tolist() == [
        *(-7, 0, 12, 2**63 - 1, -(2**63))
    ]
    for text in ("007", "+7", "-0", "7.0", "1e3", str(2**63), "1_1", "--7"):
        assert cells.read_whole(["1", text]) is None


def test_booleans():
    assert cells.read_booleans(["True", "false", "TRUE"]).tolist() == [1, 0, 1]
    assert cells.read_booleans(["True", "1"]) is None


@pytest.mark.parametrize(
    ("markers", "missing", "present"),
    [
        (None, ["", "NA", "n/a", "NaN", "null", "None", "?"], ["-", "0", "nano"]),
        ([], [], ["", "NA", "?", "nan"]),
        (["NA", "?"], ["NA", "?"], ["", "na", "None", "nan"]),
        ([-999, 9.5], ["-999", "-999.0", "9.50"], ["999", "", "-998", "NA"]),
        ([float("nan"), None, True], ["nan", "NaN", "null", "NULL", "true"], ["None", ""]),
        ([""], [""], ["NA"]),
    ],
)
def test_markers_of_missing_values(markers, missing, present):
    is_missing = cells.find_missing(markers)
    assert all(map(is_missing, missing))
    assert not any(map(is_missing, present))


def test_markers_that_are_none():
    with pytest.raises(ValueError, match="missing must be a list of texts and numbers"):
        cells.find_missing([["NA"]])


@pytest.mark.parametrize(
    ("text", "decimal", "expected"),
    [
        ("50,000", "point", r"write 50000; if it is 50\.000, data\.decimal=comma"),
        ("1,234,567", "point", "separators between thousands: write 1234567"),
        ("-1,234.5", "point", r"write -1234\.5"),
        ("1.234,5", "point", r"write 1234\.5"),
        ("1.234,5", "comma", "write 1234,5"),
        ("1.234", "comma", r"write 1234; if it is 1\.234, data\.decimal=point"),
        ("50 000", "point", "write 50000"),
        ("50\u202f000", "point", "write 50000"),
        ("50\u00a0000,5", "comma", "write 50000,5"),
        ("1'000", "point", "write 1000"),
        ("1,5", "point", "data.decimal=comma reads it"),
        ("2.5", "comma", "data.decimal=point reads it"),
    ],
)
def test_what_to_do_about_a_number_that_is_written_otherwise(text, decimal, expected):
    assert re.search(expected, cells.advice(text, decimal))


@pytest.mark.parametrize("text", ["Rome", "1_000", "1.2.3", "12,34,5", "555 12", "", "2024-01-01"])
def test_no_advice_about_what_is_meant_for_text(text):
    assert cells.advice(text, "point") == ""


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"a": ["1", "2"]}, ("point", "", "")),
        ({"a": ["1.5", "2"]}, ("point", "", "")),
        ({"a": ["1", "2,5"]}, ("comma", "a", "2,5")),
        ({"a": ["1", "2"], "b": ["0,125", "0,5"]}, ("comma", "b", "0,125")),
        ({"a": ["-0,125", "7"]}, ("comma", "a", "-0,125")),
        ({"a": ["1234,567"]}, ("comma", "a", "1234,567")),
        ({"a": ["50,000", "1,234"]}, ("point", "", "")),  # thousands, perhaps
        ({"a": ["50,000", "1,2"]}, ("comma", "a", "1,2")),
        ({"a": ["1,5"], "b": ["2.5"]}, ("point", "", "")),
        ({"a": ["1,5"], "b": ["1.234"]}, ("comma", "a", "1,5")),
        ({"a": ["1,5", "Rome"]}, ("point", "", "")),
        ({"a": ["1,2,3", "1,2"]}, ("point", "", "")),
    ],
)
def test_the_decimal_mark_that_columns_show(columns, expected):
    assert cells.guess_decimal(columns) == expected
