"""Schedules against values computed by hand, and against torch's own."""

from collections.abc import Callable
from math import cos, pi
from timeit import timeit
from typing import Any

import pytest
import torch

from dlrun import schedule as schedules
from dlrun.duration import Steps


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


def test_constant() -> None:
    assert [schedules.constant(t, 10, 5) for t in range(10)] == [1.0] * 10


def test_step() -> None:
    rates = [schedules.step(t, 10, 2, every=Steps(4), factor=0.1) for t in range(10)]
    assert rates == pytest.approx([1] * 4 + [0.1] * 4 + [0.01] * 2, abs=1e-15)
    own = rates_of_torch(lambda o: torch.optim.lr_scheduler.StepLR(o, 4, 0.1), 10)
    assert rates == pytest.approx(own, abs=1e-15)


@pytest.mark.parametrize("final", [0.0, 0.1])
def test_cosine(final: float) -> None:
    rates = [schedules.cosine(t, 20, 5, final=final) for t in range(20)]
    assert rates[0] == 1
    assert rates[10] == pytest.approx((1 + final) / 2, abs=1e-15)
    assert rates[5] == pytest.approx(final + (1 - final) * (1 + cos(pi / 4)) / 2, abs=1e-15)
    own = rates_of_torch(
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 20, eta_min=final), 20
    )
    assert rates == pytest.approx(own, abs=1e-12)


def test_warmup_rises_to_the_start_of_the_schedule_and_shifts_it() -> None:
    def falling(step: int, total_steps: int, steps_per_epoch: int) -> float:
        return 2.0 - step / total_steps

    warmed = schedules.warmup(falling, Steps(4))
    rates = [warmed(t, 14, 5) for t in range(14)]
    assert rates[:4] == pytest.approx([0.5, 1.0, 1.5, 2.0])
    assert rates[4:] == pytest.approx([2.0 - t / 10 for t in range(10)])


def test_warmup_of_no_steps_is_the_schedule_itself() -> None:
    assert schedules.warmup(schedules.constant, Steps(0)) is schedules.constant


def test_warmup_longer_than_the_training() -> None:
    warmed = schedules.warmup(schedules.cosine, Steps(100))
    assert [warmed(t, 10, 5) for t in range(10)] == pytest.approx(
        [(t + 1) / 100 for t in range(10)]
    )


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="warmup must not be negative, got -1"):
        schedules.warmup(schedules.constant, Steps(-1))
    with pytest.raises(ValueError, match="every must be at least one step, got 0"):
        schedules.step(0, 10, 5, every=Steps(0))


def test_a_call_costs_little() -> None:
    warmed = schedules.warmup(schedules.cosine, Steps(10))
    fastest = min(timeit(lambda: warmed(500, 1000, 50), number=1000) for _ in range(20)) / 1000
    assert fastest < 10e-6  # about 0.3 µs on a quiet machine
