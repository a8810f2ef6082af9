"""predict, evaluate, the MLflow model and the exported ONNX say the same of the same samples."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from PIL import Image

from dlrun.__main__ import main
from dlrun.data.digits import digits
from dlrun.procedure import train
from dlrun.verb.asked import Asked
from dlrun.verb.opened import opened
from tests.conftest import sparsely
from tests.verb.conftest import write_houses, write_photos, write_trips
from tests.verb.test_evaluate import evaluated
from tests.verb.test_predict import numbers, predicted

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred"),  # MLflow, of itself
]


def new_digits():
    """Of new samples: the files, the samples as the model takes them, the truth, and the words."""
    whole = digits()
    x, y = whole.x[:40].numpy(), whole.y[:40].numpy()
    np.savez("new.npz", x=x, y=y)
    return ["new.npz"], x, y, ["data=arrays", "data.path=new.npz"]


def new_photos():
    write_photos("new", 12, seed=3)
    files = [f"new/{name}/{number}.png" for name in ("dark", "light") for number in range(12)]
    x = np.stack([np.asarray(Image.open(file))[None] for file in files])
    return files, x, np.repeat([0, 1], 12), ["data.root=new"]


def new_houses():
    write_houses("new.csv", 50, seed=3)
    table = pd.read_csv("new.csv")
    return ["new.csv"], table, table.price.to_numpy(), ["data.path=new.csv"]


def new_trips():
    table = write_trips(Path("new.csv"), 50, seed=3)
    return ["new.csv"], table, (table.late == "yes").to_numpy().astype(int), ["data.path=new.csv"]


def of_the_saved_model(run, x):
    """Outputs of the MLflow model, of stored samples or of the table as it is."""
    with opened(Asked("predict"), str(run)) as made:
        train.export(made.run, SimpleNamespace(directory=Path()), 1)
    if isinstance(x, pd.DataFrame):
        return mlflow.pyfunc.load_model("model").predict(x)
    return mlflow.pytorch.load_model("model")(torch.from_numpy(x)).detach().numpy()


def of_onnx(run, x, monkeypatch):
    """Outputs of the exported file, of a table's columns as the step beside it encodes them."""
    assert main(["export", str(run), "-o", "net.onnx"]) == 0
    if Path("columns_of_net").is_dir():
        monkeypatch.syspath_prepend(".")
        x = importlib.import_module("columns_of_net").inputs(x)
        for name in [name for name in sys.modules if name.startswith("columns_of_net")]:
            monkeypatch.delitem(sys.modules, name)
    elif isinstance(x, pd.DataFrame):
        x = x[["rooms", "area"]].to_numpy(np.float32)
    session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize(
    ("name", "new"),
    sparsely(
        [
            ("digits", new_digits),
            ("photos", new_photos),
            ("prices", new_houses),
            ("trips", new_trips),
        ],
        3,
    ),
)
def test_all_ways_to_an_answer_agree(name, new, runs, trips, tmp_path, monkeypatch, capsys):
    run = trips[1] if name == "trips" else runs[name]
    monkeypatch.chdir(tmp_path)
    files, x, y, words = new()
    rows = predicted(capsys, run, *files)
    values = evaluated(capsys, run, *words)["values"]
    outputs = [of_the_saved_model(run, x), of_onnx(run, x, monkeypatch)]
    if name == "prices":
        said = numbers(rows, "prediction")
        assert np.abs(said[:, 0] - y).mean() == pytest.approx(values["mae"], rel=1e-5)
        for output in outputs:
            assert output == pytest.approx(said, rel=1e-5)
        return
    p = numbers(rows, "p_")
    assert -np.log(p[np.arange(len(y)), y]).mean() == pytest.approx(values["loss"], abs=1e-5)
    assert (p.argmax(1) == y).mean() == pytest.approx(values["accuracy"])
    for output in outputs:
        logits = torch.from_numpy(output).double()
        assert logits.softmax(1).numpy() == pytest.approx(p, abs=1e-5)
