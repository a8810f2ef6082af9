"""What a diagnosis needs to know of a trained run, beside its curves: a few numbers.

They are measured with the weights that are the result, in evaluation mode.
"""

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from dlrun.data import Split
from dlrun.data.sample import sample
from dlrun.engine.constant import best_constant, losses_of
from dlrun.engine.count import size
from dlrun.engine.evaluate import averaged, evaluate, samples
from dlrun.engine.feed import prepare
from dlrun.engine.look import (
    Seen,
    as_begun,
    deviate,
    error_of_mean,
    output_of,
    rms,
    some,
    untouched,
)
from dlrun.engine.run import Run
from dlrun.engine.shift import INPUTS, NEIGHBOURS, ROWS, SAMPLES, further, mixed, moved, neighbours
from dlrun.engine.step import training_batches
from dlrun.engine.trial import improved
from dlrun.finding import share_error
from dlrun.regularization.max_norm import MaxNorm

COUNTED = 20_000
"""Training targets that the best constant answer is found for, at most."""
CONTRADICTED = 0.8
"""The share of neighbours that must agree on another label to contradict that of a sample."""
RIDGE = 1e-3
"""The linear model's penalty for standardized inputs."""
CURVE = 3
"""Epochs of which fewer show no curve of the training loss."""
_CHUNKS = 20  # parts of a split whose mean losses give the standard error, at least
_NORMALIZED = 512  # samples that batch norm is tried on


@dataclass(frozen=True)
class Looked:
    """Samples of a split as the model sees them in evaluation, targets, and what it says."""

    x: Tensor
    y: Tensor
    outputs: Tensor


