"""What a diagnosis needs to know of a trained run, beside its curves: a few numbers.

They are measured with the weights that are the result, in evaluation mode.
"""

import math
from dataclasses import dataclass
from statistics import stdev

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from dlrun.data import Split
from dlrun.data.sample import sample
from dlrun.engine.batches import gather
from dlrun.engine.evaluate import averaged, ready
from dlrun.engine.preflight import Seen, untouched
from dlrun.engine.run import Run
from dlrun.engine.trial import improved

SAMPLES = 2000
"""Samples of a split that are looked at, at most; neighbours are sought among REFERENCES."""
PROBED, REFERENCES, NEIGHBOURS = 500, 1500, 10
INPUTS, ROWS, RIDGE = 256, 1000, 1e-3
"""Of the linear model: inputs and rows at most, and the penalty for standardized inputs."""
_CHUNKS = 20  # parts of a split whose mean losses give the standard error, at least
_NORMALIZED = 512  # samples that batch norm is tried on


@dataclass(frozen=True)
class Looked:
    """Samples of a split as the model sees them in evaluation, targets, and what it says."""

    x: Tensor
    y: Tensor
    outputs: Tensor


def examined(run: Run, trained: int) -> dict[str, float]:
    """The numbers by their names; nothing of the run is changed.

    trained: how many samples the training has seen, repeats included.

    undecided: the loss of a network without an opinion, on the validation split. guess: the
    metric beside the loss of the best constant answer there. train_eval/…, val/…: loss and
    metric of at most 2,000 samples; …/error, …/metric_error: their standard errors, of a single
    sample the value itself. dead, saturated: the largest shares of a layer. train_mode: the
    loss of training samples where batch norm normalizes by themselves; …_before with its
    running averages, of which …_momentum is what a mini-batch adds. classes: how far the shares
    of the classes are apart in training and validation, from 0 to 1. linear: how often a linear
    model is wrong on validation, or its mean squared error; linear/worse: by how much the
    network is worse; linear/error: the standard error of that. labels/train, labels/val: how
    often the ten nearest training samples say another label, or the mean squared error of their
    mean; …_error: its standard error. shift: how often a validation sample lies further from
    the training samples than a training sample does, 0.5 where they are alike; of `probes`
    samples of each. trial/…: as `trial.improved` says. test/samples: how many the test split
    has; so for other splits that nothing is trained on.
    """
    with untouched(run), averaged(run):
        train = _looked(run, run.data.train)
        found = _measured(run, "train_eval", train)
        seen = Seen(run)
        met = seen.trained.activations
        found["dead"] = max((each.dead for each in met), default=0.0)
        found["saturated"] = max((each.saturated for each in met), default=0.0)
        found |= without_network(run) | _train_mode(run, train)
        if len(run.data.val):
            val = _looked(run, run.data.val)
            found |= _measured(run, "val", val) | _linear(run, train, val)
            found |= improved(run, (train.x, train.y), (val.x, val.y), trained)
        for name in ("test", *run.data.extra):
            found[f"{name}/samples"] = float(len(run.data.splits[name]))
        if len(run.data.val) >= NEIGHBOURS and not run.reconstructs:
            found |= _neighbours(run)
    return found


@torch.no_grad()
def _looked(run: Run, split: Split) -> Looked:
    x, y = _some(run, split, SAMPLES)
    run.model.eval()
    batches = x.split(run.lengths.evaluation_batch)
    return Looked(x, y, torch.cat([run.uncompiled(part).float() for part in batches]))


def _measured(run: Run, name: str, split: Looked) -> dict[str, float]:
    """Loss and metric of a part of a split, and the standard error of the loss."""
    outputs, y = split.outputs, split.y
    size = max(1, min(50, len(y) // _CHUNKS))
    # Mixed: where a split is in the order of its classes, parts of it differ by far more.
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0)).to(y.device)
    parts = list(zip(outputs[order].split(size), y[order].split(size), strict=True))
    losses = torch.stack([run.loss(out, part) for out, part in parts]).tolist()
    metrics = torch.stack([run.metric_sum(out, part) / len(part) for out, part in parts]).tolist()
    return {
        f"{name}/loss": float(run.loss(outputs, y)),
        f"{name}/{run.metric.name}": float(run.metric_sum(outputs, y)) / len(y),
        f"{name}/error": _error(losses),
        f"{name}/metric_error": _error(metrics),
        f"{name}/samples": float(len(y)),
    }


def _error(values: list[float]) -> float:
    """The standard error of their mean; of a single one the value itself."""
    return stdev(values) / math.sqrt(len(values)) if values[1:] else abs(values[0])


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


def _linear(run: Run, train: Looked, val: Looked) -> dict[str, float]:
    """A ridge regression on the inputs (Hoerl, Kennard 1970), of classes on their indicators."""
    x, y = train.x[:ROWS].flatten(1).cpu().double(), train.y[:ROWS].cpu()
    if run.reconstructs or run.labels or x.shape[1] > INPUTS or len(val.y) < 2:
        return {}
    regression = run.regression
    target = y.double() if regression else torch.eye(run.data.outputs).to(x)[y]
    mean, spread = x.mean(0), x.std(0, correction=0).clamp(min=1e-12)
    scaled = (x - mean) / spread
    gram = scaled.T @ scaled + RIDGE * len(x) * torch.eye(x.shape[1]).to(x)
    weights = torch.linalg.solve(gram, scaled.T @ (target - target.mean(0)))
    said = (val.x.flatten(1).cpu().double() - mean) / spread @ weights + target.mean(0)
    if regression:
        network, truth = run.loss.predicted(val.outputs).cpu().double(), val.y.cpu()
        theirs, ours = ((each - truth).square().flatten(1).mean(1) for each in (said, network))
    else:
        theirs, ours = ((o.argmax(1) != val.y.cpu()).double() for o in (said, val.outputs.cpu()))
    worse = ours - theirs
    error = float(worse.std()) / math.sqrt(len(worse))
    return {
        "linear": float(theirs.mean()),
        "linear/worse": float(worse.mean()),
        "linear/error": error,
    }


