import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from dlrun import record
from dlrun.engine import divergence
from dlrun.engine import train as loop
from dlrun.engine.divergence import LossDiverged
from dlrun.engine.run import Run
from dlrun.engine.state import State, begin
from dlrun.errors import Failure, Mistake
from dlrun.loss import Loss
from dlrun.recipe import build
from dlrun.schedule import Fixed
from tests.conftest import Watcher
from tests.states import differences, timeless


def explode(step: int, above: float) -> Callable[[Run], None]:
    """Make the loss nan at a step whenever the rate is above a limit."""

    def change(run: Run) -> None:
        loss, schedule, now = run.objective, run.schedule, [0]

        def noted(taken: int, total: int, per_epoch: int) -> float:
            now[0] = taken + 1
            return schedule(taken, total, per_epoch)

        def brittle(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            value = loss(logits, y)
            rate = run.optimizer.param_groups[0]["lr"]
            bad = torch.is_grad_enabled() and rate > above and now[0] == step
            return value * float("nan") if bad else value

        run.schedule, run.objective = Fixed(noted), Loss(brittle)

    return change


CONSTANT = ("optimizer=sgd", "schedule=constant", "optimizer.lr=0.1")


def test_half_the_rate_from_the_last_good_state(train_recipe):
    trained = train_recipe(
        *("epochs=6", "on_divergence=backoff", *CONSTANT), change=explode(50, above=0.06)
    )
    assert trained.values("lr") == [0.1] + [0.05] * 5
    assert trained.values("backoff/1") == [0.5]
    assert trained.state.runs[0].backoffs == 1
    assert [p["step"] for p in trained.points if "train/loss" in p["values"]] == [
        34 * epoch for epoch in range(1, 7)
    ]
    [[step, epoch]] = [
        (point["step"], point["epoch"])
        for point in trained.points
        if "backoff/1" in point["values"]
    ]
    assert step == 50
    assert epoch == pytest.approx(50 / 34)


def test_it_returns_to_the_same_state_each_time(train_recipe, monkeypatch):
    returns, restore = [], divergence.restore

    def noted(run: Run, saved: dict[str, Any]) -> State:
        returns.append(copy.deepcopy(saved["optimizer"]["state"]["state"]))
        return restore(run, saved)

    monkeypatch.setattr(divergence, "restore", noted)
    words = ("epochs=3", "on_divergence=backoff", *CONSTANT, "optimizer=adagrad")
    train_recipe(*words, change=explode(50, above=0.03))
    assert len(returns) == 2
    assert not differences(*returns)


def test_a_tenth_within_the_first_epoch_and_again_where_it_did_not_help(train_recipe):
    trained = train_recipe(
        *("epochs=3", "on_divergence=backoff", *CONSTANT), change=explode(7, above=0.0005)
    )
    assert trained.values("lr")[-1] == pytest.approx(0.0001)
    assert [trained.values(f"backoff/{n}") for n in (1, 2, 3)] == [
        [pytest.approx(0.1)],
        [pytest.approx(0.01)],
        [pytest.approx(0.001)],
    ]


def test_going_back_changes_nothing_but_the_rate(train_recipe):
    """After one return the run is the one whose rate is half from the second epoch on."""
    back = train_recipe("epochs=3", "on_divergence=backoff", *CONSTANT, change=explode(50, 0.06))

    def halve(run: Run) -> None:
        run.schedule = Fixed(lambda step, total, per_epoch: 1.0 if step < 34 else 0.5)

    plain = train_recipe("epochs=3", *CONSTANT, change=halve)
    assert back.values("train/loss") == plain.values("train/loss")
    assert back.values("val/accuracy") == plain.values("val/accuracy")


WATCHED = ("epochs=3", "on_divergence=backoff", *CONSTANT, "watch=layers", "watch_every='3 steps'")


def test_no_point_is_there_twice_and_the_clock_goes_on(train_recipe, monkeypatch):
    """Those between the good state and the divergence come again."""
    clock, restore = [], divergence.restore

    def noted(run: Run, saved: dict[str, Any]) -> State:
        clock.append(saved["position"]["elapsed"])
        return restore(run, saved)

    monkeypatch.setattr(divergence, "restore", noted)
    back = train_recipe(*WATCHED, change=explode(50, above=0.03))
    steps = [point["step"] for point in back.points if "time/elapsed" in point["values"]]
    assert steps == sorted({*range(3, 103, 3), 34, 68})
    assert back.values("backoff/1") + back.values("backoff/2") == [0.5, 0.25]
    assert 0 < clock[0] < clock[1] < back.values("time/elapsed")[-1]


def test_killed_after_a_return_it_goes_on_with_the_smaller_rate(
    train_recipe, compose_recipe, digits, monkeypatch, caplog
):
    """A checkpoint of before knows of points that the return has cut off."""
    words, change = (*WATCHED, "checkpoint_every='40 steps'"), explode(50, above=0.06)
    whole = train_recipe(*words, change=change)
    saved, folders = loop._save, []

    def killed(member: Any, state: State, number: int = 0) -> None:
        saved(member, state, number)
        if state.runs[0].backoffs:
            folders.append(member.record.directory)
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(loop, "_save", killed)
        with pytest.raises(KeyboardInterrupt):
            train_recipe(*words, change=change)
    run = build.build(compose_recipe(*words), digits)
    change(run)
    kept = record.open_existing(folders[0])
    state = begin(run, kept)
    assert (state.counters.step, state.runs[0].backoffs) == (34, 1)
    loop.train(run, state, kept, Watcher())
    kept.close()
    assert not caplog.messages
    assert timeless(kept.points()) == timeless(whole.points)


def test_it_gives_up_in_the_end(train_recipe):
    with pytest.raises(Failure, match="after 20 returns"):
        train_recipe("epochs=2", "on_divergence=backoff", *CONSTANT, change=explode(7, above=0))


def test_without_it_the_run_fails_at_the_first_bad_step(train_recipe):
    said = r"nan at step 50 with a rate of 0\.1; .*on_divergence=backoff"
    with pytest.raises(Failure, match=said):
        train_recipe("epochs=3", *CONSTANT, change=explode(50, above=0.06))


def test_the_rate_is_that_of_the_step(train_recipe):
    """It is noticed at the end of the epoch, when the rate is another one."""
    words = ("epochs=3", "optimizer=sgd", "optimizer.lr=0.1", "schedule=linear")
    rate = 0.1 * (1 - 49 / (3 * 34))
    with pytest.raises(Failure, match=f"nan at step 50 with a rate of {rate:g};"):
        train_recipe(*words, change=explode(50, above=0.0))


@pytest.mark.parametrize("step", [33, 34, 35, 36, 50, 68])
def test_the_step_is_right_where_the_last_of_an_epoch_has_fewer_batches(train_recipe, step):
    words = ("epochs=3", "batch_size=8", "accumulate=4", "validate_every='68 steps'")
    with pytest.raises(Failure, match=f"nan at step {step} with"):
        train_recipe(*words, "log_every='68 steps'", *CONSTANT, change=explode(step, above=0.06))


def test_a_validation_loss_that_is_not_finite(train_recipe):
    def spoil(run: Run) -> None:
        x = run.val.x.clone()
        x[run.val.rows[0]] = torch.inf
        run.val = replace(run.val, x=x)

    with pytest.raises(Failure, match="the validation loss became nan at step 34"):
        train_recipe("epochs=3", *CONSTANT, change=spoil)


@pytest.mark.parametrize("step", [2, 33, 50])
def test_a_penalty_that_is_not_finite_is_noticed(train_recipe, step):
    """The loss alone is, and so are the losses of all other mini-batches."""

    class Rule:
        steps = 0

        def penalty(self, weights: list[torch.Tensor]) -> torch.Tensor:
            self.steps += 1
            return torch.tensor(torch.inf if self.steps == step else 0.1)

    def punish(run: Run) -> None:
        run.penalties = [Rule()]

    with pytest.raises(Failure, match=f"became inf at step {step} with"):
        train_recipe("epochs=3", *CONSTANT, change=punish)
    trained = train_recipe("epochs=3", "on_divergence=backoff", *CONSTANT, change=punish)
    assert trained.state.counters.step == 3 * 34
    assert trained.state.runs[0].backoffs == 1


def test_what_is_minimized_may_be_finite_where_the_loss_is_not(train_recipe):
    """Neither goes unnoticed: train/loss would be recorded as nan."""

    def clamp(run: Run) -> None:
        loss, run.objective = run.loss, Loss(lambda logits, y: cross_entropy(logits, y))
        run.loss = Loss(
            lambda logits, y: loss(logits, y) * (float("nan") if run.model.training else 1.0)
        )

    with pytest.raises(Failure, match="the training loss is nan with the weights it begins"):
        train_recipe("epochs=3", *CONSTANT, change=clamp)


@pytest.mark.parametrize("words", [(), ("on_divergence=backoff",)], ids=str)
def test_before_the_first_update_no_rate_is_blamed(train_recipe, words):
    def spoil(run: Run) -> None:
        for weight in run.model.parameters():
            torch.nn.init.constant_(weight, torch.nan)

    said = "nan with the weights it begins with, at step 1; no rate mends that"
    with pytest.raises(LossDiverged, match=said) as raised:
        train_recipe("epochs=1", *words, change=spoil)
    assert raised.value.untrained
    assert "optimizer.lr" not in str(raised.value)
    with pytest.raises(LossDiverged, match="at step 2 with a rate of") as raised:
        train_recipe("epochs=1", *CONSTANT, change=explode(2, above=0.0))
    assert not raised.value.untrained


def test_a_finite_loss_that_explodes(train_recipe):
    """By a rate of 30 the loss is above 1.5·log 10 in the first epoch; it goes on at a tenth."""
    words = ("epochs=3", "optimizer=sgd", "schedule=constant", "optimizer.lr=30", "batch_size=100")
    wild = train_recipe(*words)
    assert max(wild.values("train/loss")) > 1.5 * 2.31  # is finite, and goes on for its length
    back = train_recipe(*words, "divergence=explosion", "on_divergence=backoff")
    assert back.values("backoff/1") == [0.1]
    assert max(back.values("train/loss")) <= 1.5 * 2.6
    assert back.values("lr")[-1] <= 3
    with pytest.raises(Failure, match=r"^the training loss exploded to \d.*at step 11 with a rate"):
        train_recipe(*words, "divergence=[explosion,not_finite]")


def test_first_weights_that_are_bad_are_no_explosion(train_recipe):
    words = ("epochs=2", "initializer=normal", "initializer.std=0.6", "optimizer.lr=0.001")
    trained = train_recipe(*words, "divergence=explosion")
    assert trained.values("train/loss")[0] > 1.5 * 2.31


def test_a_validation_loss_that_oscillates(train_recipe):
    """Until half the points jump by more than they gain; then half the rate, and a new count."""
    validations = iter([1.0, 0.5, 1.0, 0.5, 1.0, 0.5, 1.0, 0.5, 1.0, *[0.5] * 20])

    def shown(run: Run) -> None:
        loss = run.loss
        run.loss = Loss(
            lambda logits, y: (
                loss(logits, y) if run.model.training else loss(logits, y) * 0 + now[0]
            )
        )

    now = [0.0]

    def each(run: Run) -> None:
        shown(run)
        order = run.order

        def noted(epoch: int) -> Any:
            now[0] = next(validations)
            return order(epoch)

        run.order = noted

    words = ("epochs=14", "divergence=oscillation", *CONSTANT, "batch_size=full")
    back = train_recipe(*words, "on_divergence=backoff", change=each)
    [point] = [point for point in back.points if "backoff/1" in point["values"]]
    assert point["step"] == 9  # points 5 to 9 are the first five of a second half
    assert back.values("lr")[:8] == [0.1] * 8
    assert set(back.values("lr")[8:]) == {0.05}
    assert back.state.runs[0].losses == [0.5] * 6


def test_what_counts_as_divergence_is_one_of_three(compose_recipe):
    with pytest.raises(Mistake, match="divergence=nan: must be one or several of not_finite"):
        build.check(compose_recipe("divergence=nan"))


def test_the_state_to_return_to_has_weights_that_are_good(train_recipe):
    """The loss of a step is of the weights before it: the explosion may be in those after it."""
    words = ("batch_size=full", "epochs=20", "optimizer.lr=2", "schedule=constant")
    trained = train_recipe(*words, "divergence=explosion", "on_divergence=backoff")
    assert 1 <= trained.state.runs[0].backoffs <= 3
    assert trained.values("val/accuracy")[-1] > 0.85
