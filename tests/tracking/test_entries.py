"""Recipes and records in MLflow's terms are legal whatever they hold."""

import pytest
from mlflow.utils.validation import _validate_metric_name, _validate_param, _validate_tag

from dlrun.record import bounds
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


@pytest.mark.parametrize(
    "recipe",
    [
        "seed: 1\n# a word\n\nmodel:\n  hidden: [1, 2]\n  note: |\n    a: 1\n\n    b\nlr: 0.1\n",
        "---\nseed: 1\nmodel: {hidden: 1}\n",
        "model:\n- 1\n- 2\nseed: 1\n",
        "model: {\nhidden: 1,\nbias: true}\nseed: 1\n",
        "name_: 'two\nlines: 1'\nseed: 1\n",
        "a: &one {x: 1}\nb: *one\nc: {y: *one}\n",
        "seed: 1\nlr: 1\nseed: 2\n",
        "seed: 1\n...\n",
        '"a b": 1\n50: 2\nnull: 3\n',
        "",
        "{seed: 1, lr: 0.1}",
    ],
)
def test_block_by_block_or_at_once_a_recipe_says_the_same(recipe):
    whole = bounds.values(recipe) or {}
    for text in (recipe, recipe.replace("\n", "\r\n")):
        expected = entries.flatten({str(key): value for key, value in whole.items()})
        assert dict(entries._settings(text)) == {str(k): v for k, v in expected}


def test_the_recipes_of_siblings_are_read_once(monkeypatch):
    read, values = [], bounds.values
    monkeypatch.setattr(bounds, "values", lambda text: read.append(text) or values(text))
    for seed in range(100, 140):
        found = entries.params(f"seed: {seed}\nmodel:\n  hidden: [7, 9]\n  act: relu\nlr: 0.17\n")
        assert found == {
            **{"seed": str(seed), "model.hidden": "[7,9]"},
            **{"model.act": "relu", "lr": "0.17"},
        }
    assert len(read) == 42


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
