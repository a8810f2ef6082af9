"""Recipes and records in MLflow's terms are legal whatever they hold."""

import pytest
from mlflow.utils.validation import _validate_metric_name, _validate_param, _validate_tag

from dlrun.tracking import entries


def test_nested_keys_become_dotted_and_values_look_as_typed():
    recipe = """
    seed: 0
    model: {hidden: [50, 20], bias: true, act: {name: relu}}
    clip: null
    epochs: 5 epochs
    regularization: {}
    """
    assert entries.params(recipe) == {
        "seed": "0",
        "model.hidden": "[50,20]",
        "model.bias": "true",
        "model.act.name": "relu",
        "clip": "null",
        "epochs": "5 epochs",
    }


def test_the_chosen_options_come_first():
    found = entries.params("optimizer: {lr: 0.1}", {"optimizer": "adam"})
    assert list(found.items()) == [("optimizer", "adam"), ("optimizer.lr", "0.1")]


def test_what_differs_from_start_to_start_is_no_param():
    assert entries.params("{name: a, outputs: b, resume: last, tracking: {uri: x}}") == {}


def test_long_values_end_in_an_ellipsis():
    found = entries.params(f"a: {'x' * 7000}")["a"]
    assert len(found) == entries.VALUE_LIMIT
    assert found.endswith("x…")
    assert entries.shorten("short", 5) == "short"


@pytest.mark.parametrize(
    "key", ["acc@1", "50%", "a b", "a/../b", "..", "/a", "a//b", "a/", "ü", "x" * 400, "", "a:b"]
)
def test_every_key_becomes_legal(key):
    legal = entries.legal_key(key)
    _validate_param(legal, "value")
    _validate_metric_name(legal)
    _validate_tag(legal, "value")


def test_keys_that_become_the_same_stay_apart():
    found = entries.params("{'a@b': 1, 'a%b': 2, 'a_b': 3}")
    assert sorted(found.values()) == ["1", "2", "3"]
    assert len(found) == 3


def test_a_legal_key_stays_as_it_is():
    for key in ("val/accuracy", "grad/norm", "optimizer.lr", "time/epoch", "a-b_c d"):
        assert entries.legal_key(key) == key


def test_tags_tell_where_a_run_comes_from():
    info = {
        "id": "x",
        "git": {"commit": "c0ffee", "dirty": True},
        "versions": {"torch": "2"},
        "device": None,
        "tags": {"sweep": "s1"},
    }
    found = entries.tags(info)
    assert found["git.commit"] == found["mlflow.source.git.commit"] == "c0ffee"
    assert found["git.dirty"] == "true"
    assert found["versions.torch"] == "2"
    assert found["sweep"] == "s1"
    assert "device" not in found
    assert all(value for value in found.values())


def test_the_data_set_needs_a_name_and_a_digest():
    assert entries.dataset({}) is None
    assert entries.dataset({"data": {"name": "digits"}}) is None
    found = entries.dataset({"data": {"name": "digits", "digest": "d" * 64, "train": 100}})
    assert found["name"] == "digits"
    assert found["digest"] == "d" * 36
    assert found["profile"] == '{"train": 100}'
