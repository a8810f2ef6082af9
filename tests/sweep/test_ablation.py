"""An ablation: which points a recipe has, what is left out, and what comes of it."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dlrun import record
from dlrun.__main__ import main
from dlrun.errors import Mistake
from dlrun.record.sweep import read
from dlrun.sweep import launchers
from tests.sweep.conftest import QUICK
from tests.sweep.typed import directory, points

ABLATION = "sweep=ablation"
RECIPE = (
    *("optimizer=adam", "optimizer.lr=0.01", "regularization=[l2,dropout]"),
    *("regularization.dropout.hidden=0.2", "augmentation=[flip]"),
)
FEW = ("epochs='2 steps'",)


def holds(plan, name):
    """What a point's recipe holds, without what is only known from the data."""
    return OmegaConf.to_container(plan.recipe({"without": name}).recipe, resolve=False)


@pytest.mark.proves("sweep=ablation")
def test_each_ingredient_is_left_out_in_turn(planned):
    plan = planned(ABLATION, *RECIPE)
    usual, whole = planned("seed=0").base, holds(plan, "nothing")
    [dimension] = plan.space.dimensions
    names = {"augmentation.flip", "optimizer", "regularization.l2", "regularization.dropout"}
    assert set(dimension.choices) == {"nothing", *names}
    assert whole == OmegaConf.to_container(plan.base, resolve=False)
    for name in names:
        group, _, option = name.partition(".")
        without = holds(plan, name)
        assert {key for key in whole if without[key] != whole[key]} == {group}
        if option:
            assert without[group] == {k: v for k, v in whole[group].items() if k != option}
        else:
            assert without[group] == OmegaConf.to_container(usual[group], resolve=False)
    assert plan.settings.repeats == 3


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["optimizer.lr=0.02"], ["optimizer"]),
        (["optimizer.lr=0.05"], None),
        (["preprocessing=[pca]"], ["preprocessing"]),
        (["preprocessing=none", "schedule=step"], ["preprocessing", "schedule"]),
        (["~optimizer.momentum", "model=cnn"], ["model", "optimizer"]),
        (["metric=[recall]", "data.val=10%", "epochs=3", "activation=tanh"], ["activation"]),
        (["regularization=[l1]", "regularization.l1.strength=0.1"], ["regularization.l1"]),
    ],
)
def test_what_is_as_by_default_is_no_ingredient(planned, words, names):
    if names is None:
        usual = planned("seed=0").base.optimizer.lr
        with pytest.raises(Mistake, match="nothing to leave out"):
            planned(ABLATION, f"optimizer.lr={usual}")
        return
    plan = planned(ABLATION, *words)
    assert list(plan.space.points) == ["nothing", *names]
    for name in names:
        assert plan.recipe({"without": name}).digest != plan.recipe({"without": "nothing"}).digest


@pytest.mark.proof
def test_what_an_experiment_sets_is_an_ingredient_too(tmp_path, sweep, capsys):
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    (folder / "tuned.yaml").write_text(
        "# @package _global_\ndefaults: [{override /optimizer: adam}, "
        "{override /regularization: [l2, dropout]}]\n"
        "optimizer: {lr: 0.02, betas: [0.8, 0.9]}\nregularization: {l2: {strength: 0.3}}\n"
    )
    words = ("--config-dir", "mine", ABLATION, "+experiment=tuned", "sweep.repeats=1", *FEW)
    assert sweep(*words) == 0
    recipes = {}
    for run in record.all_runs(tmp_path / "outputs"):
        name = record.read_json(run / "run.json")["sweep"]["values"]["without"]
        recipes[name] = OmegaConf.load(run / "recipe.yaml")
    assert set(recipes) == {"nothing", "optimizer", "regularization.l2", "regularization.dropout"}
    assert main([*QUICK, *FEW, "outputs=plain"]) == 0
    [run] = record.all_runs(tmp_path / "plain")
    assert recipes["optimizer"].optimizer == OmegaConf.load(run / "recipe.yaml").optimizer
    assert recipes["nothing"].optimizer.betas == [0.8, 0.9]
    assert list(recipes["regularization.dropout"].regularization) == ["l2"]
    assert recipes["regularization.dropout"].regularization.l2.strength == 0.3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "every group of the recipe is as it is by default, so there is nothing to leave out"),
        (["epochs=3", "clip_norm=1"], "there is nothing to leave out"),
        (["optimizer=adam,sgd"], "optimizer=adam,sgd: has several values"),
        (["optimizer=adam", "seed=0,1"], "sweep.repeats=5 trains with several"),
        (["optimizer=adam", "sweep.stages=[{epochs: 1}]"], "makes its own points; leave it out"),
        (["optimizer=adam", "sweep.zip=[[optimizer]]"], "makes its own points; leave it out"),
    ],
)
def test_mistakes(sweep, words, said, tmp_path, capsys):
    assert sweep(ABLATION, *words) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert said in err
    assert not (tmp_path / "outputs").exists()


