"""The watch around a step: it charges each part for itself alone, and changes nothing."""

import time

import pytest
import torch

from dlrun import record
from dlrun.engine import timing
from dlrun.engine.state import begin
from dlrun.engine.timing import PARTS, VALIDATE, Stopwatch, Turns, timed_training
from dlrun.job.session import Session
from dlrun.recipe import build
from tests.conftest import Watcher


class Clock:
    """A clock that the test moves."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(timing, "perf_counter", lambda: self.now)

    def spend(self, seconds):
        self.now += seconds


class Two:
    def __init__(self, clock):
        self.clock = clock

    def outer(self):
        self.clock.spend(1)
        self.inner()
        self.clock.spend(2)

    def inner(self):
        self.clock.spend(10)


def test_a_part_inside_another_counts_for_itself(monkeypatch):
    clock, watch = Clock(monkeypatch), Stopwatch(torch.device("cpu"))
    parts = Two(clock)
    watch.around(parts, "inner", "backward")
    watch.around(parts, "outer", "update")
    clock.spend(100)
    parts.outer()
    parts.inner()
    assert watch.seconds == {"update": 3, "backward": 20}


def test_all_that_validation_calls_is_validation(monkeypatch):
    clock, watch = Clock(monkeypatch), Stopwatch(torch.device("cpu"))
    parts = Two(clock)
    watch.around(parts, "inner", "record")
    watch.around(parts, "outer", VALIDATE)
    parts.outer()
    assert watch.seconds == {VALIDATE: 13}


def course(run, tmp_path, seconds=1e9):
    kept = record.create(tmp_path, "test", {}, "")
    try:
        return timed_training(run, begin(run, kept), kept, Watcher(), seconds)
    finally:
        kept.close()


@pytest.mark.parametrize(
    "words",
    [
        ("regularization=[dropout,input_noise,l2]", "augmentation=[noise]"),
        ("optimizer=lbfgs", "batch_size=full", "model=linear"),
        ("accumulate=3", "metric=[auroc]", "train_eval=true", "optimizer=asgd"),
    ],
    ids=lambda words: words[0],
)
def test_a_watched_training_is_the_training(train_recipe, compose_recipe, digits, tmp_path, words):
    words = ("epochs=2", *words)
    bare = train_recipe(*words)
    run = build.build(compose_recipe(*words), digits)
    step = course(run, tmp_path / "watched")
    assert step.losses()[-1] > 0
    for one, other in zip(bare.run.model.parameters(), run.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert len(step.ends) == run.lengths.total_steps
    assert step.ends == sorted(step.ends)
    parts = step.of_a_step()
    assert list(parts) == list(PARTS)
    assert all(parts[part] > 0 for part in ("fetch", "forward", "backward", "update", "record"))
    assert (parts["augment"] > 0) == ("augmentation" in " ".join(words))


def test_where_the_time_goes_is_where_it_is_spent(compose_recipe, digits, tmp_path):
    run = build.build(compose_recipe("epochs='8 steps'", "augmentation=[noise]"), digits)
    augment, step = run.augmentation, run.optimizer.step

    def slow(*arguments):
        time.sleep(0.03)
        return augment(*arguments)

    def slower(*arguments):
        time.sleep(0.06)
        return step(*arguments)

    run.augmentation, run.optimizer.step = slow, slower
    found = course(run, tmp_path)
    assert found.steps == 8 - timing.WARM[-1]
    parts = found.of_a_step()
    assert 0.03 <= parts["augment"] < 0.06 <= parts["update"] < 0.12
    assert sum(parts.values()) - parts["augment"] - parts["update"] < 0.03


def test_it_ends_when_the_time_is_up(compose_recipe, digits, tmp_path):
    run = build.build(compose_recipe("epochs=1000"), digits)
    assert len(course(run, tmp_path / "none", seconds=0).ends) == 2
    some = course(run, tmp_path / "some", seconds=0.2)
    assert 1 < len(some.ends) < run.lengths.total_steps


def test_turns_take_the_steps_of_the_recipe(compose_recipe, digits, train_recipe):
    words = ("epochs='7 steps'", "schedule=constant", "test=false", "data.samples=100")
    data = Session().data(compose_recipe(*words))
    bare = train_recipe(*words, data=data)
    run = build.build(compose_recipe(*words), data)
    turns = Turns(run)
    assert all(turns.take(steps) > 0 for steps in (3, 4))
    last = dict(bare.run.model.named_parameters())
    best = bare.state.counters.step == bare.state.runs[0].best_step
    assert not best or all(torch.equal(last[name], w) for name, w in run.model.named_parameters())
