"""Draw an activation function and its derivative, to see what it lets through both ways."""

from importlib import import_module

import torch
from torch import nn

from dlrun.activation import pieces
from dlrun.errors import Mistake
from dlrun.procedure import Lab, Outcome, procedure
from dlrun.report.chart import Chart

_POINTS = 401
_FLAT = 0.01
"""A derivative below which an activation counts as flat."""


@procedure(judged=False, trains=False, uses=("activation",))
def draw_activation(lab: Lab, reach: float = 5.0) -> Outcome:
    """The procedure `draw_activation`: f(x) and f′(x) from −reach to reach.

    Raises Mistake for an activation that takes several numbers at once.
    """
    if reach <= 0:
        raise Mistake(f"procedure.reach={reach:g}: must be above 0")
    settings = dict(lab.recipe["activation"])
    settings.pop("_partial_", None)
    place, _, name = settings.pop("_target_").rpartition(".")

    def made() -> nn.Module:
        module: nn.Module = getattr(import_module(place), name)(**settings)
        return module.double()

    if (taken := pieces(made)) > 1:
        raise Mistake(
            f"procedure=draw_activation: {name} takes {taken} numbers for each that it gives, so "
            "there is no curve to draw"
        )
    # From whole numbers, so that the middle is 0 and not what rounding leaves.
    half = _POINTS // 2
    x = (torch.arange(-half, half + 1, dtype=torch.float64) * reach / half).requires_grad_()
    y = made()(x[:, None])[:, 0]
    (slope,) = torch.autograd.grad(y.sum(), x) if y.requires_grad else (torch.ones_like(x),)
    flat = float((slope.abs() < _FLAT).double().mean())
    curves = {"f(x)": y.tolist(), "f′(x), its derivative": slope.tolist()}
    return Outcome(
        text=f"f(0) = {y[half]:.3g}, and f′ goes from {slope.min():.3g} to {slope.max():.3g}; "
        f"|f′| is below {_FLAT:g} on {flat:.0%} of what is drawn, where almost no gradient passes.",
        values={"activation/steepest": float(slope.max()), "activation/flat": flat},
        chart=Chart("activation", "x", name, x.tolist(), curves, linear=True),
    )