def examined(
    run: Run, trained: int, tested: bool = False, whole: Container[str] = ()
) -> dict[str, float]:
    """The numbers by their names; nothing of the run is changed.

    trained: how many samples the training has seen, repeats included. tested: whether the test
    split has been measured, so that its inputs may be looked at. whole: of train and val, what
    loss and metric are measured on all of.

    undecided: the loss of a network without an opinion, on the validation split; …/train: on the
    training samples; …/equal: of classes that are all as likely. outputs: how many the network
    has. same_target: 1 where all training samples have the same. guess: the metric beside the
    loss of the best constant answer there; guess/lucky: the highest accuracy of a constant answer.
    train_eval/…, val/…: loss and metric of at most 2,000 samples, or of the whole split; …/error,
    …/metric_error: their standard errors, of a single sample the value itself. weights: how many
    are trained. dead, saturated: the largest shares of a layer. train_mode: the loss of training
    samples where batch norm normalizes by themselves; …_before with its running averages, of which
    …_momentum is what a mini-batch adds. classes: how far the shares of the classes are
    apart in training and validation, from 0 to 1; classes/errors: how many standard errors that
    is. linear: how often a linear model is wrong on
    validation, or its mean squared error; linear/worse: by how much the network is worse;
    linear/error: the standard error of that; linear/unit: the targets' variance, of classes 1.
    labels/train, labels/val: how often the ten nearest
    training samples say another label, or the mean squared error of their mean; …_error: its
    standard error. contradicted/…: how often they agree on another label. neighbours/…: by how much
    the network is worse than they, of numbers in terms of the targets' variance. shift: how often a
    validation sample lies further from the training samples than a training sample does, 0.5 where
    they are alike; of `probes` samples of each. moved, spread: by how many standard errors the
    inputs of validation and of training differ, in where they lie and in how far they spread;
    drawn: 1 where validation is drawn at random; test/…: so for those of test. test/error: the
    standard error of the loss on all of test; test/higher: by how many standard errors its samples
    have higher losses than those of validation, in their ranks. homogeneous: 1 where twice an input
    gives twice the output, as without any bias. fading: the first layer's gradient in terms of the
    last one's. passed: the smallest share of its signal that a layer's weights pass on. max_norm:
    the share of the weights that it keeps from growing. frozen: the share of the parameters that
    are not trained. own_dropout: the highest rate of dropout that the model has without the recipe.
    as_trained: after few epochs the loss of training batches as the training measured it, and its
    standard error. trial/…: as `trial.improved` says. test/samples: how many the test split has; so
    for other splits that nothing is trained on.
    """
    with untouched(run), averaged(run):
        train = _looked(run, run.data.train)
        found = _measured(run, "train_eval", train)
        if "train" in whole:
            found |= _of_all(run, "train_eval", run.data.train, found)
        seen = Seen(run)
        met = seen.trained.activations
        found["weights"] = float(sum(weight.numel() for weight in run.weights))
        found["frozen"] = 1 - found["weights"] / size(run.model)
        own = [each.p for each in run.model.modules() if isinstance(each, _DropoutNd)]
        found["own_dropout"] = max(own, default=0.0)
        found["dead"] = max((each.dead for each in met), default=0.0)
        found["saturated"] = max((each.saturated for each in met), default=0.0)
        found |= _fading(seen) | _passed(seen) | {"homogeneous": float(_homogeneous(run, train))}
        answers = constants(run)
        found |= without_network(run, answers)
        found["undecided/train"] = _undecided(run, train.y, answers)
        targets = run.data.train.y[run.data.train.rows]
        found["same_target"] = float(not run.reconstructs and bool((targets == targets[:1]).all()))
        found |= _train_mode(run, train)
        if trained < CURVE * len(run.data.train):
            found |= _as_trained(run)
        for rule in run.regularizers.values():
            if isinstance(rule, MaxNorm):
                found["max_norm"] = rule.held(run.model)
        if len(run.data.val):
            val = _looked(run, run.data.val)
            found |= _measured(run, "val", val) | _linear(run, train, val)
            if "val" in whole:
                found |= _of_all(run, "val", run.data.val, found)
            found |= moved(run, "val")
            found["drawn"] = float("val" in run.data.drawn)
            if len(val.y) >= NEIGHBOURS and not run.reconstructs and not run.labels:
                found |= _neighbours(run, train, val)
        for name in ("test", *run.data.extra):
            split = run.data.splits[name]
            found[f"{name}/samples"] = float(len(split))
            if not len(split) or not (tested or name != "test"):
                continue
            looked = _looked(run, split)
            share = math.sqrt(len(looked.y) / len(split))
            found[f"{name}/metric_error"] = share * _metric_error(run, looked)
            if name == "test":
                found |= {f"test/{key}": value for key, value in moved(run, "test").items()}
                found["test/drawn"] = float("test" in run.data.drawn)
                if len(run.data.val):
                    found |= _against_test(run, val, looked)
        if len(run.data.val):  # last, as it changes the weights
            found |= improved(run, (train.x, train.y), (val.x, val.y), trained)
    return found


def initial_loss(run: Run) -> float:
    """The loss of a run that has not been trained, on the training samples that are looked at."""
    with untouched(run):
        x, y = some(run, run.data.train, SAMPLES)
        return float(run.loss(as_begun(run, x), y))


@torch.no_grad()
def _looked(run: Run, split: Split) -> Looked:
    x, y = some(run, split, SAMPLES)
    run.model.eval()
    return Looked(x, y, output_of(run, x))


def _measured(run: Run, name: str, split: Looked) -> dict[str, float]:
    """Loss and metric of a part of a split, and the standard error of the loss."""
    outputs, y = split.outputs, split.y
    size = max(1, min(50, len(y) // _CHUNKS))
    # Mixed: where a split is in the order of its classes, parts of it differ by far more.
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0)).to(y.device)
    losses = run.loss.parts(outputs[order], y[order], size)
    return {
        f"{name}/loss": float(run.loss(outputs, y)),
        f"{name}/{run.metric.name}": float(run.metric_sum(outputs, y)) / len(y),
        f"{name}/error": _error(losses),
        f"{name}/metric_error": _metric_error(run, split),
        f"{name}/samples": float(len(y)),
    }


@torch.no_grad()
def _metric_error(run: Run, split: Looked) -> float:
    """The standard error of the metric beside the loss, of what it is for each sample alone."""
    return _error(run.metric_each(split.outputs, split.y))


