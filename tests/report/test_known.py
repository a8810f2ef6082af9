"""The settings by which the rates of a recipe become others, whatever sets them."""

import pytest

from dlrun.report.known import reaching, scaled, slower

NAMED = "${optimizer.lr}"


def recipe(table=None, lr=0.1):
    manual = {"_target_": "dlrun.schedule.manual", "table": table}
    return {"optimizer": {"lr": lr}, "schedule": manual if table else {}}


@pytest.mark.parametrize(
    ("table", "twice", "up_to"),
    [
        (None, {"optimizer.lr": 0.2}, {"optimizer.lr": 3.21}),
        ([[0, NAMED]], {"optimizer.lr": 0.2}, {"optimizer.lr": 3.21}),
        (
            [[5, 0.01], [0, 0.1]],
            {"schedule.table": [[5, 0.02], [0, 0.2]]},
            {"schedule.table": [[5, 0.321], [0, 3.21]]},
        ),
        (
            [[0, NAMED], [5, 0.01]],
            {"optimizer.lr": 0.2, "schedule.table": [[0, NAMED], [5, 0.02]]},
            {"optimizer.lr": 3.21, "schedule.table": [[0, NAMED], [5, 0.321]]},
        ),
        (
            [[5, 0.01]],
            {"optimizer.lr": 0.2, "schedule.table": [[5, 0.02]]},
            {"optimizer.lr": 3.21, "schedule.table": [[5, 0.321]]},
        ),
    ],
    ids=str,
)
def test_what_sets_the_rates_is_scaled(table, twice, up_to):
    assert scaled(recipe(table), 2) == twice
    assert reaching(recipe(table), 3.21) == up_to


def test_without_a_rate_that_is_a_number_steps_become_smaller_in_another_way():
    assert slower({"optimizer": {}}) == slower(recipe(lr=NAMED)) == {"clip_norm": 1.0}
    assert slower(recipe()) == {"optimizer.lr": 0.01}


def test_a_table_of_zeros_cannot_be_scaled():
    expected = {"schedule": "constant", "optimizer.lr": 0.5}
    assert reaching(recipe([[0, 0.0]]), 0.5) == expected
