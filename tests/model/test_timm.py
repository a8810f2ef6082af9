"""Classifiers of timm, fitted to the data."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dlrun.__main__ import main
from dlrun.errors import Mistake
from dlrun.model.pretrained import expected
from dlrun.model.timm import timm


@pytest.mark.proves("model=timm")
@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
@pytest.mark.parametrize("shape", [[3, 32, 32], [1, 64, 64]])
def test_it_is_timm_s_own_network(name, shape):
    import timm as library

    size = {"img_size": tuple(shape[1:])} if "vit" in name else {}
    torch.manual_seed(0)
    own = library.create_model(name, num_classes=7, in_chans=shape[0], **size).eval()
    torch.manual_seed(0)
    model = timm(shape, 7, name).eval()
    x = torch.randn(2, *shape)
    assert model(x).shape == (2, 7)
    assert torch.equal(own(x), model(x))


def store(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str = "test_resnet"
) -> torch.nn.Module:
    """Put weights where a message says that they go."""
    import timm as library

    monkeypatch.setattr(torch.hub, "_hub_dir", str(folder))
    (folder / "checkpoints").mkdir()
    torch.manual_seed(5)
    model = library.create_model(name)
    save_file(model.state_dict(), folder / "checkpoints" / f"{name}.r160_in1k.safetensors")
    return model.eval()


@pytest.mark.parametrize("weights", [True, "DEFAULT", "r160_in1k"])
def test_trained_weights_with_a_new_classifier(weights, tmp_path, monkeypatch):
    trained = store(tmp_path, monkeypatch).state_dict()
    model = timm([3, 32, 32], 7, "test_resnet", weights)
    now = model.state_dict()
    fresh = {key for key, value in now.items() if not torch.equal(value, trained[key])}
    assert fresh == {"fc.weight", "fc.bias"}
    assert expected(model) == {
        "data.size": 160,
        "preprocessing.standardize.mean": [0.5, 0.5, 0.5],
        "preprocessing.standardize.std": [0.5, 0.5, 0.5],
    }


def test_missing_weights_say_which_file_goes_where(tmp_path, monkeypatch):
    def unreachable(*args: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(Mistake) as caught:
        timm([3, 64, 64], 7, "resnet18", True)
    assert str(caught.value) == (
        "model.weights=true: cannot download "
        "https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors (no network); "
        f"put that file there as {tmp_path}/checkpoints/resnet18.a1_in1k.safetensors, or use "
        "model.weights=null"
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "resnet81"}, r"such as resnet\d+.*, got resnet81"),
        (
            {"name": "resnet18", "weights": "tv"},
            "weights must be null or one of DEFAULT, .*tv_in1k",
        ),
        ({"name": "resnet18.tv"}, "weights must be null or one of DEFAULT"),
    ],
)
def test_what_cannot_be_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        timm([3, 64, 64], 7, **options)
    with pytest.raises(Mistake, match="model=timm needs images"):
        timm([13], 7)


def test_where_it_is_not_installed(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(Mistake, match=r"pip install -e '\.\[timm\]'"):
        timm([3, 64, 64], 7)


@pytest.mark.proof
def test_the_command_offers_its_preprocessing_as_settings(tmp_path, monkeypatch, capsys):
    """Which are then no longer offered; head and backbone are timm's own names."""
    from PIL import Image

    for kind in ("cat", "dog"):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for number in range(12):
            colour = (number * 20, 100 if kind == "cat" else 200, 30)
            Image.new("RGB", (20, 20), colour).save(tmp_path / "photos" / kind / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLRUN_CACHE", str(tmp_path / "cache"))
    store(tmp_path, monkeypatch)
    words = ["data=imagefolder", "data.root=photos", "data.size=32", "model=timm", "epochs=1"]
    words += ["model.name=test_resnet", "model.weights=true", "tracking=none", "freeze=[backbone]"]
    assert main(words) == 0, capsys.readouterr().err
    said = capsys.readouterr().err
    right = (
        "data.size=160 'preprocessing.standardize.mean=[0.5,0.5,0.5]' "
        "'preprocessing.standardize.std=[0.5,0.5,0.5]'"
    )
    assert right in said
    words[2] = "data.size=160"
    words += [word.strip("'") for word in right.split()[1:]]
    assert main([*words, "epochs='1 steps'"]) == 0
    assert "know images" not in capsys.readouterr().err
