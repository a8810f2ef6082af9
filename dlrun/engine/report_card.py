"""What the answers of a model are worth: of each class, at each confidence, and the worst of them.

predicted, y: the predictions for n samples and their true targets, as the metrics take both (see
`dlrun.metric`): (n, classes) and (n,); (n, labels) both, where several labels hold at once;
(n, targets) both, where they are numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from dlrun.metric.counts import macro_f1, precision, recall
from dlrun.metric.probabilities import calibration_error
from dlrun.metric.regression import r2

BINS = 15
"""Of confidence, as `metric=calibration_error` has them."""


@dataclass(frozen=True)
class OfClass:
    """How well a class, or a label, is found. support: how many samples are of it.

    precision: the right ones among the answers that name it. recall: the part of its samples
    that is found. f1: their harmonic mean. Each is 0 where it would be 0/0.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class MeanOfClasses:
    """The means over classes, as the metrics take them.

    classes: how many it is of, those that have a sample or an answer; of labels, all.
    """

    precision: float
    recall: float
    f1: float
    classes: int


@dataclass(frozen=True)
class Confused:
    """So many samples of one class were taken for another; share: of its samples."""

    true: str
    said: str
    count: int
    share: float


@dataclass(frozen=True)
class Bin:
    """The answers with a confidence in (low, high]: the mean of it, and the part that is right."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class OfTarget:
    """The errors of one target, in its units: mean absolute, root mean squared; and R²."""

    name: str
    mae: float
    rmse: float
    r2: float


def confusion(predicted: Tensor, y: Tensor) -> Tensor:
    """(classes, classes) int64: how many samples of the class of a row were taken for a column's.

    predicted: (n, classes); y: (n,).
    """
    return confusion_of(predicted.argmax(1).cpu(), y.cpu(), predicted.shape[1])


def confusion_of(said: Tensor, y: Tensor, classes: int) -> Tensor:
    """The same, where only the class that each sample is taken for is known. said, y: (n,)."""
    return (y * classes + said).bincount(minlength=classes**2).view(classes, classes)


def by_class(predicted: Tensor, y: Tensor, names: Sequence[str]) -> list[OfClass]:
    """How well each class is found, or each of several labels."""
    if y.dim() == 1:
        counts = confusion(predicted, y)
        right, said, so = counts.diagonal(), counts.sum(0), counts.sum(1)
    else:
        answers, true = predicted.cpu() > 0.5, y.cpu().bool()
        right, said, so = ((answers & true).sum(0), answers.sum(0), true.sum(0))
    rows = zip(names, right.tolist(), said.tolist(), so.tolist(), strict=True)
    return [
        OfClass(name, r / max(s, 1), r / max(t, 1), 2 * r / max(s + t, 1), t)
        for name, r, s, t in rows
    ]


def mean_of_classes(predicted: Tensor, y: Tensor) -> MeanOfClasses:
    """How well the classes, or the labels, are found in the mean."""
    counts = precision(predicted, y)  # which are those of the others too
    means = [
        float(each.of_sums(counts, len(y)))
        for each in (precision, recall, macro_f1)
        if each.of_sums is not None
    ]
    return MeanOfClasses(means[0], means[1], means[2], int((counts[-1] > 0).sum()))


def most_confused(counts: Tensor, names: Sequence[str], most: int = 10) -> list[Confused]:
    """The most frequent mistakes of a confusion matrix, the most frequent first."""
    wrong = counts - counts.diagonal().diag()
    order = wrong.flatten().argsort(descending=True, stable=True)[:most].tolist()
    found = [divmod(place, len(names)) for place in order]
    of = counts.sum(1).tolist()
    return [
        Confused(
            names[true], names[said], int(wrong[true, said]), float(wrong[true, said] / of[true])
        )
        for true, said in found
        if wrong[true, said] > 0
    ]


def reliability(predicted: Tensor, y: Tensor, bins: int = BINS) -> list[Bin]:
    """The answers by their confidence, without the bins that have none.

    predicted: probabilities. Of several labels at once each is an answer of its own.
    """
    sums = calibration_error(predicted, y, bins=bins)
    found = zip(range(bins), *sums.tolist(), strict=True)
    return [
        Bin(k / bins, (k + 1) / bins, int(count), confidence / count, right / count)
        for k, count, confidence, right in found
        if count
    ]


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """The mean over the answers of |accuracy − confidence| of their bins (Guo et al. 2017)."""
    gaps = sum(each.count * abs(each.accuracy - each.confidence) for each in bins)
    return gaps / max(sum(each.count for each in bins), 1)


def worst_mistakes(
    gap: Tensor, said: Tensor, y: Tensor, classes: int, each: int
) -> list[list[int]]:
    """Of each class, in their order, the samples that are answered worst, by their places in y.

    gap: how far the class that a sample is taken for, `said`, lies above its own in what is
    predicted; the largest is the worst. Only wrong answers count.
    """
    order = gap.argsort(descending=True, stable=True)
    order = order[(said != y)[order]]
    of = y[order]
    return [order[of == k][:each].tolist() for k in range(classes)]


def by_target(predicted: Tensor, y: Tensor, names: Sequence[str]) -> list[OfTarget]:
    """The errors of each target. predicted, y: (n, targets)."""
    errors = predicted.double() - y.double()
    explained = r2.of_sums
    assert explained is not None
    return [
        OfTarget(
            name,
            float(errors[:, k].abs().mean()),
            float(errors[:, k].square().mean().sqrt()),
            float(explained(r2(predicted[:, k : k + 1], y[:, k : k + 1]), len(y))),
        )
        for k, name in enumerate(names)
    ]
