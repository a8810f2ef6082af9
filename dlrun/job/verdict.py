"""What is found of a run: by the checks before its training, by the diagnosis after it."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING, Any

from dlrun import record
from dlrun.errors import Failure, Mistake
from dlrun.finding import FAIL, NOTE, Finding
from dlrun.procedure import BuiltRun
from dlrun.recipe.schema import target_error
from dlrun.record import Record
from dlrun.report import diagnosis
from dlrun.report.error_parts import error_parts
from dlrun.report.known import Trained

if TYPE_CHECKING:
    from dlrun.engine.run import Run
    from dlrun.job.session import Checked

    Untrained = Callable[[], Run]

_log = logging.getLogger("dlrun")
Command = Callable[[Mapping[str, Any]], str]
"""What to type next, by the settings that it changes."""


def preflight(
    built: BuiltRun, how: str, structure: str, checked: "Checked", command: Command
) -> None:
    """Check a new run, once for recipes that differ in numbers alone.

    how: quick or strict. structure: of the recipe. checked: what was found before.
    Raises Failure under preflight=strict where something must fail.
    """
    from dlrun.engine.preflight import preflight as check

    found = checked.find(structure)
    if found is None:
        found = [each.completed(command) for each in check(built.run)]
        if checked.keep(structure, found) and found:
            _say(built, found)
    failed = [each.name for each in found if each.level == FAIL]
    if failed and how == "strict":
        raise Failure(f"preflight=strict: {', '.join(failed)}")


def _say(built: BuiltRun, found: Sequence[Finding]) -> None:
    """Say what was found of the set-up, and keep it."""
    built.record.update(set_up=[each.name for each in found])
    built.record.keep_findings(found)
    for each in found:
        if each.level != NOTE:
            _log.warning(f"{each.name}: {each.text}")


@contextmanager
def after(
    built: BuiltRun,
    diagnosed: bool,
    recipe: Mapping[str, Any],
    command: Command,
    untrained: "Untrained",
) -> Iterator[None]:
    """Inside, a run is trained; then its record gets what is found of it.

    diagnosed: whether more is looked at than that its loss is finite. untrained: the run as it
    begins.
    """
    from dlrun.engine.divergence import LossDiverged

    try:
        yield
    except LossDiverged as failure:
        first = str(failure).partition(";")[0]
        before = record.findings_of(built.record.directory)
        known = [each.name for each in before if each.level != NOTE]
        causes = [name for name in diagnosis.BLOWN_UP if name in known]
        found = diagnosis.diverged(f"T{first[1:]}", recipe, failure.untrained, causes)
        _keep(built.record, [found], command, causes)
        if causes:
            raise LossDiverged(f"{first}; mend {causes[0]} first") from failure
        raise
    if diagnosed:
        steps = built.state.counters.step
        diagnose(built.run, built.record, steps, recipe, command, untrained)


def diagnose(
    run: "Run",
    kept: Record,
    steps: int,
    recipe: Mapping[str, Any],
    command: Command,
    untrained: "Untrained",
) -> None:
    """Examine a run, whose weights are those of its result, and keep what is found.

    steps: how many it has been trained for. untrained: the run as it begins, which is built
    where a loss was so high that the first weights may be the cause.
    """
    from dlrun.engine.examine import examined, initial_loss
    from dlrun.engine.preflight import raised_by

    trained = steps * run.lengths.step_samples
    points = kept.points()
    try:
        tested = "test/loss" in record.last_values(points)
        aims = target_error(recipe.get("target_error")) is not None
        whole = ("train", "val") if aims else ("val",) if tested else ()
        seen = examined(run, trained, tested, whole)
        if Trained(seen, points, recipe).was_high():
            with suppress(Mistake):  # the weights that it began with may be gone
                seen["initial"] = initial_loss(untrained())
    except Exception as error:
        if not raised_by(run.model, error):
            raise
        why = f"The model does not take the batches of the verdict, which is left out: {error}."
        _keep(kept, [Finding("inconclusive", NOTE, why)], command)
        return
    if all(map(isfinite, seen.values())):  # else there is nothing to compare
        alone = len(list(kept.directory.parent.glob("*/run.json"))) == 1
        known = {"stopped": float(bool(kept.info.get("stopped"))), "first": float(alone)}
        known["monitor/rises"] = float(run.score(run.monitor, 1.0) > 0)
        known |= {f"set_up/{name}": 1.0 for name in kept.info.get("set_up", ())}
        found = _verdict(seen | known, points, {**recipe, "monitor": run.monitor})
        _keep(kept, found, command, examined=seen)


def _verdict(
    seen: Mapping[str, float], points: Sequence[Mapping[str, Any]], recipe: Mapping[str, Any]
) -> list[Finding]:
    """The diagnosis; where an error is aimed at, that error in parts comes first."""
    found = diagnosis.diagnose(seen, points, recipe)
    target = target_error(recipe.get("target_error"))
    if target is None or "val/samples" not in seen:
        return found
    first = error_parts(Trained(seen, points, recipe), target)
    left_out = {first[0].name, "good_fit", "inconclusive"}
    if first[0].level != NOTE:  # then the diagnosis makes none of these either
        left_out |= {"noisy", "plateau"}
    return first + [each for each in found if each.name not in left_out]


def _keep(
    kept: Record,
    found: Sequence[Finding],
    command: Command,
    failed: Sequence[str] = (),
    **changes: Any,
) -> None:
    """Add findings to those of the set-up, in place of an earlier diagnosis.

    failed: those of the set-up that have turned out to end the training. changes: what else
    the record is to say.
    """
    set_up = kept.info.get("set_up", ())
    stays = [each for each in record.findings_of(kept.directory) if each.name in set_up]
    stays = [replace(each, level=FAIL) if each.name in failed else each for each in stays]
    new = [each.completed(command) for each in found if each.name not in set_up]
    kept.keep_findings([*stays, *new], **changes)
