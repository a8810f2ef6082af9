"""The weights that variants of a recipe come to: how large, how sparse, and what they look like."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.engine.evaluate import evaluating, samples
from dlrun.engine.run import Run
from dlrun.model.order import weight_layers
from dlrun.model.roles import value
from dlrun.model.roles import weights as used
from dlrun.procedure import Lab, Outcome, Training, by_variant, procedure
from dlrun.procedure.contrast import labs
from dlrun.report.chart import Chart, Ground

_FEW = 12  # weights that are drawn one by one
_APART = 0.08  # between the dots of two variants
_SHOWN = 400  # places on the curve of many
_AROUND = 121  # of a ball of weights
_SAID = {1: "|w₁| + |w₂|", 2: "w₁² + w₂²"}
_SIDE = 61  # places on each side of the plane of two weights
_FEATURES = 36  # of a layer that are drawn, at most


@procedure(judged=False)
def weights(lab: Lab, variants: dict[str, Any] | None = None) -> Outcome:
    """The procedure `weights`: sizes of the weights of variants, and their pictures.

    variants: as `contrast` takes them; None for the recipe alone.
    """
    named = labs(lab, variants) if variants else {"trained": lab}
    recorded = {name: each.train([Training(name)])[0] for name, each in named.items()}
    runs = {name: each.trained(recorded[name]) for name, each in named.items()}
    flat = {name: every(run.model) for name, run in runs.items()}
    sizes = {name: measured(run.model) for name, run in runs.items()}
    first, *others = flat
    for name in others:
        if len(flat[name]) == len(flat[first]):
            apart = (flat[name] - flat[first]).norm() / flat[first].norm()
            sizes[name][f"from {first}"] = float(apart)
    return Outcome(
        runs=list(recorded.values()),
        values=by_variant({name: {**run.last, **sizes[name]} for name, run in recorded.items()}),
        table=[{"": name, **found} for name, found in sizes.items()],
        chart=_charts(runs, flat),
    )


def every(model: nn.Module) -> Tensor:
    """(weights,) float64 All trainable weights as layers use them; no biases."""
    return torch.cat([part.flatten().cpu().double() for part in _parts(model)])


def _parts(model: nn.Module) -> list[Tensor]:
    """The weights of each layer as it uses them."""
    found = used(model)
    return [part.detach() for part in [*found.plain, *map(value, found.made)]]


def measured(model: nn.Module) -> dict[str, float]:
    """l1: Σ|w|; l2: Σw²; zeros: the share of exact zeros; norm: the largest of a unit.

    Of the weights that come into one unit or channel.
    """
    w = every(model)
    units = [part.flatten(1).norm(dim=1).max() for part in _parts(model)]
    return {
        "l1": float(w.abs().sum()),
        "l2": float(w.square().sum()),
        "zeros": float((w == 0).double().mean()),
        "norm": float(max(units)),
    }


def _charts(runs: Mapping[str, Run], flat: Mapping[str, Tensor]) -> list[Chart]:
    """Planes of two weights, pictures of those of the first layer, or the weights by size."""
    sizes = {len(w) for w in flat.values()}
    if sizes == {2}:
        return [_plane(group, flat) for group in _with_the_same_loss(runs)]
    pictures = {name: _pictures(run) for name, run in runs.items()}
    drawn = [_features(name, w) for name, w in pictures.items() if w is not None]
    if len(drawn) == len(runs):
        return drawn
    if max(sizes) <= _FEW:
        middle = (len(flat) - 1) / 2
        dots = {
            name: _one_by_one(w, _APART * (number - middle))
            for number, (name, w) in enumerate(flat.items())
        }
        at = range(1, max(sizes) + 1)
        names = [f"w{place}" for place in at]
        return [Chart("weights", "weight", "value", [*at], names=names, dots=dots, linear=True)]
    sizes_of = {name: _by_size(w) for name, w in flat.items()}
    return [Chart("weights", "share of the weights, by size", "size |w|", paths=sizes_of)]


def _one_by_one(w: Tensor, beside: float) -> tuple[list[float], list[float]]:
    """Each weight over its number; beside: by how much it stands to the right of it."""
    return [place + beside for place in range(1, len(w) + 1)], w.tolist()


def _by_size(w: Tensor) -> tuple[list[float], list[float]]:
    """The sizes of weights over the share of those that are as large; zeros are left out."""
    ordered = w.abs().sort(descending=True).values
    places = torch.linspace(0, len(w) - 1, _SHOWN).round().long().unique()
    places = places[ordered[places] > 0]
    return ((places + 1) / len(w)).tolist(), ordered[places].tolist()


def _with_the_same_loss(runs: Mapping[str, Run]) -> list[dict[str, Run]]:
    """The runs by the samples that they see, and the loss that they have of them."""
    groups: list[tuple[Any, dict[str, Run]]] = []
    for name, run in runs.items():
        x, y = _seen(run)
        for (x_, y_, loss), group in groups:
            if loss == run.loss.name and torch.equal(x, x_) and torch.equal(y, y_):
                group[name] = run
                break
        else:
            groups.append(((x, y, run.loss.name), {name: run}))
    return [group for _, group in groups]


def _seen(run: Run) -> tuple[Tensor, Tensor]:
    """All training samples as the model sees them, and their targets."""
    x, y = (torch.cat(parts) for parts in zip(*samples(run, run.train), strict=True))
    return x, y


def _plane(runs: Mapping[str, Run], flat: Mapping[str, Tensor]) -> Chart:
    """The loss over two weights, where variants have come to, and their penalties there.

    runs: with the same loss. The bias is that of the first of them.
    """
    first = next(iter(runs.values()))
    reach = 1.25 * float(torch.stack([flat[name] for name in runs]).abs().max())
    side = torch.linspace(-reach, reach, _SIDE, dtype=torch.float64)
    [matrix] = used(first.model).plain
    kept = matrix.detach().clone()
    x, y = _seen(first)
    losses = []
    with evaluating(first):
        for second in side:
            row = []
            for one in side:
                matrix.copy_(torch.stack([one, second]).view_as(matrix))
                row.append(float(first.loss(first.model(x), y)))
            losses.append(row)
        matrix.copy_(kept)
    balls = {
        f"{name}: {_SAID[order]} = {float(flat[name].norm(p=order) ** order):.3g}": ball
        for name, run in runs.items()
        for rule, order in (("l1", 1), ("l2", 2))
        if f"regularization.{rule}" in run.regularizers
        for ball in [_ball(flat[name], order)]
    }
    free = [name for name, run in runs.items() if not run.regularizers]
    return Chart(
        "weights",
        "weight w₁",
        "weight w₂",
        ground=Ground(side.tolist(), side.tolist(), losses, equal=True),
        paths=balls,
        dots={name: ([float(flat[name][0])], [float(flat[name][1])]) for name in free},
    )


def _ball(w: Tensor, order: int) -> tuple[list[float], list[float]]:
    """All pairs of weights with the norm of these two, which are the last of them."""
    start = math.atan2(float(w[1]), float(w[0]))
    around = start + torch.linspace(0, 2 * math.pi, _AROUND, dtype=torch.float64)
    circle = torch.stack([around.cos(), around.sin()])
    across, up = circle / circle.norm(p=order, dim=0) * w.norm(p=order)
    return across.tolist(), up.tolist()


def _pictures(run: Run) -> Tensor | None:
    """(units, height, width) The weights into the first layer, of several channels the mean.

    None where they are no pictures: that layer sees no images, or not a whole one.
    """
    x, _ = next(iter(samples(run, run.train)))
    layers = weight_layers(run.model, x[:2]) if x.dim() == 4 else []
    if not layers:
        return None
    layer = layers[0]
    w = layer.weight.detach().cpu().double()
    if isinstance(layer, nn.Linear) and w.shape[1] == x[0].numel():
        w = w.view(len(w), *x.shape[1:])
    return w.mean(1) if w.dim() == 4 else None


def _features(name: str, w: Tensor) -> Chart:
    """Pictures of weights, (units, height, width), the longest first.

    Each has its own scale, 0 in the middle.
    """
    w = w[w.flatten(1).norm(dim=1).argsort(descending=True)[:_FEATURES]]
    w = w / w.abs().flatten(1).amax(1).clamp_min(1e-12)[:, None, None]
    across = math.ceil(math.sqrt(len(w)))
    height, width = w.shape[1] + 1, w.shape[2] + 1  # with a gap
    tiles = torch.full((-(-len(w) // across) * height - 1, across * width - 1), torch.nan)
    for place, picture in enumerate(w):
        top, left = place // across * height, place % across * width
        tiles[top : top + height - 1, left : left + width - 1] = picture
    rows, columns = tiles.shape
    ground = Ground(
        [float(place) for place in range(columns)],
        [float(place) for place in range(rows)],
        tiles.flip(0).tolist(),
        image=True,
    )
    return Chart("weights", "", "", title=name, ground=ground)
