"""A recipe's plain values, copies and hashes are what OmegaConf would make of them."""

import pytest
from omegaconf import OmegaConf
from omegaconf.base import Metadata
from omegaconf.errors import OmegaConfBaseException

from dlrun.job import recording
from dlrun.recipe import compose, identity, once


def test_a_recipe_is_resolved_as_omegaconf_does(recipe):
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


ALIKE = (
    ("optimizer.lr=1", "optimizer.lr=1.0"),
    ("epochs=1", "epochs=1.0", "epochs='1 epochs'"),
    ("warmup=0", "warmup='0 epochs'"),
    (
        "regularization=early_stopping  regularization.early_stopping.patience=5",
        "regularization=early_stopping  regularization.early_stopping.patience='5 epochs'",
    ),
    ("freeze=backbone", "freeze=[backbone]"),
    ("freeze=[a,b]", "freeze=[b,a]"),
    ("divergence=[not_finite,explosion]", "divergence=[explosion,not_finite]"),
    ("epochs='60 steps'", "epochs='60.0 steps'"),
    ("+data.a=1  +data.b=2", "+data.b=2  +data.a=1"),
    ("", "checkpoint_every='10 steps'", "data.cache=elsewhere"),
)
APART = (
    ("optimizer.lr=1", "optimizer.lr=1.5"),
    ("epochs=1", "epochs='1 steps'"),
    ("+data.a=true", "+data.a=1"),
    ("+data.a='1'", "+data.a=1"),
    ("augmentation=[crop,flip]", "augmentation=[flip,crop]"),
    ("epochs='1234567 steps'", "epochs='1234568 steps'"),
    ("train_eval=false", "train_eval=true"),
    (  # a count or a share; names of columns
        "preprocessing=[pca]  preprocessing.pca.components=1",
        "preprocessing=[pca]  preprocessing.pca.components=1.0",
    ),
    ("+data.target=1h", "+data.target='60 min'"),
    ("data.samples=1", "data.samples=1.0"),
)


def _digests(compose_recipe, typed):
    """Of each its hash; its words are two spaces apart."""
    return {identity.digest(compose_recipe(*filter(None, each.split("  ")))) for each in typed}


@pytest.mark.parametrize("typed", ALIKE, ids=str)
def test_a_recipe_is_known_by_what_it_says_and_not_by_how(typed, compose_recipe):
    assert len(_digests(compose_recipe, typed)) == 1


@pytest.mark.parametrize("typed", APART, ids=str)
def test_recipes_that_say_different_things_are_apart(typed, compose_recipe):
    assert len(_digests(compose_recipe, typed)) == 2


def test_a_copy_is_apart(recipe):
    copy = compose.copied(recipe)
    assert copy == recipe
    assert OmegaConf.is_struct(copy) == OmegaConf.is_struct(recipe)
    copy.model._target_ = copy.name = "other"
    assert copy.model._target_ != recipe.model._target_
    assert recipe.name != "other"
    with pytest.raises(OmegaConfBaseException):
        copy.seed = "seven"  # still of the schema


def test_a_config_is_made_of_plain_values_as_omegaconf_does(recipe):
    values = OmegaConf.to_container(recipe)
    theirs = OmegaConf.create(values)
    ours = [compose.created(values) for _ in range(2)]  # the second time from what is known
    for each in ours:
        assert list(each) == list(theirs)
        assert repr(OmegaConf.to_container(each)) == repr(values)
        assert OmegaConf.to_container(each, resolve=True) == OmegaConf.to_container(
            theirs, resolve=True
        )
        assert repr(_about(each)) == repr(_about(theirs))
    held = [{id(part) for part in _held(each) if part is not None} for each in ours]
    assert not held[0] & held[1]
    ours[0].model._target_ = ours[0].seed = "other"
    again = compose.created(values)
    assert again.seed == values["seed"] == ours[1].seed
    assert again.model._target_ == values["model"]["_target_"]


def test_what_is_made_once_is_of_the_same_key_and_kind_of_value():
    asked = []

    @once.once
    def made(key, value):
        asked.append((key, value))
        return [key, value]

    some = [("a", 1), ("a", True), ("a", 1.0), ("a", "1"), ("b", 1), ("a", [1]), ("a", {"b": None})]
    found = [made(*each) for each in some]
    assert [made(*each) for each in some] == found
    assert repr(asked) == repr(some)
    for number in range(3000):
        made("c", number)
    assert len(asked) == len(some) + 3000
    assert made("a", 1) == ["a", 1]  # long forgotten, and made again
    assert len(asked) == len(some) + 3001


def _about(config):
    """What OmegaConf knows of each node of a config."""
    return [vars(each) for each in _held(config) if isinstance(each, Metadata)]


def _held(node):
    """All that can be changed below a node of a config; what is known of a value cannot."""
    yield node
    if "_content" not in vars(node):
        return
    yield from (node._metadata, node._metadata.flags, node._metadata.resolver_cache)
    content = vars(node)["_content"]
    if isinstance(content, dict | list):
        yield content
        for each in content.values() if isinstance(content, dict) else content:
            yield from _held(each)


def test_a_copy_shares_nothing(compose_recipe):
    recipe = compose_recipe("model.hidden=[8,{a: 1}]", "++name=${now:%f}", "augmentation=[flip]")
    moment = recipe.name
    copy = compose.copied(recipe)
    assert copy.name == moment  # not another one
    held = [[each for each in _held(config) if each is not None] for config in (recipe, copy)]
    assert len(held[0]) == len(held[1]) > 150
    assert not {*map(id, held[0])} & {*map(id, held[1])}
    copy.model.hidden[1].a = 2
    copy.model.hidden.append(3)
    OmegaConf.set_readonly(copy.loss, True)
    assert recipe.model.hidden == [8, {"a": 1}]
    assert not OmegaConf.is_readonly(recipe.loss)
    assert all(each._get_parent() is copy for each in map(copy._get_node, copy) if each is not None)


@pytest.mark.parametrize("word", ["+model.a=${model.a}", "+model.a=${nope}", "+model.a=${name.b}"])
def test_what_refers_to_nothing_fails_as_in_omegaconf(compose_recipe, word):
    recipe = compose_recipe(word)
    recipe.facts.shape, recipe.facts.outputs = [1, 8, 8], 10
    with pytest.raises((OmegaConfBaseException, RecursionError)) as theirs:
        OmegaConf.to_container(recipe, resolve=True)
    with pytest.raises(theirs.type):
        identity.resolved(recipe)
