"""The record that a word names."""

import pytest

from dlrun import record
from dlrun.errors import Mistake
from dlrun.recipe import resume
from dlrun.record import named
from dlrun.record import sweep as sweeps
from tests.verb.test_list import keep


def made(folder, values, **more):
    """The runs of a procedure with these values, and its own record."""
    runs = [keep(folder, "child", n, value) for n, value in enumerate(values)]
    return runs, keep(folder, "whole", 9, kind="procedure", runs=[run.name for run in runs], **more)


def test_a_procedure_stands_for_its_best_run(tmp_path):
    runs, whole = made(tmp_path, [0.5, 0.9, 0.7])
    assert named.find(tmp_path, whole.name) == runs[1]
    assert named.find(tmp_path) == runs[1]  # the last


def test_or_for_the_run_that_it_calls_its_result(tmp_path):
    runs, whole = made(tmp_path, [0.5, 0.9, 0.7])
    about = record.read_json(whole / "run.json") | {"result": runs[2].name}
    record.write_json(whole / "run.json", about)
    run, said = named.found(tmp_path, whole.name)
    assert run == runs[2]
    assert "the result is" in said


def test_what_monitors_something_else_is_not_compared(tmp_path):
    runs, whole = made(tmp_path, [0.5, 0.9, 0.7])
    about = record.read_json(runs[1] / "run.json") | {"monitor": "train/loss"}
    record.write_json(runs[1] / "run.json", about)
    (runs[1] / "metrics.jsonl").unlink()
    kept = record.open_existing(runs[1])
    kept.append(5, 1.0, {"best/train_loss": -3.0, "best/epoch": 1.0})
    kept.close()
    assert named.find(tmp_path, whole.name) == runs[2]


def test_a_procedure_without_runs_names_none(tmp_path):
    _, whole = made(tmp_path, [])
    with pytest.raises(Mistake, match="has made no run that has trained"):
        named.find(tmp_path, whole.name)


def test_a_sweep_that_never_began_is_not_proposed(tmp_path):
    (tmp_path / "sweeps" / "abcdef0123").mkdir(parents=True)
    with pytest.raises(Mistake, match="abcdef0124") as nothing:
        named.find(tmp_path, "abcdef0124")
    assert "sweeps:" not in str(nothing.value)
    record.write_json(tmp_path / "sweeps" / "abcdef0123" / sweeps.SWEEP, {})
    with pytest.raises(Mistake, match="sweeps: abcdef0123"):
        named.find(tmp_path, "abcdef0124")


def test_a_word_that_runs_and_a_sweep_begin_with_names_both_kinds(tmp_path):
    runs = [keep(tmp_path, "run", n, 0.5) for n in range(2)]
    start = runs[0].name[:1]
    sweep = tmp_path / "sweeps" / f"{start}abcdef012"
    sweep.mkdir(parents=True)
    record.write_json(sweep / sweeps.SWEEP, {"command": "dlrun -m seed=0,1"})
    said = (
        f"{start!r} could be run {runs[0].name}, {runs[1].name} or sweep {sweep.name}; write more"
    )
    for asks in (named.find, named.sweep_folder):
        with pytest.raises(Mistake, match=f"^{said} of the id$"):
            asks(tmp_path, start)
    with pytest.raises(Mistake, match=f"^resume={start}: {said} of the id$"):
        resume.find([f"resume={start}", f"outputs={tmp_path}"])
    assert named.sweep_folder(tmp_path, sweep.name[:2]) == sweep
    assert named.find(tmp_path, runs[0].name) == runs[0]


def test_a_word_that_several_sweeps_begin_with_names_them(tmp_path):
    for name in ("abcdef0123", "abcdef4567"):
        (tmp_path / "sweeps" / name).mkdir(parents=True)
        record.write_json(tmp_path / "sweeps" / name / sweeps.SWEEP, {})
    with pytest.raises(Mistake, match=r"^'abc' could be sweep abcdef0123, abcdef4567; write more"):
        named.find(tmp_path, "abc")
