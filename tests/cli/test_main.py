import os
import subprocess
import sys

import pytest

from dlrun import record
from dlrun.__main__ import main
from dlrun.errors import Failure, Interrupted
from dlrun.job import factory
from dlrun.recipe import catalogue
from tests.conftest import in_suite


@pytest.fixture
def jobs(monkeypatch, tmp_path):
    """What would be run: (recipe, overrides, command) of every job."""
    seen = []

    def run(recipe, asked):
        seen.append((recipe, list(asked.overrides), list(asked.command)))
        return 0.5

    monkeypatch.setattr(factory, "run", run)
    monkeypatch.setattr(
        factory, "perform", lambda recipe, asked, *more, **named: run(recipe, asked)
    )
    monkeypatch.chdir(tmp_path)
    return seen


@pytest.fixture
def fails(jobs, monkeypatch):
    """Let the jobs with a given seed end with an exception."""
    errors = {}

    def run(recipe, asked):
        jobs.append((recipe, list(asked.overrides), list(asked.command)))
        if recipe.seed in errors:
            raise errors[recipe.seed]

    monkeypatch.setattr(factory, "run", run)
    monkeypatch.setattr(
        factory, "perform", lambda recipe, asked, *more, **named: run(recipe, asked)
    )
    return errors


def test_no_arguments_run_the_default_recipe(jobs):
    assert main([]) == 0
    [(recipe, overrides, command)] = jobs
    assert recipe.optimizer.momentum == 0.9
    assert recipe.epochs == 20
    assert overrides == []
    assert command == ["dlrun"]
    assert "hydra" not in recipe


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["optimizer=adam", "optimizer=sgd"],
            ["optimizer=adam: has no effect, because optimizer=sgd"],
        ),
        (["-m", "epochs=1,2", "epochs=3"], ["epochs=1,2: has no effect, because epochs=3"]),
        (["-m", "epochs=3", "epochs=1,2"], ["epochs=3: has no effect, because epochs=1,2"]),
        (["optimizer.lr=0.1", "optimizer.lr=1e-1"], []),
        (["+experiment=overfit", "epochs=3"], []),
    ],
)
def test_a_word_that_a_later_one_overrules_is_said(jobs, capsys, words, said):
    main([*words, "--cfg", "job"] if "-m" not in words else [*words, "sweep.dry_run=true"])
    lines = [line for line in capsys.readouterr().err.splitlines() if "has no effect" in line]
    assert lines == [f"warning: {each} comes after it" for each in said]


def test_overrides_reach_the_job(jobs):
    words = ["optimizer=adam", "optimizer.lr=0.5", "regularization=[l2,dropout]"]
    assert main(words) == 0
    [(recipe, overrides, command)] = jobs
    assert recipe.optimizer.lr == 0.5
    assert list(recipe.regularization) == ["l2", "dropout"]
    assert overrides == words
    assert command == ["dlrun", *words]


def test_an_override_with_a_reference_is_handed_on_as_typed(jobs):
    assert main(["warmup=${epochs}"]) == 0
    assert jobs[0][0].warmup == 20
    assert jobs[0][1] == ["warmup=${epochs}"]


def test_main_leaves_nothing_behind(jobs):
    before = list(sys.path)
    for seed in range(3):
        assert main([f"seed={seed}"]) == 0
    assert [recipe.seed for recipe, _, _ in jobs] == [0, 1, 2]
    assert sys.path == before
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    assert not GlobalHydra.instance().is_initialized()
    assert not HydraConfig.initialized()


def test_the_working_directory_is_on_the_module_path(jobs, monkeypatch, tmp_path):
    found = []
    monkeypatch.setattr(factory, "run", lambda *args, **more: found.append(list(sys.path)))
    assert main([]) == 0
    assert str(tmp_path) in found[0]


def test_a_sweep_runs_every_combination(jobs):
    assert main(["-m", "seed=0,1", "optimizer=sgd,adam", "tracking=none"]) == 0
    assert [overrides for _, overrides, _ in jobs] == [
        ["tracking=none", "seed=0", "optimizer=sgd"],
        ["tracking=none", "seed=0", "optimizer=adam"],
        ["tracking=none", "seed=1", "optimizer=sgd"],
        ["tracking=none", "seed=1", "optimizer=adam"],
    ]


def test_flags_may_stand_anywhere(jobs):
    assert main(["seed=0,1", "-m", "epochs=3", "tracking=none"]) == 0
    assert [(recipe.seed, recipe.epochs) for recipe, _, _ in jobs] == [(0, 3), (1, 3)]


