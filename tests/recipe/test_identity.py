"""A recipe's plain values, copies and hashes are what OmegaConf would make of them."""

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlrun.job import recording
from dlrun.recipe import compose, identity

WORDS = (
    (),
    ("model=resnet", "augmentation=[crop,flip]", "regularization=[dropout,l2]"),
    ("model=autoencoder", "optimizer=adam", "+model.notes={1: a, b: [1.0, 1, true, null]}"),
    ("model=mlp", "activation=prelu", "batch_size=full", "+optimizer.twice=${.lr}"),
    ("seed=7", "+model.from_seed=${seed}", "name='run ${seed}'", "+model.home=${oc.env:HOME}"),
    ("+model.text='ä: \"b\" # no comment'", "+model.number=1e-3", "+model.yes='yes'"),
)


@pytest.fixture(params=WORDS, ids=lambda words: " ".join(words)[:30] or "default")
def recipe(request, compose_recipe):
    """Recipes with references of all kinds, the facts known."""
    found = compose_recipe(*request.param)
    found.facts.shape, found.facts.outputs = [1, 8, 8], 10
    return found


def test_plain_values_are_those_of_omegaconf(recipe):
    assert repr(identity.as_written(recipe)) == repr(OmegaConf.to_container(recipe))
    assert identity.as_written(recipe.model) == OmegaConf.to_container(recipe.model)
    assert identity.resolved(recipe) == OmegaConf.to_container(recipe, resolve=True)
    assert list(identity.resolved(recipe)) == list(recipe)
    kept = identity.resolved(recipe, ("seed", "model"))
    assert kept.keys() == set(recipe) - {"seed", "model"}


def test_a_recipe_is_written_down_as_omegaconf_does(recipe):
    for _ in range(2):  # the second time from what is known
        assert recording.written(recipe) == OmegaConf.to_yaml(recipe, resolve=True)


def test_hashes_leave_the_recipe_as_it_was(recipe):
    before = OmegaConf.to_yaml(recipe)
    hashes = [identity.digest(recipe), identity.without_seed(recipe), identity.structure(recipe)]
    assert len(set(hashes)) == 3
    assert OmegaConf.to_yaml(recipe) == before
    recipe.facts.outputs = 3
    assert identity.digest(recipe) == hashes[0]


def test_a_copy_is_apart(recipe):
    copy = compose.copied(recipe)
    assert copy == recipe
    assert OmegaConf.is_struct(copy) == OmegaConf.is_struct(recipe)
    copy.model._target_ = copy.name = "other"
    assert copy.model._target_ != recipe.model._target_
    assert recipe.name != "other"
    with pytest.raises(OmegaConfBaseException):
        copy.seed = "seven"  # still of the schema


@pytest.mark.parametrize("word", ["+model.a=${model.a}", "+model.a=${nope}", "+model.a=${name.b}"])
def test_what_refers_to_nothing_fails_as_in_omegaconf(compose_recipe, word):
    recipe = compose_recipe(word)
    recipe.facts.shape, recipe.facts.outputs = [1, 8, 8], 10
    with pytest.raises((OmegaConfBaseException, RecursionError)) as theirs:
        OmegaConf.to_container(recipe, resolve=True)
    with pytest.raises(theirs.type):
        identity.resolved(recipe)
