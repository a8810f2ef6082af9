"""Schedules against values computed by hand, and against torch's own."""

from collections.abc import Callable
from functools import partial
from math import cos, inf, nan, pi
from timeit import timeit
from typing import Any

import pytest
import torch

from dlrun import schedule as schedules
from dlrun.duration import Steps
from dlrun.engine.evaluate import best_weights


def rates_of_torch(make: Callable[[Any], Any], steps: int) -> list[float]:
    """The rates that a scheduler of torch gives, from a base rate of 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.proves("schedule=constant")
def test_constant():
    assert [schedules.constant(t, 10, 5) for t in range(10)] == [1.0] * 10


@pytest.mark.proves("schedule=step")
def test_step():
    rates = [schedules.step(t, 10, 2, every=Steps(4), factor=0.1) for t in range(10)]
    assert rates == pytest.approx([1] * 4 + [0.1] * 4 + [0.01] * 2, abs=1e-15)
    own = rates_of_torch(lambda o: torch.optim.lr_scheduler.StepLR(o, 4, 0.1), 10)
    assert rates == pytest.approx(own, abs=1e-15)


@pytest.mark.proves("schedule=cosine")
@pytest.mark.parametrize("final", [0.0, 0.1])
def test_cosine(final):
    rates = [schedules.cosine(t, 20, 5, final=final) for t in range(20)]
    assert rates[0] == 1
    assert rates[10] == pytest.approx((1 + final) / 2, abs=1e-15)
    assert rates[5] == pytest.approx(final + (1 - final) * (1 + cos(pi / 4)) / 2, abs=1e-15)
    own = rates_of_torch(
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 20, eta_min=final), 20
    )
    assert rates == pytest.approx(own, abs=1e-12)


@pytest.mark.proves("schedule=multistep")
def test_multistep():
    milestones = [Steps(3), Steps(7)]
    rates = [schedules.multistep(t, 10, 2, milestones=milestones, factor=0.1) for t in range(10)]
    assert rates == pytest.approx([1] * 3 + [0.1] * 4 + [0.01] * 3, abs=1e-15)
    own = rates_of_torch(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [3, 7], 0.1), 10)
    assert rates == pytest.approx(own, abs=1e-15)


@pytest.mark.proves("schedule=manual")
def test_manual():
    table = [(1.0, 0.5), (3.0, 0.02), (2.5, 0.2)]
    rates = [0.1 * schedules.manual(t, 20, 4, table=table, lr=0.1) for t in range(16)]
    assert rates == pytest.approx([0.1] * 4 + [0.5] * 6 + [0.2] * 2 + [0.02] * 4)


@pytest.mark.proves("schedule=exponential")
def test_exponential():
    by_epoch = [schedules.exponential(t, 12, 4, gamma=0.9) for t in range(12)]
    assert by_epoch == pytest.approx([1] * 4 + [0.9] * 4 + [0.81] * 4, abs=1e-15)
    by_step = [schedules.exponential(t, 12, 4, gamma=0.9, by="step") for t in range(12)]
    own = rates_of_torch(lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9), 12)
    assert by_step == pytest.approx(own, abs=1e-14)
    for by, t in (("epoch", 2), ("step", 11)):
        rate = schedules.exponential(11, 12, 4, k=0.3, by=by)
        assert rate == pytest.approx(2.718281828459045 ** (-0.3 * t), abs=1e-14)


@pytest.mark.proves("schedule=time")
def test_time():
    rates = [schedules.time(t, 12, 4, k=0.5) for t in range(12)]
    assert rates == pytest.approx([1] * 4 + [1 / 1.5] * 4 + [1 / 2] * 4, abs=1e-15)
    assert schedules.time(6, 12, 4, k=0.5, by="step") == pytest.approx(1 / 4)


@pytest.mark.proves("schedule=inverse")
def test_inverse():
    assert schedules.inverse(10_000, 20_000, 50) == pytest.approx(2**-0.75, abs=1e-15)
    assert schedules.inverse(8, 12, 4, gamma=1.5, c=2.0, by="epoch") == pytest.approx(1 / 16)
    assert schedules.inverse(0, 12, 4) == 1


@pytest.mark.proves("schedule=sqrt")
def test_sqrt():
    rates = [schedules.sqrt_decay(t, 16, 4, t=2.0) for t in range(16)]
    epochs = [2.0, 2 / 2**0.5, 2 / 3**0.5, 1.0]
    assert rates == pytest.approx([rate for rate in epochs for _ in range(4)], abs=1e-15)
    assert schedules.sqrt_decay(8, 16, 4, by="step") == pytest.approx(1 / 3)


@pytest.mark.proves("schedule=linear")
@pytest.mark.parametrize("final", [0.0, 0.1])
def test_linear(final):
    rates = [schedules.linear(t, 20, 5, final=final) for t in range(20)]
    own = rates_of_torch(
        lambda o: torch.optim.lr_scheduler.LinearLR(o, 1.0, final, total_iters=20), 20
    )
    assert rates == pytest.approx(own, abs=1e-12)
    assert schedules.linear(20, 20, 5, final=final) == pytest.approx(final, abs=1e-15)


@pytest.mark.proves("schedule=polynomial")
def test_polynomial():
    rates = [schedules.polynomial(t, 20, 5, power=1.7) for t in range(20)]
    own = rates_of_torch(
        lambda o: torch.optim.lr_scheduler.PolynomialLR(o, total_iters=20, power=1.7), 20
    )
    assert rates == pytest.approx(own, abs=1e-12)
    assert schedules.polynomial(10, 20, 5, power=2, final=0.2) == pytest.approx(0.2 + 0.8 / 4)
    straight = [schedules.polynomial(t, 20, 5, power=1, final=0.3) for t in range(20)]
    assert straight == pytest.approx([schedules.linear(t, 20, 5, final=0.3) for t in range(20)])


@pytest.mark.proves("schedule=one_cycle")
@pytest.mark.parametrize("shape", ["cosine", "linear"])
def test_one_cycle_as_in_torch(shape):
    # torch's first phase ends at step 0.3·100 − 1.
    rates = [schedules.one_cycle(t, 100, 10, rise=Steps(29), shape=shape) for t in range(100)]
    anneal = {"cosine": "cos", "linear": "linear"}[shape]
    own = rates_of_torch(
        lambda o: torch.optim.lr_scheduler.OneCycleLR(
            o, 1.0, total_steps=100, anneal_strategy=anneal, cycle_momentum=False
        ),
        100,
    )
    assert rates == pytest.approx(own, abs=1e-12)
    assert rates[0] == pytest.approx(0.04)
    assert rates[29] == 1
    assert rates[99] == pytest.approx(4e-6)


def observed(schedule: Any, scores: list[float], steps: int = 10) -> list[float]:
    """The multiplier of each epoch of a training with these scores at their ends."""
    rates = []
    for epoch, score in enumerate(scores):
        start, total = epoch * steps, len(scores) * steps
        here = {schedule(t, total, steps) for t in range(start, start + steps)}
        assert len(here) == 1
        rates += here
        schedule.observe(score)
    return rates


def halve_on_worse() -> schedules.Schedule:
    return schedules.BoldDriver(up=1.0, down=0.5, return_to_best=False)


@pytest.mark.proves("schedule=halve_on_worse")
def test_halve_on_worse():
    scores = [0.5, 0.6, 0.55, 0.58, 0.57, 0.57, nan, 0.1, 0]
    halved = [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]
    assert observed(halve_on_worse(), scores) == halved


@pytest.mark.proves("schedule=plateau")
@pytest.mark.parametrize("patience", [1, 2, 3])
def test_plateau_as_in_torch(patience):
    scores = [0.1, 0.5, 0.5, 0.4, 0.52, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.61, 0.3, 0.3, 0.3, 0.3]
    own = schedules.Plateau(Steps(patience * 10), 0.5, min_improvement=0.05, minimum=0.1)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    # torch acts after more than `patience` validations, here it is after so many.
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, "max", 0.5, patience - 1, 0.05, "abs", min_lr=0.1
    )
    expected = []
    for score in scores:
        expected.append(optimizer.param_groups[0]["lr"])
        theirs.step(score)
    assert observed(own, scores) == pytest.approx(expected)


@pytest.mark.parametrize("make", [halve_on_worse, lambda: schedules.Plateau(Steps(20))])
@pytest.mark.parametrize("rise", [0, 15])
def test_schedules_that_react_go_on_from_their_state(make, rise):
    scores = [0.5, 0.6, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1]
    whole: Any = schedules.warmup(make(), Steps(rise))
    rates = []
    for epoch, score in enumerate(scores):
        rates.append([whole(t, 80, 10) for t in range(10 * epoch, 10 * epoch + 10)])
        whole.observe(score)
        other: Any = schedules.warmup(make(), Steps(rise))
        other.load_state_dict(whole.state_dict())
        whole = other
    uninterrupted: Any = schedules.warmup(make(), Steps(rise))
    for epoch, score in enumerate(scores):
        steps = range(10 * epoch, 10 * epoch + 10)
        assert [uninterrupted(t, 80, 10) for t in steps] == rates[epoch]
        uninterrupted.observe(score)
    assert rates[-1][-1] < 1


def test_warmup_rises_to_the_start_of_the_schedule_and_shifts_it():
    def falling(step: int, total_steps: int, steps_per_epoch: int) -> float:
        return 2.0 - step / total_steps

    warmed = schedules.warmup(schedules.Fixed(falling), Steps(4))
    rates = [warmed(t, 14, 5) for t in range(14)]
    assert rates[:4] == pytest.approx([0.5, 1.0, 1.5, 2.0])
    assert rates[4:] == pytest.approx([2.0 - t / 10 for t in range(10)])


@pytest.mark.parametrize("rise", [0, 20, 60])
def test_milestones_and_tables_are_of_the_whole_training(rise):
    """100 steps in 10 epochs, of which a warm-up takes some."""
    halves = partial(schedules.multistep, milestones=[Steps(50), Steps(75)], factor=0.5)
    table = partial(schedules.manual, table=[(0, 1), (5, 0.5), (7.5, 0.25)], lr=1)
    for schedule in (halves, table):
        warmed = schedules.warmup(schedules.Fixed(schedule), Steps(rise))
        expected = [1.0] * 50 + [0.5] * 25 + [0.25] * 25
        for t in range(rise):
            expected[t] *= (t + 1) / rise
        assert [warmed(t, 100, 10) for t in range(100)] == pytest.approx(expected)


def test_patience_runs_while_the_rate_rises():
    warmed: Any = schedules.warmup(schedules.Plateau(Steps(20), 0.5), Steps(40))
    rates = []
    for epoch in range(6):
        rates += [warmed(t, 60, 10) for t in range(10 * epoch, 10 * epoch + 10)]
        warmed.observe(-epoch)
    assert rates[:30] == pytest.approx([(t + 1) / 40 for t in range(30)])
    assert rates[30:40] == pytest.approx([0.5 * (t + 1) / 40 for t in range(30, 40)])
    assert rates[50:] == [0.25] * 10


@pytest.mark.parametrize(
    ("schedule", "watches"),
    [(schedules.Plateau(Steps(20), 0.5), True), (schedules.Fixed(schedules.cosine), False)],
)
def test_a_warmup_watches_what_its_schedule_does(schedule, watches):
    assert schedules.watches(schedule) == watches
    assert schedules.watches(schedules.warmup(schedule, Steps(4))) == watches


def test_warmup_of_no_steps_is_the_schedule_itself():
    constant = schedules.Fixed(schedules.constant)
    assert schedules.warmup(constant, Steps(0)) is constant


def test_warmup_longer_than_the_training():
    warmed = schedules.warmup(schedules.Fixed(schedules.cosine), Steps(100))
    assert [warmed(t, 10, 5) for t in range(10)] == pytest.approx(
        [(t + 1) / 100 for t in range(10)]
    )


def test_a_rate_without_end_is_infinite_rather_than_an_error():
    assert schedules.exponential(400, 500, 1, gamma=10.0) == inf
    assert schedules.step(29, 500, 1, every=Steps(1), factor=10.0) == pytest.approx(1e29)


def test_no_rate_is_negative():
    for make in (schedules.linear, schedules.cosine, schedules.polynomial):
        with pytest.raises(ValueError, match="final must not be negative, got -1"):
            make(0, 10, 1, final=-1)
    with pytest.raises(ValueError, match="minimum must be between 0 and 1, got 2"):
        schedules.Plateau(Steps(1), minimum=2)


def test_values_out_of_range_are_refused():
    with pytest.raises(ValueError, match="warmup must not be negative, got -1"):
        schedules.warmup(schedules.Fixed(schedules.constant), Steps(-1))
    with pytest.raises(ValueError, match="every must be at least one step, got 0"):
        schedules.step(0, 10, 5, every=Steps(0))
    with pytest.raises(ValueError, match="by must be epoch or step, got minute"):
        schedules.time(0, 10, 5, by="minute")
    with pytest.raises(ValueError, match="shape must be cosine or linear, got round"):
        schedules.one_cycle(0, 10, 5, rise=Steps(3), shape="round")
    with pytest.raises(ValueError, match="k must not be negative, got -1"):
        schedules.time(0, 10, 5, k=-1)
    with pytest.raises(ValueError, match=r"factor must be between 0 and 1, got 1\.5"):
        schedules.Plateau(Steps(3), factor=1.5)
    with pytest.raises(ValueError, match="patience must be at least one step, got 0"):
        schedules.Plateau(Steps(0))


def test_a_call_costs_little():
    warmed = schedules.warmup(schedules.Fixed(schedules.cosine), Steps(10))
    fastest = min(timeit(lambda: warmed(500, 1000, 50), number=1000) for _ in range(20)) / 1000
    assert fastest < 10e-6  # about 0.3 µs on a quiet machine


def test_step_rounded_up():
    rates = [schedules.step(t, 10, 2, Steps(4), 0.1, rounding="up") for t in range(10)]
    assert rates == pytest.approx([1] + [0.1] * 4 + [0.01] * 4 + [0.001], abs=1e-15)


@pytest.mark.proves("schedule=restarts")
@pytest.mark.parametrize("growth", [1, 2])
def test_restarts(growth):
    rates = [schedules.restarts(t, 99, 5, Steps(4), growth, final=0.1) for t in range(30)]
    own = rates_of_torch(
        lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 4, growth, eta_min=0.1),
        30,
    )
    assert rates == pytest.approx(own, abs=1e-12)


@pytest.mark.proves("schedule=cyclic")
@pytest.mark.parametrize(
    ("shape", "mode"), [("triangular", "triangular"), ("halved", "triangular2")]
)
def test_cyclic(shape, mode):
    rates = [schedules.cyclic(t, 99, 5, Steps(3), 0.2, shape) for t in range(20)]
    own = rates_of_torch(
        lambda o: torch.optim.lr_scheduler.CyclicLR(
            o, 0.2, 1.0, step_size_up=3, mode=mode, cycle_momentum=False
        ),
        20,
    )
    assert rates == pytest.approx(own, abs=1e-12)


@pytest.mark.proves("schedule=bold_driver")
def test_bold_driver():
    driver, multipliers, back = schedules.BoldDriver(up=1.1, down=0.5), [], []
    for score in (1.0, 2.0, 1.5, 1.9, 2.5, nan):
        driver.observe(score)
        multipliers.append(driver(0, 1, 1))
        back.append(driver.returns())
    assert multipliers == pytest.approx([1, 1.1, 0.55, 0.275, 0.3025, 0.15125])
    assert back == [False, False, True, True, False, True]


def test_bold_driver_that_rises_only_where_progress_is_slow():
    driver, multipliers = schedules.BoldDriver(up=2.0, slow=0.1, most=3.0), []
    for score in (-10.0, -5.0, -4.9, -4.8, -4.7):
        driver.observe(score)
        multipliers.append(driver(0, 1, 1))
    assert multipliers == [1, 1, 2, 3, 3]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            partial(schedules.step, 0, 9, 3, Steps(3), rounding="near"),
            "rounding must be down or up",
        ),
        (partial(schedules.restarts, 0, 9, 3, Steps(0)), "first must be at least one step"),
        (partial(schedules.restarts, 0, 9, 3, Steps(1), growth=0.5), "growth must be at least 1"),
        (partial(schedules.cyclic, 0, 9, 3, Steps(0)), "half must be at least one step"),
        (partial(schedules.cyclic, 0, 9, 3, Steps(1), low=2), "low must be between 0 and 1"),
        (partial(schedules.BoldDriver, up=0.9), "up must be at least 1, got 0.9"),
        (partial(schedules.BoldDriver, down=1.5), "down must be between 0 and 1"),
    ],
)
def test_schedules_that_cannot_be(make, said):
    with pytest.raises(ValueError, match=said):
        make()


SWA = "regularization.weight_average."


@pytest.mark.parametrize(
    "rule",
    [
        "regularization=[lookahead]",
        "regularization=[weight_average]",
        f"regularization=[weight_average] {SWA}form=swa {SWA}start=0 {SWA}period=1",
        "optimizer=asgd",
        "optimizer=schedulefree_sgd",
        "optimizer=schedulefree_adamw",
    ],
)
def test_what_is_evaluated_after_a_return_has_nothing_of_what_was_left(rule, train_recipe):
    evaluated: list[dict[str, Any]] = []

    def change(run: Any) -> None:
        order, observe = run.order, run.schedule.observe
        shown, scores = iter([0.1, 0.9, 0.2, 0.2, 0.9, 0.9]), iter([-1.0, -0.5, -0.9, -0.9])

        def noted(epoch: int) -> Any:
            evaluated.append(best_weights(run))
            return order(epoch)

        run.order, run.score = noted, lambda name, value: next(shown)
        run.schedule.observe = lambda score: observe(next(scores))

    train_recipe("epochs=4", "schedule=bold_driver", *rule.split(), change=change)
    before, best, returned = evaluated[1:]
    assert all(torch.equal(returned[name], value) for name, value in best.items())
    assert not all(torch.equal(before[name], value) for name, value in best.items())


@pytest.mark.parametrize(
    "schedule", ["bold_driver", "plateau schedule.patience=1", "halve_on_worse"]
)
def test_a_cut_takes_training_back_to_its_best_weights(schedule, train_recipe):
    words = ["schedule=" + schedule.split()[0], *schedule.split()[1:]]
    if "bold" not in schedule:
        words.append("schedule.return_to_best=true")
    starts: list[tuple[list[torch.Tensor], int]] = []

    def change(run: Any) -> None:
        order, observe = run.order, run.schedule.observe
        shown, scores = iter([0.1, 0.9, 0.2, 0.2, 0.9, 0.9]), iter([-1.0, -0.5, -0.9, -0.9])

        def noted(epoch: int) -> Any:
            weights = [weight.detach().clone() for weight in run.weights]
            starts.append((weights, len(run.optimizer.state)))
            return order(epoch)

        run.order, run.score = noted, lambda name, value: next(shown)
        run.schedule.observe = lambda score: observe(next(scores))

    train_recipe("epochs=4", *words, change=change)
    assert not all(map(torch.equal, starts[1][0], starts[2][0]))
    assert all(map(torch.equal, starts[2][0], starts[3][0]))  # the second validation was the best
    assert [kept > 0 for _, kept in starts] == [False, True, True, False]
