"""`dlrun export` writes files that give what the network gives."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from dlrun import record
from dlrun.__main__ import main
from dlrun.verb.asked import Asked
from dlrun.verb.opened import opened
from tests.conftest import sparsely
from tests.verb.conftest import SHORT


def wanted(run, count):
    """Stored samples of validation, and what the network says of them."""
    from dlrun.procedure.train import deployable

    with opened(Asked("export"), str(run)) as made:
        split = made.data.val
        x, module = split.x[split.rows[:count]], deployable(made.run)
        with torch.no_grad():
            return x, module(x)


@pytest.mark.parametrize("name", sparsely(["digits", "prices"], 2))
def test_a_torch_program(name, runs, capsys):
    assert main(["export", runs[name].name, "-o", "model.pt2"]) == 0
    assert "checked on 64 real samples" in capsys.readouterr().out
    more = {"dlrun.json": ""}
    program = torch.export.load("model.pt2", extra_files=more).module()
    x, output = wanted(runs[name], 7)
    torch.testing.assert_close(program(x), output, atol=1e-5, rtol=1e-5)
    told = json.loads(more["dlrun.json"])
    assert told["run"] == runs[name].name
    assert told.get("classes", []) == record.read_json(runs[name] / "run.json")["data"]["classes"]


@pytest.mark.parametrize("name", sparsely(["digits", "photos", "prices"], 3))
def test_onnx(name, runs, capsys):
    import onnxruntime

    assert main(["export", runs[name].name, "-o", "model.onnx"]) == 0
    assert "checked on 64 real samples" in capsys.readouterr().out
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 5):
        x, output = wanted(runs[name], count)
        (found,) = session.run(None, {"x": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), output, atol=1e-5, rtol=1e-5)
    told = session.get_modelmeta().custom_metadata_map
    assert told["run"] == runs[name].name
    if name == "photos":
        assert json.loads(told["classes"]) == ["dark", "light"]
        assert json.loads(told["reading"])


@pytest.mark.proof
def test_of_a_table_with_texts_the_column_step_stands_beside(runs, here, capsys):
    draw = np.random.default_rng(0)
    town, rooms = draw.choice(["Bonn", "Trier", ""], 90), draw.integers(1, 9, 90)
    lines = [f"{t},{r or ''},{r * 5.5 + len(t)}" for t, r in zip(town, rooms, strict=True)]
    Path("homes.csv").write_text("\n".join(["town,rooms,price", *lines]))
    assert main(["data=arrays", "data.path=homes.csv", "data.target=price", *SHORT]) == 0
    assert main(["export", "-o", "model.pt2"]) == 0
    assert "from columns_of_model import inputs" in capsys.readouterr().out
    ask = (
        "import sys, torch, pandas; from columns_of_model import inputs; "
        "x = torch.from_numpy(inputs(pandas.read_csv('homes.csv')[['rooms', 'town']])); "
        "print(torch.export.load('model.pt2').module()(x)[:, 0].tolist()); "
        "print('dlrun' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    found, imported = done.stdout.splitlines()
    assert imported == "False"
    with opened(Asked("export")) as made:
        from dlrun.procedure.train import deployable

        x, module = made.data.train.x, deployable(made.run)
        with torch.no_grad():
            assert json.loads(found) == pytest.approx(module(x)[:, 0].tolist(), rel=1e-5)


def test_what_a_program_gives_is_said_of_every_kind_of_targets(here, capsys):
    """With loss=bce it gives logits, whether the targets are labels, shares or the input."""
    draw = np.random.default_rng(0)
    x, p = draw.normal(size=(40, 3)).astype("float32"), draw.uniform(size=(40, 2))
    np.savez("labels.npz", x=x, y=(p > 0.5).astype("float32"))
    np.savez("shares.npz", x=x, y=p.astype("float32"))
    own = ["data=arrays", "model.hidden=[4]", *SHORT]
    whole = ["model=autoencoder", "preprocessing=none", *SHORT]
    for words, said, more in (
        (
            [*own, "data.path=labels.npz", "loss=bce"],
            "the logits of the labels, whose sig",
            "labels",
        ),
        ([*own, "data.path=shares.npz", "loss=bce"], "logits whose sigmoid is numbers in", ""),
        ([*own, "data.path=shares.npz", "loss=mse"], "gives numbers in the units of the", ""),
        ([*whole, "loss=bce", "model.hidden=[4]"], "logits whose sigmoid is the input as", ""),
    ):
        assert main(words) == 0
        capsys.readouterr()
        assert main(["export", "--format", "safetensors", "-o", "m.safetensors"]) == 0
        out = capsys.readouterr().out
        assert said in out
        assert "the metadata have " + f"the {more} and " * bool(more) + "the recipe" in out
        with safe_open("m.safetensors", "pt") as file:
            told = json.loads(file.metadata()["dlrun"])
        assert told.get("labels") == (["1", "2"] if more else None)
        assert told.get("probabilities") == ("sigmoid of the output" if more else None)


def test_safetensors(runs, capsys):
    assert main(["export", runs["digits"].name, "--format", "safetensors"]) == 0
    assert "the metadata have the classes and the recipe" in capsys.readouterr().out
    with safe_open(f"{runs['digits'].name}.safetensors", "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        told = file.metadata()
    with opened(Asked("export"), str(runs["digits"])) as made:
        for part, module in (("model", made.run.model), ("preprocessing", made.run.evaluation)):
            for name, value in module.state_dict().items():
                assert torch.equal(tensors.pop(f"{part}.{name}"), value)
    assert not tensors
    assert json.loads(told["dlrun"])["classes"] == list(map(str, range(10)))
    assert told["recipe"] == (runs["digits"] / "recipe.yaml").read_text()


def test_a_file_that_differs_is_not_kept(runs, monkeypatch, tmp_path, capsys):
    from dlrun.tracking import program

    save = program.save

    def wrong(module, *rest):
        with torch.no_grad():
            next(module.parameters()).add_(0.1)
        save(module, *rest)
        with torch.no_grad():
            next(module.parameters()).sub_(0.1)

    monkeypatch.setattr(program, "save", wrong)
    path = tmp_path / "wrong.pt2"
    assert main(["export", runs["digits"].name, "-o", str(path)]) == 1
    assert "gives other outputs than the network" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_mistakes(runs, monkeypatch, capsys):
    from dlrun.verb import export

    monkeypatch.setattr(export, "_NEEDED", ("nosuchpackage",))
    for words, said in (
        (["-o", "model.bin"], "-o model.bin: end it in .pt2, .onnx, .safetensors"),
        (["-o", "model.onx"], "did you mean .onnx?"),
        (["-o", "model.pt2", "--format", "onnx"], "a file of --format onnx ends in .onnx"),
        (["-o", "outputs"], "-o outputs: end it in"),
        (["-o", "no/such.pt2"], "there is no directory no"),
        (["-o", "/proc/x.pt2"], "-o /proc/x.pt2: its directory cannot be written"),
        (["--format", "onx"], "did you mean onnx?"),
        (["--format", "onnx"], "needs nosuchpackage; pip install"),
    ):
        assert main(["export", "last", *words]) == 2
        assert said in capsys.readouterr().err
