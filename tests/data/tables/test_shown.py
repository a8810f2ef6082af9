"""Encoded rows read as the file has them."""

import numpy as np
import pytest

from dlrun.data import arrays, split
from dlrun.data.tables.shown import ABSENT, RARE, as_written

HEAD = "size,sold,garden,state,at,y"


def encoded(tmp_path, lines):
    file = tmp_path / "t.csv"
    file.write_text("\n".join([HEAD, *lines]))
    data = split.make(arrays.arrays(str(file), "y", cache=str(tmp_path / "cache")))
    return as_written(data.train.x.numpy(), data.reading["columns"], data.unfilled.numpy())


def test_all_kinds_of_columns_come_back(tmp_path):
    lines = [
        f"{n / 8:g},{n % 28 + 1:02d}.0{n % 9 + 1}.2001,{'true' if n % 3 else 'false'},"
        f"{'new' if n % 2 else 'old'},2024-01-{n % 28 + 1:02d} {n % 24:02d}:00:00,{n % 2}"
        for n in range(1, 200)
    ]
    lines[5] = ",,,,,1"
    names, cells = encoded(tmp_path, lines)
    assert names == HEAD.split(",")[:-1]
    expected = [line.replace(" 00:00:00", "").split(",")[:-1] for line in lines]
    expected[5] = [ABSENT] * 5
    assert cells.tolist() == expected


def test_rare_texts_are_called_so(tmp_path):
    lines = [f",,,word{n if n < 200 else n % 5},,{n % 2}" for n in range(400)]
    names, cells = encoded(tmp_path, lines)
    assert names == ["state"]
    assert {RARE, "word1"} <= {*cells[:, 0]}


@pytest.mark.parametrize("text", ["0.1", "-3", "1234.5", "1e+20"])
def test_numbers_are_written_with_the_digits_of_float32(text):
    column = {"name": "a", "kind": "number", "flag": False}
    _, cells = as_written(np.array([[float(text)]], np.float32), [column])
    assert float(cells[0, 0]) == pytest.approx(float(text), rel=1e-6)
    assert len(cells[0, 0]) <= len(text)
