"""Images of half the size, for a trial: each pixel is the mean of four."""

import numpy as np
import pytest
import torch

from dlrun.data import Data, Split
from dlrun.data.images.resize import halved
from dlrun.errors import Mistake


def data(x):
    """The first rows to train on, in another order, the others to validate."""
    y = torch.arange(len(x))
    rows = torch.tensor([2, 0]), torch.tensor([1]), torch.tensor([], dtype=torch.int64)
    splits = [Split(x, y, some) for some in rows]
    return Data("some", *splits, tuple(x.shape[1:]), ("a", "b", "c"), 3, "")


@pytest.mark.parametrize("shape", [(1, 4, 6), (3, 5, 5)])
@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_a_pixel_is_the_mean_of_four(shape, kind):
    x = (torch.rand((3, *shape), generator=torch.Generator().manual_seed(0)) * 255).to(kind)
    small = halved(data(x))
    c, h, w = shape[0], shape[1] // 2, shape[2] // 2
    assert small.shape == (c, h, w)
    even = x.numpy()[:, :, : 2 * h, : 2 * w].astype(float)
    means = even.reshape(3, c, h, 2, w, 2).mean((3, 5))
    for split, rows in ((small.train, [2, 0]), (small.val, [1])):
        assert split.y[split.rows].tolist() == rows
        expected = means[rows].round() if kind == torch.uint8 else means[rows]
        np.testing.assert_allclose(split.x[split.rows].numpy(), expected, rtol=1e-6)
        assert split.x.dtype == kind
    assert len(small.test) == 0


@pytest.mark.parametrize("shape", [(8,), (3, 1, 8)])
def test_what_cannot_be_smaller(shape):
    with pytest.raises(Mistake, match="not images that could be smaller"):
        halved(data(torch.zeros(3, *shape)))
