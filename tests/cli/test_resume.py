import errno
import json
import logging
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dlrun import record as records
from dlrun.__main__ import main
from dlrun.cli import launch
from dlrun.errors import Mistake
from dlrun.recipe import compose, resume
from dlrun.recipe.flags import Flags
from dlrun.recipe.resume import changes, merge
from dlrun.record import write_recipe
from tests.conftest import in_suite

CHOICES = {"optimizer": "momentum", "model": "mlp", "schedule": "cosine"}


@pytest.mark.parametrize(
    ("recorded", "new", "merged"),
    [
        ([], [], []),
        (["epochs=20"], [], ["epochs=20"]),
        (["epochs=20", "seed=1"], ["epochs=40"], ["seed=1", "epochs=40"]),
        (["optimizer.lr=0.1"], ["optimizer=adam"], ["optimizer=adam"]),
        (["optimizer.lr=0.1"], ["optimizer=momentum"], ["optimizer.lr=0.1", "optimizer=momentum"]),
        (
            ["optimizer=adam", "optimizer.lr=0.1", "model=cnn"],
            ["optimizer=sgd", "optimizer.lr=1"],
            ["model=cnn", "optimizer=sgd", "optimizer.lr=1"],
        ),
        (
            ["regularization=[l2,dropout]", "regularization.l2.strength=1e-3"],
            ["regularization=[l2]"],
            ["regularization.l2.strength=1e-3", "regularization=[l2]"],
        ),
        (
            ["regularization=[l2,dropout]", "regularization.l2.strength=1e-3"],
            ["regularization=[dropout]"],
            ["regularization=[dropout]"],
        ),
        (
            ["regularization=[l2]", "regularization.l2.strength=1e-3"],
            ["regularization=none"],
            ["regularization=none"],
        ),
        (["+optimizer.nesterov=true"], ["optimizer.nesterov=false"], ["+optimizer.nesterov=false"]),
        (["~optimizer.momentum"], ["optimizer.momentum=0.5"], ["optimizer.momentum=0.5"]),
        (["optimizer.momentum=0.5"], ["~optimizer.momentum"], ["~optimizer.momentum"]),
        (["schedule.final=0.1"], ["epochs=4"], ["schedule.final=0.1", "epochs=4"]),
        (["model.hidden=[50]"], ["model.hidden=[8,8]"], ["model.hidden=[8,8]"]),
    ],
)
def test_new_overrides_replace_those_they_make_void(recorded, new, merged):
    assert merge(recorded, new, CHOICES) == merged


def test_merging_again_changes_nothing():
    once = merge(["optimizer.lr=0.1", "seed=1"], ["optimizer=adam", "epochs=3"], CHOICES)
    assert merge(once, ["optimizer=adam", "epochs=3"], {**CHOICES, "optimizer": "adam"}) == once


def test_changed_defaults_are_found_by_comparing_with_the_record():
    before = OmegaConf.create(
        {
            "epochs": 20,
            "optimizer": {"lr": 0.05, "momentum": 0.9},
            "total": "${epochs}",
            "shape": "${facts.shape}",
            "facts": {"shape": "???", "outputs": "???"},
            "resume": None,
            "new": 1,
        }
    )
    kept = OmegaConf.create(
        {
            "epochs": 20,
            "optimizer": {"lr": 0.01, "momentum": 0.8, "gone": [1]},
            "total": 20,
            "shape": [1, 8, 8],
            "facts": {"shape": [1, 8, 8], "outputs": 10},
            "resume": "somewhere",
        }
    )
    found = changes(before, kept, [])
    assert found == {"optimizer.lr": 0.01, "optimizer.momentum": 0.8, "optimizer.gone": [1]}
    assert changes(before, kept, ["optimizer.lr"]) == {
        "optimizer.momentum": 0.8,
        "optimizer.gone": [1],
    }
    assert changes(before, kept, ["optimizer"]) == {}


