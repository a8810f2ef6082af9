import logging
import math
from collections import Counter
from itertools import chain

import pytest
import torch

from dlrun.data import Source, split
from dlrun.errors import Mistake


def source(labels, given=None, hashes=None, classes=None):
    y = torch.tensor(labels)
    n = len(y)
    names = tuple(f"c{i}" for i in range(int(y.max()) + 1)) if classes is None else classes
    return Source(
        name="made",
        x=torch.arange(n, dtype=torch.float32)[:, None],
        y=y if names else torch.arange(n, dtype=torch.float32)[:, None],
        hashes=torch.arange(n) if hashes is None else torch.tensor(hashes),
        digest="0",
        classes=names,
        given={name: torch.tensor(rows) for name, rows in (given or {}).items()},
    )


def uneven_labels(counts, seed=0):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    return labels[order].tolist()


def parts(data):
    return [data.train.rows.tolist(), data.val.rows.tolist(), data.test.rows.tolist()]


@pytest.mark.parametrize("fractions", ["60/20/20", [60, 20, 20], [0.8, 0.1, 0.1], "33/33/34"])
@pytest.mark.parametrize("counts", [[50, 50], [7, 103, 28, 3, 999], [5] * 200])
def test_every_class_is_split_within_one_of_its_exact_fraction(fractions, counts):
    labels = uneven_labels(counts)
    data = split.make(source(labels), fractions)
    rows = parts(data)
    assert sorted(chain(*rows)) == list(range(len(labels)))
    shares = fractions.split("/") if isinstance(fractions, str) else fractions
    shares = [float(share) for share in shares]
    for part, share in zip(rows, shares, strict=True):
        exact = share / sum(shares)
        found = Counter(labels[row] for row in part)
        for label, count in enumerate(counts):
            assert abs(found[label] - count * exact) < 1 + 1e-9
        assert abs(len(part) - len(labels) * exact) <= 2


def test_exact_where_the_fractions_divide():
    data = split.make(source(uneven_labels([10, 20, 30])), "60/20/20")
    found = [Counter(data.train.y[rows].tolist()) for rows in parts(data)]
    assert found == [{0: 6, 1: 12, 2: 18}, {0: 2, 1: 4, 2: 6}, {0: 2, 1: 4, 2: 6}]


def test_the_seed_alone_decides_which_rows():
    labels = uneven_labels([30, 40])
    first, again, other = (split.make(source(labels), "60/20/20", split_seed=s) for s in (3, 3, 4))
    assert parts(first) == parts(again)
    assert parts(first) != parts(other)


def test_the_rows_are_those_they_have_always_been():
    # A recorded run must find the same splits on another machine and in a later release.
    data = split.make(source([0, 1] * 6), [50, 25, 25], split_seed=7)
    assert parts(data) == [[0, 1, 2, 6, 7, 11], [4, 9, 10], [3, 5, 8]]


def test_regression_is_split_at_random_with_exact_sizes():
    data = split.make(source([0] * 101, classes=()), "60/20/20")
    assert sorted(chain(*parts(data))) == list(range(101))
    assert len(data.train) in (60, 61)
    assert len(data.val) in (20, 21)
    assert data.train.rows.tolist() != list(range(len(data.train)))
    assert data.outputs == 1
    assert data.classes == ()


def test_source_as_given():
    given = {"train": [5, 1, 3], "val": [0, 2], "test": [4]}
    data = split.make(source([0, 1, 0, 1, 0, 1], given), "source", val=0.3)
    assert parts(data) == [[5, 1, 3], [0, 2], [4]]


def test_val_is_carved_from_train_stratified_and_test_is_left_alone():
    labels = [0] * 40 + [1] * 60 + [0, 1] * 5
    given = {"train": list(range(100)), "test": list(range(100, 110))}
    data = split.make(source(labels, given), val=0.1)
    assert data.test.rows.tolist() == given["test"]
    assert Counter(data.val.y[data.val.rows].tolist()) == {0: 4, 1: 6}
    assert sorted(data.train.rows.tolist() + data.val.rows.tolist()) == given["train"]


def test_no_test_given_means_none_and_val_zero_means_none():
    data = split.make(source([0, 1] * 10, {"train": list(range(20))}), val=0)
    assert (len(data.train), len(data.val), len(data.test)) == (20, 0, 0)


def test_nothing_given_falls_to_80_10_10():
    data = split.make(source([0] * 50 + [1] * 50))
    assert (len(data.train), len(data.val), len(data.test)) == (80, 10, 10)


