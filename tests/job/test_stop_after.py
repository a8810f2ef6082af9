"""`stop_after` ends a command with all saved, and resume= goes on as if it had never stopped."""

from pathlib import Path

import pytest
import torch

from dlrun import record
from dlrun.__main__ import main
from dlrun.engine import train as loop
from tests.conftest import in_suite
from tests.states import timeless

WORDS = ("tracking=none", "preflight=off", "regularization=[dropout]", "epochs=2")
pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def looks_often(monkeypatch):
    """The time is looked at after each step, so that one step is all there is time for."""
    monkeypatch.setattr(loop, "_LOOK", 0.0)


def weights(run):
    return torch.load(run / "checkpoints" / "best.pt", weights_only=True)


def clock(patch, hours):
    """Lets the clock of a command show these hours since 1970, the last one from then on."""
    times = iter(hours)
    shown = [0.0]

    def now():
        shown[0] = next(times, shown[0])
        return 3600 * shown[0]

    patch.setattr("dlrun.job.session.time", now)
    patch.setattr(loop, "time", now)


def test_a_stopped_run_is_resumed_exactly(looks_often, monkeypatch, capsys):
    assert main([*WORDS, "outputs=whole"]) == 0
    with monkeypatch.context() as patch:
        clock(patch, [0, 0, 2])
        assert main([*WORDS, "stop_after='1 hours'", "outputs=parts"]) == 0
    told = capsys.readouterr()
    [parts], [whole] = record.all_runs("parts"), record.all_runs("whole")
    assert "stopped: by stop_after; the state is saved" in told.err
    assert f"dlrun resume={parts.name} outputs=parts" in told.out
    assert f"stopped, kept in parts/runs/{parts.name}" in told.out
    assert (told.out + told.err).count("stopped:") == 1
    assert record.read_status(parts)["status"] == record.KILLED
    assert len(record.read_points(parts)) < len(record.read_points(whole))
    assert main([f"resume={parts.name}", "outputs=parts"]) == 0
    assert record.read_status(parts)["status"] == record.FINISHED
    assert timeless(record.read_points(parts)) == timeless(record.read_points(whole))
    one, other = weights(parts), weights(whole)
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_what_was_said_of_an_earlier_end_is_not_said_of_a_later_one(
    looks_often, monkeypatch, capsys
):
    words = ("tracking=none", "optimizer.lr=0.001", "activation=identity")
    assert main([*words, "epochs=1"]) == 0
    [run] = record.all_runs("outputs")
    before = sorted(each.name for each in record.findings_of(run))
    capsys.readouterr()
    with monkeypatch.context() as patch:
        clock(patch, [0, 0, 2])
        assert main([f"resume={run.name}", "epochs=9", "stop_after='1 hours'"]) == 0
    assert record.read_status(run)["status"] == record.KILLED
    assert before == ["linear_network", "rate_too_low"]
    assert [each.name for each in record.findings_of(run)] == ["linear_network"]
    assert "rate_too_low" not in capsys.readouterr().out
    assert "rate_too_low" not in (run / "findings.txt").read_text()
    assert main([f"resume={run.name}"]) == 0
    assert len(record.findings_of(run)) > 1


@pytest.mark.parametrize("which", in_suite(["-m seed=0,1"], ["-m seed=0,1", "procedure=ensemble"]))
def test_a_sweep_or_a_procedure_goes_on(which, monkeypatch, capsys):
    words = [*which.split(), "epochs='3 steps'", "tracking=none", "preflight=off"]
    with monkeypatch.context() as patch:
        clock(patch, [0, 0, 0, 2])
        assert main([*words, "stop_after='1 hours'"]) == 0
    assert "stopped: by stop_after, before the next training" in capsys.readouterr().err
    before = [run.name for run in record.all_runs("outputs")]
    assert main([*words, "stop_after='2 hours'"]) == 0
    after = record.all_runs("outputs")
    assert {record.read_status(run)["status"] for run in after} == {record.FINISHED}
    assert {run.name for run in after} > set(before) > set()


@pytest.mark.parametrize("value", ["2", "'5 epochs'", "soon", "0", "'0 hours'", "10%"])
def test_it_is_a_time(value, capsys):
    assert main([f"stop_after={value}"]) == 2
    said = capsys.readouterr().err
    right = "must be above 0, such as" if value == "'0 hours'" else "write a duration as"
    assert f"stop_after={value.strip(chr(39))}: {right} '30 seconds'" in said


def test_the_first_training_begins_whatever_the_time(looks_often, monkeypatch):
    with monkeypatch.context() as patch:
        clock(patch, [0, 2])
        assert main([*WORDS, "stop_after='1 hours'"]) == 0
    [run] = record.all_runs("outputs")
    assert (run / "checkpoints" / "last.pt").is_file()
    assert main([f"resume={run.name}"]) == 0
    assert record.read_status(run)["status"] == record.FINISHED


@pytest.mark.parametrize("which", ["-m seed=0,1,2", "procedure=cross_validate procedure.folds=3"])
def test_the_first_stack_begins_whole(which, looks_often, monkeypatch, stacks):
    words = [*which.split(), "sweep.stack=3", "stop_after='1 hours'", "regularization=none"]
    with monkeypatch.context() as patch:
        clock(patch, [0, 2])
        assert main([*WORDS[:2], *words, "epochs='3 steps'"]) == 0
    assert stacks == [3]
    assert len([*Path("outputs").glob("runs/*/checkpoints/last.pt")]) == 3
