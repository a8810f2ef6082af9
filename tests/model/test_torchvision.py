"""Classifiers of torchvision, fitted to the data."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from dlrun.errors import Mistake
from dlrun.model.torchvision import torchvision


@pytest.mark.parametrize("shape", [[3, 64, 64], [1, 64, 64], [4, 64, 64]])
@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "googlenet", "vit_b_32"])
def test_takes_the_channels_and_gives_the_outputs(name, shape):
    model = torchvision(shape, 7, name).train()
    assert model(torch.randn(2, *shape)).shape == (2, 7)


@pytest.mark.proves("model=torchvision")
def test_three_channels_give_torchvision_s_own_network():
    torch.manual_seed(0)
    own = models.resnet18(num_classes=7)
    torch.manual_seed(0)
    model = torchvision([3, 32, 32], 7)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(own.eval()(x), model.eval()(x))


def store(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> nn.Module:
    """Put weights where torchvision looks for downloaded ones."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(folder))
    choice = models.get_model_weights(name)["DEFAULT"]
    torch.manual_seed(5)
    model = models.get_model(name, weights=None)
    (folder / "checkpoints").mkdir()
    # A file of our own has another hash than the name says; nothing is checked if it is there.
    torch.save(model.state_dict(), folder / "checkpoints" / Path(choice.url).name)
    return model.eval()


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1"])
def test_trained_weights_with_a_new_classifier(name, tmp_path, monkeypatch):
    trained = store(tmp_path, monkeypatch, name).state_dict()
    model = torchvision([3, 64, 64], 7, name, weights="DEFAULT")
    fresh = {
        key for key, value in model.state_dict().items() if not torch.equal(value, trained[key])
    }
    last = {"resnet18": "fc", "squeezenet1_1": "classifier.1"}[name]
    assert fresh == {f"{last}.weight", f"{last}.bias"}
    assert model.eval()(torch.randn(2, 3, 64, 64)).shape == (2, 7)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_trained_weights_without_the_auxiliary_classifiers(name, monkeypatch):
    own = models.get_model(name, weights=None, init_weights=False)
    trained = own.state_dict()
    kind = type(models.get_model_weights(name)["DEFAULT"])
    monkeypatch.setattr(kind, "get_state_dict", lambda self, **options: trained)
    model = torchvision([3, 96, 96], 7, name, weights="DEFAULT")
    state = model.state_dict()
    assert not [key for key in state if key.lower().startswith("aux")]
    fresh = {key for key, value in state.items() if not torch.equal(value, trained[key])}
    assert fresh == {"fc.weight", "fc.bias"}
    assert model.train()(torch.randn(2, 3, 96, 96)).shape == (2, 7)


def test_a_grey_image_gives_what_three_equal_channels_gave(tmp_path, monkeypatch):
    trained = store(tmp_path, monkeypatch, "resnet18")
    model = torchvision([1, 64, 64], 7, weights="DEFAULT").eval()
    x = torch.randn(2, 1, 64, 64)
    torch.testing.assert_close(
        model.layer1(model.conv1(x)), trained.layer1(trained.conv1(x.expand(2, 3, 64, 64)))
    )


def test_missing_weights_say_where_they_go(tmp_path, monkeypatch):
    def unreachable(*args: object, **kwargs: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(Mistake, match=r"model\.weights=DEFAULT: cannot download .*put that file"):
        torchvision([3, 64, 64], 7, weights="DEFAULT")


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"name must be .* resnet50.*, got resnet51"):
        torchvision([3, 64, 64], 7, "resnet51")
    with pytest.raises(ValueError, match=r"weights must be null or one of .*IMAGENET1K_V1"):
        torchvision([3, 64, 64], 7, weights="IMAGENET")
    for height, width in ((8, 8), (32, 16)):
        with pytest.raises(Mistake, match=rf"name=vit_b_16: .* 16, .* images are {height}x{width}"):
            torchvision([1, height, width], 7, "vit_b_16")
    with pytest.raises(Mistake, match="model=torchvision needs images"):
        torchvision([13], 7)
