"""What the jobs of one process share."""

import json

import pytest

from dlrun.job.session import Session
from dlrun.recipe import compose


@pytest.mark.parametrize(("own", "shared"), [("dlrun", True), ("theirs", False)])
def test_a_run_that_goes_on_has_the_process_of_its_experiment(tmp_path, own, shared):
    """Two for one would each wait for the other's delivery, and say that something is missing."""
    (tmp_path / "tracking.json").write_text(json.dumps({"experiment": own}))
    with compose.composer([]) as composer:
        recipe = composer.recipe([f"outputs={tmp_path}"])
    session = Session()
    first = session.prepare(recipe)
    recipe.resume = str(tmp_path)
    second = session.prepare(recipe)
    session.close()
    assert first is not None
    assert second is not None
    assert (second is first) is shared
    assert second.settings["experiment"] == own
