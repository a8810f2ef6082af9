"""The path of an optimizer over a function of two numbers, in float64."""

import math
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.optimizer import Averaging, Observing, Switching, takes_closure
from dlrun.optimizer.replay import Objective
from dlrun.procedure.landscapes import Landscape, Point
from dlrun.schedule import Schedule

_FAR = 1e6  # from the start: a path that has come so far does not come back
_CHANCE = 4  # standard deviations that no noise moves a path
_EXACT = 1e-12  # distances below this are of the arithmetic, not of the method


class Place(nn.Module):
    """Two numbers to move, as a model whose only weights they are."""

    def __init__(self, start: Point) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor(start, dtype=torch.float64))


@dataclass
class Path:
    """Where an optimizer has gone.

    points: (n + 1) that are evaluated, the start first. values, distances: of the function, and
    to the nearest minimum, there. rates: (n) length of each step over that of its gradient.
    noise: of each number of a gradient, a standard deviation.
    """

    points: list[Point] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    noise: float = 0.0

    def add(self, landscape: Landscape, at: Tensor) -> None:
        """One more point."""
        x, y = at.tolist()
        self.points.append((x, y))
        self.values.append(float(landscape.value(at)))
        self.distances.append(min(math.dist((x, y), minimum) for minimum in landscape.minima))

    @property
    def first(self) -> float:
        """The length of the first step."""
        return math.dist(self.points[0], self.points[1])

    @property
    def settled(self) -> float:
        """The root mean square of the distance in the second half of the steps."""
        late = self.distances[len(self.distances) // 2 :]
        return math.sqrt(sum(distance**2 for distance in late) / len(late))

    @property
    def lost(self) -> bool:
        """Whether it has left for where numbers end."""
        end = self.distances[-1]
        return not math.isfinite(end) or end > _FAR * (1 + self.distances[0])

    def steps(self, tolerance: float) -> int | None:
        """After how many steps it is within `tolerance` of a minimum for good."""
        far = [place for place, distance in enumerate(self.distances) if not distance <= tolerance]
        first = far[-1] + 1 if far else 0
        return first if first < len(self.distances) else None

    @property
    def contraction(self) -> float | None:
        """The factor of the distance from one step to the next, in the second half of them.

        By the line of least squares through its logarithm: momentum makes it swing. None
        where noise decides.
        """
        known = [(n, d) for n, d in enumerate(self.distances) if _EXACT < d < math.inf]
        late = [(n, math.log(d)) for n, d in known if 2 * n >= known[-1][0]]
        if self.noise or len(late) < 3:
            return None
        n, logs = (torch.tensor(each, dtype=torch.float64) for each in zip(*late, strict=True))
        n = n - n.mean()
        return math.exp(float((n * logs).sum() / (n * n).sum()))

    @property
    def diverged(self) -> bool:
        """Whether it is lost, or higher than where it began and on its way from the minimum."""
        factor = self.contraction
        goes = self._outruns_noise if self.noise else factor is not None and factor > 1
        return self.lost or (self.values[-1] > self.values[0] and goes)

    @property
    def _outruns_noise(self) -> bool:
        """Whether it ends twice as far as it began, and farther than noise alone takes it.

        Noise moves both numbers by σ·rate in each of n steps, and a path that does not diverge
        by √(2n)·σ·rate in all, at most.
        """
        n, first, end = len(self.rates), self.distances[0], self.distances[-1]
        reach = _CHANCE * math.sqrt(2 * n) * self.noise * median(self.rates)
        return end > max(2 * first, first + reach, self.settled)


def descend(
    landscape: Landscape,
    place: Place,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    steps: int,
    noise: float = 0.0,
    seed: int = 0,
) -> Path:
    """Take so many steps; fewer where the path is lost.

    A step counts as an epoch of one mini-batch, after which the function itself is the validation
    loss. noise: standard deviation of what is added to each number of a step's gradient, as
    if it were that of a mini-batch.
    """
    generator = torch.Generator().manual_seed(seed)
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    path, closure, best = Path(noise=noise), takes_closure(optimizer), place.at.detach().clone()
    path.add(landscape, best)
    lowest = path.values[0]
    for step in range(steps):
        factor = schedule(step, steps, 1)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        push = noise * torch.randn(2, generator=generator, dtype=torch.float64)
        before, gradients = place.at.detach().clone(), list[Tensor]()
        objective = _objective(landscape, place, push, gradients)
        if closure:
            optimizer.step(objective)  # type: ignore[arg-type]
        else:
            objective()
            optimizer.step()
        length, slope = (place.at.detach() - before).norm(), gradients[0].norm()
        path.rates.append(float(length / slope))
        path.add(landscape, evaluated(optimizer, place))
        if path.lost:
            break
        if path.values[-1] < lowest:
            lowest, best = path.values[-1], evaluated(optimizer, place).detach().clone()
        _tell(optimizer, schedule, -path.values[-1])
        if schedule.returns():
            place.at.data.copy_(best)
            optimizer.state.clear()
    return path


def _objective(
    landscape: Landscape, place: Place, push: Tensor, gradients: list[Tensor]
) -> Objective:
    """What a step makes small; remembers its gradients."""

    def objective(backward: bool = True) -> Tensor:
        with torch.set_grad_enabled(backward):
            value = landscape.value(place.at) + push @ place.at
        if backward:
            place.at.grad = None
            value.backward()
            gradients.append(place.at.grad.clone())  # type: ignore[attr-defined]
        return value.detach()

    return objective


def _tell(optimizer: Any, schedule: Schedule, score: float) -> None:
    schedule.observe(score)
    if isinstance(optimizer, Observing):
        optimizer.observe(score)


@torch.no_grad()
def evaluated(optimizer: torch.optim.Optimizer, place: Place) -> Tensor:
    """Where the function is evaluated: at the average, where an optimizer has one."""
    if isinstance(optimizer, Averaging) and (pairs := optimizer.averages()):
        return pairs[0][1].clone()
    if not isinstance(optimizer, Switching):
        return place.at.clone()
    optimizer.eval()
    found = place.at.clone()
    optimizer.train()
    return found
