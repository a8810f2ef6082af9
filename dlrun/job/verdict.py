"""What is found of a run: by the checks before its training, by the diagnosis after it."""

import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import Any

from omegaconf import DictConfig

from dlrun import record
from dlrun.errors import Failure
from dlrun.finding import FAIL, NOTE, Finding
from dlrun.procedure import BuiltRun
from dlrun.recipe import identity
from dlrun.recipe.schema import target_error
from dlrun.report import diagnosis
from dlrun.report.error_parts import error_parts

_log = logging.getLogger("dlrun")
Command = Callable[[Mapping[str, Any]], str]
"""What to type next, by the settings that it changes."""


def preflight(
    built: BuiltRun, how: str, config: DictConfig, checked: set[str], command: Command
) -> None:
    """Check a new run, once for recipes that differ in numbers alone.

    how: off, quick or strict. checked: the structures of the recipes that have been checked.
    Raises Failure under preflight=strict where something must fail.
    """
    from dlrun.engine.preflight import preflight as check

    structure = identity.structure(copy.deepcopy(config))
    if how == "off" or structure in checked:
        return
    checked.add(structure)
    found = [each.completed(command) for each in check(built.run)]
    if found:
        built.record.keep_findings(found)
    for each in found:
        if each.level != NOTE:
            _log.warning(f"{each.name}: {each.text}")
    failed = [each.name for each in found if each.level == FAIL]
    if failed and how == "strict":
        raise Failure(f"preflight=strict: {', '.join(failed)}")


@contextmanager
def after(
    built: BuiltRun, diagnosed: bool, recipe: Mapping[str, Any], command: Command
) -> Iterator[None]:
    """Inside, a run is trained; then its record gets what is found of it.

    diagnosed: whether more is looked at than that its loss is finite.
    """
    from dlrun.engine.divergence import NotFinite
    from dlrun.engine.examine import examined

    try:
        yield
    except NotFinite as failure:
        first = str(failure).partition(";")[0]
        _keep(built, [diagnosis.diverged(f"T{first[1:]}", recipe)], command)
        raise
    lengths, step = built.run.lengths, built.state.counters.step
    trained = step * lengths.batch_size * lengths.accumulate
    seen = examined(built.run, trained) if diagnosed else {}
    if seen and all(map(isfinite, seen.values())):  # else there is nothing to compare
        built.record.update(examined=seen)
        _keep(built, _verdict(seen, built.record.points(), recipe), command)


def _verdict(
    seen: Mapping[str, float], points: Sequence[Mapping[str, Any]], recipe: Mapping[str, Any]
) -> list[Finding]:
    """The diagnosis; where an error is aimed at, that error in parts comes first."""
    found = diagnosis.diagnose(seen, points, recipe)
    target = target_error(recipe.get("target_error"))
    if target is None or "val/samples" not in seen:
        return found
    first = error_parts(diagnosis.Trained(seen, points, recipe), target)
    said = [each.name for each in first]
    return first + [each for each in found if each.name not in (*said, "good_fit", "inconclusive")]


def _keep(built: BuiltRun, found: Sequence[Finding], command: Command) -> None:
    """Add findings to those of the set-up, in place of an earlier diagnosis."""
    before = record.findings_of(built.record.directory)
    kept = [each for each in before if each.name not in diagnosis.NAMES]
    found = [each.completed(command) for each in found]
    built.record.keep_findings([*kept, *found])
