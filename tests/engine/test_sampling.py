"""Orders of an epoch, by counting."""

import numpy as np
import pytest
import torch

from dlrun.data import Split
from dlrun.data.sample import sample
from dlrun.engine.batches import order
from dlrun.engine.sampling import balanced, class_weights, fixed, replacement, shuffle, stratified


def labels(*counts: int, seed: int = 0) -> torch.Tensor:
    y = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return y[torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))]


def spread_rows(y: torch.Tensor) -> torch.Tensor:
    """Row numbers of a split, far from 0..n-1."""
    return torch.randperm(len(y), generator=torch.Generator().manual_seed(5)) * 3 + 7


def class_of(drawn: torch.Tensor, rows: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    known = dict(zip(rows.tolist(), y.tolist(), strict=True))
    return torch.tensor([known[row] for row in drawn.tolist()])


def test_shuffle_is_the_order_it_has_always_been():
    rows = torch.arange(10)
    assert torch.equal(shuffle(rows, rows, 3, 1, 4), order(rows, 3, 1))


def test_fixed_is_the_order_of_the_data_in_every_epoch():
    rows = spread_rows(labels(9, 4))
    assert all(torch.equal(fixed(rows, rows, epoch, 0, 4), rows) for epoch in range(3))


def test_replacement_draws_rows_one_by_one():
    y = labels(600, 400)
    rows = spread_rows(y)
    drawn = torch.stack([replacement(rows, y, epoch, 0, 32) for epoch in range(50)])
    assert torch.equal(drawn[7], replacement(rows, y, 7, 0, 32))
    assert not torch.equal(drawn[7], replacement(rows, y, 7, 1, 32))
    # How often a row comes in an epoch is binomial: n draws with probability 1/n each.
    times = torch.stack([torch.bincount(each, minlength=4000)[rows] for each in drawn]).double()
    assert times.sum(1).eq(1000).all()
    assert times.var() == pytest.approx(1 - 1 / 1000, rel=0.03)
    assert (times == 0).double().mean() == pytest.approx((1 - 1 / 1000) ** 1000, abs=0.01)


def test_balanced_draws_each_class_equally_often():
    y = labels(500, 90, 7, 3)
    rows = spread_rows(y)
    drawn = balanced(rows, y, 0, 0, 32)
    assert len(drawn) == 600
    assert torch.bincount(class_of(drawn, rows, y)).tolist() == [150] * 4
    times = torch.bincount(drawn, minlength=2000)[rows]
    for label, (few, many) in enumerate([(0, 1), (1, 2), (21, 22), (50, 50)]):
        found = times[y == label]
        assert found.min() == few
        assert found.max() == many


def test_balanced_gives_what_does_not_divide_to_classes_by_chance():
    y = labels(5, 4, 4)
    more = torch.zeros(3)
    for epoch in range(600):
        counts = torch.bincount(class_of(balanced(torch.arange(13), y, epoch, 0, 4), range_(y), y))
        assert sorted(counts.tolist()) == [4, 4, 5]
        more[counts.argmax()] += 1
    assert ((more - 200).abs() < 4 * (600 * 2 / 9) ** 0.5).all()


def range_(y: torch.Tensor) -> torch.Tensor:
    return torch.arange(len(y))


def test_balanced_takes_another_part_of_a_large_class_every_epoch():
    y = labels(900, 100)
    seen = torch.zeros(1000)
    for epoch in range(300):
        seen += torch.bincount(balanced(torch.arange(1000), y, epoch, 0, 32), minlength=1000)
    expected = 300 * 500 / 900
    assert (seen[y == 0] - expected).abs().max() < 6 * (expected * (1 - 500 / 900)) ** 0.5
    assert (seen[y == 1] == 1500).all()


def test_balanced_draws_are_mixed():
    y = labels(500, 100)
    drawn = y[balanced(torch.arange(600), y, 0, 0, 32)].double()
    halves = drawn.reshape(10, 60).mean(1)
    assert (halves - 0.5).abs().max() < 5 * (0.25 / 60) ** 0.5


@pytest.mark.parametrize("batch_size", [1, 7, 32, 100, 333, 610])
@pytest.mark.parametrize("counts", [(200, 200, 210), (500, 90, 12, 5, 3), tuple([61] * 10)])
def test_stratified_batches_have_the_shares_of_the_whole(counts, batch_size):
    y = labels(*counts)
    rows = spread_rows(y)
    drawn = stratified(rows, y, 2, 0, batch_size)
    assert sorted(drawn.tolist()) == sorted(rows.tolist())
    shares = torch.tensor(counts) / len(y)
    for part in class_of(drawn, rows, y).split(batch_size):
        found = torch.bincount(part, minlength=len(counts))
        # 1 from dealing, and what the last, smaller mini-batch takes more or less of its share.
        assert (found - shares * len(part)).abs().max() < (1.5 if len(y) % batch_size else 1)


def test_stratified_batches_that_divide_the_whole_are_exact_where_classes_do():
    y = labels(320, 160, 80, 80)
    for part in y[stratified(torch.arange(640), y, 0, 0, 16)].split(16):
        assert torch.bincount(part).tolist() == [8, 4, 2, 2]


def test_stratified_batches_differ_less_than_shuffled_ones():
    y = labels(*[64] * 10)
    rows = torch.arange(640)

    def variance(drawn: torch.Tensor) -> float:
        return float(
            torch.stack([torch.bincount(b, minlength=10) for b in y[drawn].split(32)])
            .double()
            .var(0)
            .mean()
        )

    assert variance(stratified(rows, y, 0, 0, 32)) <= 0.25 * 20 / 19
    assert variance(order(rows, 0, 0)) > 1.5


def test_stratified_rows_are_in_any_place_equally_often():
    y = labels(4, 2)
    places = torch.zeros(6, 6)
    for epoch in range(3000):
        places[stratified(torch.arange(6), y, epoch, 0, 3), torch.arange(6)] += 1
    assert ((places - 500).abs() < 5 * (3000 * 5 / 36) ** 0.5).all()


@pytest.mark.parametrize("sample", [balanced, stratified])
def test_an_order_depends_on_seed_and_epoch_alone(sample):
    y = labels(50, 30, 20)
    rows = torch.arange(100)
    first = sample(rows, y, 3, 1, 16)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert torch.equal(first, sample(rows, y, 3, 1, 16))
    assert torch.equal(state, torch.get_rng_state())
    others = [sample(rows, y, *at, 16) for at in ((4, 1), (3, 2), (1, 3))]
    assert all(not torch.equal(first, other) for other in others)


def test_a_class_missing_from_the_split_takes_no_place():
    y = torch.tensor([0, 0, 0, 2, 2, 5])
    drawn = y[balanced(torch.arange(6), y, 0, 0, 2)]
    assert torch.bincount(drawn).tolist() == [2, 0, 2, 0, 0, 2]


def test_class_weights_make_classes_equal_and_average_to_one():
    y = labels(500, 90, 10)
    weights = class_weights(y, 3)
    np.testing.assert_allclose(weights, 600 / (3 * np.array([500, 90, 10])), rtol=1e-6)
    assert float(weights[y].double().mean()) == pytest.approx(1)
    totals = torch.bincount(y) * weights
    assert totals.tolist() == pytest.approx([200] * 3)


def test_a_class_without_samples_has_weight_zero():
    weights = class_weights(torch.tensor([0, 0, 0, 2]), 4)
    assert weights.tolist() == pytest.approx([4 / 6, 0, 4 / 2, 0])


def test_a_sample_has_each_class_by_its_share_whatever_the_order_of_the_rows():
    y = labels(1000, 400, 90, 10).sort().values  # as folders and sorted tables come
    rows = torch.arange(0, 3000, 2)
    targets = torch.full((3000,), -1)
    targets[rows] = y
    split = Split(torch.zeros(3000, 1), targets, rows)
    places = torch.zeros(3000)
    for seed in range(300):
        drawn = sample(split, 64, seed)
        assert len(set(drawn.tolist())) == 64
        counts = torch.bincount(targets[drawn], minlength=4)
        assert ((counts - 64 * torch.tensor([1000, 400, 90, 10]) / 1500).abs() < 1).all()
        assert len(targets[drawn[:32]].unique()) > 1  # in any order
        places[drawn] += 1
    assert torch.equal(sample(split, 64, 7), sample(split, 64, 7))
    assert not torch.equal(sample(split, 64, 7), sample(split, 64, 8))
    # Each row as often as any other: no count is far from 300·64/1500, of a Poisson law nearly.
    assert places[rows].max() < 12.8 + 6 * 12.8**0.5
    assert ((places[rows] - 12.8) ** 2 / 12.8).mean() == pytest.approx(1, abs=0.2)


def test_a_sample_of_more_classes_than_it_has_rows_and_of_numbers():
    y = torch.arange(500).repeat_interleave(3)
    split = Split(torch.zeros(1500, 1), y, torch.arange(1500))
    assert len(y[sample(split, 64, 0)].unique()) == 64
    numbers = Split(split.x, torch.linspace(0, 1, 1500)[:, None], split.rows)
    assert numbers.y[sample(numbers, 64, 0)].mean() == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("n", [0, 1, 5, 64])
def test_a_sample_of_fewer_rows_is_all_of_them(n):
    split = Split(torch.zeros(99, 1), torch.arange(99) % 3, torch.arange(n) + 30)
    assert sorted(sample(split, 64, 0).tolist()) == split.rows.tolist()
