"""The saved model: raw samples in, the same logits out, without dlrun and without its class."""

import errno
import json
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from mlflow import MlflowClient
from sklearn.datasets import load_digits
from torch import nn

from dlrun import record
from dlrun.errors import Interrupted
from dlrun.tracking import model, store
from dlrun.tracking.delivery import Delivery

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

LOAD = """
import sys, numpy, torch, mlflow.pytorch
loaded = mlflow.pytorch.load_model(sys.argv[1])
x = torch.from_numpy(numpy.load(sys.argv[2]))
sizes = {}
for size in (1, 2, 7, len(x)):
    sizes[str(size)] = loaded(x[:size]).detach().numpy()
numpy.savez(sys.argv[3], **sizes)
assert not any(name.split(".")[0] in ("dlrun", "test_model") for name in sys.modules)
"""


CLASSES = ["no", "null", "007", "7", "1.50", "été", "a: b", "", " ", "#9"]


class Standardized(nn.Module):
    """Preprocessing, a convolution, batch norm and dropout, as a run ends up with."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.full((1, 1, 1), 0.3))
        self.inner = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Flatten()
        )
        self.head = nn.Linear(4 * 6 * 6, 10)

    def forward(self, x):
        return self.head(self.inner(x.float() / 255 - self.mean))


class Exotic(nn.Module):
    """Does what no exporter can follow: branches on a value."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 2)

    def forward(self, x):
        return self.inner(x) if x.sum().item() > 0 else self.inner(-x)


@pytest.fixture(scope="module")
def images():
    """Real handwritten digits as raw images, (12, 1, 8, 8) uint8."""
    pixels = load_digits().images[:12] * 15
    return torch.from_numpy(pixels.astype(np.uint8)).unsqueeze(1)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    made = Standardized()
    made(torch.randint(0, 256, (64, 1, 8, 8)))  # so that batch norm has statistics
    return made.eval()


@pytest.fixture(scope="module")
def saved(network, images, tmp_path_factory):
    directory = tmp_path_factory.mktemp("run") / "model"
    assert model.save_model(network, images, directory, step=40, classes=CLASSES)
    return directory


def test_loading_needs_neither_dlrun_nor_the_class(saved, network, images, tmp_path):
    np.save(tmp_path / "x.npy", images.numpy())
    command = [sys.executable, "-c", LOAD, str(saved), str(tmp_path / "x.npy")]
    subprocess.run([*command, str(tmp_path / "y.npz")], check=True, cwd=tmp_path)
    with torch.no_grad(), np.load(tmp_path / "y.npz") as found:
        for size in (1, 2, 7, 12):
            assert np.array_equal(found[str(size)], network(images[:size]).numpy())


def test_mlflow_finds_the_version_of_torch_that_is_installed(saved):
    stored = yaml.safe_load((saved / "MLmodel").read_text())["flavors"]["pytorch"]
    assert stored["pytorch_version"] == torch.__version__


def test_the_signature_says_raw_images_of_any_number(saved):
    content = yaml.safe_load((saved / "MLmodel").read_text())
    inputs = json.loads(content["signature"]["inputs"])[0]["tensor-spec"]
    outputs = json.loads(content["signature"]["outputs"])[0]["tensor-spec"]
    assert inputs == {"dtype": "uint8", "shape": [-1, 1, 8, 8]}
    assert outputs == {"dtype": "float32", "shape": [-1, 10]}
    assert content["metadata"].items() >= {"step": 40, "classes": CLASSES}.items()
    requirements = (saved / "requirements.txt").read_text()
    assert f"torch=={torch.__version__.partition('+')[0]}" in requirements
    assert "+" not in requirements


def test_the_class_of_an_image_can_be_named(saved, network, images):
    """With MLflow and torch alone, from whichever of its two ways of loading."""
    import mlflow

    names = mlflow.models.get_model_info(str(saved)).metadata["classes"]
    assert names == mlflow.pyfunc.load_model(str(saved)).metadata.metadata["classes"] == CLASSES
    with torch.no_grad():
        found = mlflow.pytorch.load_model(str(saved))(images).argmax(1)
        assert found.tolist() == network(images).argmax(1).tolist()
    assert len(set(found.tolist())) > 1


def test_it_says_of_itself_that_it_evaluates(saved, images):
    """What torch does not let a program do is said where the model is described."""
    import mlflow

    program = mlflow.pytorch.load_model(str(saved))
    first, second = program(images), program(images)  # dropout is off
    assert torch.equal(first, second)
    said = mlflow.models.get_model_info(str(saved)).metadata["mode"]
    with pytest.raises(NotImplementedError, match="eval"):
        program.eval()
    assert said.startswith("evaluation: ")
    assert "needs no .eval(), and torch refuses" in said


@pytest.mark.proof
@pytest.mark.slow
def test_mlflow_models_predict_takes_raw_images(saved, network, images, tmp_path):
    (tmp_path / "in.json").write_text(json.dumps({"inputs": images[:3].tolist()}))
    command = [sys.executable, "-m", "mlflow", "models", "predict", "-m", str(saved)]
    command += ["-i", str(tmp_path / "in.json"), "-o", str(tmp_path / "out.json")]
    command += ["-t", "json", "--env-manager", "local"]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    logits = json.loads((tmp_path / "out.json").read_text())["predictions"]
    with torch.no_grad():
        assert np.allclose(logits, network(images[:3]).numpy(), atol=1e-6)


