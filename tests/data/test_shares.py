"""How many of each class, and which groups: against exact shares, and against every deal."""

import itertools
import random
from fractions import Fraction

import numpy as np
import pytest
import torch
from sklearn.model_selection import StratifiedGroupKFold

from dlrun.data.shares import by_class, by_group, in_turn


def counts_of(draw, most):
    kinds = [1, 2, 3, draw.randint(1, 50), draw.randint(1, 2000)]
    return [draw.choice(kinds) for _ in range(draw.randint(1, most))]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("seed", range(60))
def test_parts_have_whole_sizes_and_each_class_its_share(seed):
    draw = random.Random(seed)
    counts = [*counts_of(draw, 20), 300]
    total = sum(counts)
    val, test = draw.randint(0, total // 3), draw.randint(0, total // 3)
    wanted = [total - val - test, val, test]
    fractions = [Fraction(size, total) for size in wanted]
    sizes = by_class(counts, fractions)
    assert sizes.sum(1).tolist() == counts
    for row, count in zip(sizes, counts, strict=True):
        assert all(abs(int(n) - count * f) < 1 for n, f in zip(row, fractions, strict=True))
        assert row[0] > 0, "no class is without training samples"
    least = sum(max(int(count * fractions[0]), 1) for count in counts)
    assert sizes.sum(0).tolist() == wanted or least > wanted[0]


def test_a_chain_over_the_third_part_evens_out():
    # Rounded as they come, the classes give train and val too many and test too few.
    counts = [3, 1, 7, 1, 5, 2, 2, 9, 4, 6]
    for sizes in itertools.product(range(8, 30), range(1, 20)):
        wanted = [*sizes, sum(counts) - sum(sizes)]
        if wanted[2] > 0:
            found = by_class(counts, [Fraction(size, sum(counts)) for size in wanted])
            assert found.sum(0).tolist() == wanted or wanted[0] < 12


@pytest.mark.parametrize("seed", range(40))
def test_classes_take_turns_within_one_of_their_share(seed):
    draw = random.Random(seed)
    counts = counts_of(draw, 12)
    total, before = sum(counts), np.zeros(len(counts), int)
    for length in range(min(total, 300) + 1):
        taken = in_turn(counts, length)
        assert taken.sum() == length
        shares = [Fraction(length * count, total) for count in counts]
        assert all(abs(int(n) - share) < 1 for n, share in zip(taken, shares, strict=True))
        assert ((taken - before >= 0) & (taken <= counts)).all(), "nested"
        before = taken
    assert in_turn(counts, total).tolist() == counts


def test_a_few_are_of_as_many_classes():
    assert in_turn([100, 105, 95, 100, 98, 102], 6).tolist() == [1] * 6
    assert in_turn([5, 0, 5], 4).tolist() == [2, 0, 2]


@pytest.mark.parametrize("seed", range(15))
def test_no_deal_of_few_groups_is_nearer_to_the_wanted_sizes(seed):
    draw = random.Random(seed)
    sizes = np.array([draw.randint(1, 30) for _ in range(draw.randint(3, 7))])
    wanted = np.array([0.6, 0.2, 0.2]) * sizes.sum()

    def error(part):
        return ((np.bincount(part, sizes, 3) - wanted) ** 2).sum()

    best = min(error(np.array(part)) for part in itertools.product(range(3), repeat=len(sizes)))
    assert error(by_group(sizes, wanted.tolist(), generator(seed))) == pytest.approx(best)


def test_many_small_groups_come_within_one_sample():
    sizes = np.array([1 + n % 7 for n in range(500)])
    wanted = np.array([0.6, 0.2, 0.2]) * sizes.sum()
    first, again, other = (by_group(sizes, wanted.tolist(), generator(s)) for s in (1, 1, 2))
    assert (np.abs(np.bincount(first, sizes, 3) - wanted) < 1).all()
    assert (first == again).all()
    assert (first != other).any()


def test_a_large_group_may_be_anywhere_it_fits():
    sizes = np.array([20, *[5] * 16])
    parts = {int(by_group(sizes, [60, 20, 20], generator(seed))[0]) for seed in range(30)}
    assert parts == {0, 1, 2}


def most_off(members, part):
    """How far the worst class in the worst of five folds is from its share, in samples."""
    held = np.stack([members[part == fold].sum(0) for fold in range(5)])
    return np.abs(held - members.sum(0) / 5).max()


def test_groups_keep_the_classes_as_stratified_group_k_fold_does():
    ours, theirs, blind = [], [], []
    for seed in range(6):
        draw = np.random.default_rng(seed)
        sizes = draw.integers(1, 30, 60)
        members = np.stack([draw.multinomial(n, draw.dirichlet([0.5, 0.5])) for n in sizes])
        wanted = [sizes.sum() / 5] * 5
        part = by_group(members, wanted, generator(seed))
        assert (np.abs(np.bincount(part, sizes, 5) - wanted) < 1).all(), "sizes come first"
        ours.append(most_off(members, part))
        blind.append(most_off(members, by_group(sizes, wanted, generator(seed))))
        labels = np.concatenate([np.repeat([0, 1], counts) for counts in members])
        groups, other = np.repeat(np.arange(60), sizes), np.zeros(60, int)
        for fold, (_, test) in enumerate(StratifiedGroupKFold(5).split(labels, labels, groups)):
            other[groups[test]] = fold
        theirs.append(most_off(members, other))
    assert np.mean(ours) <= np.mean(theirs) + 1
    assert np.mean(ours) < np.mean(blind) / 3
