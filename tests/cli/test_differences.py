import json
import logging
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dlrun import record
from dlrun.errors import Mistake
from dlrun.recipe import differences

SPLITS = {"train": "aaaa", "val": "bbbb", "test": "cccc"}
RECIPE = {
    "data": {"split": [60, 20, 20], "val": 0.1, "split_seed": 0, "leaks": "warn"},
    "preprocessing": {"standardize": {"_target_": "a.B"}},
    "loss": {"_target_": "a.loss"},
    "metric": None,
    "validate_on": None,
}


@pytest.fixture
def kept(tmp_path):
    """The record of a run that has trained."""
    text = OmegaConf.to_yaml(OmegaConf.create(RECIPE))
    made = record.create(tmp_path, "x", {"data": {"digest": "d", "splits": SPLITS}}, text)
    (made.directory / "checkpoints").mkdir()
    (made.directory / "checkpoints" / "last.pt").touch()
    yield made
    made.close()


def since(kept, digest="d", splits=None, **changes):
    recipe = OmegaConf.create(RECIPE)
    for key, value in changes.items():
        OmegaConf.update(recipe, key.replace("__", "."), value)
    facts = {"data": {"digest": digest, "splits": SPLITS | (splits or {})}}
    return differences.since(recipe, kept, facts)


def test_nothing_has_changed(kept, caplog):
    assert since(kept) == set()
    assert caplog.messages == []


def test_changed_groups_are_named(kept):
    assert since(kept, loss___target_="a.other") == {"loss"}
    assert since(kept, preprocessing__standardize__epsilon=1) == {"preprocessing"}


def test_trained_samples_never_come_into_val_or_test(kept):
    right = (
        r"^data\.split_seed=3 \(was 0\): .*trained on would be in val or test; .*start a new run"
    )
    with pytest.raises(Mistake, match=right):
        since(kept, splits={"train": "x", "val": "y", "test": "z"}, data__split_seed=3)
    with pytest.raises(Mistake, match=r"^data\.split=50/25/25 \(was \[60, 20, 20\]\), data\.val"):
        since(kept, splits={"train": "x"}, data__split="50/25/25", data__val=0.2)
    right = r"^data\.samples=200 \(was null\): .* other training samples .*start a new run"
    with pytest.raises(Mistake, match=right):
        since(kept, splits={"train": "x"}, data__samples=200)
    right = r"^data\.train_dev=5% \(was null\): .* trained on would be in train_dev; "
    with pytest.raises(Mistake, match=right):
        since(kept, splits={"train": "x"}, data__train_dev="5%")
    with pytest.raises(Mistake, match=r"^data: splits the data in another way"):
        since(kept, splits={"train": "x"})


def test_targets_keep_their_scale(kept):
    scale = {"mean": [3e5], "std": [1e5]}
    right = r"^data\.scale_targets=null: .* trained on the targets as they are, .* set data\.scale"
    facts = {"data": {"digest": "d", "splits": SPLITS, "scale": scale}}
    recipe = OmegaConf.create(RECIPE)
    with pytest.raises(Mistake, match=rf"{right}_targets=false$"):
        differences.since(recipe, kept, facts)
    kept.update(**facts)
    assert differences.since(recipe, kept, facts) == set()
    with pytest.raises(
        Mistake, match=r"on standardized targets, .* as they are; set data\.scale_targets=true$"
    ):
        since(kept, data__scale_targets=False)
    (kept.directory / "checkpoints" / "last.pt").unlink()
    assert since(kept, data__scale_targets=False) == set()


def test_a_run_that_has_not_trained_may_split_as_it_likes(kept):
    (kept.directory / "checkpoints" / "last.pt").unlink()
    assert since(kept, splits={"train": "x"}, data__split_seed=3) == set()


def test_other_samples_to_validate_on_are_said(kept, caplog):
    with caplog.at_level(logging.WARNING, "dlrun"):
        assert since(kept, splits={"val": "x", "test": "y"}, data__leaks="drop") == {"val"}
    assert caplog.messages == ["not the same samples as before in val and test"]


@pytest.mark.parametrize("known", [{}, {"digest": "d"}, {"digest": "other", "splits": SPLITS}])
def test_rows_are_compared_only_where_they_mean_the_same(kept, known, caplog):
    kept.update(data=known)
    assert since(kept, splits={"train": "x"}) == set()
    assert caplog.messages == []


def test_a_damaged_recipe_is_named(kept):
    Path(kept.directory / "recipe.yaml").write_text("a: [")
    with pytest.raises(Mistake, match=r"recipe\.yaml has been changed or is damaged"):
        since(kept)
    assert json.loads((kept.directory / "run.json").read_text())["data"]["digest"] == "d"
