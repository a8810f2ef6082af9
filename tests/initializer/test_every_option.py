"""Every packaged initializer on every kind of network."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from dlrun.activation import Maxout
from dlrun.initializer import layers
from dlrun.model.cnn import cnn
from dlrun.model.mlp import mlp
from dlrun.model.resnet import resnet

CONF = Path(__file__).parents[2] / "conf" / "initializer"
NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))
SHAPE = [3, 8, 8]
NETWORKS = {
    "mlp": lambda: mlp(SHAPE, 5, nn.Tanh, [12, 9], "layer"),
    "maxout": lambda: mlp(SHAPE, 5, Maxout, [12], "batch"),
    "cnn": lambda: cnn(SHAPE, 5, nn.ReLU, channels=[4, 6]),
    "resnet": lambda: resnet(SHAPE, 5, nn.ReLU, 8, shortcut="project"),
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", NAMES)
def test_sets_all_weights_and_the_seed_alone_decides(name, network):
    """From weights that are no numbers to finite ones, the same for the same seed."""
    config = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    assert isinstance(config, dict)
    options = {"activation": nn.ReLU} if config.pop("activation", None) else {}
    initialize = instantiate(config, **options)
    found = []
    for start in (0, 1):
        torch.manual_seed(start)
        model = NETWORKS[network]()
        x = torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            for layer in layers(model):
                if name != "default":
                    layer.weight.fill_(torch.nan)
            torch.manual_seed(7)
            initialize(model, x)
        found.append([layer.weight.clone() for layer in layers(model)])
        assert all(weight.isfinite().all() for weight in found[-1])
        assert model(x).isfinite().all()
        assert all(parameter.requires_grad for parameter in model.parameters())
    if name != "default":
        assert all(map(torch.equal, *found))
