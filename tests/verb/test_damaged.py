"""Whatever reads a record refuses a damaged one in a line that names the run and the file."""

from contextlib import closing

import numpy as np
import pytest

from dlrun import record
from dlrun.__main__ import main

RECIPE = "data:\n  name: digits\nepochs: 3\n"
ONE = ("show", "compare", "evaluate", "predict", "export", "sync", "list", "clean")
DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(bytes(range(256))),
    "gone": lambda path: path.unlink(),
}
CASES = [
    (file, damage)
    for file in record.FILES
    for damage in DAMAGE
    if (file, damage) not in (("metrics.jsonl", "cut"), ("metrics.jsonl", "garbage"))
]
"""A part of the points is left out, with a warning; see tests/record/test_whole.py."""


def kept(name):
    """A run that has ended, without weights."""
    with closing(record.create("outputs", name, {"overrides": []}, RECIPE)) as run:
        run.append(1, 1.0, {"val/loss": 0.5})
        run.set_status(record.FINISHED)
    record.write_json(run.directory / "tracking.json", {"uri": "sqlite:///a.db"})
    return run.directory


@pytest.fixture
def runs(here):
    np.save("x.npy", np.zeros((1, 1, 8, 8), np.uint8))
    return kept("one"), kept("other")


def words(verb, run, other):
    return [verb, run.name, *{"compare": [other.name], "predict": ["x.npy"]}.get(verb, [])]


@pytest.mark.parametrize(("file", "damage"), CASES)
def test_no_verb_takes_a_damaged_record(runs, capsys, file, damage):
    run, other = runs
    DAMAGE[damage](run / file)
    state = "is missing" if damage == "gone" else "is damaged"
    if (file, state) == ("recipe.yaml", "is damaged"):
        state = "has been changed or is damaged"
    said = f"outputs/runs/{run.name}/{file} {state}"
    for verb in ONE:
        assert main(words(verb, run, other)) == 2, verb
        told = capsys.readouterr()
        warned = f"warning: damaged: {run.name} ({file} {state})\n" if verb == "clean" else ""
        assert (told.out, told.err) == ("", f"{warned}error: {said}\n"), verb
    assert main([f"weights={run.name}", "tracking=none"]) == 2
    assert capsys.readouterr().err == f"error: weights={run.name}: {said}\n"
    if file in record.TO_GO_ON:
        assert main([f"resume={run.name}"]) == 2
        right = "the run cannot go on; begin a new one, without resume="
        assert capsys.readouterr().err == f"error: resume={run.name}: {said}; {right}\n"


def test_where_others_remain_it_is_left_out_in_one_line(runs, capsys):
    run, other = runs
    (run / "run.json").write_text("{")
    assert main(["list"]) == 0
    told = capsys.readouterr()
    assert told.err == f"warning: damaged: {run.name} (run.json is damaged)\n"
    assert [line.split()[0] for line in told.out.splitlines()] == ["id", other.name]


def test_the_checkpoints_of_what_is_damaged_stay(runs, capsys):
    run, other = runs
    about = record.read_json(other / "run.json") | {"parent": run.name}
    record.write_json(other / "run.json", about)
    kept("last")
    for each in runs:
        (each / "checkpoints").mkdir()
    (run / "run.json").write_text("{")
    assert main(["clean", "--yes"]) == 0
    out = capsys.readouterr().out
    assert f"{other.name} (what made it is damaged)" in " ".join(out.split())
    assert all((each / "checkpoints").is_dir() for each in runs)
