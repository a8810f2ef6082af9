"""Class report, confusion, reliability and worst mistakes, against scikit-learn and by hand."""

import pytest
import torch
from sklearn import metrics

from dlrun.engine import report_card
from dlrun.metric.probabilities import calibration_error

NAMES = ["a", "b", "c", "d"]


@pytest.fixture
def answers():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(200, 4, generator=generator, dtype=torch.float64)
    z[:, 3] -= 9  # a class that is never said
    y = torch.randint(0, 4, (200,), generator=generator)
    z[torch.arange(200), y] += 1
    return z.softmax(1), y


def test_the_confusion_matrix_has_the_truth_in_its_rows(answers):
    predicted, y = answers
    expected = metrics.confusion_matrix(y, predicted.argmax(1), labels=range(4))
    assert report_card.confusion(predicted, y).tolist() == expected.tolist()


def test_each_class_is_as_scikit_learn_says(answers):
    predicted, y = answers
    expected = metrics.precision_recall_fscore_support(
        y.numpy(), predicted.argmax(1).numpy(), labels=range(4), zero_division=0
    )
    found = report_card.by_class(predicted, y, NAMES)
    for row, numbers in zip(found, zip(*expected, strict=True), strict=True):
        assert (row.precision, row.recall, row.f1, row.support) == pytest.approx(numbers)
    assert found[3].precision == 0


def test_each_label_is_as_scikit_learn_says():
    generator = torch.Generator().manual_seed(1)
    predicted = torch.rand(50, 3, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 2, (50, 3), generator=generator)
    expected = metrics.precision_recall_fscore_support(
        y.numpy(), predicted.numpy() > 0.5, zero_division=0
    )
    found = report_card.by_class(predicted, y, NAMES[:3])
    for row, numbers in zip(found, zip(*expected, strict=True), strict=True):
        assert (row.precision, row.recall, row.f1, row.support) == pytest.approx(numbers)


def test_the_mean_leaves_out_a_class_without_sample_and_answer_as_the_metrics_do(answers):
    predicted, y = answers
    predicted, y = predicted[y < 3], y[y < 3]  # d is never said, and now never so
    expected = metrics.precision_recall_fscore_support(
        y.numpy(), predicted.argmax(1).numpy(), average="macro"
    )
    found = report_card.mean_of_classes(predicted, y)
    assert (found.precision, found.recall, found.f1) == pytest.approx(expected[:3])
    assert found.classes == 3


def test_the_mean_is_of_all_labels():
    predicted = torch.tensor([[0.9, 0.1], [0.8, 0.2]], dtype=torch.float64)
    found = report_card.mean_of_classes(predicted, torch.tensor([[1, 0], [1, 0]]))
    assert (found.precision, found.recall, found.f1, found.classes) == (0.5, 0.5, 0.5, 2)


def test_the_most_frequent_confusion_comes_first():
    counts = torch.tensor([[5, 3, 0], [0, 9, 0], [4, 0, 0]])
    found = report_card.most_confused(counts, NAMES[:3])
    assert [(each.true, each.said, each.count) for each in found] == [("c", "a", 4), ("a", "b", 3)]
    assert found[1].share == 3 / 8


def test_reliability_is_what_the_calibration_error_is_made_of(answers):
    predicted, y = answers
    bins = report_card.reliability(predicted, y, 10)
    confidence, said = predicted.max(1)
    for each in bins:
        here = (confidence > each.low) & (confidence <= each.high)
        assert each.count == here.sum()
        assert each.confidence == pytest.approx(float(confidence[here].mean()))
        assert each.accuracy == pytest.approx(float((said == y)[here].double().mean()))
    whole = calibration_error.of_sums(calibration_error(predicted, y, bins=10), len(y))
    assert report_card.expected_calibration_error(bins) == pytest.approx(float(whole))


def test_the_worst_mistakes_of_each_class():
    gap = torch.tensor([0.8, 0.2, 0.6, 0.4, 0.0])
    said, y = torch.tensor([0, 1, 1, 0, 1]), torch.tensor([1, 0, 0, 1, 1])
    assert report_card.worst_mistakes(gap, said, y, 2, 9) == [[2, 1], [0, 3]]
    assert report_card.worst_mistakes(gap, said, y, 2, 1) == [[2], [0]]


def test_each_target_has_its_errors():
    generator = torch.Generator().manual_seed(2)
    y = torch.randn(40, 2, generator=generator, dtype=torch.float64)
    predicted = y + torch.randn(40, 2, generator=generator, dtype=torch.float64) * 0.3
    for k, row in enumerate(report_card.by_target(predicted, y, ["u", "v"])):
        true, said = y[:, k].numpy(), predicted[:, k].numpy()
        assert row.mae == pytest.approx(metrics.mean_absolute_error(true, said))
        assert row.rmse == pytest.approx(metrics.mean_squared_error(true, said) ** 0.5)
        assert row.r2 == pytest.approx(metrics.r2_score(true, said))
