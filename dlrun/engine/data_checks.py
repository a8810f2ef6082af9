"""What can be told of the data before a training: of inputs, classes, splits, and their order."""

import math
from collections.abc import Iterator
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from dlrun.engine.ending import AtLength
from dlrun.engine.evaluate import samples
from dlrun.engine.look import Seen, deviate
from dlrun.finding import FAIL, NOTE, WARN, Finding, shares_apart
from dlrun.preprocessing.moments import covariance

_OPERATIONS = 1e10  # for the correlations of a table, at most
_BATCHES = 100  # of an epoch whose targets are compared
SCALE = (0.01, 3.2)
"""Root mean squares of inputs between which the usual rates and initial weights are meant.

At 3.2 the curvature by the first weights is ten times what it is at 1; small inputs do less harm.
"""
DEPENDENT = 1000.0
"""The condition number of correlations from which inputs count as dependent (Belsley 1980)."""
ROUNDING = 1e-7
"""The share of its mean, or of the largest spread, that rounding alone gives a column as spread."""
NOTHING = 1e-9
"""The share of the largest variance that rounding alone leaves of a direction without any."""
LEAKED = 0.01
"""The share of a split that may stand in another one, or twice, as in most sets some samples do;
of few samples more may by chance."""
RARE = 5.0
"""How many times as frequent as the rarest class the most frequent one may be."""
FEWEST = 5
"""Samples of which a fifth is one."""
CHANCE = 1e-3
"""How often splits at random would leave the shares of some class as far apart."""


def input_scale(seen: Seen) -> Iterator[Finding]:
    """Root mean square of all inputs, and of each column of a table."""
    x = seen.x.float()
    if _normalizes_first(seen.run.model):
        return
    columns = x if x.dim() == 2 else x.flatten(1).reshape(-1, 1)
    spread = columns.std(0, correction=0)
    sizes = columns.square().mean(0).sqrt()[spread > 0]
    if not len(sizes):
        return
    low, high = float(sizes.min()), float(sizes.max())
    if high > SCALE[1] or high < SCALE[0]:
        yield Finding(
            "input_scale",
            WARN,
            f"Inputs have a root mean square of {high:.3g}, but networks expect about 1: "
            "standardize them.",
            {"lowest": low, "highest": high},
            changes={"preprocessing": ["standardize"]},
        )


def scaling(seen: Seen) -> dict[str, Any]:
    """What scales the inputs where they need it."""
    return {key: value for each in input_scale(seen) for key, value in each.changes.items()}


def _normalizes_first(model: nn.Module) -> bool:
    """Whether the first layer with parameters or statistics normalizes its input."""
    leaves = (module for module in model.modules() if not list(module.children()))
    first = next((leaf for leaf in leaves if [*leaf.parameters(), *leaf.buffers()]), None)
    return isinstance(first, _NormBase | nn.LayerNorm | nn.GroupNorm)


def dependent_inputs(seen: Seen) -> Iterator[Finding]:
    """The condition number of the correlations between the columns of a table."""
    if seen.x.dim() != 2:
        return
    rows, inputs = seen.run.train.rows, seen.x.shape[1]
    # Of a part of the rows columns that are rarely other than 0 would look alike.
    whole = len(rows) * inputs**2 <= _OPERATIONS
    few = len(rows) if whole else int(_OPERATIONS / inputs**2)
    part = replace(seen.run.train, rows=rows[:: math.ceil(len(rows) / max(few, 1))])
    if len(part) < 2 * inputs:
        return
    mean, spread = covariance(x for x, _ in samples(seen.run, part))
    spread = spread.cpu()
    deviation, mean = spread.diagonal().sqrt(), mean.cpu()
    varies = deviation > ROUNDING * torch.maximum(mean.abs(), deviation.max())
    if int(varies.sum()) < 2:
        return
    unit = deviation[varies]
    values = torch.linalg.eigvalsh(spread[varies][:, varies] / unit[:, None] / unit)
    there = values[values > NOTHING * values[-1]]  # elsewhere the gradient is 0, and slows nothing
    condition = float(values[-1] / there[0])
    exact = len(values) - len(there) if whole else 0
    reading = (seen.run.data.reading or {}).get("columns", ())
    # An input for each class of a word, or a flag for what is missing, is the table's reading.
    ours = sum(column["kind"] == "text" or bool(column.get("flag")) for column in reading)
    if condition > DEPENDENT:
        # What does not take them as one vector may go by their order, which whitening undoes.
        vector = bool(seen.layers) and seen.layers[0][1].shape[1:] == seen.x.shape[1:]
        cure = "; whitening removes this" if vector else ""
        yield Finding(
            "dependent_inputs",
            NOTE,
            "Some inputs are nearly a linear combination of others (condition number "
            f"{condition:.2g}), which slows gradient descent down{cure}.",
            {"condition": condition},
            changes={"preprocessing": ["standardize", "whiten"]} if vector else {},
        )
    elif exact > ours:
        yield Finding(
            "dependent_inputs",
            NOTE,
            f"Only {len(there)} of {inputs} inputs are independent; the rest are linear "
            "combinations of them, add nothing new, and can be left out.",
            {"inputs": float(inputs - len(there))},
        )


