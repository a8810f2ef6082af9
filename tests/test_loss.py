"""Losses against their formulas, in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dlrun import loss


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


LABELS = torch.tensor([0, 3, 1, 2, 2, 0, 1])


def test_cross_entropy(logits: torch.Tensor) -> None:
    z = logits.numpy()
    own = np.log(np.exp(z).sum(1)) - z[np.arange(7), LABELS.numpy()]
    assert F.cross_entropy(logits, LABELS).item() == pytest.approx(own.mean(), abs=1e-12)


def test_mse_of_labels_takes_one_hot_targets(logits: torch.Tensor) -> None:
    own = ((logits.numpy() - np.eye(4)[LABELS.numpy()]) ** 2).sum() / (7 * 4)
    assert loss.mse(logits, LABELS).item() == pytest.approx(own, abs=1e-12)


def test_mse_of_targets(logits: torch.Tensor) -> None:
    y = torch.linspace(-1, 1, 28).reshape(7, 4)
    own = ((logits.numpy() - y.numpy().astype(float)) ** 2).mean()
    assert loss.mse(logits, y).item() == pytest.approx(own, abs=1e-12)
