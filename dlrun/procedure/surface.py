"""Run optimizers over a function of two numbers, to see which way each takes."""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import torch

from dlrun.errors import Mistake
from dlrun.procedure import Lab, Outcome, at_least, by_variant, procedure
from dlrun.procedure.contrast import varied
from dlrun.procedure.descent import Path, Place, descend
from dlrun.procedure.landscapes import LANDSCAPES, Landscape, Point
from dlrun.report.chart import Chart, Ground
from dlrun.shell import counted, spelled

_FINE = 81  # places of the ground, each way
_FAR = 100  # times the distance at first beyond which nothing is drawn
_NEAR = 100  # the tolerance's share below which distances are drawn as this
SHOWN = {
    "distance": "distance to the nearest minimum",
    "value": "value",
    "rate": "effective rate: length of a step / of its gradient",
}


@procedure(judged=False, trains=False)
def surface(
    lab: Lab,
    surface: str = "quadratic",
    start: list[float] | None = None,
    steps: int = 100,
    against: list[str] | None = None,
    variants: dict[str, Any] | None = None,
    noise: float = 0.0,
    tolerance: float = 0.01,
    show: str = "distance",
    title: str = "",
) -> Outcome:
    """The procedure `surface`: the paths of the recipe's optimizer, and of others.

    against: names of other optimizers. variants: overrides by the name of each path, these alone;
    of the procedure's own settings each may have another start and noise.
    noise: of each number of a gradient, a standard deviation. show: one of `SHOWN`.

    Raises Mistake for a setting that cannot be.
    """
    _check(surface, steps, tolerance, show)
    landscape = LANDSCAPES[surface]
    before = {
        "procedure": f"procedure={lab.chosen['procedure']}",
        "procedure.start": f"procedure.start={spelled(start)}",
        "procedure.noise": f"procedure.noise={noise}",
    }
    where = "procedure.against" if against else ""
    labs = {
        name: lab if words is None else varied(lab, name, words, before, where)
        for name, words in _variants(lab, against, variants).items()
    }
    starts = {name: _start(each) or landscape.start for name, each in labs.items()}
    noises = {name: _noise(each) for name, each in labs.items()}
    paths = {}
    for name, each in labs.items():
        place, seed = Place(starts[name]), int(each.recipe["seed"])
        optimizer, schedule = each.descent(place, steps)
        paths[name] = descend(landscape, place, optimizer, schedule, steps, noises[name], seed)
    found = {name: _measured(path, tolerance) for name, path in paths.items()}
    alone = len(found) == 1
    return Outcome(
        values=next(iter(found.values())) if alone else by_variant(found),
        text=f"{surface}, {counted(steps, 'step')}: {_said(found)}.",
        table=[_row(name, paths[name], each, show) for name, each in found.items()],
        chart=[_ground(title or surface, landscape, paths), _beside(paths, show, tolerance)],
    )


def _check(surface: str, steps: int, tolerance: float, show: str) -> None:
    for key, value, known in (("surface", surface, LANDSCAPES), ("show", show, SHOWN)):
        if value not in known:
            raise Mistake(f"procedure.{key}={value}: must be one of {', '.join(known)}")
    at_least(1, steps=steps)
    if tolerance < 0:
        raise Mistake(f"procedure.tolerance={tolerance:g}: must not be negative")


def _start(lab: Lab) -> Point | None:
    """Where a path begins. Raises Mistake."""
    start = lab.recipe["procedure"].get("start")
    if start is None:
        return None
    if len(start) != 2:
        raise Mistake(f"procedure.start={spelled(start)}: must be two numbers, such as [-1,2]")
    return float(start[0]), float(start[1])


def _noise(lab: Lab) -> float:
    """Of a path's gradients. Raises Mistake."""
    noise = float(lab.recipe["procedure"].get("noise", 0.0))
    if noise < 0:
        raise Mistake(f"procedure.noise={noise:g}: must not be negative")
    return noise


