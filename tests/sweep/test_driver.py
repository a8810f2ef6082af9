"""Stages of a sweep: one after another, and what is said after each."""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from dlrun import record

Typed = Callable[..., int]
RATE = "optimizer.lr=tag(log,interval(1e-4,1))"


def test_the_table_and_the_advice_come_after_the_last_stage(
    sweep: Typed, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = "sweep.stages=[{epochs: 1, trials: 3}, {epochs: 2, trials: 3, around: 2}]"
    assert sweep("sweep=random", RATE, stages) == 0
    first, second = capsys.readouterr().out.split("stage 2 of 2: ")
    assert "\n1 " in first
    assert "\n2 " not in first
    assert "So few finished points" not in first
    assert "\n3 " in second
    assert "So few finished points" in second


def test_a_point_that_fails_does_not_keep_the_next_stage_from_its_turn(
    sweep: Typed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = "sweep.stages=[{}, {epochs: 2, around: 1}]"
    assert sweep("optimizer.lr=0.1,-1,0.2", stages) == 1
    out, err = capsys.readouterr()
    assert err.splitlines()[-1] == "error: 1 of 4 points failed"
    again = next(line for line in out.splitlines() if line.startswith("stage 2 of 2: "))
    assert "optimizer.lr=-1" not in shlex.split(again)
    assert len(record.all_runs(tmp_path / "outputs")) == 4


def test_nothing_is_narrowed_around_what_has_failed(
    sweep: Typed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("optimizer.lr=1e28,1e29", "sweep.stages=[{}, {epochs: 2}]") == 1
    assert "so there is no best one" in capsys.readouterr().err.splitlines()[-1]
