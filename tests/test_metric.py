"""Which way is better, and that nothing is guessed of a value that is no metric."""

import pytest

from dlrun.metric import METRICS, metric_of, score


def test_the_key_ends_in_the_name():
    assert metric_of("val/accuracy").name == metric_of("accuracy").name == "accuracy"
    assert [name for name, metric in METRICS.items() if metric.higher_is_better] == ["accuracy"]


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
