"""Each metric against its formula, written out once more, and against scikit-learn, batch by batch.

The predictions are random, with ties; some classes are never answered, some have no sample.
"""

import functools
import math
import warnings

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from sklearn.exceptions import UndefinedMetricWarning

from dlrun.engine.evaluate import Tally
from dlrun.errors import Mistake
from dlrun.metric import METRICS, Metric, counts, mae, of, probabilities, ranking, regression

ONE_OF_MANY = ("balanced", "rare", "binary", "absent")


def value(metric, predicted, y, batch=7):
    """What a metric says of a split that is measured in batches."""
    tally = Tally({"it": metric})
    for part in torch.arange(len(y)).split(batch):
        tally.add(predicted[part], y[part])
    return tally.values(len(y))["it"]


def classes(kind):
    """(n, classes) probabilities and (n,) classes."""
    generator = torch.Generator().manual_seed(len(kind))
    many = 2 if kind == "binary" else 6
    y = torch.randint(0, many, (97,), generator=generator)
    if kind == "rare":
        y[y == 3] = 0
        y[:2] = 3
    if kind == "absent":  # the last class is answered and has no sample, the first has neither
        y = y.clamp(1, 4)
    logits = torch.randn(97, many, generator=generator, dtype=torch.float64)
    logits[torch.arange(97), y] += 0.8
    logits = (logits * 4).round() / 4  # ties
    if kind == "absent":
        logits[:, 0] -= 20
    return logits.softmax(1), y


def labels():
    """(n, labels) probabilities and several labels of each; one is never predicted."""
    generator = torch.Generator().manual_seed(5)
    y = (torch.rand(83, 4, generator=generator) < torch.tensor([0.5, 0.2, 0.7, 0.1])).long()
    logits = torch.randn(83, 4, generator=generator, dtype=torch.float64) + 1.5 * y - 0.7
    logits[:, 3] -= 9
    return ((logits * 4).round() / 4).sigmoid(), y


def numbers(targets, offset=0.0):
    """(n, targets) predictions and targets."""
    generator = torch.Generator().manual_seed(targets)
    y = torch.randn(61, targets, generator=generator, dtype=torch.float64) * 3 + offset
    return y + torch.randn(61, targets, generator=generator, dtype=torch.float64), y


@pytest.mark.proves(
    "metric=accuracy",
    "metric=balanced_accuracy",
    "metric=precision",
    "metric=recall",
    "metric=macro_f1",
)
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("kind", ONE_OF_MANY)
def test_counts_are_those_of_scikit_learn(kind):
    predicted, y = classes(kind)
    said, so = predicted.argmax(1).numpy(), y.numpy()
    macro = {"average": "macro", "zero_division": 0}
    assert value(METRICS["accuracy"], predicted, y) == pytest.approx(sk.accuracy_score(so, said))
    expected = sk.balanced_accuracy_score(so, said)
    assert value(counts.balanced_accuracy, predicted, y) == pytest.approx(expected)
    expected = sk.precision_score(so, said, **macro)
    assert value(counts.precision, predicted, y) == pytest.approx(expected)
    expected = sk.recall_score(so, said, **macro)
    assert value(counts.recall, predicted, y) == pytest.approx(expected)
    assert value(counts.macro_f1, predicted, y) == pytest.approx(sk.f1_score(so, said, **macro))


def test_of_a_confusion_matrix_by_hand():
    """Answers 0 0 1 2 for the classes 0 1 1 1 out of four: the third is a false alarm alone."""
    y = torch.tensor([0, 1, 1, 1])
    predicted = torch.eye(4, dtype=torch.float64)[[0, 0, 1, 2]]
    assert value(counts.precision, predicted, y) == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert value(counts.recall, predicted, y) == pytest.approx((1 + 1 / 3 + 0) / 3)
    assert value(counts.macro_f1, predicted, y) == pytest.approx((2 / 3 + 2 / 4 + 0) / 3)
    assert value(counts.balanced_accuracy, predicted, y) == pytest.approx((1 + 1 / 3) / 2)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_counts_of_several_labels_are_those_of_scikit_learn():
    predicted, y = labels()
    said, so = (predicted > 0.5).long().numpy(), y.numpy()
    macro = {"average": "macro", "zero_division": 0}
    assert value(METRICS["accuracy"], predicted, y) == pytest.approx(sk.accuracy_score(so, said))
    expected = sk.precision_score(so, said, **macro)
    assert value(counts.precision, predicted, y) == pytest.approx(expected)
    expected = sk.recall_score(so, said, **macro)
    assert value(counts.recall, predicted, y) == pytest.approx(expected)
    assert value(counts.macro_f1, predicted, y) == pytest.approx(sk.f1_score(so, said, **macro))


