"""Check a recipe before it is trained; says what it found, and fails where training would."""

from dlrun.engine.evaluate import evaluate
from dlrun.engine.look import Seen
from dlrun.engine.preflight import CHECKS
from dlrun.engine.preflight import preflight as checks
from dlrun.engine.step import SingleStep
from dlrun.errors import Mistake
from dlrun.finding import FAIL, Finding
from dlrun.procedure import BuiltRun, Lab, Outcome, Training, procedure
from dlrun.shell import counted

_BATCH = 32  # samples that are to be known by heart
_LEFT = 0.05  # of the first loss, where numbers count as known by heart
_ROUNDS, _FALLS = 4, 0.8  # times the steps, while each time less than this share is left


@procedure(judged=False, trains=False)
def preflight(lab: Lab, steps: int = 500) -> Outcome:
    """The procedure `preflight`: all checks, and one mini-batch driven to a loss near zero.

    Raises Mistake where `steps` is not above 0. Fails where a check fails.
    """
    if steps < 1:
        raise Mistake(f"procedure.steps={steps}: must be above 0")
    with lab.built(Training(recorded=False)) as built:
        found = [*checks(built.run), *driven(built, steps)]
    failed = ", ".join(each.name for each in found if each.level == FAIL)
    return Outcome(
        findings=[each.completed(lab.advice) for each in found],
        text=f"{len(CHECKS) + 1} checks, {len(found) or 'no'} finding{'s' * (len(found) != 1)}",
        failure=failed and f"preflight: {failed}",
    )


def driven(built: BuiltRun, steps: int) -> list[Finding]:
    """Train one mini-batch, without augmentation, at the recipe's own rate; the run is used up.

    As long as its loss still falls by `steps` more, up to `_ROUNDS` times as many are taken.
    """
    run = built.run
    seen = Seen(run)
    x, y = seen.x[:_BATCH], seen.y[:_BATCH]

    def measured() -> tuple[float, float]:
        values = evaluate(run, run.uncompiled, iter([(x, y)]))
        return values["loss"], values[run.metric.name]

    first, _ = measured()
    step, batch = SingleStep(run), [(x, y)]
    run.model.train()
    before = loss = first
    for number in range(1, _ROUNDS * steps + 1):
        step(batch, [1.0], norm=False)
        if number % 10 and number % steps:
            continue
        loss, right = measured()
        if _known(run.regression, first, loss, right):
            return []
        if number % steps == 0 and loss > _FALLS * before:
            break
        before = before if number % steps else loss
    share = "" if run.regression else f", with {right:.0%} of them right"
    return [
        Finding(
            "cannot_overfit",
            FAIL,
            f"After {counted(number, 'step')} on the same {counted(len(x), 'sample')} the loss is "
            f"{loss:.3g}{share} "
            f"(it began at {first:.3g}): a network that can learn would have memorized them.",
            {"first": first, "loss": loss, "steps": number, "samples": len(x)},
            changes={"procedure": "find_lr"},
        )
    ]


def _known(regression: bool, first: float, loss: float, right: float) -> bool:
    """Whether all answers are right, or the loss is next to nothing."""
    return loss <= _LEFT * first if regression else right == 1
