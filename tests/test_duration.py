import pytest

from dlrun.duration import Duration, parse, spoken, times, uncounted
from dlrun.errors import Mistake


@pytest.mark.parametrize(
    ("typed", "amount", "unit"),
    [
        (5, 5, "epochs"),
        (0.5, 0.5, "epochs"),
        ("5 epochs", 5, "epochs"),
        ("1 epoch", 1, "epochs"),
        ("200 steps", 200, "steps"),
        ("200steps", 200, "steps"),
        ("10%", 10, "%"),
        ("2.5 %", 2.5, "%"),
        ("30 seconds", 30, "seconds"),
    ],
)
def test_forms(typed, amount, unit):
    assert parse(typed) == Duration(amount, unit)
    assert parse(str(parse(typed))) == parse(typed)


@pytest.mark.parametrize("typed", ["ten", "5 weeks", "-1 epochs", "", None, True, "5 %%", [5]])
def test_other_forms_are_refused(typed):
    with pytest.raises(Mistake, match="5 epochs"):
        parse(typed)


@pytest.mark.parametrize(
    ("typed", "thrice"),
    [
        (5, 15),
        (0.5, 1.5),
        ("5epochs", 15),
        ("1 epoch", 3),
        ("40steps", "120 steps"),
        ("  40 steps", "120 steps"),
        ("400000 steps", "1200000 steps"),
        ("1e2 steps", "300 steps"),
        ("2.5 %", "7.5%"),
        ("50%", "100%"),
        ("2 min", "360 seconds"),
    ],
)
def test_several_times_a_duration_is_one_as_one_types_it(typed, thrice):
    assert repr(times(typed, 3)) == repr(thrice)


@pytest.mark.parametrize(
    ("typed", "steps"),
    [("5 epochs", 50), ("0.25 epochs", 2), ("7 steps", 7), ("10%", 20), ("0.1%", 1), (0, 0)],
)
def test_steps(typed, steps):
    assert parse(typed).steps(steps_per_epoch=10, total_steps=200) == steps


def test_steps_are_whole():
    for whole in ("2 steps", "1e2 steps", "0.5 epochs", "2.5%", "1.5 seconds"):
        assert uncounted(parse(whole)) == ""
    assert "write '1 steps'" in uncounted(parse("0.2 steps"))


def test_a_share_needs_a_whole():
    with pytest.raises(Mistake, match="of what"):
        parse("10%").steps(10)
    with pytest.raises(Mistake, match="seconds"):
        parse("3 seconds").steps(10, 100)


@pytest.mark.parametrize("typed", ["1e13", 1e400, "101%", "2e12 steps"])
def test_no_duration_is_without_end(typed):
    with pytest.raises(Mistake, match=r"is too long|is not a duration"):
        parse(typed)
    assert parse("100%").amount == 100


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.00035, "0.35 ms"),
        (0.35, "350 ms"),
        (4.23, "4.2 s"),
        (59.94, "1 min 0 s"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 0 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_a_time_as_one_says_it(seconds, said):
    assert spoken(seconds) == said
