"""What of a sweep is one: messages that differ in their numbers alone, and equal values."""

import pytest

from dlrun.record.sweep import Point, RunResult, Sweep, named


def failed(trial, message):
    runs = [RunResult(0, "x", status="FAILED", message=message)]
    return Point(trial, f"x{trial}", {}, [], runs, "FAILED")


def test_messages_that_differ_in_numbers_are_one_trouble():
    points = (
        failed(0, "the loss is nan at step 12 with a rate of 1e+03"),
        failed(1, "the loss is nan at step 7 with a rate of 0.5"),
        failed(2, "layer conv2 has no weights"),
        failed(3, "layer conv3 has no weights"),
    )
    sweep = Sweep("id", "", "val/accuracy", (), points)
    many = {message: len(alike) for message, alike in sweep.troubles().items()}
    assert many == {
        "the loss is nan at step 12 with a rate of 1e+03": 2,
        "layer conv2 has no weights": 1,
        "layer conv3 has no weights": 1,
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (0.99999, "0.99999"),
        (0.999999, "0.999999"),
        (1.234567e-7, "1.234567e-7"),
        (1e-6, "1e-06"),
        (1.0, "1"),
        (float("nan"), "nan"),
        ([0.5, 0.123456], "[0.5,0.123456]"),
    ],
)
def test_a_value_is_named_in_few_digits_or_in_all(value, text):
    assert named(value) == text
