"""`dlrun clean` removes only what it may, only when told, and says it first."""

import json
import os
import shutil
import time

import pytest

from dlrun import record
from dlrun.__main__ import main
from tests.verb.conftest import SHORT
from tests.verb.test_list import keep


def with_checkpoint(directory, size=1000):
    (directory / "checkpoints").mkdir()
    (directory / "checkpoints" / "best.pt").write_bytes(bytes(size))
    return directory


@pytest.fixture
def several(here):
    """Records by their names, each with a checkpoint of 1 kB."""
    found = {}
    for number, name in enumerate(["old", "mine", "one", "two", "part", "last"]):
        words = ["name=mine"] if name == "mine" else []
        more = {"parent": "?"} if name in ("one", "two", "part") else {}
        value = {"one": 0.9, "two": 0.7}.get(name, 0.8)
        found[name] = with_checkpoint(keep("outputs", name, number, value, overrides=words, **more))
    made = [found["one"].name, found["two"].name]
    found["folds"] = keep("outputs", "folds", 3, kind="procedure", runs=made)
    begun = keep("outputs", "begun", 4, kind="procedure")
    record.write_json(begun / "status.json", {"status": record.KILLED})
    about = record.read_json(found["part"] / "run.json") | {"parent": begun.name}
    record.write_json(found["part"] / "run.json", about)
    return found


def there(runs):
    return {name for name, run in runs.items() if (run / "checkpoints").exists()}


def test_nothing_is_removed_before_it_is_said(several, capsys):
    before = there(several)
    assert main(["clean"]) == 0
    out = capsys.readouterr().out
    assert there(several) == before
    assert "not needed: 2 kB of 2 runs" in out
    rows = [line.split() for line in out.splitlines()]
    assert [several["old"].name, "finished", "0.8000", "old", "1", "kB"] in rows
    assert [several["two"].name, "finished", "0.7000", "two", "1", "kB"] in rows
    for name, why in {
        "mine": "has a name of its own",
        "one": f"the best run of {several['folds'].name}",
        "last": "the last",
    }.items():
        assert f"{several[name].name} ({why})" in out
    assert "to remove them: dlrun clean --yes" in out


def test_what_nobody_needs_is_removed(several, capsys):
    assert main(["clean", "--yes"]) == 0
    assert there(several) == {"mine", "one", "part", "last"}
    assert "removed 2 kB of 2 runs" in capsys.readouterr().out
    assert (several["old"] / "metrics.jsonl").exists()
    assert main(["clean", "--yes"]) == 0
    assert "there are no others" in capsys.readouterr().out
    assert main(["evaluate", several["old"].name]) == 2
    assert "has no checkpoint" in capsys.readouterr().err


def test_what_is_named_here_stays(several, capsys):
    assert main(["clean", several["old"].name]) == 0
    assert f"to remove them: dlrun clean {several['old'].name} --yes" in capsys.readouterr().out
    assert main(["clean", several["old"].name, "--yes"]) == 0
    assert there(several) == {"old", "mine", "one", "part", "last"}


def test_what_cannot_be_removed_is_said_and_can_still_be_gone_on_with(several, monkeypatch, capsys):
    remove = shutil.rmtree

    def refusing(path):
        if path.parent == several["old"].absolute():
            raise PermissionError(1, "Operation not permitted")
        remove(path)

    monkeypatch.setattr(shutil, "rmtree", refusing)
    assert main(["clean", "--yes"]) == 1
    said = capsys.readouterr().out
    assert "checkpoints: cannot be removed: Operation not permitted" in said
    assert "removed 1 kB of 1 run" in said
    assert not record.read_json(several["old"] / "run.json")["cleaned"]
    assert there(several) == {"old", "mine", "one", "part", "last"}


def test_what_runs_stays(several):
    held = record.open_existing(several["old"])
    held.set_status(record.RUNNING)
    assert main(["clean", "--yes"]) == 0
    held.close()
    assert "old" in there(several)


def test_folders_of_runs_that_never_began_are_removed(here, capsys):
    runs = here / "outputs" / "runs"
    found = {
        "20260102-030405-00aa": [],
        "20260102-030405-00bb": ["recipe.yaml", ".run.json.x1.part", "lock"],
        "20260102-030405-00cc": ["recipe.yaml", "notes.txt"],
        "20260102-030405-00dd": ["recipe.yaml"],
        "20260102-030405-00ee": ["lock"],
        "mine": [],
    }
    for name, files in found.items():
        (runs / name).mkdir(parents=True)
        for file in files:
            (runs / name / file).touch()
        old = time.time() - (60 if name.endswith("dd") else 2 * 3600)  # dd may just be made
        for path in (*(runs / name).iterdir(), runs / name):
            os.utime(path, (old, old))
    killed = {"20260102-030405-00aa", "20260102-030405-00bb"}
    with record.held(runs / "20260102-030405-00ee" / "lock"):
        assert main(["clean"]) == 0
        said = capsys.readouterr().out
        assert f"killed before they began: {', '.join(sorted(killed))}\n" in said
        assert "to remove them: dlrun clean --yes" in said
        assert {each.name for each in runs.iterdir()} == set(found)
        assert main(["clean", "--yes"]) == 0
    assert "removed 2 folders of runs that were killed before they began" in capsys.readouterr().out
    assert {each.name for each in runs.iterdir()} == set(found) - killed


