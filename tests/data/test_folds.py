"""Folds and parts against what scikit-learn promises of its own."""

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from dlrun.data.split import folds, part

LABELS = np.repeat([0, 1, 2, 3], [17, 40, 5, 101])


@pytest.mark.parametrize("count", [2, 3, 5])
def test_folds_have_the_classes_as_stratified_k_fold_has_them(count):
    dealt = folds(LABELS, count, seed=3)
    assert sorted(np.concatenate(dealt)) == list(range(len(LABELS)))
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
    other = StratifiedKFold(count, shuffle=True, random_state=0).split(LABELS, LABELS)
    ours = np.array([np.bincount(LABELS[fold], minlength=4) for fold in dealt])
    theirs = np.array([np.bincount(LABELS[fold], minlength=4) for _, fold in other])
    assert np.array_equal(np.sort(ours, axis=0), np.sort(theirs, axis=0))


def test_a_seed_decides_the_folds():
    one, again, other = (folds(LABELS, 4, seed) for seed in (1, 1, 2))
    assert all(map(np.array_equal, one, again))
    assert not all(map(np.array_equal, one, other))


def test_numbers_are_dealt_at_random():
    dealt = folds(np.linspace(0, 1, 103)[:, None], 5, seed=0)
    assert sorted(map(len, dealt)) == [20, 20, 21, 21, 21]
    assert sorted(np.concatenate(dealt)) == list(range(103))


def test_groups_stay_together():
    generator = np.random.default_rng(0)
    groups = generator.integers(0, 30, len(LABELS))
    dealt = folds(LABELS, 4, 0, groups)
    assert sorted(np.concatenate(dealt)) == list(range(len(LABELS)))
    found = [set(groups[fold]) for fold in dealt]
    assert sum(map(len, found)) == len(set(groups)), "no group in two folds"
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 3
    chosen = part(LABELS, 30, 0, groups)
    assert not set(groups[chosen]) & set(np.delete(groups, chosen))
    assert abs(len(chosen) - 30) <= 5


def test_a_part_has_each_class_in_its_share():
    chosen = part(LABELS, 33, seed=5)
    assert len(set(chosen)) == 33
    counts = np.bincount(LABELS[chosen], minlength=4)
    assert (abs(counts - np.bincount(LABELS) * 33 / len(LABELS)) < 1).all()


@pytest.mark.parametrize("count", [0, 1, 164])
def test_too_few_or_too_many_folds(count):
    with pytest.raises(ValueError, match=f"folds must be from 2 to 163, .* got {count}"):
        folds(LABELS, count, 0)
    with pytest.raises(ValueError, match="as many as groups"):
        folds(LABELS, 3, 0, LABELS // 2)
