"""dlrun from Python gives records; mistakes raise, and nothing of the process stays changed."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import dlrun
from dlrun import record
from dlrun.engine import train as loop
from dlrun.errors import Mistake
from dlrun.procedure.train import raw_example
from dlrun.record import named
from dlrun.record.sweep import SWEEP

QUICK = ("tracking=none", "epochs=2", "preflight=off")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run that was made by `dlrun.run`."""
    folder = tmp_path_factory.mktemp("made")
    return dlrun.run(*QUICK, f"outputs={folder / 'outputs'}", "optimizer.lr=0.05")


def test_a_record_is_given(made):
    assert made.directory.parent.name == "runs"
    assert made.status == record.FINISHED
    assert made.values["test/accuracy"] > 0.5
    assert list(made.points[["step", "epoch"]].iloc[-1]) == [68, 2.0]
    best = made.points["best/val_accuracy"].dropna()
    assert best.tolist() == [made.points["val/accuracy"].max()]
    assert {each.name for each in made.findings} == set()
    assert f"<run {made.directory.name} epochs=2 optimizer.lr=0.05: finished, best" in repr(made)
    assert "<table><tr><th>" in made._repr_html_()


def test_a_warning_is_said_once(tmp_path, capsys):
    dlrun.run("activation=identity", "epochs=1", "tracking=none", f"outputs={tmp_path}")
    assert capsys.readouterr().err.count("warning: linear_network") == 1


def test_the_model_takes_raw_samples(made):
    from dlrun.verb.asked import Asked
    from dlrun.verb.opened import opened

    with opened(Asked("predict"), str(made.directory)) as again:
        data, run = again.data, again.run
        x = raw_example(data, 8)
        with torch.no_grad():
            expected = run.model.eval()(run.evaluation(x))
    model = made.model()
    assert not model.training
    y, rows = data.test.y, data.test.rows
    with torch.no_grad():
        assert model(x).numpy() == pytest.approx(expected.numpy(), abs=1e-5)
        right = (model(data.test.x[rows]).argmax(1) == y[rows]).double().mean()
    assert float(right) == pytest.approx(made.values["test/accuracy"])


def test_a_record_is_opened_again(made):
    outputs = made.directory.parents[1]
    assert dlrun.open("last", outputs) == made
    assert dlrun.open(made.directory.name[:12], outputs) == made
    assert dlrun.open(str(made.directory)) == dlrun.open(made.directory) == made
    with pytest.raises(dlrun.Mistake, match="no run 'nosuch'"):
        dlrun.open("nosuch", outputs)


def test_mistakes_raise(here):
    assert dlrun.Mistake is Mistake
    with pytest.raises(dlrun.Mistake, match=r"did you mean optimizer\.lr=1"):
        dlrun.run("optimizer.lrr=1")
    with pytest.raises(dlrun.Mistake, match="write key=value"):
        dlrun.run("evaluate")
    with pytest.raises(dlrun.Mistake, match=r"\['epochs=1'\]: write each word as a string"):
        dlrun.run(["epochs=1"])
    with pytest.raises(dlrun.Mistake, match="type this one in the shell"):
        dlrun.run("--help")
    with pytest.raises(dlrun.Mistake, match="resume=last"):
        dlrun.run("resume=last")
    assert not Path("outputs").exists()


def test_a_run_that_goes_wrong_raises(here):
    with pytest.raises(dlrun.Failure, match="loss"):
        dlrun.run(*QUICK, "optimizer.lr=1e9", "model.hidden=[9,9,9,9]")
    assert dlrun.open("last").status == record.FAILED


def test_the_process_stays_as_it_was(made, here):
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers, modules = [signal.getsignal(n) for n in numbers], list(sys.path)
    again = dlrun.run(*QUICK, "epochs='2 steps'", "test=false")
    assert again.directory.parents[2] == here
    assert [signal.getsignal(n) for n in numbers] == handlers
    assert sys.path == modules


def test_a_home_directory_is_found_by_each_way_to_name_a_run(made, monkeypatch):
    outputs = made.directory.parents[1]
    monkeypatch.setenv("HOME", str(outputs.parent))
    sweep = outputs / "sweeps" / "abc"
    sweep.mkdir(parents=True)
    (sweep / SWEEP).write_text("{}")
    assert named.sweep_folder(f"~/{outputs.name}", "abc") == sweep
    shutil.rmtree(sweep.parent)
    assert dlrun.open("last", f"~/{outputs.name}") == made


def test_what_stop_after_ends_is_the_run_that_went_on(here, monkeypatch):
    first, other = dlrun.run(*QUICK), dlrun.run(*QUICK, "seed=1")
    assert first != other
    monkeypatch.setattr(loop, "_LOOK", 0.0)
    shown = iter([0.0, 0.0])
    monkeypatch.setattr(loop, "time", lambda: next(shown, 7200.0))
    monkeypatch.setattr("dlrun.job.session.time", lambda: next(shown, 7200.0))
    on = dlrun.run(f"resume={first.directory.name}", "epochs=9", "stop_after='1 hours'")
    assert on == first
    assert on.status == record.KILLED
    assert ": stopped" in repr(on)


@pytest.mark.proof
@pytest.mark.parametrize("words", ["procedure=ensemble", "-m seed=0,1"])
def test_of_several_runs(words, here):
    short = ("epochs='2 steps'", "tracking=none", "preflight=off")
    found = dlrun.run(*words.split(), *short)
    assert found.status == record.FINISHED
    assert found.model()(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)).shape == (2, 10)


def test_importing_it_is_light():
    code = (
        "import dlrun, sys; print(sorted({'torch', 'hydra', 'rich', 'numpy'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dlrun.nothing  # type: ignore[attr-defined]
