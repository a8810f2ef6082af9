"""What of an experiment gives way to what is typed."""

import pytest
import yaml

from dlrun.recipe import compose, experiment

MINE = """# @package _global_
# A line
defaults:
  - override /data: digits
  - override /procedure: contrast
  - override /optimizer: sgd
  - override /preprocessing: [rescale]
  - override /regularization: [l2, early_stopping]
data:
  _target_: dlrun.experiment.scaling.badly_scaled
  n_samples: 50
optimizer: {lr: 0.5}
preprocessing:
  rescale: {high: 2.0}
regularization:
  early_stopping: {patience: 7}
  dropout: {visible: 0.0}
lr_of: {head: 10}
expect: {val/loss: 1, val/accuracy: 1}
procedure: {variants: {slow: optimizer.lr=0.1}}
sweep:
  params: {optimizer.lr: "0.1,0.2"}
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(MINE)
    with compose.composer([tmp_path]) as composer:
        yield lambda *words, as_list=False: composer.full(
            ["+experiment=[mine]" if as_list else "+experiment=mine", *words]
        )


def plainly(*words):
    with compose.composer([]) as composer:
        return composer.full(list(words))


def test_another_option_has_none_of_the_settings_of_an_experiment(own):
    assert own("data=digits").data == plainly("data=digits").data
    assert own("data=gaussian", "data.seed=3").data == plainly("data=gaussian", "data.seed=3").data
    assert own("optimizer=adam").optimizer == plainly("optimizer=adam").optimizer
    assert own("optimizer=momentum").optimizer == plainly("optimizer=momentum").optimizer
    assert own("optimizer=adam", as_list=True).optimizer == plainly("optimizer=adam").optimizer


def test_the_experiment_s_own_option_keeps_its_settings(own):
    assert own("optimizer=sgd").optimizer.lr == 0.5
    assert own("optimizer=sgd", "optimizer.lr=2").optimizer.lr == 2
    assert own("seed=1").data.n_samples == 50


def test_a_list_of_options_keeps_the_settings_of_those_in_it(own):
    assert list(own("preprocessing=[standardize]").preprocessing) == ["standardize"]
    assert own("regularization=none").regularization is None
    found = own("regularization=[dropout,early_stopping]").regularization
    assert list(found) == ["dropout", "early_stopping"]
    assert (found.dropout.visible, found.early_stopping.patience) == (0.0, 7)
    assert found.early_stopping._target_


def test_what_is_left_out_is_said(caplog):
    with compose.composer([]) as composer:
        composer.tell_left_out(["+experiment=weight_sharing", "data=digits", "optimizer=momentum"])
        composer.tell_left_out(["+experiment=weight_sharing", "data.side=8"])
    data, optimizer = caplog.messages
    assert data.startswith("data=digits: replaces the option of experiment=weight_sharing")
    assert "data.side=16" in data
    assert optimizer.endswith("left out: optimizer.lr=0.003")


def test_of_options_that_are_searched_each_one_that_is_another_is_said(caplog):
    base = ["+experiment=weight_sharing"]
    with compose.composer([]) as composer:
        composer.tell_left_out(base, *([*base, f"optimizer={name}"] for name in ("sgd", "adam")))
    [said] = caplog.messages
    assert said.startswith("optimizer=sgd: replaces the option of experiment=weight_sharing")


@pytest.mark.parametrize(
    ("key", "value", "more"),
    [
        ("procedure.variants", {"fast": "optimizer.lr=2"}, {"slow": "optimizer.lr=0.1"}),
        ("expect", {"best": 1}, {"val/loss": 1, "val/accuracy": 1}),
        ("lr_of", {"stem": 2}, {"head": 10}),
        ("sweep.params", {"seed": "1,2"}, {"optimizer.lr": "0.1,0.2"}),
    ],
)
def test_a_mapping_with_free_names_is_replaced_or_added_to(own, key, value, more):
    typed = "{" + ",".join(f"{name}: '{one}'" for name, one in value.items()) + "}"
    got = compose.OmegaConf.select(own(f"{key}={typed}", "optimizer.lr=1"), key)
    assert yaml.safe_load(compose.OmegaConf.to_yaml(got)) == {k: str(v) for k, v in value.items()}
    assert more.keys() < compose.OmegaConf.select(own(f"++{key}={typed}"), key).keys()


def test_a_mapping_of_known_names_keeps_the_others(own):
    found = own("regularization.early_stopping={patience: 2}").regularization
    assert found.early_stopping.patience == 2
    assert found.early_stopping._target_
    assert own("sweep.pruning={startup: 9}").sweep.pruning.factor == 3


def test_hydra_still_says_what_was_typed(own):
    words = ["procedure.variants={fast: 'optimizer.lr=2'}", "seed=3", "hydra.mode=RUN"]
    assert own(*words).hydra.overrides.task == ["+experiment=mine", *words[:2]]


def test_a_value_that_is_swept_replaces_a_mapping(own):
    recipe = own()
    compose.apply(compose.parse(["lr_of={stem: 2}"]), recipe)
    assert recipe.lr_of == {"stem": 2}


def test_a_typed_mapping_of_expectations_alone_judges(own):
    recipe = own("expect={best: 1}")
    assert experiment.expectations(recipe, ["+experiment=mine", "expect={best: 1}"]) == (
        {"best": 1},
        "",
    )
