"""A view of a recipe gives what OmegaConf gives, by every name."""

import pytest
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlrun.recipe import view
from dlrun.recipe.view import View


def _plain(value):
    if isinstance(value, DictConfig | ListConfig):
        return OmegaConf.to_container(value, resolve=True)
    return view.plain(value)


def _differences(seen, config, at=""):
    """The keys of a recipe, with dots, under which a view gives something else."""
    assert list(seen) == list(config)
    for key in config:
        where = f"{at}{key}"
        if repr(_plain(seen[key])) != repr(_plain(config[key])):
            yield where
        if isinstance(config[key], DictConfig) and isinstance(seen[key], View):
            yield from _differences(seen[key], config[key], f"{where}.")


def test_plain_values_are_those_of_omegaconf(recipe):
    seen = View(recipe)
    for part, same in ((recipe, seen), (recipe.model, seen.model)):
        for each in (part, same):
            assert repr(view.as_written(each)) == repr(OmegaConf.to_container(part))
    for group in ("model", "optimizer", "schedule", "initializer"):
        plain = repr(OmegaConf.to_container(recipe[group], resolve=True))
        assert repr(view.plain(recipe[group])) == repr(view.plain(seen[group])) == plain


def test_a_view_gives_every_setting_as_omegaconf_does(recipe):
    seen = View(recipe)
    assert not list(_differences(seen, recipe))
    assert seen.optimizer.lr == recipe.optimizer.lr
    assert bool(seen.preprocessing) == bool(recipe.preprocessing)
    assert seen.get("nothing") is None
    assert not hasattr(seen, "nothing")


def test_what_a_view_gives_may_be_changed(compose_recipe):
    recipe = compose_recipe("+optimizer.some=[8,[4]]")
    seen = View(recipe)
    seen.optimizer.some[1].append(2)
    view.plain(seen.optimizer)["some"].append(3)
    assert seen.optimizer.some == recipe.optimizer.some == [8, [4]]


def test_a_view_learns_facts_and_so_does_the_recipe(compose_recipe):
    recipe = compose_recipe("+model.twice=[${facts.outputs},2]", "+model.all=${facts}")
    seen = View(recipe)
    with pytest.raises(OmegaConfBaseException):
        _ = seen.facts.shape
    with pytest.raises(OmegaConfBaseException):
        view.plain(seen.model)
    seen.learn(shape=[1, 8, 8], outputs=10)
    seen.learn(outputs=1)
    assert seen.facts.outputs == recipe.facts.outputs == 1
    assert seen.model.twice == recipe.model.twice == [1, 2]
    assert seen.model.shape == recipe.model.shape == [1, 8, 8]
    facts = {"shape": [1, 8, 8], "outputs": 1}
    assert view.plain(seen.model)["all"] == _plain(recipe.model)["all"] == facts
    seen.facts.shape.append(3)
    assert seen.facts.shape == recipe.facts.shape == [1, 8, 8]