def test_the_weights_stay_that_an_unfinished_procedure_starts_from(several, here):
    begun = several["part"].parent / record.read_json(several["part"] / "run.json")["parent"]
    words = {"overrides": [f"weights=outputs/runs/{several['old'].name}"]}
    info = record.read_json(begun / "run.json")
    record.write_json(begun / "run.json", info | words | {"cwd": str(here)})
    assert main(["clean", "--yes"]) == 0
    assert "old" in there(several)
    record.write_json(begun / "status.json", {"status": record.FINISHED})
    assert main(["clean", "--yes"]) == 0
    assert "old" not in there(several)


@pytest.mark.parametrize("searched", [False, True])
def test_the_weights_stay_that_an_unfinished_sweep_starts_from(searched, several, here):
    word = f"outputs/runs/{several['old'].name}/checkpoints/best.pt"
    folder = here / "outputs" / "sweeps" / "0123456789"
    folder.mkdir(parents=True)
    dimension = {"key": "weights", "choices": [word, None], "typed": [word, "null"]}
    asked = {"dimensions": [dimension]} if searched else {"overrides": [f"weights={word}"]}
    record.write_json(folder / "sweep.json", asked | {"cwd": str(here)})
    assert main(["clean", "--yes"]) == 0
    assert "old" in there(several)
    record.write_json(folder / "status.json", {"status": record.FINISHED})
    assert main(["clean", "--yes"]) == 0
    assert "old" not in there(several)


@pytest.mark.parametrize("word", ["{name}", "outputs/runs/{name}"])
def test_the_weights_stay_that_a_variant_of_an_unfinished_procedure_starts_from(
    word, several, here
):
    of_b = f"weights={word.format(name=several['old'].name)} optimizer.lr=0.1"
    variants = f"procedure.variants={{a: 'optimizer.lr=0.1', b: '{of_b}'}}"
    begun = several["part"].parent / record.read_json(several["part"] / "run.json")["parent"]
    info = record.read_json(begun / "run.json") | {"cwd": str(here)}
    record.write_json(begun / "run.json", info | {"overrides": [variants]})
    assert main(["clean", "--yes"]) == 0
    assert "old" in there(several)
    record.write_json(begun / "run.json", info)  # from here on an experiment names them
    recipe = f'data: {{}}\nprocedure:\n  variants:\n    b: ["{of_b}"]\n'
    record.write_recipe(begun, recipe)
    assert main(["clean", "--yes"]) == 0
    assert "old" in there(several)
    record.write_json(begun / "status.json", {"status": record.FINISHED})
    assert main(["clean", "--yes"]) == 0
    assert "old" not in there(several)


def _unfinished(here, name, status, **found):
    """The folder of a sweep of one point, which has that run, that has not ended."""
    folder = here / "outputs" / "sweeps" / "0123456789"
    folder.mkdir(parents=True)
    record.write_json(folder / "sweep.json", {"cwd": str(here)})
    run = {"seed": 0, "hash": "a", "status": status, "directory": f"runs/{name}", **found}
    point = {"trial": 0, "hash": "a", "values": {}, "overrides": [], "runs": [run]}
    (folder / "ledger.jsonl").write_text(json.dumps(point | {"status": status}) + "\n")
    return folder


def test_the_weights_stay_that_an_experiment_names_for_an_unfinished_sweep(several, here):
    run = several["old"].parent / "20200101-000000-0000"
    run.mkdir()
    record.write_recipe(run, f"data: {{}}\nweights: outputs/runs/{several['old'].name}\n")
    folder = _unfinished(here, run.name, record.FAILED)
    assert main(["clean", "--yes"]) == 0
    assert "old" in there(several)
    record.write_json(folder / "status.json", {"status": record.FINISHED})
    assert main(["clean", "--yes"]) == 0
    assert "old" not in there(several)


def test_what_the_best_of_an_unfinished_sweep_is_made_of_stays(several, here):
    folder = _unfinished(here, several["folds"].name, record.FINISHED, value=0.9)
    assert main(["clean", "--yes"]) == 0
    assert {"one", "two"} <= there(several)
    record.write_json(folder / "status.json", {"status": record.FINISHED})
    assert main(["clean", "--yes"]) == 0
    assert "two" not in there(several)


@pytest.mark.proof
def test_the_best_of_a_sweep_stays_and_a_cleaned_run_begins_nothing(here, capsys):
    assert main(["-m", "optimizer.lr=0.1,1e-5", *SHORT]) == 0
    best, other = record.all_runs("outputs")
    assert main(["epochs='1 steps'", "tracking=none", "preflight=off"]) == 0
    assert main(["clean", "--yes"]) == 0
    assert (best / "checkpoints").exists()
    assert not (other / "checkpoints").exists()
    points = record.read_points(other)
    assert main([f"resume={other.name}", "epochs=3"]) == 2
    assert "dlrun clean has removed its checkpoints" in capsys.readouterr().err
    assert record.read_points(other) == points


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nosuch"], "no run 'nosuch'"),
        (["--yse"], "unknown flag --yse of clean; did you mean --yes?"),
        (["cache=x"], "cache=x: clean takes outputs="),
    ],
)
def test_a_mistake_is_named(words, said, several, capsys):
    assert main(["clean", *words]) == 2
    assert said in capsys.readouterr().err