def test_a_failed_job_of_a_sweep_is_named_and_the_others_go_on(jobs, fails, capsys):
    fails[1] = Failure("the loss became nan")
    assert main(["-m", "seed=0,1,2", "tracking=none"]) == 1
    assert [recipe.seed for recipe, _, _ in jobs] == [0, 1, 2]
    assert capsys.readouterr().err.splitlines() == [
        "error: seed=1: the loss became nan",
        "error: 1 of 3 runs failed",
    ]


def test_an_interrupt_ends_a_sweep(jobs, fails, capsys):
    fails[1] = Interrupted(15)
    assert main(["-m", "seed=0,1,2", "tracking=none", "sweep.stack=off"]) == 143
    assert [recipe.seed for recipe, _, _ in jobs] == [0, 1]
    assert capsys.readouterr().err == "stopped: by SIGTERM\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [(Failure("disk full"), 1), (Interrupted(2), 130), (KeyboardInterrupt(), 130)],
)
def test_exit_codes(fails, error, code, capsys):
    fails[0] = error
    assert main([]) == code
    assert "Traceback" not in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(fails, monkeypatch, capsys):
    monkeypatch.setattr("dlrun.errors._PACKAGE", os.path.dirname(__file__))  # as if it were dlrun's
    fails[0] = ZeroDivisionError("division by zero")
    assert main([]) == 1
    shown = capsys.readouterr().err
    assert "ZeroDivisionError: division by zero" in shown
    assert "Traceback" in shown
    assert shown.splitlines()[-1].startswith("error: dlrun did not foresee this; please report it")


def test_debug_shows_the_traceback_of_a_mistake(jobs, monkeypatch, capsys):
    monkeypatch.setenv("DLRUN_DEBUG", "1")
    assert main(["seed=abc"]) == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "ValidationError" in shown
    assert shown.splitlines()[-1] == "error: seed=abc: expected a whole number"


def test_warnings_go_to_stderr(jobs, monkeypatch, capsys):
    import logging

    def warn(*args, **more):
        logging.getLogger("dlrun").warning("the store is slow")

    monkeypatch.setattr(factory, "run", warn)
    assert main([]) == 0
    assert main([]) == 0
    assert capsys.readouterr().err == "warning: the store is slow\n" * 2


@pytest.fixture
def own(tmp_path):
    """A user's recipe directory: a new optimizer, and another one in place of adam."""
    folder = tmp_path / "mine" / "optimizer"
    folder.mkdir(parents=True)
    (folder / "slow.yaml").write_text("# Very slow\n_target_: torch.optim.SGD\nlr: 1e-9\n")
    (folder / "adam.yaml").write_text("# My Adam\n_target_: torch.optim.Adam\nlr: 0.123\n")
    return tmp_path / "mine"


def test_own_recipes_add_options_and_replace_packaged_ones(jobs, own):
    assert main(["--config-dir", "mine", "optimizer=slow"]) == 0
    assert main([f"--config-dir={own}", "optimizer=adam"]) == 0
    assert main(["optimizer=adam"]) == 0
    assert [recipe.optimizer.lr for recipe, _, _ in jobs] == [1e-9, 0.123, 0.001]


def test_the_first_of_several_recipe_directories_wins(jobs, own, tmp_path):
    other = tmp_path / "other" / "optimizer"
    other.mkdir(parents=True)
    (other / "adam.yaml").write_text("# Another\n_target_: torch.optim.Adam\nlr: 0.456\n")
    assert main(["-cd", "other", "-cd", "mine", "optimizer=adam"]) == 0
    assert main(["-cd", "mine", "-cd", "other", "optimizer=adam"]) == 0
    assert [recipe.optimizer.lr for recipe, _, _ in jobs] == [0.456, 0.123]


