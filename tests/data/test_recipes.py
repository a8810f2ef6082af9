"""Every YAML of the group lists what its source and the split take, with the same defaults.

The settings that all have in common stand in a file of their own.
"""

import importlib
import inspect
from pathlib import Path

import pytest
import yaml

from dlrun.data import split

RECIPES = sorted((Path(__file__).parents[2] / "conf" / "data").glob("*.yaml"))
OWN_SPLIT = {"digits"}  # chosen where the source gives no splits


def test_there_are_recipes():
    assert {"digits", "mnist", "cifar10", "imagefolder", "arrays"} <= {r.stem for r in RECIPES}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_lists_every_option(recipe):
    listed = yaml.safe_load(recipe.read_text())
    assert listed.pop("defaults") == ["_self_", "common/settings@_here_"]
    listed |= yaml.safe_load((recipe.parent / "common" / "settings.yaml").read_text())
    if recipe.stem == "custom":
        assert {"task", "scale_targets"} <= listed.keys(), "the rest is the user's own"
        return
    module, name = listed.pop("_target_").rsplit(".", 1)
    options = dict(inspect.signature(getattr(importlib.import_module(module), name)).parameters)
    assert options.pop("report").default is None
    options |= inspect.signature(split.make).parameters
    for name in ("source", "rows", "fitted", "partly"):
        options.pop(name, None)  # what a procedure or a verb hands over is no setting
    assert listed.keys() == options.keys()
    for key, option in options.items():
        required = option.default is inspect.Parameter.empty
        if not (key == "split" and recipe.stem in OWN_SPLIT):
            assert listed[key] == ("???" if required else option.default)
