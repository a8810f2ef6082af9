"""The dry run's estimate: what is timed, and what it comes to."""

from dataclasses import replace

import pytest

from dlrun.engine.run import Run
from dlrun.sweep import dry_run

SHORT = ("epochs='10 steps'", "sweep.dry_run=true")


@pytest.fixture
def timed(monkeypatch):
    """The optimizers that were timed; a step of L-BFGS takes ten seconds, of others one."""
    found = []

    def step_time(run: Run) -> float:
        run.lengths = replace(run.lengths, total_steps=1)  # as timing leaves it
        found.append(type(run.optimizer).__name__)
        return 10.0 if "BFGS" in found[-1] else 1.0

    monkeypatch.setattr(dry_run, "_step_time", step_time)
    return found


@pytest.mark.parametrize("optimizers", ["sgd,lbfgs", "lbfgs,sgd"])
def test_the_order_of_options_changes_nothing(sweep, timed, optimizers, capsys):
    assert sweep(*SHORT, f"optimizer={optimizers}", "optimizer.lr=0.1,0.2") == 0
    assert "time         3 min 40 s of training" in capsys.readouterr().out
    assert len(timed) == 2


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["optimizer.lr=0.1,0.2", "seed=0,1", "schedule=cosine,step"], 1),
        (["batch_size=16,32"], 2),
        (["model.hidden=[10],[20]"], 2),
        (["augmentation=[flip],[crop],[flip,crop]"], 3),
        (["regularization=[l1],[l2]"], 2),
        (["activation=relu,gelu"], 2),
        (["precision=float32,bf16"], 2),
        (["accumulate=1,2"], 2),
    ],
    ids=str,
)
def test_one_step_is_timed_for_each_kind_of_recipe(sweep, timed, words, count):
    assert sweep(*SHORT, *words) == 0
    assert len(timed) == count


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("optimizer.lr=0.1,abc", "error: optimizer.lr=abc: expected a number\n"),
        ("optimizer.lr=-1,-2", "error: optimizer.lr=-1: must be at least 0\n"),
        ("optimizer.lr=0.1,-1", "error: optimizer.lr=-1: must be at least 0\n"),
    ],
)
def test_a_mistake_is_told_as_the_sweep_tells_it(sweep, word, said, capsys):
    for words in (["epochs='10 steps'"], SHORT):
        assert sweep(*words, word) == 2
        assert capsys.readouterr().err == said


def test_one_point_that_cannot_be_built_is_named_once(sweep, capsys):
    words = ["model.hidden=[10],[1000]", "model.max_parameters=10000"]
    assert sweep(*SHORT, *words) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: model.hidden=[1000]: model.max_parameters=10,000: this model has 75,010 parameters",
        "error: 1 of 2 points cannot be built",
    ]


def test_a_point_that_diverges_at_once_tells_no_time(sweep, capsys):
    assert sweep(*SHORT, "optimizer.lr=1e28,0.1") == 0
    assert "s of training" in capsys.readouterr().out
    assert sweep(*SHORT, "optimizer.lr=1e28,1e29") == 0
    assert "time         unknown: all of them fail" in capsys.readouterr().out
