"""What a diagnosis needs to know of a trained run, beside its curves: a few numbers.

They are measured with the weights that are the result, in evaluation mode.
"""

import math
from statistics import stdev

import torch
from torch import Tensor

from dlrun.data import Split
from dlrun.data.sample import sample
from dlrun.engine.batches import gather
from dlrun.engine.evaluate import averaged, ready
from dlrun.engine.preflight import Seen, untouched
from dlrun.engine.run import Run

SAMPLES = 2000
"""Samples of a split that are looked at, at most; neighbours are sought among REFERENCES."""
PROBED, REFERENCES, NEIGHBOURS = 500, 1500, 10
_CHUNKS = 20  # parts of a split whose mean losses give the standard error, at least


def examined(run: Run) -> dict[str, float]:
    """The numbers by their names; nothing of the run is changed.

    undecided: the loss of a network without an opinion, on the validation split.
    guess: the metric beside the loss of the best constant answer there.
    train_eval/…, val/…: loss and metric of at most 2,000 samples; …/error: the standard error
    of the loss, of a single sample the loss itself. dead, saturated: the largest shares of a
    layer. classes: how far the shares of the classes are apart in training and validation, from
    0 to 1. labels/train, labels/val: how
    often the ten nearest training samples say another label, or the mean squared error of
    their mean; …_error: its standard error. shift: how often a validation sample lies further
    from the training samples than a training sample does, 0.5 where they are alike; of `probes`
    samples of each.
    """
    with untouched(run), averaged(run):
        found: dict[str, float] = {}
        for name, split in (("train_eval", run.data.train), ("val", run.data.val)):
            if len(split):
                found |= _measured(run, name, split)
        seen = Seen(run)
        met = seen.trained.activations
        found["dead"] = max((each.dead for each in met), default=0.0)
        found["saturated"] = max((each.saturated for each in met), default=0.0)
        found |= _without_network(run)
        if len(run.data.val) >= NEIGHBOURS and not run.reconstructs:
            found |= _neighbours(run)
    return found


@torch.no_grad()
def _measured(run: Run, name: str, split: Split) -> dict[str, float]:
    """Loss and metric of a part of a split, and the standard error of the loss."""
    x, y = _some(run, split, SAMPLES)
    run.model.eval()
    batches = x.split(run.lengths.evaluation_batch)
    outputs = torch.cat([run.uncompiled(part).float() for part in batches])
    size = max(1, min(50, len(y) // _CHUNKS))
    parts = zip(outputs.split(size), y.split(size), strict=True)
    losses = torch.stack([run.loss(out, part) for out, part in parts]).tolist()
    return {
        f"{name}/loss": float(run.loss(outputs, y)),
        f"{name}/{run.metric.name}": float(run.metric_sum(outputs, y)) / len(y),
        f"{name}/error": stdev(losses) / math.sqrt(len(losses)) if losses[1:] else abs(losses[0]),
        f"{name}/samples": float(len(y)),
    }


def _without_network(run: Run) -> dict[str, float]:
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
    return {"undecided": float(run.loss(answer, y)), "guess": right, "classes": apart}


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
