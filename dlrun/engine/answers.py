"""What a trained run says of the samples of a split, as small arrays for figures and comparisons.

`predictions.npz` of a procedure has all that the model gives; here is little of each sample, so
that a million of them do no harm, and the inputs of those few that are shown.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dlrun.data import Data, Split
from dlrun.data.sample import sample
from dlrun.data.tables.shown import as_written
from dlrun.engine.evaluate import evaluating, samples
from dlrun.engine.feed import prepare
from dlrun.engine.look import are_images
from dlrun.engine.report_card import BINS, confusion_of, worst_mistakes
from dlrun.engine.run import Run
from dlrun.metric.probabilities import calibration_error

Arrays = dict[str, NDArray[Any]]

SHOWN = 24
"""Samples that are shown with what is said of them, drawn at random."""
WORST, CLASSES = 6, 100
"""The worst mistakes of a class, and classes of which there are some, at most."""
_CONFUSED = 2000  # classes whose confusion is counted, at most
_PIXELS = 96  # of the longer side of an image that is shown, at most
_COLUMNS = 12  # of a table that are shown, at most
_RECONSTRUCTED = 256  # samples of an autoencoder, which says as much as there is of each


def answers(run: Run, data: Data, name: str) -> Arrays:
    """What a run says of a split, in evaluation mode; {} where the split is empty.

    row: (n,) of the data set. Of classes: y, predicted: (n,) their numbers; confidence, truth:
    (n,) the probability, or the score, of the predicted and of the true class; probabilities:
    whether it is one; confusion: (classes, classes) as `report_card.confusion` counts, of 2,000
    classes at most; bins: (3, BINS) of each bin of confidence the samples, the sum of it, and how
    many are right. Of
    numbers and of several labels: y, predicted: (n, targets), as the metrics take them. Of an
    autoencoder: error: (n,) the mean square for each sample.

    shown, worst: places in these, of samples drawn at random and of the worst mistakes, class by
    class, the worst first. place: (k,) those of which there are inputs; image: (k, channels,
    height, width), or input: (k, columns) with columns: their names, the first of so many
    features, of a table as texts that its file has; of an autoencoder also target and output,
    images as the network sees them and as it gives them.
    """
    split = data.splits[name]
    if not len(split):
        return {}
    if run.reconstructs:
        return _reconstructions(run, split)
    found = _said(run, split)
    found["row"] = split.rows.cpu().numpy()
    shown = _places(split, sample(split, SHOWN, seed=0))
    worst = _worst(run, found)
    found |= {"shown": shown, "worst": worst}
    return found | _inputs(data, split, np.unique(np.concatenate([shown, worst])))


def _said(run: Run, split: Split) -> Arrays:
    """Of each sample, batch by batch."""
    parts: list[dict[str, Tensor]] = []
    feed = prepare(split, run.evaluation, run.device, fixed=False)
    with evaluating(run):
        for x, y in samples(run, feed):
            output, truth = run.answers(run.forward(x), y)
            parts.append(_of_batch(run, output, truth))
    found = {key: torch.cat([part[key] for part in parts]).cpu().numpy() for key in parts[0]}
    if "bins" in found:
        found["bins"] = torch.stack([part["bins"] for part in parts]).sum(0).cpu().numpy()
    many = max(len(run.classes), 2)
    if "truth" in found and many <= _CONFUSED:
        said, y = (torch.from_numpy(found[key]) for key in ("predicted", "y"))
        found["confusion"] = confusion_of(said, y, many).numpy()
    if run.classes or run.labels:
        found["probabilities"] = np.array(run.loss.link in ("softmax", "sigmoid"))
    return found


def _of_batch(run: Run, output: Tensor, y: Tensor) -> dict[str, Tensor]:
    """What is kept of the answers to a batch."""
    if run.labels:
        return {"y": y, "predicted": output, "bins": calibration_error(output, y, bins=BINS)}
    if run.regression:
        return {"y": y, "predicted": output}
    if output.shape[1] == 1:  # one logit for two classes
        output = torch.cat([1 - output, output], 1)
    confidence, predicted = output.max(1)
    return {
        "y": y,
        "predicted": predicted,
        "confidence": confidence,
        "truth": output.gather(1, y.reshape(-1, 1))[:, 0],
        "bins": calibration_error(output, y, bins=BINS),
    }


def _worst(run: Run, found: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Places of the worst mistakes: of each class, or of all numbers."""
    if run.regression or run.labels:
        error = np.abs(found["predicted"] - found["y"]).mean(1)
        return np.argsort(-error, kind="stable")[:SHOWN]
    many = max(len(run.classes), 2)
    each = max(1, min(WORST, CLASSES // many))
    gap, said, y = (
        torch.from_numpy(values)
        for values in (found["confidence"] - found["truth"], found["predicted"], found["y"])
    )
    chosen = worst_mistakes(gap, said, y, many, each)
    wrong = np.bincount(found["y"][found["predicted"] != found["y"]], minlength=many)
    kept = np.sort(np.argsort(-wrong, kind="stable")[:CLASSES])
    return np.array([place for label in kept for place in chosen[label]], np.int64)


def _places(split: Split, rows: Tensor) -> NDArray[Any]:
    """Where these rows are in a split."""
    own, order = split.rows.cpu().sort()
    found: NDArray[Any] = order[torch.searchsorted(own, rows.cpu())].numpy()
    return found


def _inputs(data: Data, split: Split, places: NDArray[Any]) -> Arrays:
    rows = split.rows[torch.from_numpy(places)]
    x = split.x.index_select(0, rows.to(split.x.device)).cpu()
    if are_images(x):
        return {"place": places, "image": _small(x)}
    if x.dim() != 2:
        return {"place": places}
    inputs: NDArray[Any] = x.float().numpy()
    names = list(data.columns) or [f"column {number}" for number in range(1, x.shape[1] + 1)]
    if columns := data.reading.get("columns"):
        unfilled = None if data.unfilled is None else data.unfilled[rows.cpu()].numpy()
        names, inputs = as_written(inputs, columns, unfilled)
    shown = {"input": inputs[:, :_COLUMNS], "columns": np.array(names[:_COLUMNS])}
    return {"place": places, "features": np.array(len(names)), **shown}


def _small(x: Tensor) -> NDArray[Any]:
    """Images with sides of so many pixels at most; the type stays."""
    times = -(-max(x.shape[2:]) // _PIXELS)
    if times == 1:
        return x.numpy()
    size = [max(1, side // times) for side in x.shape[2:]]
    smaller = F.interpolate(x.float(), size=size, mode="area")
    return (smaller.round().to(x.dtype) if x.dtype == torch.uint8 else smaller).numpy()


@torch.no_grad()
def _reconstructions(run: Run, split: Split) -> Arrays:
    rows = sample(split, _RECONSTRUCTED, seed=0)
    part = Split(split.x, split.y, rows)
    feed = prepare(part, run.evaluation, run.device, fixed=False)
    with evaluating(run):
        pairs = [(x, run.loss.predicted(run.forward(x)).view_as(x)) for x, _ in samples(run, feed)]
    x, output = (torch.cat(each).float().cpu() for each in zip(*pairs, strict=True))
    error = (x - output).square().flatten(1).mean(1)
    shown = np.arange(min(SHOWN // 2, len(rows)))
    worst = error.argsort(descending=True)[: SHOWN // 2].numpy()
    found = {"row": rows.cpu().numpy(), "error": error.numpy(), "shown": shown, "worst": worst}
    if are_images(x):
        places = np.unique(np.concatenate([shown, worst]))
        images = {"target": _small(x[places]), "output": _small(output[places])}
        found |= {"place": places, **images}
    return found
