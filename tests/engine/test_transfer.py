import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dlrun.engine import transfer
from dlrun.errors import Mistake


def net(outputs=3):
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, outputs))


@pytest.fixture
def trained():
    torch.manual_seed(1)
    model = net()
    model(torch.randn(20, 4))  # moves the running statistics
    return model.state_dict()


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_what_fits_is_loaded_and_the_head_keeps_its_own(trained):
    torch.manual_seed(2)
    model = net(outputs=2)
    drawn = {name: value.clone() for name, value in model.state_dict().items()}
    found = transfer.put(model, trained | {"extra.weight": torch.zeros(3)})
    now = model.state_dict()
    for name, value in now.items():
        assert torch.equal(value, drawn[name] if name.startswith("3.") else trained[name]), name
    assert found == {
        "loaded": 7,
        "numbers": 20 + 5 + 5 * 4 + 1,
        "anew": {"3.weight": "2×5, was 3×5", "3.bias": "2, was 3"},
        "left_out": ["extra.weight"],
    }


def test_a_tensor_of_the_same_name_and_another_shape_is_no_fit_even_if_it_could_be_spread():
    model = nn.Linear(4, 5)
    before = model.bias.detach().clone()
    found = transfer.put(model, {"weight": torch.ones(5, 4), "bias": torch.ones(1)})
    assert torch.equal(model.bias, before)
    assert found["anew"] == {"bias": "5, was 1"}


@pytest.mark.parametrize(
    "given", [{}, {"conv.weight": torch.ones(2, 3)}, {"1.running_mean": torch.ones(5)}]
)
def test_nothing_loaded_is_refused(given):
    with pytest.raises(ValueError, match="nothing fits"):
        transfer.put(net(), given)


@pytest.mark.parametrize("where", ["weights", "archive"])
def test_flipped_bytes_are_found(trained, tmp_path, where):
    file = tmp_path / "w.pt"
    torch.save(trained, file)
    content = bytearray(file.read_bytes())
    value = trained["0.weight"].numpy().tobytes() if where == "weights" else b"PK\x03\x04"
    content[content.index(value) + 2] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(Mistake, match=r"w\.pt is damaged: "):
        transfer.read(file)


def test_a_file_of_old_torch_is_no_archive(trained, tmp_path):
    torch.save(trained, tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    found, fitted = transfer.read(tmp_path / "w.pt")
    assert same(found, trained)
    assert fitted is None


@pytest.mark.parametrize("before", ["module.", "_orig_mod.", "model."])
def test_what_other_programs_put_before_names(before, trained):
    model = net()
    found = transfer.put(
        model, {before + name: value for name, value in trained.items()} | {"a": torch.ones(1)}
    )
    assert same(model.state_dict(), trained)
    assert found["loaded"] == 9


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "preprocessing": {}, "position": {"step": 3}},
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model_state_dict": state, "loss": 0.5},
    ],
    ids=["a state dict", "dlrun", "lightning", "the tutorial"],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_files_of_torch(wrap, legacy, trained, tmp_path):
    torch.save(wrap(trained), tmp_path / "w.pt", _use_new_zipfile_serialization=not legacy)
    found, _ = transfer.read(tmp_path / "w.pt")
    assert same(found, trained)


def test_safetensors(trained, tmp_path):
    save_file(trained, tmp_path / "w.safetensors")
    assert same(transfer.read(tmp_path / "w.safetensors")[0], trained)


def test_a_whole_module_is_not_executed(tmp_path):
    torch.save(net(), tmp_path / "w.pt")
    with pytest.raises(Mistake, match=r"could be code; save model\.state_dict\(\) alone"):
        transfer.read(tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello", bytes(1000)])
def test_what_is_no_file_of_weights(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Mistake, match="is not a complete weights file"):
        transfer.read(tmp_path / name)


@pytest.mark.parametrize("left", [100, 6000, 17000])
def test_a_file_that_was_cut_off(left, tmp_path):
    torch.save({"weight": torch.ones(200, 20)}, tmp_path / "w.pt")
    (tmp_path / "w.pt").write_bytes((tmp_path / "w.pt").read_bytes()[:left])
    with pytest.raises(Mistake, match=r"w\.pt is not a complete weights file"):
        transfer.read(tmp_path / "w.pt")


def test_a_file_without_tensors(tmp_path):
    torch.save({"a": 1}, tmp_path / "w.pt")
    with pytest.raises(Mistake, match="no tensors by name"):
        transfer.read(tmp_path / "w.pt")
