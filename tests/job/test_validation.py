"""A part of the validation split during training, and the training split as validation sees it."""

from pathlib import Path

import pytest
import torch

from dlrun import record
from dlrun.__main__ import main
from dlrun.engine.evaluate import evaluate, measure, samples
from dlrun.engine.feed import prepare
from dlrun.recipe import build

COMMON = ("tracking=none", "threads=1", "epochs=3")
pytestmark = pytest.mark.usefixtures("here")


def points():
    return record.read_points(record.find("outputs", "last"))


def test_the_part_is_stratified_and_always_the_same(compose_recipe, digits):
    runs = [build.build(compose_recipe("validate_on=50", f"seed={n}"), digits) for n in (0, 1)]
    assert torch.equal(runs[0].val.x, runs[1].val.x)
    assert len(runs[0].val) == 50
    assert torch.bincount(runs[0].val.y).tolist() == [5] * 10
    assert len(build.build(compose_recipe("validate_on=9999"), digits).val) == len(digits.val)


def test_what_is_chosen_by_the_part_is_measured_on_all(capsys):
    assert main([*COMMON, "validate_on=50"]) == 0
    end = record.last_values(points())
    best = next(p["values"] for p in points() if p["epoch"] == end["best/epoch"])
    assert best["val/accuracy"] * 50 == pytest.approx(round(best["val/accuracy"] * 50))
    assert end["best/val_accuracy"] * 360 == pytest.approx(round(end["best/val_accuracy"] * 360))
    assert end["best/val_accuracy"] != best["val/accuracy"]
    said = capsys.readouterr().out
    assert "best val, all" in said
    assert f"best val/accuracy {end['best/val_accuracy']:.4f}" in said


def test_the_whole_split_is_measured_with_the_best_weights(train_recipe):
    trained = train_recipe("epochs=3", "validate_on=50")
    run = trained.run
    whole = measure(run, prepare(run.data.val, run.evaluation, run.device, fixed=False))
    assert main([*COMMON, "validate_on=50"]) == 0
    end = record.last_values(points())
    assert end["best/val_accuracy"] == pytest.approx(whole["accuracy"])
    assert end["best/val_loss"] == pytest.approx(whole["loss"])


def test_the_best_weights_are_measured_where_the_last_are_the_result(train_recipe):
    rule = ["regularization=[early_stopping]", "regularization.early_stopping.restore_best=false"]
    words = ["epochs=3", "validate_on=50", "optimizer.lr=0.5", "schedule=constant"]
    run = train_recipe(*words).run  # which has its best weights
    whole = measure(run, prepare(run.data.val, run.evaluation, run.device, fixed=False))
    assert main([*COMMON, *words, *rule]) == 0
    end = record.last_values(points())
    assert end["best/epoch"] < 3
    assert end["best/val_loss"] == pytest.approx(whole["loss"])


def test_a_sweep_judges_by_the_whole_split():
    words = ["-m", *COMMON, "validate_on=50", "optimizer.lr=0.05,0.001"]
    assert main(words) == 0
    ledger = (next(iter((Path("outputs") / "sweeps").iterdir())) / "ledger.jsonl").read_text()
    for run in record.all_runs("outputs"):
        end = record.last_values(record.read_points(run))
        assert f'"value": {end["best/val_accuracy"]}' in ledger


def test_without_it_no_point_changes():
    assert main([*COMMON]) == 0
    assert not [key for key in record.last_values(points()) if key == "best/val_loss"]


@pytest.mark.parametrize("value", ["0", "-3"])
def test_it_must_be_above_0(capsys, value):
    assert main([*COMMON, f"validate_on={value}"]) == 2
    assert f"validate_on={value}: must be greater than 0" in capsys.readouterr().err


def test_training_samples_are_measured_as_validation_measures(train_recipe):
    words = ("epochs=2", "regularization=[dropout]", "augmentation=[crop]", "train_eval=true")
    trained = train_recipe(*words)
    run = trained.run
    found = trained.values("train_eval/loss")
    assert len(found) == 2
    train = prepare(run.data.train, run.evaluation, run.device, fixed=True)
    assert len(run.train_eval) == len(train) == 1078
    last = evaluate(run, run.forward, samples(run, train))
    best = trained.values("val/accuracy").index(max(trained.values("val/accuracy")))
    assert found[best] == pytest.approx(last["loss"], rel=1e-5)
    assert trained.values("train_eval/accuracy")[best] == pytest.approx(last["accuracy"])


def test_it_changes_nothing_of_the_training(train_recipe):
    words = ("epochs=2", "regularization=[dropout]")
    plain, measured = train_recipe(*words), train_recipe(*words, "train_eval=true")
    assert plain.values("val/loss") == measured.values("val/loss")
    assert plain.values("train/loss") == measured.values("train/loss")
