"""Baselines equal numpy on labels alone, and the same models typed alone."""

import numpy as np
import pytest
import torch
import yaml

from dlrun import record
from dlrun.__main__ import main
from dlrun.job.session import Session
from dlrun.procedure.baseline import of_constant, shallow
from dlrun.recipe import build

COMMON = ("tracking=none", "threads=1", "epochs=2")
BASELINE = (*COMMON, "procedure=baseline")


def without(key):
    """The words of a baseline without that for a key, which another one would overrule."""
    return [word for word in BASELINE if not word.startswith(f"{key}=")]


def told(outputs="outputs"):
    """What the procedure's record says, and the runs it has made by name."""
    runs = record.all_runs(outputs)
    infos = {run: record.read_json(run / "run.json") for run in runs}
    [own] = [info for info in infos.values() if info.get("kind") == "procedure"]
    return own, {info["name"]: run for run, info in infos.items() if info is not own}


def points(run):
    """Without the clock, and without what belongs to the test split."""
    return [
        {k: v for k, v in point["values"].items() if not k.startswith(("time/", "test/"))}
        for point in record.read_points(run)
    ]


@pytest.mark.proves("procedure=baseline")
def test_each_is_what_it_is_alone(here, digits, capsys):
    words = ["model.hidden=[24,16,8,8,8,8]", "optimizer=adam", "regularization=[l2]"]
    assert main([*BASELINE, *words, "initializer=he"]) == 0
    assert "warning" not in capsys.readouterr().err
    info, runs = told()
    table = {row["model"]: row for row in info["table"]}
    names = ["majority class", "linear", "mlp with 1 of 6 hidden layers"]
    assert list(table) == names
    assert list(runs) == names[1:]
    train, val = (split.y[split.rows].numpy() for split in (digits.train, digits.val))
    shares = np.bincount(train) / len(train)
    assert table[names[0]]["val/accuracy"] == np.mean(val == shares.argmax())
    assert table[names[0]]["val/loss"] == pytest.approx(-np.log(shares)[val].mean(), rel=1e-6)
    typed = {
        names[1]: ["model=linear", "optimizer=adam"],
        names[2]: ["model.hidden=[24]", "optimizer=adam", "initializer=he", words[2]],
    }
    for number, (name, alone) in enumerate(typed.items()):
        assert main([*COMMON, *alone, f"outputs=alone{number}"]) == 0
        other = record.find(f"alone{number}", "last")
        assert points(runs[name]) == points(other)
        best = max(p["val/accuracy"] for p in points(other) if "val/accuracy" in p)
        assert table[name]["val/accuracy"] == best
        assert not any("test/loss" in p["values"] for p in record.read_points(runs[name]))
    [found] = info["findings"]
    assert (found["name"], found["level"]) == ("baseline", "note")
    assert found["numbers"] == {name: row["val/accuracy"] for name, row in table.items()}
    assert found["command"].startswith("dlrun tracking=none threads=1 epochs=2 'model.hidden=[24,")
    assert "procedure" not in found["command"]
    made = [yaml.safe_load((run / "recipe.yaml").read_text()) for run in runs.values()]
    assert [one["regularization"] == {} for one in made] == [True, False]
    before = {run: (run / "metrics.jsonl").read_bytes() for run in record.all_runs("outputs")}
    assert main([*BASELINE, *words, "initializer=he"]) == 0
    after = {run: (run / "metrics.jsonl").read_bytes() for run in record.all_runs("outputs")}
    assert after == before, "typed again, it trains nothing"


def test_all_columns_are_of_the_best_weights(here):
    random = np.random.default_rng(3)
    x, y = (random.normal(size=(90, n)).astype("float32") for n in (9, 1))
    np.savez("noise.npz", x=x, y=y)
    words = ["data=arrays", "data.path=noise.npz", "data.task=regression", "loss=mse"]
    assert main([*BASELINE, *words, "epochs=5"]) == 0
    info, runs = told()
    epochs = set()
    for row in info["table"][1:]:
        run = runs[row["model"]]
        best = record.last_values(record.read_points(run))["best/epoch"]
        [there] = [p for p in points(run) if p.get("val/loss") == row["val/loss"]]
        assert row["val/mae"] == there["val/mae"]
        epochs.add(best)
    assert min(epochs) < 5, "else the last weights are the best ones"