@pytest.mark.proves("metric=top5")
def test_top5():
    generator = torch.Generator().manual_seed(0)
    predicted = torch.rand(50, 9, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 9, (50,), generator=generator)
    expected = sk.top_k_accuracy_score(y.numpy(), predicted.numpy(), k=5, labels=range(9))
    assert value(counts.top5, predicted, y) == pytest.approx(expected)
    with pytest.raises(Mistake, match="metric=top5: would always be 1, because there are 5"):
        value(counts.top5, predicted[:, :5], y % 5)


@pytest.mark.proves("metric=auroc", "metric=average_precision")
@pytest.mark.parametrize("kind", ["balanced", "rare", "binary"])
def test_rankings_are_those_of_scikit_learn(kind):
    predicted, y = classes(kind)
    scores = predicted[:, 1] if kind == "binary" else predicted
    expected = sk.roc_auc_score(y.numpy(), scores.numpy(), multi_class="ovr", average="macro")
    assert value(ranking.auroc, predicted, y) == pytest.approx(expected, rel=1e-12)
    expected = sk.average_precision_score(y.numpy(), scores.numpy())
    assert value(ranking.average_precision, predicted, y) == pytest.approx(expected, rel=1e-12)


def test_rankings_of_several_labels_are_those_of_scikit_learn():
    predicted, y = labels()
    expected = sk.roc_auc_score(y.numpy(), predicted.numpy(), average="macro")
    assert value(ranking.auroc, predicted, y) == pytest.approx(expected, rel=1e-12)
    expected = sk.average_precision_score(y.numpy(), predicted.numpy())
    assert value(ranking.average_precision, predicted, y) == pytest.approx(expected, rel=1e-12)


def test_rankings_leave_out_classes_that_cannot_be_ranked():
    predicted, y = classes("absent")
    present = [1, 2, 3, 4]
    single = [(y == k).long().numpy() for k in present]
    columns = [predicted[:, k].numpy() for k in present]
    expected = np.mean([sk.roc_auc_score(so, p) for so, p in zip(single, columns, strict=True)])
    assert value(ranking.auroc, predicted, y) == pytest.approx(expected, rel=1e-12)
    each = [sk.average_precision_score(so, p) for so, p in zip(single, columns, strict=True)]
    assert value(ranking.average_precision, predicted, y) == pytest.approx(np.mean(each))
    assert math.isnan(value(ranking.auroc, predicted, torch.ones_like(y)))
    everyone = value(ranking.average_precision, predicted, torch.ones_like(y))
    assert everyone == pytest.approx(1)


def test_the_area_is_the_chance_that_one_of_the_class_is_above_another():
    """Ties count half: all pairs, counted one by one."""
    predicted, y = classes("binary")
    positive, negative = (predicted[y == k, 1] for k in (1, 0))
    above = (positive[:, None] > negative).double() + (positive[:, None] == negative).double() / 2
    assert value(ranking.auroc, predicted, y) == pytest.approx(float(above.mean()), rel=1e-12)


@pytest.mark.proves("metric=calibration_error")
@pytest.mark.parametrize("bins", [1, 10, 15])
def test_calibration_error_is_that_of_guo(bins):
    predicted, y = classes("balanced")
    confidence, said = predicted.max(1)
    expected = 0.0
    for place in range(bins):
        low, high = place / bins, (place + 1) / bins
        here = (confidence > low) & (confidence <= high)
        if here.any():
            gap = (said == y)[here].double().mean() - confidence[here].mean()
            expected += float(here.sum()) / len(y) * abs(float(gap))
    metric = of(functools.partial(probabilities.calibration_error, bins=bins), "ece")
    assert value(metric, predicted, y) == pytest.approx(expected)
    if bins == 15:
        assert value(probabilities.calibration_error, predicted, y) == value(metric, predicted, y)