@pytest.mark.proof
def test_the_table_and_the_page_say_what_each_gives(sweep, tmp_path, capsys):
    assert sweep(ABLATION, *RECIPE, *FEW) == 0
    out = capsys.readouterr().out
    assert "5 points, 3 runs each" in out
    assert "without=nothing seed=2" in out
    [head] = [line for line in out.splitlines() if line.startswith("without  ")]
    assert head.split() == ["without", "gives", "95%", "interval", "val/accuracy"]
    found = read(directory(tmp_path))
    whole, flip = (
        next(p for p in found.points if p.values["without"] == name)
        for name in ("nothing", "augmentation.flip")
    )
    assert [run.seed for run in flip.runs] == [0, 1, 2]
    [row] = [line for line in out.splitlines() if line.startswith("augmentation.flip")]
    assert f"{whole.mean - flip.mean:+.4f} ± " in row
    page = (directory(tmp_path) / "report.html").read_text()
    assert "<h2>What each ingredient gives</h2>" in page
    assert "what it gives in val/accuracy" in page
    assert "All points at once" not in page
    runs = record.all_runs(tmp_path / "outputs")
    names = [record.read_json(run / "run.json")["name"] for run in runs]
    assert "without=augmentation.flip seed=1" in names

    assert sweep(ABLATION, *RECIPE, *FEW, "sweep.repeats=4") == 0
    assert "5 done already" not in capsys.readouterr().out
    assert len(record.all_runs(tmp_path / "outputs")) == len(runs) + 5, "only the new seeds"
    assert sweep(*RECIPE, *FEW, ABLATION, "sweep.repeats=4") == 0
    assert "5 done already" in capsys.readouterr().out
    assert len(points(tmp_path)) == 5


@pytest.mark.proof
def test_what_the_others_need_is_not_left_out(sweep, tmp_path, capsys):
    words = ("model=cnn", "regularization=[stochastic_pooling]", "sweep.repeats=1", *FEW)
    assert sweep(ABLATION, *words, "sweep.dry_run=true") == 0
    assert "2 points, 2 runs; all can be built" in capsys.readouterr().out
    assert sweep(ABLATION, *words) == 0
    out = capsys.readouterr().out
    assert "without=model: left out: " in out
    kept = [point.values["without"] for point in points(tmp_path)]
    assert kept == ["nothing", "regularization.stochastic_pooling"]
    assert sweep(ABLATION, *words) == 0
    assert "2 done already" in capsys.readouterr().out


def test_losses_are_not_compared_by_themselves(sweep, tmp_path, capsys):
    words = ("loss=mse", "optimizer=adam", "sweep.repeats=1", *FEW)
    assert sweep(ABLATION, *words, "sweep.objective=val/loss") == 0
    assert "without=loss: left out: val/loss of two losses cannot be" in capsys.readouterr().out
    assert [point.values["without"] for point in points(tmp_path)] == ["nothing", "optimizer"]


def test_the_whole_recipe_must_be_one_that_trains(sweep, capsys):
    assert sweep(ABLATION, "regularization=[stochastic_pooling]") == 2
    assert capsys.readouterr().err.startswith("error: regularization.stochastic_pooling")


@pytest.mark.proof
def test_jobs_in_other_processes_train_the_same(sweep, tmp_path, monkeypatch):
    """What a launcher is told composes to the recipe that this process knows."""
    told = {}

    def run(self, tasks, done, watch=None):
        for task in tasks:
            told[task.named[0]] = self._composer.recipe(task.overrides)
            raise_after = task
        raise Mistake(raise_after.name)

    monkeypatch.setattr(launchers.Jobs, "run", run)
    monkeypatch.setattr(launchers.Jobs, "close", lambda self: None)
    parallel = ("hydra/launcher=joblib", "sweep.repeats=1")
    assert sweep(ABLATION, *RECIPE, *FEW, *parallel) == 2
    assert set(told) == {
        *("without=nothing", "without=augmentation.flip", "without=optimizer"),
        *("without=regularization.l2", "without=regularization.dropout"),
    }
    assert (
        told["without=optimizer"].optimizer._target_ != told["without=nothing"].optimizer._target_
    )
    assert Path(directory(tmp_path)).is_dir()
