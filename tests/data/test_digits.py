import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from dlrun.data import split
from dlrun.data.digits import digits


@pytest.mark.proves("data=digits")
def test_digits_are_scikit_learns_to_the_last_pixel_times_15():
    images, labels = load_digits(return_X_y=True)
    for source in (digits(), digits()):
        np.testing.assert_array_equal(source.x.reshape(1797, 64).numpy(), 15 * images)
        assert source.y.tolist() == labels.tolist()
        assert source.x.dtype == torch.uint8
        assert source.x.shape == (1797, 1, 8, 8)
        assert source.classes == tuple("0123456789")


def test_digits_split_without_leaks(caplog):
    data = split.make(digits(), [60, 20, 20], leaks="error")
    assert abs(len(data.train) - 0.6 * 1797) <= 2
    assert len(data.train) + len(data.val) + len(data.test) == 1797
    assert data.outputs == 10
