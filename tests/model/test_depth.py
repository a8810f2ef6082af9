import pytest
import torch
from torch import nn
from torchvision import models

from dlrun.model.depth import layers
from dlrun.recipe import build


def built(compose_recipe, digits, *words):
    return build.build(compose_recipe(*words), digits).model


def test_every_parameter_is_in_one_layer():
    model = models.resnet18(num_classes=4)
    found = layers(model, torch.zeros(2, 3, 32, 32))
    names = [name for own in found for name in own]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())


@pytest.mark.parametrize(
    ("make", "size", "count", "first", "last"),
    [
        (models.resnet18, 32, 1 + 8 + 1, {"conv1", "bn1"}, {"fc"}),
        (models.vgg11, 32, 8 + 3, {"features"}, {"classifier"}),
        (models.mobilenet_v3_small, 32, 1 + 11 + 1 + 2, {"features"}, {"classifier"}),
        (models.densenet121, 32, 1 + 6 + 12 + 24 + 16 + 3 + 1, {"features"}, {"classifier"}),
    ],
)
def test_blocks_count_as_one_layer(make, size, count, first, last):
    found = layers(make(weights=None), torch.zeros(2, 3, size, size))
    assert len(found) == count
    assert {name.partition(".")[0] for name in found[0]} == first
    assert {name.partition(".")[0] for name in found[-1]} == last


def test_a_transformer_counts_its_blocks_as_bao_et_al_do():
    """Embeddings are the first layer, each block one, and the head the last."""
    model = models.VisionTransformer(32, 8, 5, 2, 16, 32, num_classes=3)
    found = layers(model, torch.zeros(2, 3, 32, 32))
    assert len(found) == 1 + 5 + 1
    assert {"conv_proj.weight", "class_token", "encoder.pos_embedding"} <= set(found[0])
    for number, own in enumerate(found[1:-1]):
        assert any(name.startswith(f"encoder.layers.encoder_layer_{number}.") for name in own)
    assert found[-1] == ["heads.head.weight", "heads.head.bias"]


def test_of_our_own_networks(compose_recipe, digits):
    x = torch.zeros(2, 1, 8, 8)
    resnet = built(compose_recipe, digits, "model=resnet", "model.depth=8")
    assert len(layers(resnet, x)) == 1 + 3 + 1
    mlp = built(compose_recipe, digits, "model.hidden=[9,9]", "model.norm=batch")
    found = layers(mlp, x)
    assert [len(own) for own in found] == [4, 4, 2]  # a weight, a bias, and those of its norm
    normed = built(compose_recipe, digits, "model.hidden=[9,9]", "regularization=[weight_norm]")
    assert [len(own) for own in layers(normed, x)] == [3, 3, 3]


def test_the_order_is_that_of_the_forward_pass():
    class Reversed(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, 2)
            self.body = nn.Linear(4, 3)

        def forward(self, x):
            return self.head(self.body(x))

    found = layers(Reversed(), torch.zeros(2, 4))
    assert found == [["body.weight", "body.bias"], ["head.weight", "head.bias"]]


def test_one_layer_alone():
    assert layers(nn.Linear(3, 2), torch.zeros(1, 3)) == [["weight", "bias"]]
