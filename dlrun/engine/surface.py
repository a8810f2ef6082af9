"""The loss around the weights of a trained run, along random directions.

Li, Xu, Taylor, Studer, Goldstein 2018, Visualizing the Loss Landscape of Neural Nets: each filter
of a direction is scaled to the norm of the filter it is added to. Else a network whose weights
are twice as large, and which computes the same where batch norm follows, would look flatter.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dlrun.data import Data
from dlrun.data.sample import make_generator
from dlrun.engine.batches import sizes
from dlrun.engine.evaluate import averaged
from dlrun.engine.layers import weights
from dlrun.engine.look import some, untouched
from dlrun.engine.run import Run

Report = Callable[[int, int], None]
"""Called with (done, total) to show progress."""
Samples = tuple[Tensor, Tensor]
"""Samples as the model sees them, and their targets."""

REACH = 1.0
"""How far the line and the plane go, in multiples of the filters' own norms."""
ALONG, ACROSS = 41, 21
"""Points of the line, and of each side of the plane; odd, so that the weights are one of them."""
MOST, LEAST = 256, 32
"""Samples of each split that the loss is measured on."""
_DIRECTION = 11  # a use of the seed; data/ and engine/ have others
_OPERATIONS = 1e12  # floating-point operations of the plane, beyond which it has fewer samples


@dataclass(frozen=True)
class Surface:
    """Losses by how far the weights are moved, in multiples of the filters' norms.

    along: (ALONG,) of the line; line: (ALONG,) losses of each split. across: (ACROSS,) of both
    sides of the plane; plane: (ACROSS, ACROSS) losses of the training samples, the first
    direction from left to right. Not finite where the network gives no finite loss. samples: of
    each split.
    """

    along: Sequence[float]
    line: dict[str, Sequence[float]]
    across: Sequence[float]
    plane: Sequence[Sequence[float]]
    samples: dict[str, int]


def surface(run: Run, data: Data, seed: int = 0, report: Report | None = None) -> Surface:
    """The loss of a run along one random direction, and on the plane of it and a second one.

    In evaluation mode, without penalties. Biases, gains and all else of a norm stay as they are,
    its running averages among them, as the paper does it. Nothing of the run is changed.
    """
    cost = max(run.flops, 1) * ACROSS**2
    count = min(MOST, max(LEAST, int(_OPERATIONS / cost)))
    splits = {name: data.splits[name] for name in ("train", "val") if len(data.splits[name])}
    total = ALONG * len(splits) + ACROSS**2
    done = 0

    with averaged(run), untouched(run):
        run.model.eval()
        seen = {name: some(run, split, count) for name, split in splits.items()}
        moved = _Moved(run, seed)

        def losses(samples: Samples, places: Sequence[tuple[float, float]]) -> list[float]:
            nonlocal done
            found = []
            for place in places:
                moved.to(*place)
                found.append(_loss(run, *samples))
            done += len(places)
            if report is not None:
                report(done, total)
            return torch.stack(found).tolist()

        along, across = _places(ALONG), _places(ACROSS)
        return Surface(
            along,
            {name: losses(s, [(a, 0.0) for a in along]) for name, s in seen.items()},
            across,
            [losses(seen["train"], [(a, b) for a in across]) for b in across],
            {name: len(y) for name, (_, y) in seen.items()},
        )


def directions(run: Run, seed: int) -> list[dict[torch.nn.Parameter, Tensor]]:
    """Two random directions for each weight, every filter as long as the weight's own.

    A filter is what makes one unit: a row of a matrix, a kernel with all its input channels.
    """
    generator = make_generator(_DIRECTION, seed, 0)
    own = [weight for each in weights(run.model).values() for weight in each]
    return [{weight: _like(weight.detach(), generator) for weight in own} for _ in range(2)]


def _like(weight: Tensor, generator: torch.Generator) -> Tensor:
    random = torch.randn(weight.shape, generator=generator).to(weight)
    rows, own = random.flatten(1), weight.flatten(1)
    length = own.norm(dim=1, keepdim=True) / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)
    scaled: Tensor = rows * length
    return scaled.view_as(weight)


class _Moved:
    """The weights of a run, moved away from where they are and back."""

    def __init__(self, run: Run, seed: int) -> None:
        self._first, self._second = directions(run, seed)
        self._at = {weight: weight.detach().clone() for weight in self._first}

    @torch.no_grad()
    def to(self, a: float, b: float) -> None:
        """Set the weights to w + a·d₁ + b·d₂."""
        for weight, at in self._at.items():
            weight.copy_(at + a * self._first[weight] + b * self._second[weight])


@torch.no_grad()
def _loss(run: Run, x: Tensor, y: Tensor) -> Tensor:
    parts = sizes(len(x), run.lengths.evaluation_batch)
    pairs = zip(x.split(parts), y.split(parts), strict=True)
    sums = [run.loss(run.uncompiled(a).float(), b) * len(b) for a, b in pairs]
    loss: Tensor = torch.stack(sums).sum() / len(y)
    return loss


def _places(count: int) -> list[float]:
    return [REACH * (2 * place / (count - 1) - 1) for place in range(count)]