def record(directory, overrides, recipe, command="dlrun"):
    directory.mkdir(parents=True)
    info = {"overrides": overrides, "command": command, "cwd": str(directory.parent)}
    (directory / "run.json").write_text(json.dumps(info))
    write_recipe(directory, OmegaConf.to_yaml(recipe, resolve=True))


def composed(overrides):
    with compose.composer([]) as composer:
        recipe = composer.recipe(overrides)
    recipe.facts.shape, recipe.facts.outputs = [1, 8, 8], 10
    return recipe


def test_recorded_values_stay_where_defaults_have_changed(tmp_path, caplog, monkeypatch):
    overrides = ["seed=3"]
    then = composed(overrides)
    then.optimizer.lr, then.clip_norm = 0.123, 2.0
    record(tmp_path / "runs" / "one", overrides, then)
    previous = resume.find(["resume=last", f"outputs={tmp_path}"])
    assert previous is not None
    monkeypatch.setattr(logging.getLogger("dlrun"), "propagate", True)
    with compose.composer([]) as composer, caplog.at_level("WARNING", "dlrun"):
        words = previous.merge(composer, ["resume=last", "epochs=40", "clip_norm=5"])
        recipe = previous.restore(composer, composer.recipe(words), words)
    assert words == ["seed=3", "epochs=40", "clip_norm=5"]
    assert recipe.optimizer.lr == 0.123
    assert recipe.clip_norm == 5
    assert recipe.epochs == 40
    assert recipe.seed == 3
    assert recipe.resume == str(tmp_path / "runs" / "one")
    assert caplog.messages == ["defaults have changed since; kept as recorded: optimizer.lr"]


@pytest.mark.parametrize("count", [0, 1, 5])
def test_what_never_trains_is_said_to_be_passed_over(tmp_path, caplog, monkeypatch, count):
    names = ["one", *(f"look{number}" for number in range(count))]
    for number, name in enumerate(names):
        record(tmp_path / "runs" / name, [], composed([]))
        info = json.loads((tmp_path / "runs" / name / "run.json").read_text())
        info |= {"started": f"2026-01-01T12:00:0{number}", "trains": name == "one"}
        (tmp_path / "runs" / name / "run.json").write_text(json.dumps(info))
    monkeypatch.setattr(logging.getLogger("dlrun"), "propagate", True)
    with caplog.at_level("WARNING", "dlrun"):
        assert resume.find(["resume=last", f"outputs={tmp_path}"]).directory.name == "one"
        assert resume.find([f"resume={names[0]}", f"outputs={tmp_path}"])
    passed = {0: "", 1: "look0", 5: "look2, look3, look4 and 2 older"}[count]
    said = f"resume=last: goes on with one; passes over what never trains: {passed}"
    assert caplog.messages == ([said] if passed else [])


def test_the_name_that_a_procedure_gives_is_no_changed_default(tmp_path, caplog, monkeypatch):
    overrides = ["procedure=train"]
    then = composed(overrides)
    then.name = "bag 0"
    record(tmp_path / "runs" / "one", overrides, then)
    previous = resume.find(["resume=last", f"outputs={tmp_path}"])
    monkeypatch.setattr(logging.getLogger("dlrun"), "propagate", True)
    with compose.composer([]) as composer, caplog.at_level("WARNING", "dlrun"):
        words = previous.merge(composer, ["resume=last", "epochs=40"])
        recipe = previous.restore(composer, composer.recipe(words), words)
    assert (recipe.name, recipe.epochs) == ("bag 0", 40)
    assert caplog.messages == []


def test_an_override_that_is_dropped_does_not_count_as_a_changed_default(tmp_path, caplog):
    overrides = ["optimizer.lr=0.5"]
    record(tmp_path / "runs" / "one", overrides, composed(overrides))
    previous = resume.find(["resume=last", f"outputs={tmp_path}"])
    assert previous is not None
    with compose.composer([]) as composer:
        words = previous.merge(composer, ["resume=last", "optimizer=adam"])
        recipe = previous.restore(composer, composer.recipe(words), words)
    assert recipe.optimizer._target_ == "dlrun.optimizer.adaptive.adam"
    assert recipe.optimizer.lr != 0.5
    assert caplog.messages == []


