"""Procedures of several runs: other rows, exact results, killed and typed again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dlrun import record
from dlrun.__main__ import main
from dlrun.data.digits import digits
from dlrun.engine import checkpoint
from dlrun.errors import Failure
from tests.conftest import in_suite
from tests.job.thirds import parts
from tests.states import differences, timeless, without_clock

TARGET = "procedure._target_=tests.job.thirds.train_thirds"
COMMON = ("tracking=none", "threads=1", "epochs=3", "checkpoint_every='7 steps'")
RECIPE = (*COMMON, "optimizer=adam", "regularization=[dropout]")


def children(outputs="outputs"):
    runs = [(run, record.read_json(run / "run.json")) for run in record.all_runs(outputs)]
    return [run for run, info in runs if "parent" in info]


def parent(outputs="outputs"):
    runs = [(run, record.read_json(run / "run.json")) for run in record.all_runs(outputs)]
    return [run for run, info in runs if info.get("kind") == "procedure"]


def results(run):
    """The points without the clock, the last state, the best weights."""
    points = timeless(record.read_points(run))
    states = [checkpoint.read(run / "checkpoints" / f"{name}.pt") for name in ("last", "best")]
    return points, without_clock(states[0]), states[1]


def assert_equal(one, other):
    points, state, best = results(one)
    expected, expected_state, expected_best = results(other)
    assert points == expected
    assert not differences(state, expected_state)
    assert not differences(best, expected_best)


def assert_as_never_killed():
    for one, other in zip(children(), children("whole"), strict=True):
        assert_equal(one, other)


def typed(words, code=0, **environment):
    """Type a command in a process of its own; its code is that of a kill where it ends itself."""
    command, root = [sys.executable, "-m", "dlrun", *words], str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": root} | environment
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stderr


def test_three_runs_on_other_rows_are_three_commands_on_files_of_these_rows(here):
    assert main([*RECIPE, f"+{TARGET.replace('procedure.', 'procedure.', 1)}"[1:]]) == 0
    runs = children()
    assert len(runs) == 3
    infos = [record.read_json(run / "run.json") for run in runs]
    assert [info["name"] for info in infos] == ["third 0", "third 1", "third 2"]
    assert len({info["data"]["splits"]["train"] for info in infos}) == 3
    source = digits()
    for number, rows in enumerate(parts(source.y)):
        arrays = {}
        for split, some in rows.items():
            arrays |= {f"x_{split}": source.x[some].numpy(), f"y_{split}": source.y[some].numpy()}
        np.savez(here / "part.npz", **arrays)
        words = ["data=arrays", "data.path=part.npz", f"seed={number}", f"outputs=alone{number}"]
        assert main([*RECIPE, *words]) == 0
        assert_equal(runs[number], record.find(f"alone{number}", "last"))


def test_it_has_a_record_and_trains_nothing_when_typed_again(here, capsys):
    words = [*COMMON, TARGET]
    assert main(words) == 0
    [own] = parent()
    info = record.read_json(own / "run.json")
    assert record.read_status(own)["status"] == record.FINISHED
    assert info["runs"] == [run.name for run in children()]
    values = [record.read_points(run)[-1]["values"]["best/val_accuracy"] for run in children()]
    assert info["value"] == pytest.approx(sum(values) / 3)
    [found] = info["findings"]
    assert (found["name"], found["numbers"]) == (
        "good_fit",
        dict(zip(info["runs"], values, strict=True)),
    )
    assert "All thirds fit." in (own / "findings.txt").read_text()
    assert all(
        record.read_json(run / "run.json")["tags"] == {"dlrun.parent": own.name}
        for run in children()
    )
    assert record.find("outputs", "last") == own
    before = {run: (run / "metrics.jsonl").read_bytes() for run in record.all_runs("outputs")}
    capsys.readouterr()
    assert main(words) == 0
    assert {run: (run / "metrics.jsonl").read_bytes() for run in before} == before
    assert record.all_runs("outputs") == list(before)
    assert f"{info['value']:.4f}" in capsys.readouterr().out
    assert main([*words, "seed=5"]) == 0
    assert len(parent()) == 2, "another recipe is another procedure"


@pytest.mark.parametrize("again", in_suite(["typed"], ["typed", "resumed", "child"]))
def test_killed_in_the_second_run_it_ends_as_a_whole_one(here, again):
    whole = [*RECIPE, TARGET, "outputs=whole"]
    assert main(whole) == 0
    words = [*RECIPE, TARGET, "+procedure.kill_in=1"]
    typed(words, code=-9)
    assert [record.read_status(run)["status"] for run in children()] == ["FINISHED", "RUNNING"]
    if again == "child":
        typed([f"resume={children()[1].name}", *COMMON[:1]], SPARED="1")
        assert_equal(children()[1], children("whole")[1])
    last = words if again == "typed" else ["resume=last", *COMMON[:1]]
    typed(last, SPARED="1")
    assert len(children()) == 3
    assert_as_never_killed()
    told = [json.loads((run / "run.json").read_text()) for run in (*parent(), *parent("whole"))]
    assert told[0]["value"] == told[1]["value"]


def test_a_procedure_that_goes_on_says_what_its_other_runs_did_not_know(here, monkeypatch, capsys):
    """Else its result would be made of two models, or of two sets."""
    code = "from tests.job.thirds import train_thirds as thirds\n"
    (here / "changing.py").write_text(code)
    monkeypatch.syspath_prepend(here)
    source = digits()
    arrays = {"x": source.x.numpy(), "y": source.y.numpy()}
    np.savez("set.npz", **arrays)
    words = ["data=arrays", "data.path=set.npz", "procedure._target_=changing.thirds"]
    assert main([*COMMON, *words]) == 0
    again = ["tracking=none", f"resume={parent()[0].name}"]
    assert main(again) == 0
    assert "changed" not in capsys.readouterr().err
    (here / "changing.py").write_text(f"{code}# better\n")
    assert main(again) == 0
    said = capsys.readouterr().err
    assert "changing: the code has changed since the procedure began" in said
    assert "the data are not those" not in said
    np.savez("set.npz", x=arrays["x"][::-1], y=arrays["y"][::-1])
    assert main(again) == 0
    assert "the data are not those" in capsys.readouterr().err
    record.write_json(parent()[0] / "status.json", {"status": record.KILLED})
    assert main([*COMMON, *words]) == 0
    said = f"changing, the data: changed since procedure {parent()[0].name} began"
    assert said in capsys.readouterr().err
    assert len(parent()) == 2


def test_a_user_s_rows_are_kept_with_the_run(here):
    assert main([*COMMON, TARGET]) == 0
    run = children()[2]
    (run / "rows.npz").unlink()
    (run / "status.json").write_text('{"status": "KILLED"}')
    assert main([f"resume={run.name}", "epochs=5"]) == 2
    assert torch.is_grad_enabled()


def test_a_run_that_cannot_begin_has_failed_and_is_let_go(here, monkeypatch, capsys):
    def full(run, kept, *more):
        raise Failure("the disk is full")

    monkeypatch.setattr("dlrun.engine.state.begin", full)
    assert main([*COMMON]) == 1
    assert "the disk is full" in capsys.readouterr().err
    [run] = record.all_runs("outputs")
    assert record.read_status(run)["status"] == record.FAILED
    assert not record.is_running(run)
    assert main([*COMMON, f"resume={run.name}"]) == 1
    assert not record.is_running(run)
