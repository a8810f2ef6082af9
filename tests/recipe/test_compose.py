"""What a composed recipe holds."""

import pytest

from dlrun.recipe import compose


def test_it_has_the_keys_that_are_listed(compose_recipe):
    recipe = compose_recipe("regularization=[dropout]")
    assert all(compose.has(recipe, key) for key in compose.keys(recipe))
    assert recipe.resume is None
    assert compose.has(recipe, "resume"), "whatever its value"


@pytest.mark.parametrize("key", ["nothing", "optimizer.nothing", "seed.nothing", "resume.nothing"])
def test_it_has_no_others(key, compose_recipe):
    assert not compose.has(compose_recipe(), key)
