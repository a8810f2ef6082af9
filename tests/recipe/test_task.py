"""`loss=auto` as it is typed: the loss of the task is trained, named and resumed."""

import json
import logging

import numpy as np
import pytest

from dlrun import record
from dlrun.__main__ import main

TINY = ("tracking=none", "threads=1", "epochs=4 steps", "model.hidden=[4]")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3)).astype(np.float32)
TARGETS = {
    "classes": RNG.integers(0, 3, 60),
    "numbers": RNG.normal(size=60),
    "labels": RNG.integers(0, 2, (60, 4)),
}


@pytest.fixture
def place(here, monkeypatch):
    monkeypatch.setenv("DLRUN_CACHE", str(here / "cache"))
    for name, y in TARGETS.items():
        np.savez(f"{name}.npz", x=X, y=y)
    return here


def run(*words):
    """What the record says: run.json, and the recipe."""
    assert main([*TINY, *words]) == 0
    found = record.find("outputs", "last")
    return json.loads((found / "run.json").read_text()), (found / "recipe.yaml").read_text()


@pytest.mark.parametrize(
    ("kind", "more", "loss"),
    [
        ("classes", (), "cross_entropy"),
        ("numbers", (), "mse"),
        ("labels", (), "bce"),
        pytest.param("labels", ("data.task=multilabel",), "bce", marks=pytest.mark.proof),
        ("labels", ("data.task=regression",), "mse"),
        pytest.param("labels", ("loss=mae",), "mae", marks=pytest.mark.proof),
        pytest.param("classes", ("loss=hinge",), "hinge", marks=pytest.mark.proof),
        ("classes", ("model=autoencoder", "model.hidden=[2]"), "mse"),
    ],
)
def test_what_is_taken_is_what_the_record_names(place, capsys, kind, more, loss):
    info, recipe = run("data=arrays", f"data.path={kind}.npz", *more)
    assert info["choices"]["loss"] == loss
    assert f"{loss}\n  _partial_: true" in recipe.partition("loss:")[2]
    said = capsys.readouterr().err
    assert ("4 columns of only 0 and 1" in said) == (kind == "labels" and not more)
    if loss == "bce":
        assert main([*TINY, "data=arrays", f"data.path={kind}.npz", "metric=[auroc]", *more]) == 0


def test_resuming_takes_the_same_loss_and_says_nothing(place, capsys, caplog):
    run("data=arrays", "data.path=numbers.npz")
    capsys.readouterr()
    with caplog.at_level(logging.WARNING, "dlrun"):
        assert main(["resume=last", "epochs=6 steps"]) == 0
    assert "defaults have changed" not in caplog.text + capsys.readouterr().err
    directory = record.find("outputs", "last")
    assert len(record.all_runs("outputs")) == 1
    assert record.read_json(directory / "run.json")["choices"]["loss"] == "mse"
    assert record.read_points(directory)[-1]["step"] == 6
    assert main(["resume=last", "epochs=8 steps", "loss=huber"]) == 0
    assert record.read_json(directory / "run.json")["choices"]["loss"] == "huber"


@pytest.mark.proof
def test_a_procedure_and_the_runs_that_it_trains_name_it(place):
    words = ("procedure=cross_validate", "procedure.folds=2")
    assert main([*TINY, "data=arrays", "data.path=numbers.npz", *words]) == 0
    runs = record.all_runs("outputs")
    assert len(runs) == 3
    assert {record.read_json(one / "run.json")["choices"]["loss"] for one in runs} == {"mse"}
    named = [*TINY, "data=arrays", "data.path=numbers.npz", *words, "loss=mse"]
    assert main(named) == 0, "is the same recipe, so nothing is trained again"
    assert len(record.all_runs("outputs")) == 3


def test_a_dry_run_builds_each_point_with_the_loss_of_its_data(place, capsys):
    words = ["-m", *TINY, "data=arrays", "data.path=numbers.npz,classes.npz,labels.npz"]
    assert main([*words, "sweep.dry_run=true"]) == 0
    assert "3 points, 3 runs; all can be built" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "words", "right"),
    [
        ("numbers", ("loss=cross_entropy",), "use loss=mse, mae or huber"),
        ("labels", ("loss=cross_entropy",), "are labels; use loss=bce"),
        ("numbers", ("data.task=multilabel",), "each label is 0 or 1"),
        ("classes", ("data.task=multilabel",), "the target has the value 2"),
        ("labels", ("data.task=multilabel", "data.scale_targets=true"), "labels are 0 and 1"),
        ("labels", ("data.task=classification",), "classes must be (n,)"),
    ],
)
def test_a_wrong_loss_and_a_wrong_task_are_refused(place, capsys, kind, words, right):
    assert main([*TINY, "data=arrays", f"data.path={kind}.npz", *words]) == 2
    assert right in capsys.readouterr().err
