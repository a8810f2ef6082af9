"""What is looked at in a run while it trains: its layers, and how sharp its minimum is.

A look is taken of the same samples of the training split every time, between two steps, and
leaves everything as it was. Nothing of it needs to survive a kill.
"""

import logging
from copy import copy
from math import hypot, inf, isfinite

import torch
from torch import Tensor

from dlrun.engine.layers import Parts, layers
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
        self._parts: Parts | None = None
        self._before: dict[str, list[Tensor]] = {}
        lengths = run.lengths
        between = lengths.watch_every * lengths.step_samples
        self._samples = max(_LEAST, int(_SHARE * between))  # of those that are seen

    def before(self) -> None:
        """Remember the weights that a step is about to move."""
        if "layers" not in self._asked:
            return
        if self._parts is None or self._parts.changed(self._run.model):
            self._parts = Parts(self._run.model)
        kept = self._parts.weights.items()
        self._before = {name: [each.detach().clone() for each in own] for name, own in kept}

    def look(self) -> dict[str, float]:
        """What there is to record after that step: `layer/<name>/<statistic>`, `sharpness`.

        `update` is the norm of the step over that of the layer's weights; `sharpness/bound` is as
        `bound` gives it. Values that are not finite are left out.
        """
        if self._seen is None:
            with untouched(self._run):
                self._seen = Seen(self._run)
        found: dict[str, float] = {}
        if self._parts is not None:
            found |= self._layers(self._seen, self._parts)
        if "sharpness" in self._asked:
            found |= self._sharpness(self._seen)
        return {name: value for name, value in found.items() if isfinite(value)}

    def _layers(self, seen: Seen, parts: Parts) -> dict[str, float]:
        updates, some = self._updates(parts), copy(seen)
        some.x, some.y = seen.x[: self._samples], seen.y[: self._samples]
        return {
            f"layer/{layer.name}/{name}": value
            for layer in layers(self._run, some, parts)
            for name, value in (layer.statistics() | updates.get(layer.name, {})).items()
        }

    def _updates(self, parts: Parts) -> dict[str, dict[str, float]]:
        """Of each layer the norm of the step over that of the weights before it."""
        old = [each for kept in self._before.values() for each in kept]
        now = [each.detach() for name in self._before for each in parts.weights[name]]
        norms = torch._foreach_norm([*torch._foreach_sub(now, old), *old]) if old else []
        numbers = torch.stack([*norms]).tolist() if norms else []
        pairs = iter(zip(numbers[: len(old)], numbers[len(old) :], strict=True))
        found = {}
        for name, kept in self._before.items():
            steps, sizes = zip(*(next(pairs) for _ in kept), strict=True)
            if any(sizes):
                found[name] = {"update": hypot(*steps) / hypot(*sizes)}
        self._before = {}
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
