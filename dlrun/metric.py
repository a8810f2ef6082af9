"""What is measured of a model on a split, and which way is better.

A value is recorded under a key that ends in the name of its metric: `val/accuracy`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A number that says how good a model is.

    share: whether it is the part of the samples for which something holds, from 0 to 1.
    """

    name: str
    higher_is_better: bool
    share: bool = False


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", higher_is_better=True, share=True),
        Metric("loss", higher_is_better=False),
        Metric("mae", higher_is_better=False),
    )
}


def metric_of(key: str) -> Metric:
    """The metric of a recorded value, by its key: `val/loss` is a loss.

    Raises KeyError where the key ends in no metric's name, as `lr` does.
    """
    return METRICS[key.rpartition("/")[2]]


def score(key: str, value: float) -> float:
    """A value with the sign that makes higher better; of a score, the value again."""
    return value if metric_of(key).higher_is_better else -value
