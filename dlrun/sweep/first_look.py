"""What can be wrong with a sweep's points, said before the first of them is trained."""

import copy

from dlrun.command import mistakes
from dlrun.shared import Shared
from dlrun.sweep.plan import Plan

_LOOK = 200  # values that are looked at, which takes milliseconds each


def first_look(plan: Plan, shared: Shared, local: bool) -> str:
    """Build the first point, look at the values of the others; gives what is searched.

    local: whether this process trains, and will need what is opened here. Raises Mistake.
    """
    made = plan.composer.recipe(plan.space.overrides(plan.first))
    recipe = copy.deepcopy(made.recipe)
    mistakes.check(recipe, made.choices, plan.directories)
    if local:
        shared.shipper(recipe)  # gets ready while torch is imported
    from dlrun import build

    with mistakes.resolved():
        build.check(recipe)
        for values in plan.each()[1:_LOOK]:
            build.check(plan.composer.recipe(plan.space.overrides(values)).recipe)
        run = build.build(recipe, shared.data(recipe))
    return str(plan.settings.objective or run.monitor)
