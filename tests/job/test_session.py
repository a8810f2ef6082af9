"""What the jobs of one process share."""

import json

import pytest

from dlrun.__main__ import main
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


@pytest.mark.parametrize("targets", ["1", "12"])
def test_a_mistake_about_the_data_stands_alone(tmp_path, monkeypatch, capsys, targets):
    monkeypatch.chdir(tmp_path)
    rows = [f"{row},{targets[row % len(targets)] if row % 5 else ''}" for row in range(40)]
    (tmp_path / "sold.csv").write_text("\n".join(["price,sold", *rows, ""]))
    words = ["data=arrays", "data.path=sold.csv", "data.target=sold", "data.task=classification"]
    code = main([*words, "epochs=1 steps", "tracking=none", "threads=1", "preflight=off"])
    said = capsys.readouterr().err
    assert code == (2 if targets == "1" else 0)
    assert said.startswith("error: data.target=sold: has one value" if code else "warning: ")
    assert ("8 of 40 rows are left out" in said) is (code == 0)