def test_tables_and_a_single_example(tmp_path):
    import mlflow.pytorch

    network = nn.Sequential(nn.Linear(13, 5), nn.Tanh(), nn.Linear(5, 1)).eval()
    x = torch.randn(4, 13)
    assert model.save_model(network, x[:1], tmp_path / "model")
    loaded = mlflow.pytorch.load_model(str(tmp_path / "model"))
    with torch.no_grad():
        assert torch.equal(loaded(x), network(x))


def test_what_cannot_be_exported_is_pickled(tmp_path, caplog):
    network = Exotic().eval()
    x = torch.ones(2, 3)
    assert model.save_model(network, x, tmp_path / "model")
    (warned,) = [each for each in caplog.records if each.name == "dlrun"]
    assert "saved as a pickle" in warned.getMessage()
    import mlflow.pytorch

    loaded = mlflow.pytorch.load_model(str(tmp_path / "model"))
    with torch.no_grad():
        assert torch.equal(loaded(x), network(x))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("no logits today\nand more"), "RuntimeError: no logits today"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_what_cannot_be_saved_is_left_out_with_one_warning(error, said, tmp_path, caplog):

    def refuse(*_):
        raise error

    network = nn.Linear(2, 2)
    network.forward = refuse
    levels = [logging.getLogger(name).level for name in ("mlflow", "torch")]
    assert not model.save_model(network, torch.ones(2, 2), tmp_path / "model")
    (warned,) = [each for each in caplog.records if each.name == "dlrun"]
    assert f"not saved for MLflow: {said} ({__file__}:" in warned.getMessage()
    assert list(tmp_path.iterdir()) == []
    assert levels == [logging.getLogger(name).level for name in ("mlflow", "torch")]


def test_a_full_disk_is_said_with_what_saves_the_model_later(tmp_path, monkeypatch, caplog):
    written = []

    def full(module, x, folder):
        written.append(folder)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(model, "_export", full)
    directory = tmp_path / "runs" / "one" / "model"
    directory.mkdir(parents=True)  # of earlier weights
    assert model.save_model(nn.Linear(2, 1).eval(), torch.zeros(2, 2), directory)
    [said] = [each.getMessage() for each in caplog.records]
    assert said == (
        "the model was not saved for MLflow: the disk is full; "
        f"`dlrun resume=one outputs={tmp_path}` saves it"
    )
    assert not directory.exists()
    assert len(written) == 1


def test_a_signal_in_the_middle_is_not_swallowed(tmp_path, monkeypatch):
    def save(module, example, folder):
        raise Interrupted(15)

    monkeypatch.setattr(model, "_export", save)
    with pytest.raises(Interrupted):
        model.save_model(nn.Linear(2, 1).eval(), torch.zeros(2, 2), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_run_has_its_model_once_and_the_newest_weights(
    begin, database, network, images, monkeypatch
):
    import mlflow.pytorch

    client, experiment = store.connect(database, "dlrun")
    run = begin(2)
    run.set_status(record.FINISHED)
    for bias in (0.0, 1.0):
        changed = Standardized().eval()
        changed.load_state_dict(network.state_dict())
        changed.head.bias.data += bias
        assert model.save_model(changed, images, run.directory / "model", step=7)
        delivery = Delivery(client, experiment, run.directory)
        delivery.begin(live=False)
        delivery.finish()
    found = client.search_logged_models([experiment])
    (logged,) = [each for each in found if each.source_run_id == delivery.run_id]
    assert str(logged.status) == "READY"
    (output,) = MlflowClient(database).get_run(delivery.run_id).outputs.model_outputs
    assert (output.model_id, output.step) == (logged.model_id, 7)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    loaded = mlflow.pytorch.load_model(f"runs:/{delivery.run_id}/model")
    with torch.no_grad():
        assert torch.equal(loaded(images), changed(images))
    where = client, experiment, delivery.run_id, run.directory / "model"
    assert model.register(*where) == logged.model_id


def test_an_attempt_that_fails_half_way_leaves_no_second_model(
    begin, database, network, images, monkeypatch
):
    client, experiment = store.connect(database, "dlrun")
    run = begin(1)
    run.set_status(record.FINISHED)
    assert model.save_model(network, images, run.directory / "model")
    delivery = Delivery(client, experiment, run.directory)
    with monkeypatch.context() as patch:
        patch.setattr(client, "finalize_logged_model", _fails)
        with pytest.raises(OSError, match="no answer"):
            delivery.deliver(live=False)
    delivery.deliver(live=False)
    found = client.search_logged_models([experiment])
    (logged,) = [each for each in found if each.source_run_id == delivery.run_id]
    assert str(logged.status) == "READY"
    (output,) = MlflowClient(database).get_run(delivery.run_id).outputs.model_outputs
    assert output.model_id == logged.model_id


def _fails(*given):
    raise OSError("no answer")