def test_fractions_pool_what_the_source_gives():
    given = {"train": list(range(10)), "test": list(range(10, 20))}
    data = split.make(source([0, 1] * 10, given), "60/20/20")
    assert (len(data.train), len(data.val), len(data.test)) == (12, 4, 4)


def test_a_small_class_goes_to_train_first_and_is_named(caplog):
    labels = [0] * 50 + [1] + [2] * 2
    with caplog.at_level(logging.WARNING, "dlrun"):
        data = split.make(source(labels), "10/45/45")
    assert 50 in data.train.rows
    assert 2 in data.train.y[data.train.rows]
    assert len(caplog.records) == 1
    assert "2 of 3 classes" in caplog.text
    assert "c1: 1, c2: 2" in caplog.text


def test_classes_so_small_that_a_split_gets_none_are_refused():
    with pytest.raises(Mistake, match=r"599 classes in 600 samples .* any for val, .* have 60;"):
        split.make(source([0, *range(599)]))
    with pytest.raises(Mistake, match="any for val, which should have 2"):
        split.make(source(list(range(20)), {"train": list(range(20))}))


def test_a_split_whose_share_is_less_than_one_sample_may_be_empty():
    data = split.make(source([0, 1, 2, 3, 4, 5]))
    assert len(data.train) == 6


def test_many_small_classes_do_not_all_round_alike():
    data = split.make(source(uneven_labels([4] * 500)), "80/10/10")
    assert [len(part) for part in parts(data)] == [1600, 200, 200]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"split": "60/20"}, "split"),
        ({"split": "60/20/30"}, "split"),
        ({"split": [0.5, 0.2, 0.2]}, "split"),
        ({"split": "a/b/c"}, "split"),
        ({"split": "120/-10/-10"}, "split"),
        ({"split": "0/50/50"}, "split"),
        ({"split": "sorce"}, "split"),
        ({"val": 1.0}, "val"),
        ({"val": -0.1}, "val"),
        ({"val": 0.5}, "val"),
        ({"val": math.nan}, "val"),
        ({"split_seed": -1}, "split_seed"),
        ({"leaks": "ignore"}, "leaks"),
    ],
)
def test_a_value_out_of_range_is_named(arguments, named):
    with pytest.raises(ValueError, match=rf"^{named} must "):
        split.make(source([0, 1] * 10), **arguments)


def leaking():
    # train 0-5, val 6-9, test 10-14; 6 and 7 are in train, 10 in train, 11 and 12 in val.
    hashes = [0, 1, 2, 3, 3, 5, 0, 1, 8, 9, 2, 8, 8, 13, 13]
    given = {"train": range(6), "val": range(6, 10), "test": range(10, 15)}
    given = {name: list(rows) for name, rows in given.items()}
    return source([0, 1] * 7 + [0], given, hashes)


def test_leaks_are_counted_in_one_warning_and_left(caplog):
    data = split.make(leaking())
    assert [len(part) for part in parts(data)] == [6, 4, 5]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "2 samples of val are identical to samples of train" in caplog.text
    assert "1 samples of test are identical to samples of train" in caplog.text
    assert "2 samples of test are identical to samples of val" in caplog.text
    assert "data.leaks=drop" in caplog.text


def test_leaks_can_be_an_error():
    with pytest.raises(Mistake, match=r"data.leaks=error: 2 samples of val"):
        split.make(leaking(), leaks="error")


def test_dropping_leaves_train_whole_and_no_sample_in_two_splits(caplog):
    data = split.make(leaking(), leaks="drop")
    assert parts(data) == [[0, 1, 2, 3, 4, 5], [8, 9], [13, 14]]
    assert "removed 2 from val and 3 from test" in caplog.text


def test_dropping_a_whole_split_is_a_mistake():
    made = source([0, 1, 0, 1], {"train": [0, 1], "val": [2, 3]}, [7, 8, 7, 8])
    with pytest.raises(Mistake, match="leaves val empty"):
        split.make(made, leaks="drop")


def test_no_leaks_no_warning(caplog):
    split.make(source([0, 1] * 20), "60/20/20", leaks="error")
    assert not caplog.records


def test_facts():
    data = split.make(source([0, 1, 2] * 10), "60/20/20")
    assert (data.name, data.shape, data.outputs, data.digest) == ("made", (1,), 3, "0")
    assert data.train.x is data.test.x