def class_missing(seen: Seen) -> Iterator[Finding]:
    """Classes without a training or a validation sample."""
    if not seen.counts:
        return
    train, val = seen.counts
    if sum(map(bool, train)) == 1:
        yield Finding("class_missing", FAIL, "All training samples are of one class.")
        return
    names, splits = seen.run.data.classes, seen.held
    for where, counts, others in (("training", train, val), ("validation", val, train)):
        missing = [place for place, n in enumerate(counts) if not n and others[place]]
        if missing and sum(counts) >= len(counts):  # fewer samples than classes miss some
            some = ", ".join(names[place] for place in missing[:3])
            said = f"Class {some} has" if len(missing) == 1 else f"Classes {some} have"
            said = said.replace(" have", ", … have") if len(missing) > 3 else said
            helps = max(sum(split[place] for split in splits) for place in missing) >= len(splits)
            few = "" if helps else f"; {'it has' if len(missing) == 1 else 'they have'} too few"
            yield Finding(
                "class_missing",
                WARN,
                f"{said} no {where} sample{few and f'{few} for each split to have one'}.",
                {"classes": len(missing)},
                changes={"data.split": "60/20/20"} if helps else {},
            )


def class_imbalance(seen: Seen) -> Iterator[Finding]:
    """Classes that are rare in training, or whose share in validation differs beyond chance."""
    run = seen.run
    if not seen.counts or run.balanced:
        return
    train, val = seen.counts
    present = [count for count in train if count]
    if len(present) < 2:
        return
    most, rarest = max(present), min(present)
    if most > RARE * rarest:
        said = (
            f"Class {run.data.classes[train.index(rarest)]} has {rarest} training "
            f"sample{'s' * (rarest != 1)}, the most frequent one {most}: a network may ignore it "
            "and still be right most of the time."
        )
        numbers = {"rarest": float(rarest), "most": float(most)}
    else:
        # A class that one of them lacks is missing.
        pairs = [(n, m) if n and m else (0, 0) for n, m in zip(train, val, strict=True)]
        rarer = [shares_apart(n, sum(train), m, sum(val)) for n, m in pairs]
        # One class that is too frequent makes each of the others a little rarer.
        if max(map(abs, rarer)) < NormalDist().inv_cdf(1 - CHANCE / (2 * len(rarer))):
            return
        worst = max(range(len(rarer)), key=lambda place: abs(rarer[place]))
        here, there = train[worst] / sum(train), val[worst] / sum(val)
        said = (
            f"Class {run.data.classes[worst]} makes up {here:.1%} of training and {there:.1%} of "
            "validation, more than chance explains: a network learns to name it "
            f"{'less' if here < there else 'more'} often than validation has it."
        )
        numbers = {"train": here, "val": there}
    changes = {"sampling": "balanced"}
    yield Finding("class_imbalance", WARN, said, numbers, changes=changes)