def test_a_sure_answer_is_in_the_last_bin_and_a_border_in_the_lower_one():
    metric = probabilities.calibration_error
    predicted = torch.tensor([[1.0, 0.0], [0.8, 0.2], [0.6, 0.4]], dtype=torch.float64)
    summed = metric(predicted, torch.tensor([0, 0, 1]), bins=5)
    assert summed[0].tolist() == [0, 0, 1, 1, 1]
    assert summed[2].tolist() == [0, 0, 0, 1, 1]
    wrong = torch.tensor([1, 1, 0])
    assert value(metric, predicted.flip(1), wrong) == pytest.approx((0 + 0.2 + 0.6) / 3)


def test_calibration_of_several_labels_takes_each_as_an_answer():
    predicted, y = labels()
    both = torch.stack([1 - predicted.flatten(), predicted.flatten()], 1)
    expected = value(probabilities.calibration_error, both, y.flatten())
    assert value(probabilities.calibration_error, predicted, y) == pytest.approx(expected)


@pytest.mark.proves("metric=brier")
@pytest.mark.parametrize("kind", ONE_OF_MANY)
def test_brier_score(kind):
    predicted, y = classes(kind)
    one_hot = np.eye(predicted.shape[1])[y.numpy()]
    expected = ((predicted.numpy() - one_hot) ** 2).sum(1).mean()
    assert value(probabilities.brier, predicted, y) == pytest.approx(expected)
    if kind == "binary":
        own = sk.brier_score_loss(y.numpy(), predicted[:, 1].numpy())
        assert value(probabilities.brier, predicted, y) == pytest.approx(2 * own)
    several, so = labels()
    expected = float((several - so).square().sum(1).mean())
    assert value(probabilities.brier, several, so) == pytest.approx(expected)


@pytest.mark.proves("metric=mae", "metric=rmse", "metric=r2")
@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("offset", [0.0, 2000.0])
def test_errors_of_numbers_are_those_of_scikit_learn(targets, offset):
    predicted, y = numbers(targets, offset)
    given = (y.numpy(), predicted.numpy())
    assert value(mae, predicted, y) == pytest.approx(sk.mean_absolute_error(*given), rel=1e-9)
    expected = sk.root_mean_squared_error(*given)
    assert value(regression.rmse, predicted, y) == pytest.approx(expected, rel=1e-9)
    assert value(regression.r2, predicted, y) == pytest.approx(sk.r2_score(*given), rel=1e-9)


def test_r2_of_numbers_far_from_zero_keeps_its_digits():
    noise = torch.randn(
        (2, 400, 2), dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    y = 1.7e9 + 50 * noise[0]
    predicted = y + 5 * noise[1]
    expected = sk.r2_score(y.numpy(), predicted.numpy())
    assert 0.98 < expected < 0.995
    assert value(regression.r2, predicted, y) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("level", [0.0, 0.3, 1e6, 1.7e9 / 3])
def test_r2_of_a_target_that_never_changes(level):
    y = torch.full((30, 1), level, dtype=torch.float64)
    assert value(regression.r2, y, y) == 1 == sk.r2_score(y.numpy(), y.numpy())
    assert value(regression.r2, y + 1, y) == 0


def test_batches_make_no_difference():
    """Of sums and of kept predictions alike."""
    predicted, y = classes("rare")
    every = {
        name: one
        for room in (counts, probabilities, ranking)
        for name, one in vars(room).items()
        if isinstance(one, Metric) and name != "mae"
    }
    assert len(every) >= 9
    for name, metric in every.items():
        whole = value(metric, predicted, y, batch=97)
        assert value(metric, predicted, y, batch=1) == pytest.approx(whole, rel=1e-12), name


def test_scikit_learn_warns_of_what_is_left_out_here():
    """The one difference: a label that no sample has counts 0 there, and is left out here."""
    predicted, y = labels()
    y[:, 3] = 0
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        theirs = sk.average_precision_score(y.numpy(), predicted.numpy())
    assert any(issubclass(each.category, UserWarning | UndefinedMetricWarning) for each in warned)
    ours = value(ranking.average_precision, predicted, y)
    assert ours == pytest.approx(theirs * 4 / 3)
