"""Distances equal those of numpy in float64, also of samples that lie close together."""

import numpy as np
import pytest
import torch

from dlrun.engine.distance import distances


@pytest.mark.parametrize(
    ("inputs", "off", "apart"), [(2, 1.0, 1e-4), (64, 3.0, 1e-3), (400, 1000.0, 1.0)]
)
def test_close_samples_keep_their_digits(inputs, off, apart):
    random = np.random.default_rng(0)
    a, b = (torch.tensor(off + apart * random.normal(size=(40, inputs))).float() for _ in "ab")
    by_hand = np.linalg.norm(a.double().numpy()[:, None] - b.double().numpy(), axis=2)
    assert np.allclose(distances(a, b).numpy(), by_hand, rtol=1e-3)


@pytest.mark.parametrize("inputs", [1, 64, 256])
def test_equal_samples_are_exactly_0_apart(inputs):
    a = 100 + 10 * torch.randn(300, inputs, generator=torch.Generator().manual_seed(0))
    found = distances(a, a[:50])
    assert bool((found[:50].diagonal() == 0).all())
    assert int((found == 0).sum()) == 50


def test_of_a_few_inputs_neighbouring_numbers_are_apart():
    x = torch.tensor([[0.001], [1.0], [3.0]])
    near = torch.nextafter(x, torch.tensor(9.0))
    known = torch.cat([near, x, torch.tensor([[1000.0]])])
    assert distances(x, known).argmin(1).tolist() == [3, 4, 5]