def test_the_recorded_recipe_directories_are_used_again(tmp_path):
    own = tmp_path / "runs" / "my recipes"
    own.mkdir(parents=True)
    command = "dlrun --config-dir 'my recipes' seed=1"
    record(tmp_path / "runs" / "one", ["seed=1"], composed([]), command)
    previous = resume.find(["resume=one", f"outputs={tmp_path}"])
    assert previous is not None
    assert launch._directories(Flags(), previous) == [own]


DAMAGED = [
    ("run.json", "overrides", 3, "overrides is 3, but should be a list"),
    ("run.json", "overrides", [1], "does not say its overrides"),
    ("run.json", "overrides", None, "overrides is None, but should be a list"),
    ("run.json", "command", 5, "command is 5, but should be text or a list"),
    ("run.json", "command", [5], "does not say its overrides"),
    ("run.json", "command", "dlrun 'a", "No closing quotation"),
    ("run.json", "name", None, "name is None, but should be text"),
    ("run.json", "cwd", 3, "cwd is 3, but should be text"),
    ("run.json", "data", [], "data is [], but should be a mapping"),
    ("run.json", "", "{", "is damaged; the run cannot go on; begin a new one, without resume="),
    ("recipe.yaml", "", "", "is not a recipe"),
    ("recipe.yaml", "", "a: [", "cannot be read"),
    ("recipe.yaml", "", "data: digits\n# crc32: 00000000\n", "has been changed or is damaged"),
    ("recipe.yaml", "", b"\xff\xfe\x00", "cannot be read"),
]