def _of_all(run: Run, name: str, split: Split, part: Mapping[str, float]) -> dict[str, float]:
    """What `_measured` gives, of a whole split; part: the same of the samples looked at."""
    if len(split) <= SAMPLES:
        return {}
    share = math.sqrt(part[f"{name}/samples"] / len(split))
    feed = prepare(split, run.evaluation, run.device, fixed=False)
    found = evaluate(run, run.forward, samples(run, feed))
    errors = {key: part[f"{name}/{key}"] * share for key in ("error", "metric_error")}
    kept = {key: found[key] for key in ("loss", run.metric.name)}
    values = kept | errors | {"samples": float(len(split))}
    return {f"{name}/{key}": value for key, value in values.items()}


def _against_test(run: Run, val: Looked, test: Looked) -> dict[str, float]:
    """How well the loss of the test split is known, and whether its samples have higher ones.

    By their ranks (Mann and Whitney 1947), which a few samples with very large losses don't move.
    """
    there, here = (_single_losses(run, each) for each in (test, val))
    error = _error(there) * math.sqrt(len(there) / len(run.data.test))
    chance = math.sqrt((len(there) + len(here) + 1) / (12 * len(there) * len(here)))
    return {"test/error": error, "test/higher": (further(there, here) - 0.5) / chance}


@torch.no_grad()
def _single_losses(run: Run, split: Looked) -> Tensor:
    """(n,) The losses of up to ROWS samples."""
    return run.loss.each(split.outputs[:ROWS], split.y[:ROWS])


def _error(values: Tensor) -> float:
    """The standard error of their mean; of a single one the value itself."""
    return error_of_mean(values.double()) if len(values) > 1 else abs(float(values[0]))


@torch.no_grad()
def _homogeneous(run: Run, train: Looked) -> bool:
    """Whether twice an input gives twice the output."""
    x, once = train.x[:NEIGHBOURS], train.outputs[:NEIGHBOURS]
    if not x.is_floating_point() or run.reconstructs:
        return False
    twice = run.uncompiled(2 * x).float()
    return bool((twice - 2 * once).abs().max() < 1e-4 * once.abs().max())


def _fading(seen: Seen) -> dict[str, float]:
    """How much smaller the gradient of the first layer is than that of the last one."""
    gradients = seen.trained.gradients
    sizes = [
        float(gradients[name].norm()) / math.sqrt(gradients[name].numel())
        for name, _ in seen.layers
        if name in gradients
    ]
    return {"fading": sizes[0] / sizes[-1]} if len(sizes) > 2 and sizes[-1] else {}


def _passed(seen: Seen) -> dict[str, float]:
    """The least root mean square of a layer's weights, each times the root of its inputs.

    So large are its sums for independent inputs of 1 (Glorot, Bengio 2010).
    """
    sums = [rms(weight.detach()) * math.sqrt(weight[0].numel()) for _, weight in seen.layers]
    return {"passed": min(sums)} if sums else {}


@torch.no_grad()
def _train_mode(run: Run, train: Looked) -> dict[str, float]:
    """The loss with and without batch norm's running averages, by whole mini-batches."""
    norms = [module for module in run.model.modules() if isinstance(module, _NormBase)]
    size = run.lengths.batch_size
    rows = min(len(train.y), _NORMALIZED) // size * size
    if not any(norm.track_running_stats for norm in norms) or size < 2 or not rows:
        return {}
    before, losses = run.loss(train.outputs[:rows], train.y[:rows]), []
    run.model.eval()
    with untouched(run):
        for norm in norms:
            norm.train()
        for x, y in zip(train.x[:rows].split(size), train.y[:rows].split(size), strict=True):
            losses.append(run.loss(run.uncompiled(x).float(), y))
    slowest = min((norm.momentum or 1.0) for norm in norms)
    return {
        "train_mode": float(torch.stack(losses).mean()),
        "train_mode_before": float(before),
        "train_mode_momentum": slowest,
    }


