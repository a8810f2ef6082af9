"""What is looked at in a run while it trains: its layers, and how sharp its minimum is.

A look is taken of the same samples of the training split every time, between two steps, and
leaves everything as it was. Nothing of it needs to survive a kill.
"""

import logging
from math import hypot, isfinite

import torch
from torch import Tensor

from dlrun.engine.layers import layers, weights
from dlrun.engine.preflight import Seen, untouched
from dlrun.engine.run import Run
from dlrun.engine.sharpness import sharpness
from dlrun.errors import first_line

_log = logging.getLogger("dlrun")


class Watch:
    """Looks at one run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._parts = set(run.watch)
        self._seen: Seen | None = None
        self._before: dict[str, list[Tensor]] = {}

    def before(self) -> None:
        """Remember the weights that a step is about to move."""
        if "layers" in self._parts:
            found = weights(self._run.model)
            self._before = {name: [w.detach().clone() for w in own] for name, own in found.items()}

    def look(self) -> dict[str, float]:
        """What there is to record, after the step: `layer/<name>/<statistic>`, `sharpness`.

        For `sharpness/bound`, 2/lr, see `engine/sharpness.py`. Values that are not finite are
        left out.
        """
        if self._seen is None:
            with untouched(self._run):
                self._seen = Seen(self._run)
        found: dict[str, float] = {}
        if "layers" in self._parts:
            found |= self._layers(self._seen)
        if "sharpness" in self._parts:
            found |= self._sharpness(self._seen)
        return {name: value for name, value in found.items() if isfinite(value)}

    def _layers(self, seen: Seen) -> dict[str, float]:
        updates = self._updates()
        found: dict[str, float] = {}
        for layer in layers(self._run, seen):
            values = layer.statistics()
            if layer.name in updates:
                values["update"] = updates[layer.name]
            if layer.acts:
                found |= {f"layer/{layer.name}/{name}": value for name, value in values.items()}
        return found

    def _updates(self) -> dict[str, float]:
        """Of each layer the norm of the step over that of the weights before it."""
        before, self._before = self._before, {}
        now = weights(self._run.model)
        pairs = [
            (name, live.detach(), old)
            for name, kept in before.items()
            for live, old in zip(now.get(name, ()), kept, strict=False)
        ]
        if not pairs:
            return {}
        norms = [torch.stack(((live - old).norm(), old.norm())) for _, live, old in pairs]
        moved: dict[str, tuple[float, float]] = {}
        for (name, _, _), (step, size) in zip(pairs, torch.stack(norms).tolist(), strict=True):
            steps, sizes = moved.get(name, (0.0, 0.0))
            moved[name] = hypot(steps, step), hypot(sizes, size)
        return {name: step / size for name, (step, size) in moved.items() if size}

    def _sharpness(self, seen: Seen) -> dict[str, float]:
        rate = float(self._run.optimizer.param_groups[0]["lr"])
        try:
            found = {"sharpness": sharpness(self._run, seen)}
        except RuntimeError as error:  # a function without a second derivative, or no memory
            _log.warning(f"watch=sharpness: cannot be had of this model: {first_line(error)}")
            self._parts.discard("sharpness")
            return {}
        return found | ({"sharpness/bound": 2 / rate} if rate > 0 else {})
