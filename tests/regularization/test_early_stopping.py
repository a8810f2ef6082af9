"""When training stops, on score sequences worked out by hand."""

from math import nan

import pytest

from dlrun.duration import Steps
from dlrun.regularization.early_stopping import EarlyStopping


def stops_at(rule: EarlyStopping, scores: list[float], every: int = 10) -> int | None:
    """The step of the first stop, with a validation every so many steps."""
    for i, score in enumerate(scores, start=1):
        if rule.should_stop(score, i * every):
            return i * every
    return None


@pytest.mark.proves("regularization=early_stopping")
@pytest.mark.parametrize(
    ("scores", "least", "expected"),
    [
        ([1, 2, 3, 4, 5, 6], 0.0, None),
        ([1, 2, 2, 2, 2], 0.0, 50),  # equal is not better: best at 20, 30 steps of patience
        ([3, 2, 4, 1, 1, 1, 9], 0.0, 60),
        ([1, 1.05, 1.1, 1.15], 0.2, 40),  # creeping up by less than asked for
        ([1, 1.15, 1.3, 1.45], 0.2, None),  # but measured from the best, not the last
        ([nan, nan, nan, 1], 0.0, 30),
        ([1, nan, nan, nan], 0.0, 40),
        ([-5, -4, -3, -3, -2], 0.0, None),
    ],
)
def test_stops(scores, least, expected):
    assert stops_at(EarlyStopping(Steps(30), least), scores) == expected


def test_goes_on_from_its_state():
    rule, other = EarlyStopping(Steps(30)), EarlyStopping(Steps(30))
    assert stops_at(rule, [1, 2, 1]) is None
    other.load_state_dict(rule.state_dict())
    for step in (40, 50):
        assert rule.should_stop(1, step) == other.should_stop(1, step) == (step == 50)


def test_values_out_of_range_are_refused():
    with pytest.raises(ValueError, match="patience must be at least one step, got 0"):
        EarlyStopping(Steps(0))
    with pytest.raises(ValueError, match="min_improvement must not be negative, got -1"):
        EarlyStopping(Steps(1), -1)
