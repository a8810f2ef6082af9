"""The error in parts: the arithmetic, and what is said of the largest."""

import pytest

from dlrun.finding import NOTE, WARN
from dlrun.report.error_parts import error_parts
from dlrun.report.known import Trained

SEEN = {
    **{"train_eval/accuracy": 0.97, "train_eval/metric_error": 0.002},
    "train_eval/samples": 4000.0,
    **{"val/accuracy": 0.90, "val/metric_error": 0.004, "val/samples": 1000.0},
    **{"train_dev/metric_error": 0.008, "train_dev/samples": 250.0},
    **{"test/metric_error": 0.005, "test/samples": 1000.0},
}
END = {"train_dev/accuracy": 0.95, "test/accuracy": 0.895}


def parted(target=0.01, end=END, recipe=None, **changed):
    seen = SEEN | {key.replace("__", "/"): value for key, value in changed.items()}
    points = [{"values": {}}, {"values": end}]
    [finding] = error_parts(Trained(seen, points, {"epochs": 5} | (recipe or {})), target)
    return finding


def test_the_parts_sum_to_the_error_on_the_test_split():
    finding = parted()
    assert finding.numbers == pytest.approx(
        {
            "target": 0.01,
            "bias": 0.02,
            "variance": 0.02,
            "mismatch": 0.05,
            "overfitting of validation": 0.005,
        }
    )
    assert sum(finding.numbers.values()) == pytest.approx(1 - 0.895)
    assert (finding.name, finding.level) == ("distribution_shift", WARN)
    assert "The error of 10.5% is target 1.0%, bias +2.0% (±0.2%), variance +2.0% (" in finding.text
    assert finding.changes == {"procedure": "show_data"}


def test_the_error_of_a_part_is_that_of_its_own_two_splits():
    """√(0.002² + 0.008²), √(0.008² + 0.004²), √(0.004² + 0.005²)."""
    text = parted().text
    assert "variance +2.0% (±0.8%), mismatch +5.0% (±0.9%)" in text
    assert "overfitting of validation +0.5% (±0.6%)" in text


def test_without_train_dev_and_test_there_are_two_parts():
    finding = parted(end={})
    assert finding.numbers == pytest.approx({"target": 0.01, "bias": 0.02, "variance": 0.07})
    assert (finding.name, finding.changes) == ("overfit", {"regularization": ["l2"]})


def test_the_largest_part_decides():
    assert parted(train_eval__accuracy=0.85, end={}).name == "underfit"
    assert parted(train_eval__accuracy=0.85, end={}).changes == {"epochs": 15}
    worse = END | {"test/accuracy": 0.7}
    assert parted(end=worse).name == "validation_overused"


SIMPLER = {"linear": 0.15, "linear/worse": 0.0, "linear/error": 0.001}
FIRST_BEST = [
    {"step": n, "epoch": float(n), "values": {"val/loss": 0.2 + n / 10}} for n in range(8)
]


@pytest.mark.parametrize(
    ("more", "points", "advice", "changes"),
    [
        ({}, [], "a larger network, longer, or with another", {"epochs": 15}),
        ({}, FIRST_BEST, "a larger network, or with another", {"procedure": "find_lr"}),
        ({"stopped": 1.0}, [], "a larger network, or with another", {"procedure": "find_lr"}),
        (SIMPLER, [], "longer, or with another", {"epochs": 15}),
        (SIMPLER, FIRST_BEST, "with another", {"procedure": "find_lr"}),
    ],
)
def test_against_bias_nothing_is_advised_that_another_finding_denies(more, points, advice, changes):
    seen = SEEN | {"train_eval/accuracy": 0.85} | more
    [finding] = error_parts(Trained(seen, points, {"epochs": 5}), 0.01)
    assert (finding.name, finding.changes) == ("underfit", changes)
    assert finding.text.endswith(f"bias is the largest. Train {advice} optimizer or rate.")


