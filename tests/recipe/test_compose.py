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


@pytest.mark.parametrize("key", compose.PATHS)
@pytest.mark.parametrize("path", ["it's.csv", 'a"b', "[x].csv", "{x} y", "~/a (1)", "a 'b' c"])
def test_a_path_is_taken_as_it_is_typed(key, path):
    [override] = compose.parse([compose.readable(f"{key}={path}")])
    assert override.value() == path


@pytest.mark.parametrize("value", ["'a b'", "'abc", "[a,b]", "[[a],b]", "[a", "{a: 1}", "{a"])
def test_a_value_in_quotes_or_brackets_stays_as_it_is(value):
    assert compose.readable(f"data.path={value}") == f"data.path={value}"
