"""The tables of layer statistics: what ten tanh layers of 500 units do to a unit Gaussian.

Standard deviations of the layers' outputs for 1000 samples, means of ten seeds.
"""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

CONF = Path(__file__).parents[2] / "conf" / "initializer"
LECUN = [0.628, 0.486, 0.408, 0.357, 0.320, 0.292, 0.273, 0.255, 0.239, 0.228]


@pytest.fixture(scope="module")
def inputs():
    return [torch.randn(1000, 500, generator=torch.Generator().manual_seed(s)) for s in range(10)]


def deviations(name: str, inputs: list[torch.Tensor]) -> list[float]:
    initialize = instantiate(OmegaConf.load(CONF / f"{name}.yaml"))
    totals = [0.0] * 10
    for seed, x in enumerate(inputs):
        torch.manual_seed(seed)
        model = nn.Sequential(*[nn.Sequential(nn.Linear(500, 500), nn.Tanh()) for _ in range(10)])
        with torch.no_grad():
            initialize(model, x[:2])
            for i, layer in enumerate(model):
                x = layer(x)
                totals[i] += x.std().item() / 10
    return totals


@pytest.mark.proves("initializer=small_normal")
def test_small_weights_let_the_signal_vanish(inputs):
    found = deviations("small_normal", inputs)
    # The table has four decimals, so 0.0005 stands for anything up to 0.00055.
    table = [0.2131, 0.0476, 0.0106, 0.0024, 0.0005]
    assert found[:5] == pytest.approx(table, rel=0.05, abs=0.00005)
    assert found[0] == pytest.approx(0.2131, rel=0.02)
    # From there each layer multiplies by 0.01·√500 = 0.2236, as the tanh is linear near 0.
    for before, after in pairwise(found[4:]):
        assert after / before == pytest.approx(0.2236, rel=0.02)


@pytest.mark.proves("initializer=large_normal")
def test_large_weights_saturate_every_layer(inputs):
    assert deviations("large_normal", inputs) == pytest.approx([0.982] * 10, rel=0.02)


@pytest.mark.proves("initializer=lecun")
def test_lecun_lets_it_fall_slowly(inputs):
    assert deviations("lecun", inputs) == pytest.approx(LECUN, rel=0.02)