@pytest.mark.parametrize(("file", "key", "value", "message"), DAMAGED)
def test_a_damaged_record_is_a_mistake_that_names_the_file(tmp_path, file, key, value, message):
    run = tmp_path / "runs" / "one"
    record(run, [], composed([]))
    if key:
        value = json.dumps(json.loads((run / file).read_text()) | {key: value})
    (run / file).write_bytes(value if isinstance(value, bytes) else value.encode())
    with pytest.raises(Mistake) as mistake:
        resume.find([f"resume={run}"])
    assert str(mistake.value).startswith(f"resume={run}: {run / file}")
    assert message in str(mistake.value)
    assert len(str(mistake.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("command", "message"),
    [("dlrun --foo", "unknown flag --foo"), ("dlrun -cd gone", "no such directory")],
)
def test_a_damaged_command_is_a_mistake_that_names_the_file(tmp_path, capsys, command, message):
    run = tmp_path / "runs" / "one"
    record(run, [], composed([]), command)
    assert main([f"resume={run}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: resume={run}: {run / 'run.json'}")
    assert message in said
    assert len(said.splitlines()) == 1


def test_a_missing_recipe_is_a_mistake(tmp_path):
    record(tmp_path / "runs" / "one", [], composed([]))
    (tmp_path / "runs" / "one" / "recipe.yaml").unlink()
    with pytest.raises(Mistake, match=r"recipe\.yaml is missing; .* begin a new one, without"):
        resume.find(["resume=last", f"outputs={tmp_path}"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epoch=3", "epoch=3: there is no setting 'epoch'"),
        ("optimizer=foo", "optimizer=foo: no optimizer is called 'foo'"),
        ("seed=1,2", "seed=1,2: several values"),
        ("seed=abc", "seed=abc: expected a whole number"),
        ("a", "a: cannot be read"),
    ],
)
def test_a_recorded_override_that_cannot_be_is_a_mistake(tmp_path, override, message):
    record(tmp_path / "runs" / "one", [override], composed([]))
    previous = resume.find(["resume=last", f"outputs={tmp_path}"])
    with compose.composer([]) as composer, pytest.raises(Mistake) as mistake:
        previous.merge(composer, ["resume=last"])
    assert str(mistake.value).startswith(f"{tmp_path / 'runs' / 'one' / 'run.json'}: {message}")


class TestFromAnotherDirectory:
    """A run of a table, typed in one directory and resumed in another."""

    RECORDED = ("data=arrays", "data.path=sub/t.csv", "data.cache=/c", "tracking=mlflow")

    @pytest.fixture
    def resumed(self, tmp_path, monkeypatch):
        home, away = tmp_path / "home", tmp_path / "away"
        away.mkdir()
        words = [*self.RECORDED, "tracking.uri=sqlite:///runs.db"]
        directory = home / "outputs" / "runs" / "one"
        record(directory, words, composed(words))
        info = json.loads((directory / "run.json").read_text()) | {"cwd": str(home)}
        (directory / "run.json").write_text(json.dumps(info))
        monkeypatch.setattr(sys, "path", ["/library", str(away)])

        def resumed(at, *typed):
            monkeypatch.chdir(at)
            words = [f"resume={directory}", *typed]
            previous = resume.find(words)
            with compose.composer([]) as composer:
                words = previous.merge(composer, words)
                return words, previous.restore(composer, composer.recipe(words), words)

        return home, away, resumed

    def test_paths_mean_what_they_meant(self, resumed, caplog):
        home, away, again = resumed
        words, recipe = again(away)
        assert words == [*self.RECORDED, "tracking.uri=sqlite:///runs.db"]
        assert recipe.data.path == str(home / "sub" / "t.csv")
        assert recipe.data.cache == "/c"
        assert recipe.tracking.uri == f"sqlite:///{home / 'runs.db'}"
        assert recipe.outputs == str(home / "outputs")
        assert caplog.messages == []

    def test_the_users_modules_are_found_there_first(self, resumed):
        home, away, again = resumed
        again(away)
        assert sys.path == ["/library", str(home), str(away)]

    def test_a_path_that_is_typed_now_is_meant_here(self, resumed):
        _, away, again = resumed
        words, recipe = again(away, 'data.path="it\'s here.csv"', "data.cache='~/c'")
        assert f"data.path='{away}/it\\'s here.csv'" in words
        assert recipe.data.path == str(away / "it's here.csv")
        assert recipe.data.cache == "~/c"

    def test_at_home_all_stays_as_typed(self, resumed):
        home, _, again = resumed
        words, recipe = again(home, "data.path=other.csv")
        assert "data.path=other.csv" in words
        assert recipe.data.path == "other.csv"
        assert recipe.tracking.uri == "sqlite:///runs.db"
        assert recipe.outputs == "outputs"
        assert str(home) not in sys.path


def test_nothing_to_resume(tmp_path):
    assert resume.find(["epochs=3"]) is None
    assert resume.find(["resume=null"]) is None
    with pytest.raises(Mistake, match=r"^resume=last: no run 'last'"):
        resume.find(["resume=last", f"outputs={tmp_path}"])


def test_a_sweep_goes_on_when_its_command_is_typed_again(tmp_path):
    folder = tmp_path / "sweeps" / "0123456789"
    folder.mkdir(parents=True)
    records.write_json(folder / "sweep.json", {"command": "dlrun -m seed=0,1"})
    said = "is a sweep, which goes on when typed again: dlrun -m seed=0,1"
    for asked in (folder.name, "0123", str(folder)):
        with pytest.raises(Mistake, match=f"^resume={asked}: {said}$"):
            resume.find([f"resume={asked}", f"outputs={tmp_path}"])


@pytest.fixture
def own_options(tmp_path, monkeypatch):
    """A directory `a` with an optimizer and a table of one's own."""
    folder = tmp_path / "a" / "mine" / "optimizer"
    folder.mkdir(parents=True)
    (folder / "slow.yaml").write_text("# Slow\ndefaults: [sgd, _self_]\nlr: 1e-6\n")
    rows = "".join(f"{i},{i % 2}\n" for i in range(60))
    (tmp_path / "a" / "table.csv").write_text("x,y\n" + rows)
    monkeypatch.chdir(tmp_path / "a")
    return tmp_path


@pytest.mark.parametrize("here", in_suite(["a"], ["a", "."]))
def test_what_is_proposed_after_resume_runs_as_printed(here, own_options, monkeypatch, capsys):
    words = ["--config-dir", "mine", "optimizer=slow", "data=arrays", "data.path=table.csv"]
    words += ["data.target=y", "tracking=none", "threads=1", "epochs=4", "outputs=out"]
    assert main([*words, "regularization=[]", "batch_size=10"]) == 0
    monkeypatch.chdir(own_options / here)
    outputs = f"outputs={own_options / 'a' / 'out'}"
    capsys.readouterr()
    assert main(["resume=last", outputs, "epochs=6"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    proposed = [line for line in lines if line.startswith("dlrun --config-dir")]
    assert proposed
    assert not [line for line in lines if line.startswith("dlrun optimizer")]
    for line in proposed:
        more = ["sweep.dry_run=true"] if " -m " in line else ["epochs=1 steps"]
        fails = "procedure=overfit" in line  # at this rate even a sample is not memorized
        assert main([*shlex.split(line)[1:], *more]) == fails, (line, capsys.readouterr().err)


def test_what_the_checks_proposed_is_of_the_recipe_that_trains_now(here):
    words = ["activation=identity", "epochs=2 steps", "model.hidden=[4]", "threads=1"]
    assert main([*words, "optimizer.lr=0.02", "tracking=none"]) == 0
    assert main(["resume=last", "epochs=4 steps", "optimizer=adam", "device=cpu"]) == 0
    [linear] = [
        shlex.split(each.command)[1:]
        for each in records.findings_of(records.find("outputs", "last"))
        if each.name == "linear_network"
    ]
    now = {*words[2:], "tracking=none", "activation=relu", "epochs=4 steps", "optimizer=adam"}
    assert {*linear} - {"optimizer.lr=0.02"} == now | {"device=cpu"}


def test_a_run_whose_outputs_were_moved_goes_on_where_it_lies(here, capsys):
    assert main(["epochs=2 steps", "threads=1", "tracking.checkpoints=false", "outputs=a"]) == 0
    Path("a").rename("b")
    assert main(["resume=last", "outputs=b", "epochs=3 steps"]) == 0
    Path("b").rename("c")
    capsys.readouterr()
    assert main(["resume=last", "outputs=c", "epochs=4 steps"]) == 0
    out, err = capsys.readouterr()
    assert "defaults have changed" not in err
    assert not re.search("outputs=[ab]", out)
    assert "outputs=c" in records.read_json(records.find("c", "last") / "run.json")["overrides"]


def test_a_run_that_a_resumed_procedure_adds_knows_its_options(own_options, monkeypatch):
    words = ["--config-dir", "mine", "optimizer=slow", "tracking=none", "threads=1"]
    words += ["epochs=2 steps", "procedure=cross_validate", "procedure.folds=2"]
    assert main(words) == 0
    runs = records.all_runs(own_options / "a" / "outputs")
    [whole] = [run for run in runs if not (run / "checkpoints").is_dir()]
    lost, *_ = [run for run in runs if run != whole]
    shutil.rmtree(lost)
    monkeypatch.chdir(own_options)
    assert main([f"resume={whole}"]) == 0
    [made] = set(records.all_runs(whole.parents[1])) - set(runs)
    assert main([f"resume={made}", "epochs=4 steps"]) == 0


def test_a_run_that_may_not_be_written_is_named_with_what_begins_another(here, monkeypatch, capsys):
    """Before its store, which may not be written either, and of which no other word mends it."""
    assert main(["epochs=2 steps"]) == 0
    run = records.find("outputs", "last")
    real = tempfile.TemporaryFile

    def refuse(*args, **kwargs):
        if "outputs" in str(kwargs.get("dir")):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(*args, **kwargs)

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    capsys.readouterr()
    assert main(["resume=last", "epochs=3 steps"]) == 2
    where = f"outputs/runs/{run.name}"
    assert capsys.readouterr().err == (
        f"error: resume=last: cannot write {where}: Permission denied; weights={where} begins a "
        "run of your own from its weights\n"
    )
