"""Every command that dlrun prints is collected from what it prints, and typed where it stood."""

import importlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import warnings

import pytest

from dlrun import record
from dlrun.__main__ import main
from dlrun.errors import Failure
from tests.cli.test_mistakes import COMPOSING, words_of
from tests.conftest import sparsely

with warnings.catch_warnings():  # MLflow's own, while it is imported
    warnings.simplefilter("ignore")
    importlib.import_module("mlflow.store.tracking.sqlalchemy_store")

QUICK = ("epochs=2 steps", "threads=1")
_COMMAND = re.compile(r"`((?:dlrun|mlflow) [^`]+)`|(?:^|:|  )\s*((?:dlrun|mlflow) .+)$", re.M)


def printed(capsys) -> list[str]:
    """The commands in all that was printed since the last call."""
    shown = capsys.readouterr()
    return [quoted or line for quoted, line in _COMMAND.findall(shown.out + shown.err)]


def words(command: str) -> list[str]:
    """The words of a command as a shell reads them, without its name."""
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True)
    assert done.returncode == 0, command
    return [os.fsdecode(word) for word in done.stdout.split(b"\0")[1:-1]]


def only(found: list[str], start: str) -> list[str]:
    """The words of the one command that begins so."""
    typed = [words(command) for command in found]
    [one] = [each for each in typed if " ".join(each).startswith(start)]
    return one


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "cache"))  # of the process that draws
    monkeypatch.setenv("DLRUN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "here"


OUTPUTS = {
    "none": "outputs",
    "outputs=elsewhere": "elsewhere",
    "outputs=a/b (1)": "a/b (1)",
    "outputs=it's [x]": "it's [x]",
    'outputs="it\'s [x], $y"': "it's [x], $y",
    "outputs=1e3": "1e3",
    "outputs='2026'": "2026",
    "outputs=../there": "../there",
    "outputs=.": ".",
    "outputs=~/results": "../home/results",
    "outputs='a\nb'": "a\nb",
    "outputs='a\x1b[31mb'": "a\x1b[31mb",
}


@pytest.mark.parametrize(("typed", "folder"), sparsely(OUTPUTS.items(), 4))
def test_a_run_is_gone_on_with_as_its_last_lines_say(typed, folder, here, capsys):
    given = [] if typed == "none" else [typed]
    assert main([*QUICK, "tracking=none", *given]) == 0
    [run] = record.all_runs(folder)
    again = only(printed(capsys), "resume=")
    assert again[-1] == "epochs=4 steps"
    assert main(again) == 0
    shown = capsys.readouterr().out
    assert "goes on from epoch" in shown
    assert record.all_runs(folder) == [run]
    assert record.read_points(run)[-1]["step"] == 4
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("length", "longer"),
    sparsely(
        [
            ("epochs=1", "epochs=2"),
            ("epochs=0.5", "epochs=1"),
            ("epochs=1 steps", "epochs=2 steps"),
        ],
        3,
    ),
)
def test_the_length_that_is_proposed_trains_on(length, longer, here, capsys):
    assert main([length, "threads=1", "tracking=none"]) == 0
    again = only(printed(capsys), "resume=")
    assert again[-1] == longer
    assert main(again) == 0
    assert "goes on from" in capsys.readouterr().out


def test_a_run_that_a_rule_has_ended_is_not_told_to_train_on(here, capsys):
    stop = ["regularization=[early_stopping]", "regularization.early_stopping.patience=2 steps"]
    assert (
        main(
            [
                *stop,
                "epochs=9",
                "optimizer=sgd",
                "optimizer.lr=0",
                "threads=1",
                "validate_every=1 steps",
                "tracking=none",
            ]
        )
        == 0
    )
    assert "stopped at" in (shown := capsys.readouterr().out)
    assert "resume=" not in shown


def test_a_run_that_diverged_goes_on_at_a_smaller_rate(here, capsys):
    assert main(["epochs=2", "threads=1", "tracking=none", "optimizer.lr=1e30"]) == 1
    assert not [each for each in printed(capsys) if "resume=" in each]
    assert main(["resume=last", "optimizer.lr=0.01"]) == 0