def fixed_order(seen: Seen) -> Iterator[Finding]:
    """The same order in each epoch, in which mini-batches differ in their targets beyond chance."""
    run, y = seen.run, seen.run.train.y
    size = run.lengths.batch_size
    rows = run.order(0)
    if run.reconstructs or not torch.equal(rows, run.order(1)):
        return
    batches = min(len(rows) // size, _BATCHES)
    if batches < 2 or size < 2:
        return
    y = y[rows[: batches * size].to(y.device)].cpu()
    values = y.double().flatten(1).mean(1) if y.is_floating_point() else y
    sure = NormalDist().inv_cdf(1 - CHANCE)
    apart = _batches_differ(values.reshape(batches, size))
    if apart > sure:
        yield Finding(
            "not_shuffled",
            WARN,
            f"Each epoch has the same order, and its mini-batches differ in their targets by "
            f"{apart:.3g} standard errors, as where the data are sorted: a step learns one part "
            "and forgets another; shuffle them.",
            {"apart": apart},
            changes={"sampling": "shuffle"},
        )


def _batches_differ(values: torch.Tensor) -> float:
    """By how many standard errors mini-batches (batches, size) differ: χ² of classes, F of numbers.

    As normal deviates; of F by its χ² of many samples.
    """
    batches, size = values.shape
    if values.is_floating_point():
        within = float(values.var(1).mean())
        squares = size * float(values.mean(1).var()) * (batches - 1)
        squared, free = squares / max(within, 1e-12), batches - 1
    else:
        _, codes = values.unique(return_inverse=True)
        counts = torch.nn.functional.one_hot(codes).sum(1).double()
        expected = counts.mean(0)
        squared = float(((counts - expected) ** 2 / expected).sum())
        free = (batches - 1) * (counts.shape[1] - 1)
    return deviate(squared, free)


def no_validation(seen: Seen) -> Iterator[Finding]:
    """No sample to choose the best weights by, or to stop by."""
    by_length = any(isinstance(rule, AtLength) for rule in seen.run.stopping)
    data = seen.run.data
    if not len(data.val) and not by_length:
        samples = sum(map(len, data.splits.values()))
        few = f", and {samples} samples are too few for one" if samples < FEWEST else ""
        yield Finding(
            "no_validation",
            WARN,
            f"There is no validation split{few}: nothing shows overfitting, and the last weights "
            "are the result.",
            changes={} if few else {"data.split": "60/20/20"},
        )


def leak(seen: Seen) -> Iterator[Finding]:
    """Samples of val and test that are identical to samples of an earlier split."""
    data = seen.run.data
    if data.hashes is None:
        return
    known = data.hashes[data.train.rows]
    same = "targets included: if a pair is one case twice, " if data.columns else ""
    for name, where in (("val", "validation"), ("test", "test")):
        split = data.splits[name]
        hashes = data.hashes[split.rows]
        many = int(torch.isin(hashes, known).sum())
        if many:
            share = many / len(split)
            cure = "drop" if many < len(split) else ""
            cure = "together" if {"train", name} <= data.drawn else cure
            are = "sample ({}) is identical" if many == 1 else "samples ({}) are identical"
            yield Finding(
                "leak",
                WARN if _beyond_leaked(many, len(split)) else NOTE,
                f"{many} {where} {are.format(f'{share:.1%}')} to others that train or "
                f"choose the network{', ' if same else ': '}{same}the result there is too good.",
                {"samples": many, "share": share},
                changes={"data.leaks": cure} if cure else {"procedure": "show_data"},
            )
        known = torch.cat((known, hashes))


def _beyond_leaked(many: int, of: int) -> bool:
    """Whether so many are more than a share of LEAKED gives by chance (binomial)."""
    if many <= LEAKED * of:
        return False
    from scipy.special import bdtrc  # takes 0.2 s to import

    return bool(bdtrc(many - 1, of, LEAKED) < CHANCE)


def label_noise(seen: Seen) -> Iterator[Finding]:
    """Training samples that are identical and have different labels."""
    run, train = seen.run, seen.run.data.train
    if run.regression or run.data.hashes is None or train.y.is_floating_point():
        return
    y = train.y[train.rows]
    unique, place = run.data.hashes[train.rows].unique(return_inverse=True)
    ends = [
        torch.zeros_like(unique).scatter_reduce(0, place, y, how, include_self=False)
        for how in ("amin", "amax")
    ]
    many = int((ends[0] != ends[1])[place].sum())
    if _beyond_leaked(many, len(y)):
        yield Finding(
            "label_noise",
            WARN,
            f"{many} training samples ({many / len(y):.1%}) are identical to others that have "
            "another label: one of the two is wrong.",
            {"samples": many, "share": many / len(y)},
            changes={"procedure": "show_data"},
        )