def without_network(run: Run) -> dict[str, float]:
    """What the best constant answer gives on the validation split, or on the training split."""
    split = run.data.val if len(run.data.val) else run.data.train
    if run.reconstructs:
        _, y = _some(run, split, SAMPLES)
        return {"undecided": float(run.loss(y.mean(0, keepdim=True).expand_as(y), y))}
    train, y = run.data.train.y[run.data.train.rows], split.y[split.rows].to(run.device)
    if run.regression:
        answer = train.float().mean(0).to(run.device).expand_as(y)
        if run.loss.link == "sigmoid":
            answer = torch.logit(answer, eps=1e-6)
        return {
            "undecided": float(run.loss(answer, y)),
            "guess": float(run.metric_sum(answer, y)) / len(y),
        }
    shares = torch.bincount(train, minlength=run.data.outputs) / len(train)
    answer = shares.clamp(min=1e-6).log().to(run.device).expand(len(y), -1)
    if run.loss.link != "softmax":
        answer = torch.zeros_like(answer)
    right = float((y == int(shares.argmax())).float().mean())
    theirs = torch.bincount(y.cpu(), minlength=run.data.outputs) / len(y)
    apart = float((shares - theirs).abs().sum() / 2)
    # A class that training lacks makes its shares dear: then equal logits are the better guess.
    undecided = min(float(run.loss(each, y)) for each in (answer, torch.zeros_like(answer)))
    return {"undecided": undecided, "guess": right, "classes": apart}


def _neighbours(run: Run) -> dict[str, float]:
    """Nearest neighbours among training samples, by the inputs: labels and distances."""
    train, val = run.data.train, run.data.val
    rows = sample(train, PROBED + REFERENCES, seed=1)
    probes = min(PROBED, len(rows) // 3)
    if probes < NEIGHBOURS:
        return {}
    reference, reference_y = _flat(run, train, rows[probes:])
    found, apart = {}, {}
    for name, split, chosen in (
        ("train", train, rows[:probes]),
        ("val", val, sample(val, probes, seed=1)),
    ):
        x, y = _flat(run, split, chosen)
        distances, nearest = torch.cdist(x, reference).topk(NEIGHBOURS, largest=False)
        apart[name] = distances[:, 0]
        near = reference_y[nearest]
        if run.regression:
            wrong = (near.mean(1) - y).square().flatten(1).mean(1)
        else:
            wrong = (near.mode(1).values != y).float()
        found[f"labels/{name}"] = float(wrong.mean())
        found[f"labels/{name}_error"] = float(wrong.std() / math.sqrt(len(wrong)))
    found["shift"] = _further(apart["val"], apart["train"])
    found["probes"] = float(probes)
    return found


def told_apart(run: Run) -> dict[str, float]:
    """How well a classifier tells training inputs from validation inputs (Lopez-Paz, Oquab 2017).

    share: of as many samples of each, those that their √n nearest others put into the right split,
    each left out in turn; 0.5 where nothing tells them apart. error: its standard error there.
    {} where a split has fewer than ten samples.
    """
    count = min(REFERENCES, len(run.data.train), len(run.data.val))
    if count < NEIGHBOURS:
        return {}
    splits = (run.data.train, run.data.val)
    x = torch.cat([_flat(run, split, sample(split, count, seed=2))[0] for split in splits])
    of_val = torch.arange(2 * count, device=x.device) >= count
    distances = torch.cdist(x, x).fill_diagonal_(math.inf)
    near = distances.topk(math.isqrt(2 * count) // 2 * 2 + 1, largest=False).indices
    right = (of_val[near].float().mean(1) > 0.5) == of_val
    share, error = float(right.float().mean()), 0.5 / math.sqrt(2 * count)
    return {"share": share, "error": error, "samples": float(count)}


def _further(a: Tensor, b: Tensor) -> float:
    """P(a > b) + P(a = b)/2 of a draw from each (Mann and Whitney 1947)."""
    difference = a[:, None] - b[None, :]
    return float((difference > 0).float().mean() + (difference == 0).float().mean() / 2)


def _some(run: Run, split: Split, count: int) -> tuple[Tensor, Tensor]:
    """Samples of a split as the model sees them in evaluation, and their targets."""
    rows = sample(split, count, seed=0).sort().values
    x, y = gather(split.x, split.y, rows.to(split.x.device))
    with torch.no_grad():
        x = ready(run, run.evaluation(x.to(run.device)))
    return x, x if run.reconstructs else y.to(run.device)


def _flat(run: Run, split: Split, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Preprocessed samples as vectors, and their targets."""
    x, y = gather(split.x, split.y, rows.to(split.x.device))
    with torch.no_grad():
        return run.evaluation(x.to(run.device)).float().flatten(1), y.to(run.device)