@pytest.mark.parametrize("folder", sparsely(["outputs", "a b"], 2))
def test_a_run_that_failed_or_was_moved_can_be_named(folder, here, capsys, monkeypatch):
    def full(*_):
        raise Failure("the disk is full")

    words = ["epochs=2", "threads=1", "tracking=none", f"outputs={folder}"]
    with monkeypatch.context() as patch:
        patch.setattr("dlrun.procedure.train.conclude", full)
        assert main([*words, "optimizer.lr=0.01"]) == 1
    assert main(only(printed(capsys), "resume=")) == 0
    [run] = record.all_runs(folder)
    moved = here / "my runs" / "best"
    moved.parent.mkdir()
    run.rename(moved)
    capsys.readouterr()
    assert main([f"resume={moved}", "epochs=3"]) == 0
    assert main(only(printed(capsys), "resume=")) == 0
    assert record.read_points(moved)[-1]["epoch"] == 6


@pytest.mark.proof
def test_a_run_of_another_directory_goes_on_in_its_own(here, capsys, monkeypatch, tmp_path):
    assert main([*QUICK, "tracking=none", "outputs=mine"]) == 0
    capsys.readouterr()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert main(["resume=last", "outputs=../here/mine", "epochs=3 steps"]) == 0
    assert main(only(printed(capsys), "resume=")) == 0
    [run] = record.all_runs(here / "mine")
    assert record.read_points(run)[-1]["step"] == 6
    monkeypatch.chdir(here)
    assert main(["resume=last", "outputs=mine", "epochs=7 steps"]) == 0
    assert list(tmp_path.glob("[!c]*/*")) == [here / "mine"], "nothing is written elsewhere"


DEAD = "http://127.0.0.1:9"


@pytest.mark.proof
@pytest.mark.parametrize(
    ("count", "folder"), [(1, "a b/c"), pytest.param(3, "outputs", marks=pytest.mark.proof)]
)
def test_what_did_not_arrive_is_delivered_as_the_warnings_say(count, folder, here, capsys):
    sweep = ["-m", f"seed={','.join(map(str, range(count)))}"] if count > 1 else []
    place = [f"outputs={folder}", f"tracking.uri={DEAD}"]
    assert main([*sweep, *QUICK, *place]) == 0
    found = [each for each in printed(capsys) if each.startswith("dlrun sync")]
    assert found
    for each in dict.fromkeys(found):
        assert main(words(each)) == 1
        [elsewhere] = printed(capsys)
        assert main(words(elsewhere)) == 0, capsys.readouterr()
    runs = record.all_runs(folder)
    assert len(runs) == count
    delivered = capsys.readouterr().out
    for run in runs:
        assert f"{run.name}  complete: " in delivered
        assert record.read_json(run / "tracking.json")["done"]
    assert (here / folder / "mlflow.db").is_file()


@pytest.mark.parametrize("sweep", [[], pytest.param(["-m", "seed=0,1,2"], marks=pytest.mark.proof)])
def test_a_damaged_database_is_passed_by_as_the_warning_says(sweep, here, capsys):
    folder = here / "a b"
    folder.mkdir()
    for name in ("mlflow.db", "mlflow-2.db"):
        (folder / name).write_text("junk " * 50)
    assert main([*sweep, *QUICK, "outputs=a b", "tracking.model=false"]) == 0
    shown = capsys.readouterr()
    assert "compare in MLflow" not in shown.out
    assert "later" not in shown.err
    found = [quoted for quoted, _ in _COMMAND.findall(shown.err)]
    assert len(found) == 1
    assert main(words(found[0])) == 0, capsys.readouterr()
    runs = record.all_runs(folder)
    assert all(record.read_json(run / "tracking.json")["done"] for run in runs)
    assert (folder / "mlflow-3.db").is_file()


@pytest.mark.proof
def test_the_page_of_mlflow_is_started_as_the_last_lines_say(here, capsys):
    assert main([*QUICK, "outputs=a b (1)", "tracking.model=false"]) == 0
    typed = only(printed(capsys), "ui")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    served = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *typed, "--port", str(port), "--workers", "1"],
        env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        body = b'{"experiment_ids": ["1"]}'
        for _ in range(600):
            try:
                asked = urllib.request.Request(
                    f"http://127.0.0.1:{port}/api/2.0/mlflow/runs/search",
                    body,
                    {"Content-Type": "application/json"},
                )
                with urllib.request.urlopen(asked, timeout=5) as answer:
                    assert b"val/accuracy" in answer.read()
                    break
            except OSError:
                time.sleep(0.1)
        else:
            raise AssertionError("no page")
    finally:
        os.killpg(served.pid, signal.SIGKILL)
        served.wait()


