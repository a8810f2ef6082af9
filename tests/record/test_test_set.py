"""For how many recipes a test set was measured."""

import json

from dlrun.record import test_set


def run(folder, name, recipe, which="digits"):
    (folder / name).mkdir()
    measured = [{"when": "", "set": which, "recipe": recipe}] if recipe else []
    told = {"tested_recipes": 1, **({"test_measured": measured} if measured else {})}
    (folder / name / "run.json").write_text(json.dumps(told))
    return folder / name


def test_recipes_are_counted_as_they_are_by_now(tmp_path):
    first = run(tmp_path, "1", "a")
    assert test_set.beside(first) == 1
    run(tmp_path, "2", "b")
    run(tmp_path, "3", "b")
    run(tmp_path, "4", "c", "others")
    assert test_set.beside(first) == 2
    assert test_set.beside(run(tmp_path, "5", "")) == 0