def test_what_may_be_chance_is_inconclusive():
    finding = parted(end={}, val__metric_error=0.05, train_eval__metric_error=0.01)
    assert (finding.name, finding.level) == ("inconclusive", NOTE)
    enough = finding.numbers["samples"]
    assert f"variance, the largest, may be chance; about {enough:,.0f} validation" in finding.text
    known = (0.01**2 + 0.05**2 * 1000 / enough) ** 0.5  # with so many validation samples
    assert 3.5 * known == pytest.approx(0.07, rel=1e-3)


def test_more_samples_of_one_split_do_not_tell_what_the_other_leaves_open():
    finding = parted(end={}, val__metric_error=0.05, train_eval__metric_error=0.05)
    assert finding.name == "inconclusive"
    assert "samples" not in finding.numbers
    assert finding.text.endswith("variance, the largest, may be chance.")


def test_bias_is_told_by_training_samples():
    changed = {"train_eval__accuracy": 0.91, "train_eval__metric_error": 0.03}
    finding = parted(end={}, val__metric_error=0.03, **changed)
    assert finding.numbers["samples"] == pytest.approx(4000 * (3.5 * 0.03 / 0.08) ** 2, abs=1)
    assert "bias, the largest, may be chance" in finding.text
    assert "training samples would be enough" in finding.text


def test_a_part_far_below_its_target_is_not_called_chance():
    finding = parted(target=0.04, end={}, val__metric_error=0.014, val__accuracy=0.95)
    assert finding.numbers["bias"] == pytest.approx(-0.01), "5 standard errors"
    assert finding.name == "inconclusive"
    assert "each of these" not in finding.text


def test_a_larger_part_that_may_be_chance_is_not_denied():
    finding = parted(end={}, val__metric_error=0.05)
    assert finding.name == "underfit"
    assert "bias is the largest beyond chance" in finding.text


def test_a_network_that_reaches_its_target():
    finding = parted(target=0.5, end={}, val__accuracy=0.97)
    assert (finding.name, finding.level) == ("good_fit", NOTE)


def test_a_reached_target_needs_no_remedy_though_variance_is_beyond_chance():
    finding = parted(target=0.1, end={}, train_eval__accuracy=0.95, val__accuracy=0.92)
    assert (finding.name, finding.level, finding.changes) == ("good_fit", NOTE, {})
    assert "8.0% is target 10.0%, bias -5.0% (±" in finding.text
    assert finding.text.endswith(": the target is reached.")


def test_of_numbers_by_the_mean_absolute_error():
    seen = {
        "train_eval/mae": 0.5,
        "train_eval/metric_error": 0.01,
        "train_eval/samples": 400.0,
        "val/mae": 2.0,
        "val/metric_error": 0.02,
        "val/samples": 100.0,
    }
    [finding] = error_parts(Trained(seen, [], {"epochs": 5}), 0.1)
    assert finding.numbers == pytest.approx({"target": 0.1, "bias": 0.4, "variance": 1.5})
    assert "The error of 2 is target 0.1, bias +0.4 (±0.01), variance +1.5 (±" in finding.text
    large = {key: value * 1e4 if "samples" not in key else value for key, value in seen.items()}
    [finding] = error_parts(Trained(large, [], {"epochs": 5}), 1000.0)
    assert "The error of 20,000 is target 1,000, bias +4,000 (±100), " in finding.text


def test_what_rounding_leaves_asks_for_no_number_of_samples():
    seen = {
        "train_eval/mae": 0.1 + 1e-15,
        "train_eval/metric_error": 0.01,
        "train_eval/samples": 400.0,
        "val/mae": 0.1 + 1e-15,
        "val/metric_error": 0.02,
        "val/samples": 100.0,
    }
    [finding] = error_parts(Trained(seen, [], {"epochs": 5}), 0.1)
    assert finding.name == "inconclusive"
    assert "samples" not in finding.numbers
    assert finding.text.endswith(": bias, the largest, may be chance.")


@pytest.mark.parametrize(
    ("value", "samples", "error"), [(1.0, 100, "1.0%"), (0.0, 100, "1.0%"), (1.0, 25, "3.8%")]
)
def test_no_error_among_some_samples_is_not_known_to_be_none(value, samples, error):
    known = {"train_eval__accuracy": value, "train_eval__metric_error": 0.0}
    made = parted(**known, train_eval__samples=float(samples))
    assert f"(±{error}), variance" in made.text