def test_numbers_have_a_mean_and_a_median(here, compose_recipe):
    random = np.random.default_rng(1)
    y = random.exponential(5, size=(80, 2)).astype("float32")
    np.savez("numbers.npz", x=random.normal(size=(80, 3)).astype("float32"), y=y)
    words = ["data=arrays", "data.path=numbers.npz", "data.task=regression", "loss=mse"]
    assert main([*BASELINE, *words]) == 0
    info, _ = told()
    constant, linear = info["table"]
    assert (constant["model"], linear["model"]) == ("constant", "linear")
    data = Session().data(compose_recipe(*words))
    train, val = (y[split.rows.numpy()] for split in (data.train, data.val))
    median = np.sort(train, 0)[(len(train) - 1) // 2]
    assert constant["val/mae"] == pytest.approx(np.abs(val - median).mean(), rel=1e-5)
    squares = ((val - train.mean(0)) / train.std(0)) ** 2
    assert constant["val/loss"] == pytest.approx(squares.mean(), rel=1e-5)
    assert info["findings"][0]["text"].startswith(
        "What any network must beat in val/loss: constant "
    )


@pytest.mark.parametrize("loss", ["bce", "hinge", "mse"])
def test_a_constant_under_other_losses(compose_recipe, digits, loss):
    run = build.build(compose_recipe(f"loss={loss}"), digits)
    got = of_constant(run)
    shares = torch.bincount(run.train.y, minlength=10).double() / len(run.train)
    y = torch.nn.functional.one_hot(run.val.y, 10).double()
    if loss == "bce":
        by_hand = -(y * shares.log() + (1 - y) * (1 - shares).log()).mean()
    elif loss == "mse":
        by_hand = ((y - shares) ** 2).mean()
    else:
        by_hand = torch.tensor(9.0)  # of equal scores, the margin for each other class
    assert got["val/loss"] == pytest.approx(float(by_hand), rel=1e-2 if loss == "hinge" else 1e-5)
    assert got["val/accuracy"] == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    ("model", "name", "settings"),
    [
        (
            {"_target_": "dlrun.model.mlp.mlp", "hidden": [9, 8, 7, 6, 5, 4, 3, 2]},
            "mlp with 2 of 8 hidden layers",
            {"model.hidden": [9, 8]},
        ),
        (
            {"_target_": "dlrun.model.cnn.cnn", "channels": [8] * 11, "hidden": [5] * 5},
            "cnn with 2 of 11 convolutions",
            {"model.channels": [8, 8], "model.hidden": [5]},
        ),
        (
            {"_target_": "dlrun.model.vgg.vgg", "stages": [[1, 2], [3] * 6, [4] * 7], "hidden": []},
            "vgg with 3 of 15 convolutions",
            {"model.stages": [[1, 2], [3]]},
        ),
        (
            {"_target_": "dlrun.model.vgg.vgg", "stages": [[1, 2], [3]], "hidden": [4]},
            "vgg with 1 of 3 convolutions",
            {"model.stages": [[1]], "model.hidden": []},
        ),
        (
            {"_target_": "dlrun.model.resnet.resnet", "depth": 56},
            "resnet of depth 14",
            {"model.depth": 14},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_fifth_of_the_layers_and_at_least_one(model, name, settings):
    assert shallow(model) == (name, settings)


@pytest.mark.parametrize(
    "model",
    [
        {"_target_": "dlrun.model.lenet.lenet"},
        {"_target_": "mynet.Net", "hidden": [1, 2]},
        {"_target_": "dlrun.model.mlp.mlp", "hidden": []},
    ],
    ids=str,
)
def test_a_model_that_cannot_be_made_shallower(model):
    assert shallow(model) is None


def test_what_cannot_be_trained_is_left_out_in_a_line(here, capsys):
    words = ["model=lenet", "optimizer=sgd", "loss=mse", "optimizer.lr=1e10", "epochs='40 steps'"]
    assert main([*without("epochs"), *words, "data.samples=64"]) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("warning: no shallow network: dlrun does not know how to make")
    assert second.startswith("warning: linear is left out: the")
    assert [row["model"] for row in told()[0]["table"]] == ["majority class"]


@pytest.mark.parametrize(
    ("words", "models", "said"),
    [
        (["model.hidden=[8]"], ["majority class", "linear"], "the recipe's own is already that"),
        (["model.hidden=[8,8]"], ["majority class", "linear", "mlp with 1 of 2 hidden layers"], ""),
        (["model=linear"], ["majority class"], "linear is left out: it is the recipe's own"),
        (["model=linear", "regularization=[l2]"], ["majority class", "linear"], "shallow network"),
    ],
    ids=str,
)
def test_the_recipe_need_not_beat_itself(here, capsys, words, models, said):
    assert main([*without("epochs"), *words, "data.samples=100", "epochs='2 steps'"]) == 0
    err = capsys.readouterr().err
    assert said in err
    assert bool(err) == bool(said)
    info = told()[0]
    assert [row["model"] for row in info["table"]] == models
    assert list(info["findings"][0]["numbers"]) == models


def test_it_is_a_point_like_another(here, capsys):
    assert main(["-m", *BASELINE, "epochs='2 steps'", "batch_size=16,32"]) == 0
    assert "2 finished" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model=autoencoder", "loss=mse"], "gives its input back"),
        (["data.split=80/0/20", "monitor=train/loss"], "no validation split"),
        (["procedure.share=3"], "procedure.share=3"),
    ],
    ids=str,
)
def test_mistakes(here, capsys, words, said):
    assert main([*BASELINE, *words]) == 2
    assert said in capsys.readouterr().err
    assert not (here / "outputs").exists()


def test_outputs_that_cannot_be_written_are_said_once(here, capsys):
    (here / "taken").write_text("")
    assert main(["procedure=baseline", "tracking=none", "epochs=1", "outputs=taken/runs"]) == 2
    out, err = capsys.readouterr()
    assert "left out" not in out + err
    assert err.startswith("error: outputs=taken/runs: ")