def test_cfg_prints_the_recipe_and_runs_nothing(jobs, capsys):
    assert main(["--cfg", "job", "optimizer=adam", "epochs=3"]) == 0
    shown = capsys.readouterr().out
    assert "epochs: 3" in shown
    assert "dlrun.optimizer.adaptive.adam" in shown
    assert "hydra" not in shown
    assert not shown.startswith("#")
    assert main(["-c", "job", "-p", "optimizer"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "# @package optimizer"
    assert jobs == []


def test_a_setting_may_be_set_or_added(jobs):
    assert main(["++epochs=3", "++optimizer.lr=0.5", "++model.hidden=[9]"]) == 0
    [recipe] = [recipe for recipe, *_ in jobs]
    assert (recipe.epochs, recipe.optimizer.lr, list(recipe.model.hidden)) == (3, 0.5, [9])


def test_an_experiment_needs_no_plus(jobs, capsys):
    shown = []
    for word in ("experiment=random_search", "+experiment=random_search"):
        assert main([word, "--cfg", "job"]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert "batch_size: 50" in shown[0]
    assert main(["experiment=random_serch", "--cfg", "job"]) == 2
    assert "did you mean random_search?" in capsys.readouterr().err


def test_info_shows_where_recipes_come_from(jobs, own, capsys):
    assert main(["--info", "searchpath", "-cd", "mine"]) == 0
    shown = capsys.readouterr().out
    assert shown.index(str(own)) < shown.index(str(catalogue.packaged()))
    assert jobs == []


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("dlrun 0.")


def test_sync_hands_runs_and_places_on(monkeypatch):
    from dlrun.tracking import sync

    seen = []
    monkeypatch.setattr(sync, "sync", lambda *args: seen.append(args) or 0)
    assert main(["sync"]) == 0
    assert main(["sync", "last", "2026", "outputs=there", "tracking.uri=http://x"]) == 0
    assert seen == [("outputs", [], None), ("there", ["last", "2026"], "http://x")]


def test_resume_takes_the_recipe_from_the_record(jobs, tmp_path, capsys):
    import json

    from omegaconf import OmegaConf

    words = ["optimizer=adam", "optimizer.lr=0.5", "seed=7"]
    assert main(words) == 0
    run = tmp_path / "outputs" / "runs" / "20260101-000000-abcd"
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"overrides": words, "command": "dlrun", "cwd": "."}))
    recipe = jobs[0][0]
    recipe.facts.shape, recipe.facts.outputs = [1, 8, 8], 10
    record.write_recipe(run, OmegaConf.to_yaml(recipe, resolve=True))

    assert main(["resume=last", "epochs=40", "seed=8"]) == 0
    resumed, overrides, command = jobs[1]
    assert (resumed.optimizer.lr, resumed.seed, resumed.epochs) == (0.5, 8, 40)
    assert resumed.resume == str(run)
    assert overrides == ["optimizer=adam", "optimizer.lr=0.5", "epochs=40", "seed=8"]
    assert command == ["dlrun", "resume=last", "epochs=40", "seed=8"]
    assert capsys.readouterr().err == ""

    assert main(["-m", "resume=last"]) == 2
    assert main(["resume=last", "epoch=40"]) == 2
    assert "did you mean epochs=40?" in capsys.readouterr().err


def test_python_dash_m_is_the_same_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "dlrun", "optimizer=adamm"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: optimizer=adamm: no optimizer is called 'adamm'; did you mean adam?"
    ]


def closed(tmp_path, words, streams):
    """A command in a shell that has closed some of its standard streams."""
    line = f'exec "{sys.executable}" -m dlrun "$@" {streams}'
    return subprocess.run(
        ["bash", "-c", line, "dlrun", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_closed_standard_output_is_like_dev_null(tmp_path):
    for words in (["list"], ["--help"]):
        done = closed(tmp_path, words, ">&-")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    quick = ["epochs='2 steps'", "threads=1", "data=toy", "tracking=none"]
    done = closed(tmp_path, quick, "<&- >&- 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert record.read_status(record.find(tmp_path / "outputs", "last"))["status"] == "FINISHED"


@pytest.mark.parametrize("buffered", in_suite(["1"], ["", "1"]))
def test_standard_output_that_is_full_is_one_message(tmp_path, monkeypatch, buffered):
    monkeypatch.setenv("PYTHONUNBUFFERED", buffered)
    said = "error: cannot write to standard output: No space left on device\n"
    for words in (["list"], ["list", "--json"], ["--help"], ["clean"]):
        done = closed(tmp_path, words, ">/dev/full")
        assert (done.returncode, done.stderr) == (1, said)
    assert closed(tmp_path, ["lsit"], "2>/dev/full").returncode == 2
    quick = ["epochs='2 steps'", "threads=1", "data=toy", "tracking=none", "preflight=off"]
    done = closed(tmp_path, quick, ">/dev/full")
    assert done.returncode == 1
    assert done.stderr.endswith(said)
    assert record.read_status(record.find(tmp_path / "outputs", "last"))["status"] == "FINISHED"


@pytest.mark.proof
def test_a_mistake_has_its_exit_code_where_nobody_reads_it(tmp_path):
    for streams in ("2>&-", ">&- 2>&-"):
        done = closed(tmp_path, ["optimizer.lr=x"], streams)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


def test_a_model_that_ends_the_program(fails, capsys):
    fails[0] = SystemExit("enough")
    assert main(["tracking=none"]) == 1
    shown = capsys.readouterr().err
    assert "test_main.py:" in shown
    assert "ended the program with sys.exit('enough')" in shown


def test_a_working_directory_that_is_gone(tmp_path, monkeypatch, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(["tracking=none"]) == 2
    assert capsys.readouterr().err.startswith("error: the working directory is gone")
    monkeypatch.chdir(tmp_path)
