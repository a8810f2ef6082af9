"""`dlrun list`, and the words of commands about records."""

import json
import re

import pytest

from dlrun import record
from dlrun.__main__ import main
from dlrun.cli.completion import candidates
from dlrun.record import FINISHED


def keep(outputs, name, started, value=None, **info):
    """A record that has ended."""
    about = {"monitor": "val/accuracy", "metrics": {"accuracy": {"higher_is_better": True}}}
    kept = record.create(outputs, name, about | info, "")
    kept.update(started=f"2026-01-01T00:00:{started:02}+00:00")
    if value is not None:
        kept.append(1, 1.0, {"best/val_accuracy": value})
    kept.set_status(FINISHED)
    kept.close()
    return kept.directory


@pytest.fixture
def three(here):
    return [
        keep("outputs", name, n, value)
        for n, (name, value) in enumerate([("bad", 0.25), ("good", 0.75), ("none", None)])
    ]


def listed(capsys, *words):
    assert main(["list", "--json", *words]) == 0
    return [each["name"] for each in json.loads(capsys.readouterr().out)]


def test_the_last_started_comes_last(three, capsys):
    assert listed(capsys) == ["bad", "good", "none"]
    assert listed(capsys, "sort=name") == ["bad", "good", "none"]


def test_the_best_value_comes_last(three, capsys):
    assert listed(capsys, "sort=value") == ["none", "bad", "good"]


def test_named_runs_alone(three, capsys):
    assert listed(capsys, three[0].name) == ["bad"]
    assert listed(capsys, "last") == ["none"]


def test_a_line_for_each(three, capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == [
        three[1].name, *lines[2].split()[1:3], "finished", "val/accuracy", "0.7500", "good"
    ]  # fmt: skip


def test_a_run_that_has_lost_a_file_is_named(three, capsys):
    capsys.readouterr()
    (three[0] / "run.json").unlink()
    (three[1] / "recipe.yaml").unlink()
    lost = f"{three[0].name} (run.json is missing)"
    also = f"{three[1].name} (recipe.yaml is missing)"
    said = ", ".join(sorted([lost, also]))
    (three[0].parent / "being-made").mkdir()
    for words in (["list"], ["list", "--json"], ["clean"]):
        assert main(words) == 0
        told = capsys.readouterr()
        assert told.err == f"warning: damaged: {said}\n"
        assert ("1 run without a run.json that can be read" in told.out) == (words == ["clean"])


@pytest.mark.parametrize(
    ("columns", "left_out"),
    [
        (120, None),
        (70, "started"),
        (45, "started, best value"),
        (24, "started, best value, status, name"),
    ],
)
def test_a_narrow_terminal_shows_whole_ids(columns, left_out, three, monkeypatch, capsys):
    three.append(keep("outputs", "model.hidden=[8,8,8] " * 9, 9, 0.5))
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert main(["list"]) == 0
    out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert all(run.name in out for run in three)
    assert max(map(len, out.splitlines()[:5])) <= columns
    assert ("finished" in out) == (columns > 24)
    told = f"a wider terminal also shows: {left_out}"
    assert (told in " ".join(out.split())) == bool(left_out)


def test_no_runs(here, capsys):
    assert main(["list"]) == 0
    assert "no runs in outputs/runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["list", "sort=valu"], "sort=valu: write one of when, name, status, value; did you mean"),
        (["list", "srot=name"], "srot=name: list takes outputs= and sort=; did you mean sort=name"),
        (["list", "epochs=3"], "epochs=3: list takes outputs= and sort="),
        (["list", "--jsn"], "unknown flag --jsn of list; did you mean --json?"),
        (["list", "--json=1"], "--json takes no value"),
        (["list", "--sort", "name"], "did you mean sort=...?"),
        (["list", "nosuch"], "no run 'nosuch'"),
        (["list", ""], "name a run"),
        (["lst"], "did you mean dlrun list?"),
        (["epochs=3", "list"], "list comes first: dlrun list"),
        (["ls"], "dlrun list shows"),
    ],
)
def test_a_mistake_is_named(words, said, three, capsys):
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_tab(three):
    assert "list" in candidates("dlrun ")
    assert {"last", "sort=", "outputs=", three[0].name} <= set(candidates("dlrun list "))
    assert candidates("dlrun list --") == ["--help", "--json"]
    assert candidates("dlrun list sort=v") == ["sort=value"]