@torch.no_grad()
def _as_trained(run: Run) -> dict[str, float]:
    """The loss of some training batches: in training mode, and with all that changes them."""
    size, rows, losses = run.lengths.batch_size, run.order(0), []
    count = min(len(rows), SAMPLES)
    # Mixed, as some are taken in the order of their classes; in whole mini-batches.
    some = rows[mixed(len(rows))][: count // size * size or count]
    with untouched(run):
        run.model.train()
        for x, y in training_batches(run, some):
            losses.append(run.loss(run.uncompiled(x).float(), y))
    kept = torch.stack(losses)
    return {"as_trained": float(kept.double().mean()), "as_trained/error": _error(kept)}


def _linear(run: Run, train: Looked, val: Looked) -> dict[str, float]:
    """A ridge regression on the inputs (Hoerl, Kennard 1970), of classes on their indicators."""
    x, y = train.x[:ROWS].flatten(1).cpu().double(), train.y[:ROWS].cpu()
    if run.reconstructs or run.labels or x.shape[1] > INPUTS or len(val.y) < 2:
        return {}
    regression = run.regression
    target = y.double() if regression else torch.eye(run.data.outputs).to(x)[y]
    mean = x.mean(0)
    centred = x - mean
    spread = centred.square().mean(0).sqrt().clamp(min=1e-12)  # torch's std takes far longer
    scaled = centred / spread
    gram = scaled.T @ scaled + RIDGE * len(x) * torch.eye(x.shape[1]).to(x)
    weights = torch.linalg.solve(gram, scaled.T @ (target - target.mean(0)))
    said = (val.x.flatten(1).cpu().double() - mean) / spread @ weights + target.mean(0)
    if regression:
        network, truth = run.loss.predicted(val.outputs).cpu().double(), val.y.cpu()
        theirs, ours = ((each - truth).square().flatten(1).mean(1) for each in (said, network))
        unit = _variance(truth)
    else:
        unit = 1.0
        theirs, ours = ((o.argmax(1) != val.y.cpu()).double() for o in (said, val.outputs.cpu()))
    worse = ours - theirs
    return {
        "linear": float(theirs.mean()),
        "linear/worse": float(worse.mean()),
        "linear/error": error_of_mean(worse),
        "linear/unit": unit,
    }


def without_network(run: Run, answers: Sequence[Tensor]) -> dict[str, float]:
    """What the best constant answer gives on the validation split, or on the training split.

    answers: as `constants` gives them.
    """
    split = run.data.val if len(run.data.val) else run.data.train
    if run.reconstructs:
        _, y = some(run, split, SAMPLES)
        return {"undecided": _undecided(run, y, answers)}
    y = split.y[split.rows].to(run.device)
    found = {"undecided": _undecided(run, y, answers), "outputs": float(run.data.outputs)}
    if run.regression:
        [answer] = answers
        if not run.labels:  # of which the loss may want another one than the absolute error
            answer = run.data.train.y[run.data.train.rows].median(0).values.to(run.device)
        return found | {"guess": float(run.metric_sum(answer.expand_as(y), y)) / len(y)}
    targets, many = run.data.train.y[run.data.train.rows], run.data.outputs
    shares = torch.bincount(targets, minlength=many) / len(targets)
    theirs = torch.bincount(y.cpu(), minlength=many) / len(y)
    right = float((y == int(shares.argmax())).float().mean())
    apart = float((shares - theirs).abs().sum() / 2)
    equal = float(losses_of(run.loss, answers[1:], y))
    errors = _by_chance(shares.double() * len(targets), theirs.double() * len(y))
    found |= {"classes": apart, "classes/errors": errors}
    lucky = float(theirs.max())
    return found | {"undecided/equal": equal, "guess": right, "guess/lucky": lucky}


def _by_chance(a: Tensor, b: Tensor) -> float:
    """How unlike two sets of counts are, in standard errors.

    Pearson's χ² (1900) as a normal deviate; 0 of a single class.
    """
    counts = torch.stack([a, b])[:, a + b > 0]
    expected = counts.sum(1, keepdim=True) * counts.sum(0) / counts.sum()
    squared = float(((counts - expected).square() / expected).sum())
    return deviate(squared, counts.shape[1] - 1)


def _undecided(run: Run, y: Tensor, answers: Sequence[Tensor]) -> float:
    """The loss of the best constant answer for some targets."""
    answers = answers or [best_constant(run.loss, y, 0)]
    # A class that training lacks makes its shares dear: then that for equal classes is better.
    return float(min(losses_of(run.loss, answers, y).tolist()))


def constants(run: Run) -> list[Tensor]:
    """(outputs,) The best constant answer for the training targets; for equal classes, too.

    None for a model that reconstructs its inputs, whose targets are those of each split. Runs on
    the same data with the same loss find it once.
    """
    if run.reconstructs:
        return []
    train, outputs = run.data.train, run.data.outputs
    kept = run.data.made.setdefault("constants", WeakKeyDictionary())
    known = str(run.device), train.y._version
    if run.loss not in kept or kept[run.loss][0] != known:
        targets = [train.y[sample(train, COUNTED, seed=0)]]
        if not run.regression:
            targets.append(torch.arange(outputs))
        found = [best_constant(run.loss, each.to(run.device), outputs) for each in targets]
        kept[run.loss] = known, found
    return [*kept[run.loss][1]]


def _neighbours(run: Run, train: Looked, val: Looked) -> dict[str, float]:
    """What the nearest training samples say, against the network, and how far away they are."""
    near = neighbours(run)
    if not near:
        return {}
    found: dict[str, float] = {}
    for name, split in (("train", train), ("val", val)):
        rows = near[name].rows
        said = train.y[near[name].neighbours]
        found |= _told(run, name, said, split.outputs[rows], split.y[rows])
    if run.regression:
        found |= _pooled(found, {name: len(each.rows) for name, each in near.items()})
    here, there = len(near["train"].away), len(near["val"].away)
    found["shift"] = further(near["val"].away, near["train"].away)
    found["probes"] = 2 * here * there / (here + there)
    return found


def _variance(y: Tensor) -> float:
    """The variance of targets, above 0."""
    return max(float((y - y.mean(0)).square().mean()), 1e-12)


def _told(run: Run, name: str, near: Tensor, outputs: Tensor, y: Tensor) -> dict[str, float]:
    """What the neighbours (n, neighbours, ...) of samples say, against targets and outputs."""
    found, unit = {}, 1.0
    if run.regression:
        theirs = (near.mean(1) - y).square().flatten(1).mean(1)
        ours = (run.loss.predicted(outputs) - y).square().flatten(1).mean(1)
        unit = _variance(y)
        found[f"labels/{name}"] = float(theirs.mean())
        found[f"labels/{name}_error"] = error_of_mean(theirs)
    else:
        said = near.mode(1).values
        theirs, ours = (said != y).float(), (outputs.argmax(1) != y).float()
        agree = (near == said[:, None]).float().mean(1) >= CONTRADICTED
        shares = {"contradicted": (agree & (said != y)).float().mean(), "labels": theirs.mean()}
        for kind, share in shares.items():
            found[f"{kind}/{name}"] = float(share)
            found[f"{kind}/{name}_error"] = share_error(float(share), len(y))
    worse = (ours - theirs) / unit
    found[f"neighbours/{name}"] = float(worse.mean())
    found[f"neighbours/{name}_error"] = error_of_mean(worse)
    return found


def _pooled(found: Mapping[str, float], counts: Mapping[str, int]) -> dict[str, float]:
    """The standard errors of the mean squared errors of both splits, by all samples together.

    As if both were of one distribution, which is to be refuted: of a long tail a small split that
    happens to have none of it would be as small in its own standard error.
    """
    n = sum(counts.values())
    mean = sum(found[f"labels/{name}"] * count for name, count in counts.items()) / n
    square = sum(
        count * (count * found[f"labels/{name}_error"] ** 2 + (found[f"labels/{name}"] - mean) ** 2)
        for name, count in counts.items()
    )
    return {f"labels/{name}_error": math.sqrt(square / n / each) for name, each in counts.items()}