@pytest.fixture
def own(here):
    """A directory of recipes whose name needs quotes."""
    folder = here / "my recipes" / "schedule"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(
        "# Mine\n_target_: dlrun.schedule.constant\n_partial_: true\n"
    )
    return ["--config-dir", "my recipes", "schedule=mine"]


@pytest.mark.proof
def test_what_a_sweep_proposes_can_be_typed(here, own, capsys):
    rates = "optimizer.lr=0.001,0.01,0.1"
    sweep = ["-m", *own, rates, "model.hidden=[8],[4,4]", "outputs=a b", "tracking=none"]
    assert main([*sweep, "name='x, (y)'", "epochs=4", "threads=1", "sweep.repeats=1"]) == 0
    found = printed(capsys)
    assert len(found) >= 2
    assert all("--config-dir" in each and "outputs=a b" in each for each in found)
    for each in found:
        dry = ["sweep.dry_run=true"] if " -m " in each else ["epochs=1 steps"]
        assert main([*words(each), *dry]) == 0, (each, capsys.readouterr().err)


@pytest.mark.proof
def test_stages_can_be_typed_one_by_one(here, own, capsys):
    stages = "sweep.stages=[{epochs: 1 steps, trials: 2}, {epochs: 2 steps, trials: 2, around: 1}]"
    search = ["sweep=random", "optimizer.lr=tag(log,interval(0.01,0.1))", "tracking=none"]
    assert main(["-m", *own, *search, stages, "outputs=a b", "threads=1"]) == 0
    found = [each for each in printed(capsys) if each.startswith("dlrun --config-dir")]
    assert len(found) >= 2
    for each in found:
        dry = ["sweep.dry_run=true"] if " -m " in each else ["epochs=1 steps"]
        assert main([*words(each), *dry]) == 0, (each, capsys.readouterr().err)
    # A run of a stage knows where its recipe is.
    assert main(["resume=last", "outputs=a b", "epochs=5 steps"]) == 0


_WORD = r"[~+]?[\w./]+=(?:'[^']*'|[^\s;?']*[^\s;?',])"
_RIGHT = re.compile(rf"(?:did you mean|write|written|choose) (?:-m )?((?:{_WORD} ?|'{_WORD}' ?)+)")
_NAME = re.compile(r"is called '([^']+)'; did you mean ([\w]+)\?")
_ASIDE = re.compile(r"; dlrun (--?\w+(?: (?!lists|says|shows)[a-z][\w./=]*)?)")
_FORMS = ("...", "value", "low", "first", "outputs=", "tracking.uri=")


def right(command, message):
    """The commands that a message about a wrong one says are right."""
    for line in message.removeprefix("error: ").splitlines():
        wrong = line.strip().partition(": ")[0].removeprefix("unknown flag ")
        left = command.split(" ")
        if wrong.startswith("--"):
            left = []
        elif wrong in left:
            left.remove(wrong)
        for found in _RIGHT.findall(line):
            if not any(form in found for form in _FORMS) and "a setting of" not in line:
                yield [*left, *shlex.split(found)]
        for name, near in _NAME.findall(line):
            yield [*left, *wrong.replace(name, near).split(" ")]
        for aside in _ASIDE.findall(line):
            yield aside.split(" ")


@pytest.mark.proof
@pytest.mark.parametrize("part", range(3))
def test_what_messages_say_is_right_is_right(here, capsys, part):
    (here / "mine").mkdir()
    typed = {}
    for command, *_ in COMPOSING[part::3]:
        if "resume" in command or "-m " in command or "\udcff" in command:
            continue
        assert main(words_of(command)) == 2
        message = capsys.readouterr().err.replace("\n       ", "\n")
        for words in right(command, message):
            typed[tuple(words)] = message
    assert len(typed) > 8
    wrong = {}
    for words, message in typed.items():
        shows = any(word in ("--help", "--version", "--cfg") for word in words)
        if main([*words, *([] if shows else ["--cfg", "job"])]) != 0:
            wrong[words] = message + capsys.readouterr().err
    assert not wrong
