import json
import shlex

import pytest

from dlrun.job.recording import Invocation
from dlrun.job.words import Words, lost


@pytest.mark.parametrize(
    ("word", "goes"), [("~regularization.l2", True), ("~regularization.l2.bias", False)]
)
def test_a_rule_that_was_taken_out_does_not_take_out_the_one_that_is_proposed(word, goes):
    assert lost(word, {"regularization": ["l2"]}) is goes


@pytest.mark.parametrize(
    ("typed", "there"),
    [
        ((), {"columns": ["the boat: out"], "features": None}),
        (("data.columns={zip: text}",), {"columns": ["zip: text", "the boat: out"]}),
        (("data.columns=['größe: text']",), {"columns": ["größe: text", "the boat: out"]}),
        (("data.columns=['the boat: text']",), {"columns": ["the boat: out"]}),
        (("data.features=[a,the boat,b]",), {"features": ["a", "b"], "columns": None}),
    ],
    ids=str,
)
def test_columns_are_left_out_beside_what_is_said_of_others(typed, there, compose_recipe):
    words = ["data=arrays", "data.path=a.csv", *typed]
    recipe = compose_recipe(*words)
    invocation = Invocation(words, ["dlrun", *words], {"data": "arrays", "procedure": "train"})
    said = Words(recipe, invocation).advice({"data.columns": {"the boat": "out"}})
    data = compose_recipe(*shlex.split(said)[1:]).data
    assert {key: data[key] for key in there} == there


@pytest.mark.parametrize(
    ("new", "command"),
    [
        ([], ""),
        (["resume=last", "outputs=there"], ""),
        (["epochs=9"], "dlrun optimizer.lr=0.2 epochs=9"),
    ],
)
def test_a_run_that_went_on_otherwise_may_begin_anew_as_it_is_now(
    new, command, compose_recipe, tmp_path
):
    words = ["optimizer.lr=0.2", "epochs=9"]
    recipe = compose_recipe(*words)
    info = {"resumed": [{"new": []}, {"new": new}]}
    (tmp_path / "run.json").write_text(json.dumps(info))
    recipe.resume = str(tmp_path)
    choices = {"schedule": "cosine", "procedure": "train"}
    words = Words(recipe, Invocation(words, ["dlrun", *words], choices))
    assert words.advice({"schedule": "cosine"}) == command
    recipe.resume = None
    assert words.advice({"schedule": "cosine"}) == ""
