"""What a sweep judges its points by, found by building some before any of them is trained."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from rich.console import Console

from dlrun import shell
from dlrun.console import screen
from dlrun.errors import Mistake, refuse
from dlrun.job.session import Session
from dlrun.recipe import compose, mistakes
from dlrun.record.sweep import NOTHING, WITHOUT
from dlrun.sweep.plan import Plan
from dlrun.sweep.space import Values
from dlrun.sweep.task import objective_of

if TYPE_CHECKING:
    from dlrun.recipe.values import Trial

_BUILD = 20  # points that are built until one can be


@dataclass(frozen=True)
class Objective:
    """What points are judged by.

    metrics: what a run says of its metrics. monitor: what chooses the weights of a run; "" where
    the points are no runs. plan: the sweep, without the points of an ablation that can't be built.
    """

    name: str
    metrics: Mapping[str, Any]
    monitor: str
    plan: Plan


def find(plan: Plan, proposals: Iterable[Values], session: Session, console: Console) -> Objective:
    """Check all values, then build points until one can be built: it knows what it monitors.

    If one can, others whose options do not fit together fail on their own later; a setting that
    can be in none of them is refused. Raises Mistake.
    """
    plan.check_gaps()
    plan.check_values()
    wrong, found = list[tuple[Any, Mistake]](), list[Objective]()
    for values in islice(proposals, _BUILD):
        if found and not plan.space.points:
            break
        try:
            found.append(_of(plan, values, session, console, found[0].name if found else ""))
        except Mistake as error:
            wrong.append((values.get(WITHOUT), error))
    if not found or NOTHING in dict(wrong):
        raise wrong[0][1] if wrong else Mistake("there is no point to train")
    if plan.space.points:
        for name, mistake in wrong:
            screen.say(console, shell.clean(f"{WITHOUT}={name}: left out: {mistake}"))
        plan = plan.only([name for name in plan.space.points if name not in dict(wrong)])
    return replace(found[0], plan=plan)


def _of(plan: Plan, values: Values, session: Session, console: Console, before: str) -> Objective:
    """What a point is judged by; built, and not trained.

    before: what the whole recipe of an ablation is judged by; "" for the first point.
    """
    from dlrun.recipe import build, checks
    from dlrun.recipe.values import Trial

    recipe = compose.copied(plan.recipe(values).recipe)
    name = str(plan.settings.objective or before)
    if name.endswith("/loss") and values.get(WITHOUT) == "loss":
        raise Mistake(
            f"{name} of two losses cannot be compared; see whether another metric can, "
            "with sweep.objective"
        )
    with mistakes.resolved():
        run = build.build(recipe, session.data(recipe))
    if not before:
        _refuse_values(plan, Trial(run, recipe))
    name = name or run.monitor
    if name.endswith("/loss") and plan.space.of_losses:
        name = _comparable(plan, name, run.metric.name, console)
    checks.check_recorded("sweep.objective", name, run)
    own = objective_of(recipe, name)
    return Objective(own, run.facts()["metrics"], run.monitor if own == name else "", plan)


def _refuse_values(plan: Plan, trial: "Trial") -> None:
    """Raise Mistake for a value of a setting that every recipe with it refuses for it."""
    if plan.space.points or not any("." in one.key for one in plan.space.dimensions):
        return  # an ablation changes whole options, and other settings are checked before
    met: dict[tuple[str, str], list[str]] = {}
    listed = {
        str({key: value for key, value in each.items() if key != "seed"}): each
        for each in plan.listed()
    }
    for values in listed.values():
        said = trial.refusal(compose.copied(plan.recipe(values).recipe))
        for key, value in values.items():
            met.setdefault((key, str(value)), []).append(said)
    refuse(
        each[0]
        for (key, _), each in met.items()
        if "." in key and all(said.startswith(f"{key}=") for said in each)
    )


def _comparable(plan: Plan, objective: str, name: str, console: Console) -> str:
    """What points of different losses are judged by in place of the loss: the metric `name`.

    Raises Mistake where the loss was asked for.
    """
    other = f"{objective.partition('/')[0]}/{name}"
    why = "of different losses cannot be compared"
    if plan.settings.objective:
        raise Mistake(f"sweep.objective={objective}: {why}; use sweep.objective={other}")
    screen.say(console, f"sweep.objective={other}, as {objective} {why}")
    return other
