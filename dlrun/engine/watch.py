"""What is looked at in a run while it trains: its layers, and how sharp its minimum is.

A look is taken of the same samples of the training split every time, between two steps, and
leaves everything as it was. Nothing of it needs to survive a kill.
"""

import logging
from copy import copy
from itertools import islice
from math import hypot, inf, isfinite

import torch
from torch import Tensor

from dlrun.engine.layers import Parts, layers, read
from dlrun.engine.look import Seen, untouched
from dlrun.engine.run import Run
from dlrun.engine.sharpness import sharpness
from dlrun.errors import first_line

_log = logging.getLogger("dlrun")
_SHARE = 0.03
"""Samples of a look at the layers, as a share of those that are trained on between two looks."""
_LEAST = 32  # of them


class Watch:
    """Looks at one run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._asked = set(run.watch)
        self._seen: Seen | None = None
        self._some: Seen | None = None  # of them those that the layers see
        self._parts: Parts | None = None
        self._before: list[Tensor] = []
        lengths = run.lengths
        between = lengths.watch_every * lengths.step_samples
        self._samples = max(_LEAST, int(_SHARE * between))  # of those that are seen

    def before(self) -> None:
        """Remember the weights that a step is about to move."""
        if "layers" not in self._asked:
            return
        if self._parts is None or self._parts.changed(self._run.model):
            self._parts = Parts(self._run.model)
        kept = self._parts.weights.values()
        self._before = [each.detach().clone() for own in kept for each in own]

    def look(self) -> dict[str, float]:
        """What there is to record after that step: `layer/<name>/<statistic>`, `sharpness`.

        `update` is the norm of the step over that of the layer's weights; `sharpness/bound` is as
        `bound` gives it. Values that are not finite are left out.
        """
        if self._seen is None or self._some is None:
            with untouched(self._run):
                self._seen = Seen(self._run)
            self._some = copy(self._seen)
            self._some.x = self._seen.x[: self._samples]
            self._some.y = self._seen.y[: self._samples]
        found: dict[str, float] = {}
        if self._parts is not None:
            found |= self._layers(self._some, self._parts)
        if "sharpness" in self._asked:
            found |= self._sharpness(self._seen)
        return {name: value for name, value in found.items() if isfinite(value)}

    def _layers(self, seen: Seen, parts: Parts) -> dict[str, float]:
        updates = self._updates(parts)
        found: dict[str, float] = {}
        for layer in layers(self._run, seen, parts):
            known = layer.statistics()
            if layer.name in updates:
                known["update"] = updates[layer.name]
            found |= {f"layer/{layer.name}/{name}": value for name, value in known.items()}
        return found

    def _updates(self, parts: Parts) -> dict[str, float]:
        """Of each layer the norm of the step over that of the weights before it."""
        if not self._before:
            return {}
        now = [each.detach() for own in parts.weights.values() for each in own]
        moved = torch._foreach_sub(now, self._before)
        numbers = [*read(torch._foreach_norm([*moved, *self._before]))]
        steps, sizes = iter(numbers[: len(now)]), iter(numbers[len(now) :])
        self._before = []
        found = {}
        for name, own in parts.weights.items():
            step, size = (hypot(*islice(each, len(own))) for each in (steps, sizes))
            if size:
                found[name] = step / size
        return found

    def _sharpness(self, seen: Seen) -> dict[str, float]:
        try:
            found = {"sharpness": sharpness(self._run, seen)}
        except RuntimeError as error:  # a function without a second derivative, or no memory
            _log.warning(f"watch=sharpness: cannot be had of this model: {first_line(error)}")
            self._asked.discard("sharpness")
            return {}
        return found | {"sharpness/bound": bound(self._run.optimizer)}


def bound(optimizer: torch.optim.Optimizer) -> float:
    """The curvature above which full-batch descent with momentum m leaves a quadratic's minimum.

    (2 + 2m)/lr; with Nesterov's step (2 + 2m)/((1 + 2m)·lr) (Cohen et al. 2021, equation 1). 2/lr
    for optimizers that are no SGD, whose own bound is that of their scaled Hessian.
    """
    group = optimizer.param_groups[0]
    momentum = float(group["momentum"]) if isinstance(optimizer, torch.optim.SGD) else 0.0
    rate = float(group["lr"]) * (1 + 2 * momentum * bool(group.get("nesterov")))
    return (2 + 2 * momentum) / rate if rate > 0 else inf
