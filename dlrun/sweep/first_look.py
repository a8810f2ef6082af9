"""What can be wrong with a sweep's points, said before the first of them is trained."""

import copy
from collections.abc import Iterable, Iterator
from itertools import islice

from omegaconf import DictConfig

from dlrun.errors import Mistake
from dlrun.job.session import Session
from dlrun.recipe import mistakes
from dlrun.sweep.plan import Plan
from dlrun.sweep.points import Made
from dlrun.sweep.space import Values

_LOOK = 200  # values that are looked at, which takes milliseconds each
_BUILD = 20  # points that are built until one can be


def first_look(plan: Plan, points: Iterable[Values], shared: Session, *, local: bool) -> str:
    """Look at all values, build points until one can be built; gives what is searched.

    points: in the order in which they will be trained. A point that cannot be built is one
    that fails where others can be.
    local: whether this process trains, and will need what is opened here. Raises Mistake.
    """
    _check_gaps(plan)
    if local:  # gets ready while torch is imported
        shared.prepare(plan.composer.recipe(plan.space.overrides(plan.first)).recipe)
    _check_types(plan)
    said: Mistake | None = None
    for values in islice(points, _BUILD):
        recipe = copy.deepcopy(plan.composer.recipe(plan.space.overrides(values)).recipe)
        try:
            return str(plan.settings.objective or _monitor(recipe, shared))
        except Mistake as mistake:
            said = said or mistake
    raise said or Mistake("there is no point to train")


def check_values(plan: Plan) -> None:
    """Raise Mistake where a value is none that its setting takes, before any data are read."""
    _check_gaps(plan)
    _check_types(plan)


def _check_gaps(plan: Plan) -> None:
    """Raise Mistake where a setting that is needed has no value."""
    seen = set()
    for made in _looked_at(plan):
        if made.family not in seen:
            mistakes.check(made.recipe, made.choices, plan.directories)
            seen.add(made.family)


def _check_types(plan: Plan) -> None:
    from dlrun.recipe import build

    with mistakes.resolved():
        for made in _looked_at(plan):
            build.check(made.recipe)


def _looked_at(plan: Plan) -> Iterator[Made]:
    for values in plan.each()[:_LOOK] or [plan.first]:
        yield plan.composer.recipe(plan.space.overrides(values))


def _monitor(recipe: DictConfig, shared: Session) -> str:
    from dlrun.recipe import build

    with mistakes.resolved():
        return build.build(recipe, shared.data(recipe)).monitor
