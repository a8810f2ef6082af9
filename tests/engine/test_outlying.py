"""Numbers that a slip has thrown far away are named, and no long tail is."""

import re

import pytest
import torch

from dlrun.data import arrays, split
from dlrun.engine.look import Seen
from dlrun.engine.outlying import _wide, far, outlying_inputs, outlying_targets
from dlrun.finding import WARN
from dlrun.recipe import build

GENERATOR = torch.Generator().manual_seed(0)
NORMAL = 80 * torch.randn(1000, generator=GENERATOR) + 450


def with_slips(column, times=1000.0, rows=4):
    return torch.cat((column[:rows] * times, column[rows:]))


@pytest.mark.parametrize("rows", [1, 4, 10])
@pytest.mark.parametrize("times", [100.0, 1000.0, -1000.0])
def test_slips_are_found(rows, times):
    column = with_slips(NORMAL, times, rows)
    found = far(column)
    assert found.rows == rows
    assert found.value in column[:rows]
    assert found.variance == pytest.approx(1, abs=0.1)
    assert _wide(column[:, None]) == [0]


@pytest.mark.parametrize(
    "column",
    [
        NORMAL,
        with_slips(NORMAL, rows=20),  # a part of the distribution
        (NORMAL / 60).exp(),
        torch.distributions.Cauchy(0.0, 1.0).icdf(torch.linspace(0.001, 0.999, 1000)),
        with_slips(torch.zeros(1000) + torch.eye(1000)[0], rows=1),  # most are equal
        torch.poisson(torch.full((1000,), 2.0), generator=GENERATOR),
        torch.ones(1000),
        with_slips(NORMAL[:40]),
    ],
)
def test_a_sound_column_has_nothing_far_away(column):
    assert far(column) is None


def test_of_the_heaviest_tail_with_a_variance_one_column_in_a_hundred_is_named():
    columns = (1 - torch.rand(2000, 300, generator=GENERATOR)).rsqrt()
    assert sum(far(column) is not None for column in columns) <= 2 * 20


@pytest.mark.parametrize(("slips", "check"), [("y", outlying_targets), ("a", outlying_inputs)])
def test_what_is_said_of_a_table(slips, check, tmp_path, compose_recipe):
    columns = {"a": NORMAL, "b": NORMAL.flip(0), "y": NORMAL.roll(7)}
    columns[slips] = with_slips(columns[slips])
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    file = tmp_path / "t.csv"
    file.write_text(
        "\n".join(["a,b,y", *(",".join(f"{cell:.1f}" for cell in row) for row in rows)])
    )
    source = arrays.arrays(str(file), "y", cache=str(tmp_path / "cache"))
    seen = Seen(build.build(compose_recipe(), split.make(source, "100/0/0")))
    [one] = check(seen)
    assert one.level == WARN
    assert one.numbers["samples"] == 4
    [value] = re.findall(r"such as ([0-9.-]+[0-9])", one.text)
    assert float(value) == pytest.approx(float(columns[slips].max()), rel=1e-3)
    [other] = {outlying_targets, outlying_inputs} - {check}
    assert list(other(seen)) == []
