"""Functions of two numbers that optimizers are tried on: what a loss can look like from above."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Point = tuple[float, float]


@dataclass(frozen=True)
class Landscape:
    """A function of two numbers, and where to look at it.

    value: (..., 2) points -> (...). minima: where it is lowest. start: where a path usually
    begins. window: (from, to) of x and of y, what is drawn.
    """

    value: Callable[[Tensor], Tensor]
    minima: tuple[Point, ...]
    start: Point
    window: tuple[Point, Point]


def quadratic(at: Tensor) -> Tensor:
    """10x² + 2.5y², with the curvatures 20 and 5."""
    return 10 * at[..., 0] ** 2 + 2.5 * at[..., 1] ** 2


def valley(at: Tensor) -> Tensor:
    """0.1x² + 2y²: flat along x, with the curvatures 0.2 and 4.

    Zhang, Lipton, Li, Smola 2023, Dive into Deep Learning, section 12.6.
    """
    return 0.1 * at[..., 0] ** 2 + 2 * at[..., 1] ** 2


def saddle(at: Tensor) -> Tensor:
    """½x² + ¼y⁴ − ½y²: a saddle at (0, 0), minima at (0, ±1).

    Nesterov 2004, Introductory Lectures on Convex Optimization, example 1.2.2.
    """
    return at[..., 0] ** 2 / 2 + at[..., 1] ** 4 / 4 - at[..., 1] ** 2 / 2


def beale(at: Tensor) -> Tensor:
    """(1.5 − x + xy)² + (2.25 − x + xy²)² + (2.625 − x + xy³)², with steep walls.

    Beale 1958, On an Iterative Method for Finding a Local Minimum of a Function of More than One
    Variable; the start as in Moré, Garbow, Hillstrom 1981.
    """
    x, y = at[..., 0], at[..., 1]
    parts = [c - x + x * y**power for power, c in enumerate((1.5, 2.25, 2.625), 1)]
    return torch.stack(parts).square().sum(0)


def rosenbrock(at: Tensor) -> Tensor:
    """(1 − x)² + 100(y − x²)², a valley that bends.

    Rosenbrock 1960, An Automatic Method for Finding the Greatest or Least Value of a Function.
    """
    x, y = at[..., 0], at[..., 1]
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


LANDSCAPES = {
    "quadratic": Landscape(quadratic, ((0.0, 0.0),), (-1.0, 2.0), ((-1.6, 1.6), (-2.4, 2.4))),
    "valley": Landscape(valley, ((0.0, 0.0),), (-5.0, -2.0), ((-6.0, 3.0), (-3.0, 3.0))),
    "saddle": Landscape(
        saddle, ((0.0, -1.0), (0.0, 1.0)), (1.0, 0.001), ((-1.2, 1.2), (-1.6, 1.6))
    ),
    "beale": Landscape(beale, ((3.0, 0.5),), (1.0, 1.0), ((-0.5, 4.5), (-1.0, 1.8))),
    "rosenbrock": Landscape(rosenbrock, ((1.0, 1.0),), (-1.2, 1.0), ((-1.8, 1.6), (-0.6, 2.0))),
}