def _variants(
    lab: Lab, against: Sequence[str] | None, variants: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The words of each path by its name; None for the recipe as it is."""
    if variants:
        if against:
            raise Mistake(
                f"procedure.against={spelled(against)}: is not drawn beside procedure.variants; "
                f"add \"+procedure.variants.{against[0]}='optimizer={against[0]}'\", or type "
                "procedure.variants=null"
            )
        return {str(name): words for name, words in variants.items()}
    own, names = lab.chosen["optimizer"], list(against or ())
    found = {} if own in names else {own: None}
    return found | {name: None if name == own else [f"optimizer={name}"] for name in names}


def _measured(path: Path, tolerance: float) -> dict[str, float]:
    """What is recorded of a path; without what it has not: steps to a minimum it never reached."""
    late = [rate for rate in path.rates if math.isfinite(rate)][-max(1, len(path.rates) // 10) :]
    values = {
        "steps": path.steps(tolerance),
        "distance": path.distances[-1],
        "settled": path.settled,
        "value": path.values[-1],
        "contraction": path.contraction,
        "diverged": float(path.diverged),
        "rate": median(late) if late else None,
        "first": path.first,
    }
    return {key: float(v) for key, v in values.items() if v is not None and math.isfinite(v)}


def _row(name: str, path: Path, found: Mapping[str, float], show: str) -> dict[str, Any]:
    """A row of the closing table."""
    said = "diverged" if path.diverged else "not yet"
    row: dict[str, Any] = {
        "path": name,
        "there after": counted(int(found["steps"]), "step") if "steps" in found else said,
        "distance": path.distances[-1],
    }
    if path.noise:
        row["in the second half"] = path.settled
    else:
        row["factor a step"] = path.contraction
    return row | ({"effective rate": found.get("rate")} if show == "rate" else {})


def _said(found: Mapping[str, Mapping[str, float]]) -> str:
    """Which is there first, and which diverge."""
    there = {name: each["steps"] for name, each in found.items() if "steps" in each}
    parts = []
    if there:
        first = min(there, key=lambda name: there[name])
        parts.append(f"{first} is there after {there[first]:,.0f}")
    else:
        parts.append("none is there")
    lost = [name for name, each in found.items() if each["diverged"]]
    if lost:
        parts.append(f"{', '.join(lost)} diverged")
    return "; ".join(parts)


def _ground(title: str, landscape: Landscape, paths: Mapping[str, Path]) -> Chart:
    """The contours and the paths over them."""
    x, y = (torch.linspace(*ends, _FINE, dtype=torch.float64) for ends in landscape.window)
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
    values = landscape.value(grid)
    return Chart(
        name="surface",
        title=title,
        x="x",
        y="y",
        ground=Ground(x.tolist(), y.tolist(), values.tolist()),
        paths={name: _places(_near(path.points, landscape)) for name, path in paths.items()},
        dots={"minimum": _places(landscape.minima)},
    )


def _near(points: Sequence[Point], landscape: Landscape) -> list[Point]:
    """The points up to the first that lies far outside of the window."""

    def outside(point: Point) -> bool:
        return any(
            not abs(2 * number - low - high) <= 2 * (high - low)
            for number, (low, high) in zip(point, landscape.window, strict=True)
        )

    gone = next((place for place, point in enumerate(points) if outside(point)), len(points))
    return list(points[: gone + 1])


def _places(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    x, y = zip(*points, strict=True)
    return list(x), list(y)


def _beside(paths: Mapping[str, Path], show: str, tolerance: float) -> Chart:
    """What is shown over the steps, unless far away; distances of next to nothing lie on a floor.

    So a line that is there goes on to its last step, and the axis says where the floor is.
    """
    far = _FAR * max(path.distances[0] for path in paths.values())
    floor = tolerance / _NEAR if show == "distance" else -math.inf
    first = 1 if show == "rate" else 0
    places, said = {}, SHOWN[show]
    for name, path in paths.items():
        kept = {"distance": path.distances, "value": path.values, "rate": path.rates}[show]
        shown = [
            (float(first + n), value)
            for n, (value, distance) in enumerate(zip(kept, path.distances, strict=False))
            if not math.isnan(value) and distance <= far
        ]
        if any(value < floor for _, value in shown):
            said = f"{SHOWN[show]}, at least {floor:g}"
        places[name] = ([n for n, _ in shown], [max(value, floor) for _, value in shown])
    return Chart(name="steps", x="step", y=said, paths=places)
