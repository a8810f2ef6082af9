"""The group `schedule`: how the learning rate changes during training.

    (step, total_steps, steps_per_epoch, **options) -> multiplier

step counts optimizer steps from 0; the rate of a step is optimizer.lr times the
multiplier. Pure functions of numbers, so that a schedule can be drawn, resumed and
computed for many runs at once. Durations are annotated `Steps`: build turns
'5 epochs' into steps.
"""

from collections.abc import Callable
from math import cos, pi

from dlrun.duration import Steps

Schedule = Callable[[int, int, int], float]


def constant(step: int, total_steps: int, steps_per_epoch: int) -> float:
    """Always 1."""
    return 1.0


def step(
    step: int, total_steps: int, steps_per_epoch: int, every: Steps, factor: float = 0.5
) -> float:
    """factor^⌊step / every⌋."""
    if every < 1:
        raise ValueError(f"every must be at least one step, got {every}")
    return factor ** (step // every)


def cosine(step: int, total_steps: int, steps_per_epoch: int, final: float = 0.0) -> float:
    """From 1 down to final along half a cosine (Loshchilov, Hutter 2017)."""
    return final + (1 - final) * 0.5 * (1 + cos(pi * step / total_steps))


def warmup(schedule: Schedule, steps: Steps) -> Schedule:
    """The schedule after a linear rise over the first `steps` steps.

    Step t < steps has the multiplier s(0)·(t + 1)/steps, so the first step already
    learns and the last of the rise has what the schedule s starts with. From then on
    it is s(t − steps), where s is told that total_steps − steps remain.
    """
    if steps < 0:
        raise ValueError(f"warmup must not be negative, got {steps}")
    if steps == 0:
        return schedule

    def warmed(step: int, total_steps: int, steps_per_epoch: int) -> float:
        left = max(total_steps - steps, 1)
        if step < steps:
            return schedule(0, left, steps_per_epoch) * (step + 1) / steps
        return schedule(step - steps, left, steps_per_epoch)

    return warmed
