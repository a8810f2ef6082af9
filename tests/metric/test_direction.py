"""Which way is better, and that nothing is guessed of a value that is no metric."""

import functools
import json

import pytest

from dlrun.errors import Mistake
from dlrun.metric import METRICS, Metric, accuracy, known, mae, metric, metric_of, of, score
from dlrun.metric.probabilities import calibration_error


def test_the_key_ends_in_the_name():
    assert metric_of("val/accuracy") is metric_of("accuracy") is METRICS["accuracy"] is accuracy
    assert [name for name, one in METRICS.items() if one.higher_is_better] == ["accuracy"]


@pytest.mark.parametrize("key", ["lr", "grad/norm", "val/accuracy_of_classes", "best/val_loss"])
def test_what_is_no_metric_has_no_direction(key):
    with pytest.raises(KeyError):
        metric_of(key)


@pytest.mark.parametrize(
    ("key", "better", "worse"),
    [("val/accuracy", 0.9, 0.8), ("val/loss", 0.1, 0.2), ("test/mae", 1.0, 3.0)],
)
def test_of_scores_the_higher_is_better(key, better, worse):
    assert score(key, better) > score(key, worse)
    assert score(key, score(key, better)) == better


@metric(higher_is_better=True, label="nearly right")
def near(predicted, y, distance=1):
    """One of a user's own."""
    return ((predicted.argmax(1) - y).abs() <= distance).double().mean()


def test_a_record_says_the_direction_of_all():
    made = of(functools.partial(near, distance=2), "within_two")
    told = json.loads(json.dumps({one.name: one.facts() for one in (made, accuracy, mae)}))
    found = known(told)
    assert found["within_two"].higher_is_better
    assert not found["mae"].higher_is_better
    assert found["within_two"].label == "nearly right"
    assert found["accuracy"].share
    assert not found["within_two"].share
    assert score("val/within_two", 0.5, found) == 0.5
    assert score("val/mae", 0.5, found) == -0.5


@pytest.mark.parametrize("told", [None, [], "x", {"a": 1, "b": {}, "c": {"higher_is_better": 1}}])
def test_a_damaged_record_says_nothing(told):
    assert known(told) == METRICS


def test_options_are_bound_and_the_name_is_that_of_the_recipe():
    made = of(functools.partial(calibration_error, bins=4), "ece")
    assert (made.name, made.higher_is_better) == ("ece", False)
    assert made.function.keywords == {"bins": 4}
    assert made.of_sums is calibration_error.of_sums
    assert calibration_error.name == "calibration_error"


def test_nobody_guesses_a_direction():
    with pytest.raises(Mistake, match=r"metric\.own: does not say which way is better"):
        of(lambda predicted, y: predicted.mean(), "own")
    with pytest.raises(Mistake, match=r"metric\.loss: does not say"):
        of(METRICS["loss"], "loss")


@pytest.mark.parametrize("name", ["accuracy", "mae", "loss"])
def test_what_is_always_measured_keeps_its_name(name):
    with pytest.raises(Mistake, match=rf"metric\.{name}: is always measured"):
        of(near, name)
    assert isinstance(of(accuracy, "accuracy"), Metric)
