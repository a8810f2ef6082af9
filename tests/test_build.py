"""What build makes of several settings at once."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from dlrun.data import Data, Split
from tests.conftest import Trained


@pytest.fixture
def uneven(digits: Data) -> Data:
    """The digits with few of the lower ones, so that their weights differ."""
    rows = digits.train.rows
    y = digits.train.y[rows]
    kept = rows[(y > 4) | (torch.arange(len(rows)) % 8 == 0)]
    return replace(digits, train=Split(digits.train.x, digits.train.y, kept))


@pytest.mark.parametrize("smoothing", ["none", "[label_smoothing]"])
def test_weighted_classes_in_accumulated_mini_batches(
    train_recipe: Callable[..., Trained], uneven: Data, smoothing: str
) -> None:
    """4×8 samples are 1×32, whatever classes each of the four has."""
    words = ("epochs=2", "class_weights=balanced", "model=linear", f"regularization={smoothing}")
    large = train_recipe(*words, "batch_size=32", data=uneven)
    small = train_recipe(*words, "batch_size=8", "accumulate=4", data=uneven)
    assert small.at.step == large.at.step
    for one, other in zip(small.run.weights, large.run.weights, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        small.values("train/loss"), large.values("train/loss"), rtol=1e-5, atol=0
    )
