"""Draw the learning rate of every step without training, to choose a schedule by looking."""

import logging
from collections.abc import Sequence

from dlrun.engine.run import Run
from dlrun.errors import Mistake
from dlrun.procedure import Lab, Outcome, Training, procedure
from dlrun.schedule import watches

_log = logging.getLogger("dlrun")
_POINTS = 1000  # of the curve that is recorded, at most about so many


@procedure(single=True, judged=False, trains=False)
def draw_schedule(lab: Lab, errors: list[float] | None = None) -> Outcome:
    """The procedure `draw_schedule`: records `lr` as training would, and draws it.

    errors: the validation error after each validation, for schedules that watch it; the last
        one goes on. None: better every time for the first half of the run, then no better.

    Raises Mistake where `errors` is empty.
    """
    if errors is not None and not errors:
        raise Mistake("procedure.errors=[]: must hold at least one number, or be null")
    with lab.built(Training()) as built:
        lengths = built.run.lengths
        watching = watches(built.run.schedule)
        if errors is None and watching:
            _log.warning(_assumed(built.run))
        elif errors is not None and not watching:
            name = lab.chosen["schedule"]
            _log.warning(
                f"procedure.errors: schedule={name} watches no errors; they change nothing"
            )
        every = max(1, lengths.total_steps // _POINTS)
        for step, rate in enumerate(rates(built.run, errors), 1):
            if step % every == 0 or step in (1, lengths.total_steps):
                built.record.append(step, step / lengths.steps_per_epoch, {"lr": rate})
        lab.draw(built.record.directory)
    return Outcome()


def _assumed(run: Run) -> str:
    """Which validations are taken for granted, for a schedule that depends on them."""
    count = _validations(run)
    many = f"{max(1, count // 2)} of {count} validations"
    return (
        "the rate depends on how validation goes, which is unknown before training: drawn as if "
        f"the first {many} were each better than the one before, and the rest no better; "
        "procedure.errors=[0.5,0.4,0.45] draws others"
    )


def _validations(run: Run) -> int:
    return -(-run.lengths.total_steps // run.lengths.validate_every)


def rates(run: Run, errors: Sequence[float] | None = None) -> list[float]:
    """The learning rate of every step of a run, as the loop would set it."""
    lengths, drawn = run.lengths, []
    base = float(run.optimizer.param_groups[0]["lr"])
    if errors is None:
        errors = [1 / (1 + place) for place in range(max(1, _validations(run) // 2))]
    seen = 0
    for step in range(lengths.total_steps):
        drawn.append(base * run.schedule(step, lengths.total_steps, lengths.steps_per_epoch))
        ends = step + 1 == lengths.total_steps
        if ends or (step + 1) % lengths.validate_every == 0:
            run.schedule.observe(-errors[min(seen, len(errors) - 1)])
            seen += 1
    return drawn
