"""Distances equal those of numpy in float64, also of samples that lie close together."""

import numpy as np
import pytest
import torch

from dlrun.engine.distance import distances


@pytest.mark.parametrize(("inputs", "off", "apart"), [(2, 1.0, 1e-4), (400, 1000.0, 1.0)])
def test_close_samples_keep_their_digits(inputs, off, apart):
    random = np.random.default_rng(0)
    a, b = (torch.tensor(off + apart * random.normal(size=(40, inputs))).float() for _ in "ab")
    by_hand = np.linalg.norm(a.double().numpy()[:, None] - b.double().numpy(), axis=2)
    assert np.allclose(distances(a, b).numpy(), by_hand, rtol=1e-3)
