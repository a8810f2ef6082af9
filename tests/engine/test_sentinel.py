"""A number that stands for a missing value is named, and nothing else of a sound table."""

import pytest
import torch

from dlrun.data import arrays, split
from dlrun.engine.look import Seen
from dlrun.engine.sentinel import marked, sentinels
from dlrun.finding import WARN
from dlrun.recipe import build

GENERATOR = torch.Generator().manual_seed(0)
NORMAL = 20 * torch.randn(1000, generator=GENERATOR) + 50


def with_marks(column, *marks, many=20):
    column = column.clone()
    for place, mark in enumerate(marks):
        column[place * many : (place + 1) * many] = mark
    return column


@pytest.mark.parametrize(
    "marks", [(-999,), (9999,), (-1e6,), (9998, 9999), (-999, 9999), (9, 8888, 9999)]
)
@pytest.mark.parametrize("column", [NORMAL.clamp(min=0), NORMAL.clamp(min=0).round()])
def test_marks_at_either_end_are_found(column, marks):
    assert sorted(marked(with_marks(column, *marks), 10)) == [each for each in marks if each != 9]


@pytest.mark.parametrize(
    ("column", "mark"),
    [
        (NORMAL.clamp(min=0).round(), -1.0),
        (torch.randint(0, 100, (1000,), generator=GENERATOR).float(), -9.0),
        (NORMAL.exp2().log(), -1.0),
        ((NORMAL / 2 + 75).round(), 0.0),  # a pressure
    ],
)
def test_a_mark_below_numbers_that_are_never_so_low(column, mark):
    column = column.abs() if mark else column
    assert marked(with_marks(column, mark, many=80), 10) == [mark]
    assert marked(with_marks(column, mark, many=5), 10) == []


@pytest.mark.parametrize("many", [200, 400])
def test_many_marks_do_not_hide_themselves(many):
    assert marked(with_marks(NORMAL, -999, many=many), 10) == [-999]


@pytest.mark.parametrize(
    "column",
    [
        NORMAL,
        NORMAL.round(),
        NORMAL.clamp(max=60),  # cut off
        (NORMAL / 20).exp(),
        (NORMAL / 10).exp().round(),
        torch.poisson(torch.full((1000,), 0.05), generator=GENERATOR),
        torch.poisson(NORMAL.clamp(min=0), generator=GENERATOR),
        with_marks(torch.zeros(1000), 1.0),  # an input of a word
        with_marks(torch.zeros(1000), 9999.0),  # a rare amount
        torch.cat((torch.zeros(900), 200 + torch.rand(100, generator=GENERATOR))),
        with_marks(NORMAL, -999.0, many=4),  # outliers
        torch.randint(0, 7, (1000,), generator=GENERATOR).float(),
        torch.ones(1000),
        torch.poisson(torch.full((1000,), 4.0), generator=GENERATOR) - 1,
        torch.randint(-1, 2, (1000,), generator=GENERATOR).float(),
        with_marks(NORMAL.clamp(min=0), 0.0, many=100),  # rooms of houses that have none
        with_marks(NORMAL, -1.0, many=100),  # some are negative
        torch.distributions.Cauchy(0.0, 1.0).icdf(torch.linspace(0.001, 0.999, 1000)).round(),
    ],
)
def test_a_sound_column_has_no_mark(column):
    assert marked(column, 10) == []


def test_a_value_of_another_column_is_not_proposed_for_missing(tmp_path, compose_recipe):
    rows = [f"{0 if n % 20 == 0 else 100 + n % 31},{n % 7},{n % 2}" for n in range(400)]
    file = tmp_path / "t.csv"
    file.write_text("\n".join(["pressure,b,y", *rows]))
    source = arrays.arrays(str(file), "y", cache=str(tmp_path / "cache"))
    [one] = sentinels(Seen(build.build(compose_recipe(), split.make(source))))
    assert "column pressure is 0 in " in one.text
    assert one.changes == {"procedure": "show_data"}


@pytest.mark.parametrize("absent", [False, True])
def test_the_command_takes_the_mark_for_missing(absent, tmp_path, compose_recipe):
    rows = [f"{n % 97},{'' if absent and n == 3 else n % 7},{n % 2}" for n in range(400)]
    rows[::20] = [f"-999,{n % 7},{n % 2}" for n in range(20)]
    file = tmp_path / "t.csv"
    file.write_text("\n".join(["age,b,y", *rows]))

    def found(missing=None):
        source = arrays.arrays(str(file), "y", missing=missing, cache=str(tmp_path / "cache"))
        run = build.build(compose_recipe(), split.make(source))
        return list(sentinels(Seen(run)))

    [one] = found()
    assert (one.name, one.level) == ("input_scale", WARN)
    assert "column age is -999 in " in one.text
    assert found(one.changes["data.missing"]) == []
    assert ("" in one.changes["data.missing"]) == absent
