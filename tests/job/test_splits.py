"""Part of the data: what a run then trains on, records, and says; typed as a user does."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from dlrun import record
from dlrun.__main__ import main
from dlrun.engine import checkpoint
from dlrun.job.session import Session
from dlrun.procedure.train import deployable
from dlrun.recipe import build, compose, identity
from dlrun.record.sweep import read

QUICK = ("tracking=none", "threads=1")
pytestmark = pytest.mark.usefixtures("here")


def last():
    """The last run: what it says of its data, and its last values."""
    run = record.find("outputs", "last")
    return run, record.read_json(run / "run.json")["data"], record.read_points(run)


def test_epochs_count_passes_and_steps_stay_steps(capsys):
    assert main([*QUICK, "data.samples=100", "epochs=2"]) == 0
    _, data, points = last()
    assert data["samples"] == {"train": 100, "val": 360, "test": 359}
    assert points[-1]["step"] == 2 * 4  # mini-batches of 32
    assert "digits: 100 / 360 / 359 samples" in capsys.readouterr().out
    assert main([*QUICK, "data.samples=5%", "epochs='10 steps'"]) == 0
    _, data, points = last()
    assert data["samples"]["train"] == 54
    assert (points[-1]["step"], points[-1]["epoch"]) == (10, 5)


def test_train_dev_is_measured_once_with_the_best_weights(capsys):
    words = [*QUICK, "data.train_dev=5%", "epochs=3", "optimizer.lr=0.3", "test_augmentation=flip"]
    assert main(words) == 0
    run, data, points = last()
    assert data["samples"] == {"train": 1024, "val": 360, "test": 359, "train_dev": 54}
    found = [p["values"] for p in points if "train_dev/loss" in p["values"]]
    assert found == [points[-1]["values"]]

    # By hand: the same rows through the same weights, without the views of the test split.
    with compose.composer([]) as composer:
        recipe = composer.recipe(words)
    held = Session().data(recipe)
    built = build.build(recipe, held)
    built.model.load_state_dict(checkpoint.read(run / "checkpoints" / "best.pt"))
    rows = held.splits["train_dev"].rows
    assert not set(rows.tolist()) & set(held.train.rows.tolist())
    with torch.no_grad():
        logits = deployable(built)(held.train.x[rows])
    y = held.train.y[rows]
    accuracy = (logits.argmax(1) == y).double().mean().item()
    assert found[0]["train_dev/accuracy"] == pytest.approx(accuracy)
    loss = functional.cross_entropy(logits.double(), y).item()
    assert found[0]["train_dev/loss"] == pytest.approx(loss, rel=1e-5)
    said = capsys.readouterr().out
    assert "to train, validate and test, 54 as train_dev" in said
    assert "train_dev" in said.split("validate and test")[1]


def test_what_is_trained_on_is_part_of_the_recipe_and_not_of_the_cache(here, monkeypatch):
    monkeypatch.setenv("DLRUN_CACHE", str(here / "cache"))
    with compose.composer([]) as composer:
        words = [
            "",
            "data.samples=100",
            "data.samples=10%",
            "data.train_dev=5%",
            "data.split_seed=1",
        ]
        recipes = [composer.recipe([*QUICK, *filter(None, [word])]) for word in words]
    assert len({identity.digest(recipe.copy()) for recipe in recipes}) == len(recipes)
    for recipe in recipes:
        Session().data(recipe)
    assert len(list((here / "cache").glob("digits-*"))) == 2  # the entry and its lock


def test_the_depth_of_images_is_that_of_all_training_samples(here, monkeypatch, caplog):
    from PIL import Image

    monkeypatch.setenv("DLRUN_CACHE", str(here / "cache"))
    for name in ("a", "b"):
        (here / "deep" / name).mkdir(parents=True)
        for n in range(30):
            values = np.full((4, 4), 900 + n if n else 4000, np.uint16)
            Image.fromarray(values).save(here / "deep" / name / f"{n}.png")
    depths = set()
    with compose.composer([]) as composer:
        for word in ("data.samples=null", "data.samples=2", "data.samples=5", "data.train_dev=40%"):
            words = ["data=imagefolder", "data.root=deep", "data.split=80/10/10", word]
            depths.add(Session().data(composer.recipe([*QUICK, *words])).depth)
    assert depths == {12}
    assert len(list((here / "cache").glob("imagefolder-*.lock"))) <= 2


def test_a_resumed_run_keeps_its_samples(capsys):
    assert main([*QUICK, "data.samples=100", "data.train_dev=50", "epochs=1"]) == 0
    _, before, _ = last()
    assert main(["resume=last", "epochs=2"]) == 0
    _, after, points = last()
    assert after["splits"] == before["splits"]
    assert points[-1]["epoch"] == 2
    capsys.readouterr()
    assert main(["resume=last", "data.samples=200", "epochs=3"]) == 2
    assert "data.samples=200 (was 100): the run would go on" in capsys.readouterr().err


def test_a_learning_curve_is_one_sweep(capsys):
    words = ["-m", *QUICK, "data.samples=1%,10%,100%", "epochs='200 steps'"]
    assert main(words) == 0
    [directory] = Path("outputs/sweeps").iterdir()
    points = read(directory).points
    assert [point.trained_on for point in points] == [11, 108, 1078]
    runs = [record.find("outputs", run.name) for run in record.all_runs("outputs")]
    assert {record.read_points(run)[-1]["step"] for run in runs} == {200}
    digests = {json.loads((run / "run.json").read_text())["data"]["splits"]["val"] for run in runs}
    assert len(digests) == 1, "all are judged by the same samples"
    said = capsys.readouterr().out
    assert "With 1,078 training samples val/accuracy is" in said
    assert "so more data would help" in said


def test_rows_of_any_name_that_a_procedure_gives_are_measured_at_the_end():
    assert main([*QUICK, "procedure._target_=tests.job.thirds.hold_out", "epochs=1"]) == 0
    [run] = [run for run in record.all_runs("outputs") if record.read_points(run)]
    info = record.read_json(run / "run.json")
    assert info["data"]["samples"] == {"train": 646, "val": 216, "test": 0, "fold": 216}
    assert {"fold/accuracy", "fold/loss"} <= record.read_points(run)[-1]["values"].keys()
