"""What variants of a recipe have learned of the plane, or of a curve, drawn side by side.

Hastie, Tibshirani, Friedman 2009, The Elements of Statistical Learning, 2.3.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dlrun.data import Data, Split
from dlrun.data.sample import sample
from dlrun.data.toy import CURVES, mixture_odds
from dlrun.engine.distance import distances
from dlrun.engine.evaluate import answer, evaluating
from dlrun.engine.run import Run
from dlrun.errors import Mistake
from dlrun.procedure import Lab, Outcome, Training, by_variant, procedure
from dlrun.procedure.contrast import labs
from dlrun.report.chart import Chart, Ground
from dlrun.shell import counted, spelled

Array = NDArray[Any]
Rule = Callable[[Array], Array]
"""(n, inputs) float32 -> (n,) the numbers of classes, or float64."""

LINEAR, NEAREST, BEST = "linear regression", "nearest neighbour", "best possible"
_SIDE = 151  # places on each side of the plane
_ALONG = 151  # places on a curve
_SHOWN = 400  # samples, at most
_MARGIN = 0.08  # of the plane around the samples, of their extent


@procedure(judged=False)
def regions(
    lab: Lab, variants: dict[str, Any] | None = None, beside: Sequence[str] = ()
) -> Outcome:
    """The procedure `regions`: the errors of variants, and what they say of every place.

    variants: as `contrast` takes them, each on its own data; None for the recipe alone.
    beside: what is drawn and measured as well: `linear`, least squares of the classes as 0 and 1,
    `nearest`, the nearest training sample, and `best`, which needs data whose source is known.

    Raises Mistake for data that are neither classes in the plane nor numbers on a line.
    """
    named = labs(lab, variants) if variants else {"fitted": lab}
    data = {name: each.data() for name, each in named.items()}
    first = next(iter(named))
    shared = data[first]  # by all, if they are alike
    held_out = "test" if lab.measures_test and len(shared.test) else "val"
    for name, each in data.items():
        _check(each, held_out, f"procedure.variants.{name}: " if variants else "")
    alike = all(_alike(shared, each) for each in data.values())
    _check_together(data, beside, alike)
    others = {_BESIDE[word][0]: _BESIDE[word][1](named[first], shared) for word in beside}
    runs = {name: each.train([Training(name)])[0] for name, each in named.items()}
    rules: dict[str, Rule] = {
        name: partial(says, each.trained(runs[name])) for name, each in named.items()
    }
    names = list(rules)
    rules |= others
    data |= dict.fromkeys(others, shared)
    errors = {
        name: {split: _error(data[name], rule, split) for split in ("train", held_out)}
        for name, rule in rules.items()
    }
    # The best curve is in each panel.
    numbers = not shared.classes
    shown = [name for name in rules if not numbers or name != BEST]
    what = "mean squared error" if numbers else "error rate"
    samples = counted(len(shared.splits[held_out]), "sample")
    where = f"{samples} of {held_out}" if alike else f"the {held_out} samples of each"
    rows = {
        name: {f"{split}/error": value for split, value in found.items()}
        for name, found in errors.items()
    }
    return Outcome(
        runs=list(runs.values()),
        values=by_variant(rows),
        text=f"{what} on {where}: "
        + ", ".join(f"{name} {found[held_out]:.4g}" for name, found in errors.items()),
        table=[{"": name, **row} for name, row in rows.items()],
        chart=[
            *(_panel(data[name], name, rules[name], rules.get(BEST)) for name in shown),
            *([_errors(names, errors, held_out, what, alike)] if len(names) > 1 else []),
        ],
    )


def _check(data: Data, held_out: str, where: str) -> None:
    """Raise Mistake for data that cannot be drawn. where: is said before it."""
    where += "procedure=regions:"
    inputs, wanted = int(np.prod(data.shape)), 2 if data.classes else 1
    if inputs != wanted or data.outputs != (len(data.classes) or 1):
        kind = f"{len(data.classes)} classes" if data.classes else f"{data.outputs} numbers"
        raise Mistake(
            f"{where} draws classes of points in the plane, or a number over a number; "
            f"data={data.name} has {inputs} inputs and {kind}, use data=toy"
        )
    if not len(data.splits[held_out]):
        lacks = "neither test nor validation" if held_out == "val" else "no test"
        raise Mistake(f"{where} there are {lacks} samples")


def _check_together(data: Mapping[str, Data], beside: Sequence[str], alike: bool) -> None:
    """Raise Mistake for what cannot be compared. alike: whether all variants have the same data."""
    if len({bool(each.classes) for each in data.values()}) > 1:
        raise Mistake(
            "procedure.variants: some have classes and others numbers, whose errors cannot be "
            "compared; choose data.kind of one sort"
        )
    for word in beside:
        if word not in _BESIDE:
            raise Mistake(f"procedure.beside={word}: write some of {', '.join(_BESIDE)}")
    if beside and not alike:
        raise Mistake(
            f"procedure.beside={spelled(beside)}: is measured on the same data as the variants, "
            "but these differ in theirs; leave procedure.beside out"
        )


def _alike(one: Data, other: Data) -> bool:
    """Whether two data sets have the same samples in the same splits."""
    return one.digest == other.digest and all(
        torch.equal(split.rows, other.splits[name].rows) for name, split in one.splits.items()
    )


def points(data: Data, split: Split) -> tuple[Array, Array]:
    """The samples of a split: x (n, inputs) float32, and y (n,) in the units of the data."""
    rows = split.rows.to(split.x.device)
    x, y = split.x[rows].cpu(), split.y[rows].cpu()
    if data.scale is not None:
        y = y * data.scale.std + data.scale.mean
    return x.flatten(1).numpy(), y.reshape(-1).numpy()


def _error(data: Data, rule: Rule, split: str) -> float:
    """The share of the samples of a split that a rule gets wrong, or its mean squared error."""
    x, y = points(data, data.splits[split])
    said = rule(x)
    return float((said != y).mean() if data.classes else ((said - y) ** 2).mean())


def says(run: Run, x: Array) -> Array:
    """What a run says of raw samples, the most probable class or a number."""
    with evaluating(run):
        shaped = torch.from_numpy(x).view(-1, *run.data.shape)
        said = run.said(answer(run, shaped)).cpu()
    if not run.classes or said.shape[1] > 1:
        return (said.argmax(1) if run.classes else said[:, 0]).numpy()
    return (said[:, 0] > 0.5).long().numpy()  # one logit for two classes


def _linear(lab: Lab, data: Data) -> Rule:
    """Least squares; of classes, of each as 0 or 1, the largest of which is the answer."""
    x, y = points(data, data.train)
    targets = np.eye(len(data.classes))[y] if data.classes else y[:, None]
    weights = np.linalg.lstsq(_affine(x), targets, rcond=None)[0]

    def rule(x: Array) -> Array:
        said: Array = _affine(x) @ weights
        return said.argmax(1) if data.classes else said[:, 0]

    return rule


def _affine(x: Array) -> Array:
    return np.concatenate([np.ones((len(x), 1)), x.astype(np.float64)], 1)


def _nearest(lab: Lab, data: Data) -> Rule:
    """The answer of the nearest training sample."""
    x, y = points(data, data.train)
    known = torch.from_numpy(x)

    def rule(x: Array) -> Array:
        parts = torch.from_numpy(x).split(4096)
        found: Array = y[torch.cat([distances(part, known).argmin(1) for part in parts]).numpy()]
        return found

    return rule


def _best(lab: Lab, data: Data) -> Rule:
    """The Bayes classifier of a mixture, or the curve without its noise."""
    if curve := known(data):
        return curve
    if data.name != "toy mixture":
        raise Mistake(
            "procedure.beside=best: needs data whose source is known: data=toy "
            f"data.kind=mixture, {' or '.join(CURVES)}"
        )
    seed = int(lab.recipe["data"]["seed"])
    labels = np.array([data.classes.index(name) for name in ("0", "1")])  # data.classes orders them
    return lambda x: labels[(mixture_odds(x, seed) > 1).astype(np.int64)]


def known(data: Data) -> Rule | None:
    """The curve that made-up data are drawn from; None for other data."""
    kind = data.name.removeprefix("toy ")
    if kind == data.name or kind not in CURVES:
        return None
    return lambda x: CURVES[kind](x[:, 0].astype(np.float64))


_BESIDE: dict[str, tuple[str, Callable[[Lab, Data], Rule]]] = {
    "linear": (LINEAR, _linear),
    "nearest": (NEAREST, _nearest),
    "best": (BEST, _best),
}


def _panel(data: Data, name: str, rule: Rule, best: Rule | None) -> Chart:
    """What a rule says everywhere, with the training samples."""
    x, y = points(data, Split(data.train.x, data.train.y, sample(data.train, _SHOWN, seed=0)))
    sides = [line(x[:, 0])] if not data.classes else [line(side, _SIDE, _MARGIN) for side in x.T]
    labels = data.columns or ("x", "y")
    if not data.classes:
        [along] = sides
        paths = {name: (along.tolist(), rule(along[:, None]).tolist())}
        if best is not None:
            paths[BEST] = (along.tolist(), best(along[:, None]).tolist())
        dots = {"training samples": (x[:, 0].tolist(), y.tolist())}
        return Chart("regions", labels[0], "y", title=name, paths=paths, dots=dots, linear=True)
    across, up = sides
    plane = np.stack(np.meshgrid(across, up), -1)
    said = rule(plane.reshape(-1, 2)).reshape(plane.shape[:2])
    return Chart(
        "regions",
        labels[0],
        labels[1],
        title=name,
        ground=Ground(across.tolist(), up.tolist(), said.tolist(), regions=True),
        dots={
            label: (x[y == number, 0].tolist(), x[y == number, 1].tolist())
            for number, label in enumerate(data.classes)
        },
    )


def line(values: Array, many: int = _ALONG, margin: float = 0.0) -> Array:
    """Equally distant places from the smallest to the largest value, and a little beyond.

    margin: how far beyond, as a share of the distance.
    """
    low, high = float(values.min()), float(values.max())
    more = margin * (high - low)
    return np.linspace(low - more, high + more, many, dtype=np.float32)


def _errors(
    names: Sequence[str],
    errors: Mapping[str, Mapping[str, float]],
    held_out: str,
    what: str,
    alike: bool,
) -> Chart:
    """The errors of the variants in their order. alike: whether their data are."""
    found = {
        {"train": "training", "val": "validation"}.get(split, split): [
            errors[name][split] for name in names
        ]
        for split in ("train", held_out)
    }
    places = list(range(len(names)))
    least = {BEST: errors[BEST][held_out]} if BEST in errors else {}
    return Chart(
        "errors",
        "variant",
        what,
        title="error against capacity" if alike else "error of each",
        at=places,
        names=names,
        curves=found if alike else {},
        dots={} if alike else {name: (places, values) for name, values in found.items()},
        levels=least,
        linear=what == "error rate",
    )
