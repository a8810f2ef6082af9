import json
import logging

import pytest
from omegaconf import OmegaConf

from dlrun.command import compose, resume
from dlrun.command.resume import changes, merge
from dlrun.errors import Mistake

CHOICES = {"optimizer": "momentum", "model": "mlp", "regularization": None, "schedule": "cosine"}


@pytest.mark.parametrize(
    ("recorded", "new", "merged"),
    [
        ([], [], []),
        (["epochs=20"], [], ["epochs=20"]),
        (["epochs=20", "seed=1"], ["epochs=40"], ["seed=1", "epochs=40"]),
        (["optimizer.lr=0.1"], ["optimizer=adam"], ["optimizer=adam"]),
        (["optimizer.lr=0.1"], ["optimizer=momentum"], ["optimizer.lr=0.1", "optimizer=momentum"]),
        (
            ["optimizer=adam", "optimizer.lr=0.1", "model=cnn"],
            ["optimizer=sgd", "optimizer.lr=1"],
            ["model=cnn", "optimizer=sgd", "optimizer.lr=1"],
        ),
        (
            ["regularization=[l2,dropout]", "regularization.l2.strength=1e-3"],
            ["regularization=[l2]"],
            ["regularization.l2.strength=1e-3", "regularization=[l2]"],
        ),
        (
            ["regularization=[l2,dropout]", "regularization.l2.strength=1e-3"],
            ["regularization=[dropout]"],
            ["regularization=[dropout]"],
        ),
        (["+optimizer.nesterov=true"], ["optimizer.nesterov=false"], ["+optimizer.nesterov=false"]),
        (["~optimizer.momentum"], ["optimizer.momentum=0.5"], ["optimizer.momentum=0.5"]),
        (["optimizer.momentum=0.5"], ["~optimizer.momentum"], ["~optimizer.momentum"]),
        (["schedule.final=0.1"], ["epochs=4"], ["schedule.final=0.1", "epochs=4"]),
        (["model.hidden=[50]"], ["model.hidden=[8,8]"], ["model.hidden=[8,8]"]),
    ],
)
def test_new_overrides_replace_those_they_make_void(recorded, new, merged):
    assert merge(recorded, new, CHOICES) == merged


def test_merging_again_changes_nothing():
    once = merge(["optimizer.lr=0.1", "seed=1"], ["optimizer=adam", "epochs=3"], CHOICES)
    assert merge(once, ["optimizer=adam", "epochs=3"], {**CHOICES, "optimizer": "adam"}) == once


def test_changed_defaults_are_found_by_comparing_with_the_record():
    before = OmegaConf.create(
        {
            "epochs": 20,
            "optimizer": {"lr": 0.05, "momentum": 0.9},
            "total": "${epochs}",
            "shape": "${facts.shape}",
            "facts": {"shape": "???", "outputs": "???"},
            "resume": None,
            "new": 1,
        }
    )
    kept = OmegaConf.create(
        {
            "epochs": 20,
            "optimizer": {"lr": 0.01, "momentum": 0.8, "gone": [1]},
            "total": 20,
            "shape": [1, 8, 8],
            "facts": {"shape": [1, 8, 8], "outputs": 10},
            "resume": "somewhere",
        }
    )
    found = changes(before, kept, [])
    assert found == {"optimizer.lr": 0.01, "optimizer.momentum": 0.8, "optimizer.gone": [1]}
    assert changes(before, kept, ["optimizer.lr"]) == {
        "optimizer.momentum": 0.8,
        "optimizer.gone": [1],
    }
    assert changes(before, kept, ["optimizer"]) == {}


def record(directory, overrides, recipe, command="dlrun"):
    directory.mkdir(parents=True)
    info = {"overrides": overrides, "command": command, "cwd": str(directory.parent)}
    (directory / "run.json").write_text(json.dumps(info))
    OmegaConf.save(recipe, directory / "recipe.yaml", resolve=True)


def composed(overrides):
    with compose.hydra([]) as hydra:
        recipe = compose.recipe(hydra, overrides)
    recipe.facts.shape, recipe.facts.outputs = [1, 8, 8], 10
    return recipe


def test_recorded_values_stay_where_defaults_have_changed(tmp_path, caplog, monkeypatch):
    overrides = ["seed=3"]
    then = composed(overrides)
    then.optimizer.lr, then.clip_norm = 0.123, 2.0
    record(tmp_path / "runs" / "one", overrides, then)
    previous = resume.find(["resume=last", f"outputs={tmp_path}"])
    assert previous is not None
    monkeypatch.setattr(logging.getLogger("dlrun"), "propagate", True)
    with compose.hydra([]) as hydra, caplog.at_level("WARNING", "dlrun"):
        words = previous.merge(hydra, ["resume=last", "epochs=40", "clip_norm=5"])
        recipe = previous.restore(hydra, compose.recipe(hydra, words), words)
    assert words == ["seed=3", "epochs=40", "clip_norm=5"]
    assert recipe.optimizer.lr == 0.123
    assert recipe.clip_norm == 5
    assert recipe.epochs == 40
    assert recipe.seed == 3
    assert recipe.resume == str(tmp_path / "runs" / "one")
    assert caplog.messages == ["defaults have changed since; kept as recorded: optimizer.lr"]


def test_an_override_that_is_dropped_does_not_count_as_a_changed_default(tmp_path, caplog):
    overrides = ["optimizer.lr=0.5"]
    record(tmp_path / "runs" / "one", overrides, composed(overrides))
    previous = resume.find(["resume=last", f"outputs={tmp_path}"])
    assert previous is not None
    with compose.hydra([]) as hydra:
        words = previous.merge(hydra, ["resume=last", "optimizer=adam"])
        recipe = previous.restore(hydra, compose.recipe(hydra, words), words)
    assert recipe.optimizer._target_ == "torch.optim.Adam"
    assert recipe.optimizer.lr != 0.5
    assert caplog.messages == []


def test_the_recorded_recipe_directories_are_used_again(tmp_path):
    own = tmp_path / "runs" / "my recipes"
    own.mkdir(parents=True)
    command = "dlrun --config-dir 'my recipes' seed=1"
    record(tmp_path / "runs" / "one", ["seed=1"], composed([]), command)
    previous = resume.find(["resume=one", f"outputs={tmp_path}"])
    assert previous is not None
    assert previous.config_dirs == [own]


def test_nothing_to_resume(tmp_path):
    assert resume.find(["epochs=3"]) is None
    assert resume.find(["resume=null"]) is None
    with pytest.raises(Mistake, match=r"^resume=last: no run 'last'"):
        resume.find(["resume=last", f"outputs={tmp_path}"])
