import logging
import math
import warnings
from collections import Counter
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch
from sklearn.model_selection import GroupKFold, StratifiedKFold

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


@pytest.mark.parametrize("classes", [("cat",), ("cat", "dog")])
def test_samples_of_one_class_cannot_be_trained_on(classes):
    message = r"data: made has the single class cat; at least 2 are needed \(class_missing\)"
    with pytest.raises(Mistake, match=message):
        split.make(source([0] * 20, classes=classes))


@pytest.mark.parametrize(
    ("y", "classes", "value"),
    [
        (torch.zeros(20, dtype=torch.int64), ("no",), "'no'"),
        (torch.full((20, 1), 0.5), (), "'0.5'"),
    ],
)
def test_a_column_of_one_value_cannot_be_learned(y, classes, value):
    made = replace(source([0] * 20, classes=classes), y=y, reading={"target": "sold"})
    with pytest.raises(Mistake, match=f"data.target=sold: has one value, {value}, in all 20 rows"):
        split.make(made)
    with pytest.raises(Mistake, match=f"data.target=sold: has one value, {value}, in the only row"):
        split.make(replace(made, y=y[:1], x=made.x[:1], hashes=made.hashes[:1]))


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


def test_a_share_for_val_that_changes_nothing_is_named(caplog):
    given = {"train": list(range(60)), "val": list(range(60, 80)), "test": list(range(80, 100))}
    made = source([0, 1] * 50, given)
    split.make(made)
    split.make(source([0, 1] * 50), val=0.3)
    assert "data.val" not in caplog.text
    split.make(made, val=0.3)
    assert "data.val=0.3: changes nothing, because the set has its own val" in caplog.text
    split.make(made, "60/20/20", val=0.3)
    assert "data.val=0.3: changes nothing, because data.split says" in caplog.text


def test_it_says_which_splits_were_drawn():
    given = {"train": list(range(70)), "val": list(range(70, 85)), "test": list(range(85, 100))}
    made = source([0, 1] * 50, given)
    fewer = source([0, 1] * 50, {"train": given["train"], "test": given["test"]})
    assert split.make(made).drawn == set()
    assert split.make(made, train_dev=5).drawn == {"train", "train_dev"}
    assert split.make(fewer).drawn == {"train", "val"}
    assert split.make(made, "60/20/20").drawn == {"train", "val", "test"}
    assert split.make(source([0, 1] * 50), "80/20/0").drawn == {"train", "val"}


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
        *(
            ({key: value}, key)
            for key in ("samples", "train_dev")
            for value in (
                0,
                -5,
                0.5,
                "0%",
                "101%",
                "x",
                "5%%",
                "",
                "nan",
                "1/0",
                17,
                "1%",
                math.inf,
            )
        ),
        ({"train_dev": 16}, "train_dev"),
        ({"train_dev": "100%"}, "train_dev"),
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
    assert "1 sample of test is identical to samples of train" in caplog.text
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


COPIED = [*range(200), *[200 + n % 10 for n in range(200)]]
"""The hashes of 200 samples and of ten others, each there 20 times."""


@pytest.mark.parametrize("options", [{}, {"train_dev": 40}, {"split": [240, 80, 80]}])
def test_identical_samples_stay_together_and_classes_near_their_shares(options, caplog):
    labels = [0] * 200 + [1 + n % 2 for n in range(200)]
    made = source(labels, hashes=COPIED)
    data = split.make(made, **{"split": "60/20/20", "leaks": "together"} | options)
    found = [set(made.hashes[part.rows].tolist()) for part in data.splits.values()]
    assert sum(map(len, found)) == len(set().union(*found)) == 210
    assert sum(map(len, data.splits.values())) == 400
    kinds = [data.train.y[part.rows].unique().tolist() for part in (data.train, data.val)]
    assert kinds[0] == [0, 1, 2]
    assert len(kinds[1]) > 1
    assert "identical" not in caplog.text
    dealt = split.folds(data.train.y, 4, 0, data.groups)
    of = [set(made.hashes[fold].tolist()) for fold in dealt]
    assert sum(map(len, of)) == 210


def test_without_identical_samples_together_changes_nothing():
    plain, together = (split.make(source([0, 1] * 20), leaks=each) for each in ("warn", "together"))
    assert parts(together) == parts(plain)
    assert together.groups is None


def test_samples_identical_to_those_of_a_group_join_it():
    made = replace(source([0, 1] * 20, hashes=[*range(39), 0]), groups=torch.arange(40) // 2)
    groups = split.make(made, leaks="together").groups
    assert groups[[0, 1, 38, 39]].unique().numel() == 1
    assert groups.unique().numel() == 19


def test_splits_that_a_source_gives_stay_and_their_leaks_are_warned_of(caplog):
    data = split.make(leaking(), leaks="together")
    assert [len(part) for part in parts(data)] == [6, 4, 5]
    assert "data.leaks=drop" in caplog.text


def test_together_is_proposed_where_the_splits_are_made_here(caplog):
    data = split.make(source([0, 1] * 200, hashes=COPIED), "60/20/20")
    assert data.drawn == {"train", "val", "test"}
    assert "data.leaks=together" in caplog.text
    assert not split.make(leaking()).drawn


def test_no_leaks_no_warning(caplog):
    split.make(source([0, 1] * 20), "60/20/20", leaks="error")
    assert not caplog.records


def test_rows_that_are_handed_over_are_the_splits():
    rows = {"train": [5, 1, 1], "val": [2], "fold": [0, 7]}
    data = split.make(source([0, 1] * 5), rows=rows, samples=1, train_dev=1)
    assert parts(data) == [[5, 1, 1], [2], []]
    assert data.splits["fold"].rows.tolist() == [0, 7]
    assert list(data.splits) == ["train", "val", "test", "fold"]


def test_facts():
    data = split.make(source([0, 1, 2] * 10), "60/20/20")
    assert (data.name, data.shape, data.outputs, data.digest) == ("made", (1,), 3, "0")
    assert data.train.x is data.test.x


def thinned(labels, samples, seed=0, **more):
    return split.make(source(labels), "60/20/20", split_seed=seed, samples=samples, **more)


@pytest.mark.parametrize("counts", [[300, 300, 300], [900, 90, 10]])
def test_samples_thin_the_training_split_alone_and_are_nested(counts):
    labels = uneven_labels(counts)
    whole, smaller = thinned(labels, None), set()
    exact = Counter(whole.train.y[whole.train.rows].tolist())
    for count in (1, 7, 100, 539, 540):
        data = thinned(labels, count)
        assert parts(data)[1:] == parts(whole)[1:]
        rows = set(data.train.rows.tolist())
        assert len(rows) == len(data.train) == count
        assert smaller <= rows <= set(whole.train.rows.tolist())
        found = Counter(data.train.y[data.train.rows].tolist())
        for label, many in exact.items():
            assert abs(found[label] - many * count / 540) < 1 or len(whole.train) != 540
        smaller = rows


def test_samples_are_drawn_by_the_seed_of_the_split():
    labels = uneven_labels([200, 100])
    first, again, other = (thinned(labels, 50, seed).train.rows.tolist() for seed in (1, 1, 2))
    assert first == again != other
    # A recorded run must find the same samples on another machine and in a later release.
    assert thinned([0, 1] * 12, 5, 7).train.rows.tolist() == [10, 13, 14, 18, 19]


def test_samples_as_a_share_and_all_of_them():
    labels = uneven_labels([300, 300])
    assert len(thinned(labels, "5%").train) == 18
    assert len(thinned(labels, "12.5 %").train) == 45
    assert len(thinned(labels, 20.0).train) == 20
    assert parts(thinned(labels, "100%")) == parts(thinned(labels, None))
    assert parts(thinned(labels, 360)) == parts(thinned(labels, None))


def test_samples_of_a_regression_are_nested_and_leave_the_scale():
    made = replace(source([0] * 200, classes=()), scale_targets=True)
    whole, some, few = (split.make(made, "60/20/20", samples=n) for n in (None, 50, "10%"))
    assert (len(whole.train), len(some.train), len(few.train)) == (120, 50, 12)
    assert set(few.train.rows.tolist()) < set(some.train.rows.tolist())
    assert torch.equal(whole.scale.std, few.scale.std), "losses can be compared"
    assert parts(whole)[1:] == parts(few)[1:]


def test_fewer_samples_than_classes_are_said_in_one_line(caplog):
    thinned(uneven_labels([60] * 8), 5)
    [said] = caplog.messages
    assert said.startswith("data.samples=5: 3 of 8 classes have no sample among the 5 to train on")
    caplog.clear()
    thinned(uneven_labels([60] * 8), 8)
    assert not caplog.messages


def test_thinning_does_not_change_which_leaks_are_dropped():
    whole = split.make(leaking(), leaks="drop")
    few = split.make(leaking(), leaks="drop", samples=2)
    assert parts(few)[1:] == parts(whole)[1:]
    assert len(few.train) == 2


@pytest.mark.parametrize(("train_dev", "size"), [("5%", 18), (50, 50)])
def test_train_dev_is_taken_from_train_alone(train_dev, size):
    labels = uneven_labels([300, 200, 100])
    whole, held = thinned(labels, None), thinned(labels, None, train_dev=train_dev)
    assert parts(held)[1:] == parts(whole)[1:]
    rows = held.splits["train_dev"].rows.tolist()
    assert len(rows) == size
    assert sorted(rows + held.train.rows.tolist()) == whole.train.rows.tolist()
    for label, count in enumerate([180, 120, 60]):
        assert abs(sum(labels[row] == label for row in rows) - count * size / 360) < 1
    few = thinned(labels, 10, train_dev=train_dev)
    assert few.splits["train_dev"].rows.tolist() == rows, "the same for any number of samples"
    assert not {*few.train.rows.tolist()} & {*rows}
    assert thinned(labels, None).extra == {}


def test_leaks_between_train_and_train_dev_are_found(caplog):
    hashes = [row // 2 for row in range(40)]
    made = source([0, 1] * 20, {"train": list(range(40))}, hashes)
    data = split.make(made, val=0, train_dev=10, leaks="drop")
    seen = {hashes[row] for row in data.train.rows.tolist()}
    assert not seen & {hashes[row] for row in data.splits["train_dev"].rows.tolist()}
    assert "samples of train_dev are identical to samples of train" in caplog.text
    assert len(data.train) == 30


def test_sizes_are_exact_and_stratified():
    labels = uneven_labels([101, 203, 306, 390])
    for sizes in ("700/200/100", [555, 222, 223], "998/1/1", "600/400/0"):
        data = split.make(source(labels), sizes)
        wanted = [int(n) for n in (sizes.split("/") if isinstance(sizes, str) else sizes)]
        assert [len(part) for part in parts(data)] == wanted
        assert sorted(chain(*parts(data))) == list(range(1000))
        for rows, size in zip(parts(data), wanted, strict=True):
            found = Counter(labels[row] for row in rows)
            assert all(abs(found[label] - n * size / 1000) < 1 for label, n in enumerate(data_of))


data_of = [101, 203, 306, 390]


def test_a_split_that_the_source_gives_in_that_size_is_kept(caplog):
    given = {"train": list(range(70)), "test": list(range(70, 100))}
    made = source([0, 1] * 50, given)
    data = split.make(replace(made, x=made.x, name="mnist"), "60.0/10/30")
    assert parts(data)[2] != given["test"], "shares of 100 pool all"
    assert not caplog.messages
    given = {"train": list(range(80)), "test": list(range(80, 120))}
    data = split.make(source([0, 1] * 60, given), "65/15/40")
    assert parts(data)[2] == given["test"]
    assert sorted(parts(data)[0] + parts(data)[1]) == given["train"]
    assert (len(data.train), len(data.val)) == (65, 15)
    assert "data.split: test is the 40 samples that made comes with as test" in caplog.text
    data = split.make(source([0, 1] * 60, given), "80/0/40")
    assert parts(data) == [given["train"], [], given["test"]]
    assert caplog.messages[1:] == ["data.split: the splits are those that made comes with"]
    pooled = split.make(source([0, 1] * 60, given), "70/20/30")
    assert [len(part) for part in parts(pooled)] == [70, 20, 30]
    assert set(parts(pooled)[2]) - set(given["test"])


def test_the_sizes_of_all_splits_that_the_source_gives_leave_nothing_to_deal(caplog):
    given = {"train": list(range(40, 120)), "val": list(range(30)), "test": list(range(30, 40))}
    for groups in (None, torch.arange(120) // 10):
        caplog.clear()
        made = replace(source([0, 1] * 60, given), groups=groups)
        assert parts(split.make(made, "80/30/10")) == list(given.values())
        assert caplog.messages == ["data.split: the splits are those that made comes with"]


@pytest.mark.parametrize(
    ("sizes", "total"), [("15/3/1", "19"), ([0.5, 0.2, 0.2], "0.9"), ("15.5/3/1.5", "20")]
)
def test_what_sums_to_nothing_gives_the_sum_and_the_size(sizes, total):
    with pytest.raises(ValueError, match=rf"^split must .*100.*, which sum to {total}$"):
        split.make(source([0, 1] * 10), sizes)
    if "." not in str(sizes):
        with pytest.raises(ValueError, match="whole numbers that sum to the set's 20 samples"):
            split.make(source([0, 1] * 10), sizes)


def grouped(sizes, classes=None, seed=0):
    """A source with groups of these sizes, their rows mixed."""
    groups = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed))
    return replace(source([0, 1] * (len(groups) // 2), classes=classes), groups=groups[order])


def test_a_group_stays_in_one_split():
    made = grouped([1 + n % 9 for n in range(80)])
    data = split.make(made, "60/20/20", train_dev="10%")
    found = [{*made.groups[some.rows].tolist()} for some in data.splits.values()]
    assert sum(map(len, found)) == 80
    assert sorted(chain(*(some.rows.tolist() for some in data.splits.values()))) == list(
        range(len(made.x))
    )
    total = len(made.x)
    assert abs(len(data.val) - 0.2 * total) < 1
    assert abs(len(data.test) - 0.2 * total) < 1
    again, other = (split.make(made, "60/20/20", split_seed=s, train_dev="10%") for s in (0, 1))
    assert parts(again) == parts(data) != parts(other)
    assert torch.equal(data.groups, made.groups)


def test_groups_keep_the_classes_in_splits_and_folds():
    made = grouped([1 + n % 9 for n in range(80)])
    made = replace(made, y=(made.groups % 4 == 0).long())
    share = made.y.float().mean()
    dealt = [*split.make(made, "60/20/20").splits.values()]
    rows = [part.rows for part in dealt]
    rows += map(torch.from_numpy, split.folds(made.y, 5, seed=0, groups=made.groups))
    rows.append(torch.from_numpy(split.part(made.y, 100, seed=0, groups=made.groups)))
    for some in rows:
        assert abs(made.y[some].float().mean() - share) < 0.04


def test_groups_that_cannot_come_near_are_said(caplog):
    data = split.make(grouped([70, 10, 10, 10]), "60/20/20")
    assert [len(part) for part in parts(data)] == [70, 20, 10] or len(data.test) == 20
    assert "4 groups in 100 samples leave 70 for train" in caplog.text
    caplog.clear()
    split.make(grouped([4] * 30), "60/40/20")
    assert not caplog.messages
    split.make(grouped([4] * 30), "61/39/20")
    assert "30 groups in 120 samples leave 60 for train, 40 for val, 20 for test" in caplog.text
    with pytest.raises(Mistake, match="2 groups in 20 samples are too large to leave any for"):
        split.make(grouped([10, 10]), "60/20/20")
    with pytest.raises(Mistake, match="1 group in 20 samples is too large to leave any for"):
        split.make(grouped([20]), "60/20/20")


def test_one_small_class_is_said_in_the_singular(caplog):
    split.make(source([0] * 30 + [1] * 30 + [2] * 2), "60/20/20")
    assert "1 of 3 classes has too few samples to be in each of 3 splits" in caplog.text


def test_a_class_that_groups_take_out_of_train_is_said(caplog):
    made = grouped([60] + [10] * 4)
    made = replace(made, y=(made.groups == 0).long())
    split.make(made, "20/60/20")
    assert "data.split: 1 of 2 classes has no sample among the 20 to train on (c1)" in caplog.text


@pytest.mark.parametrize("count", [2, 5, 7])
@pytest.mark.parametrize("counts", [[50, 50], [7, 103, 28, 3, 99], [9] * 20])
def test_folds_have_the_properties_of_stratified_k_fold(counts, count):
    labels = np.array(uneven_labels(counts))
    found = split.folds(labels, count, seed=3)
    assert sorted(chain(*found)) == list(range(len(labels)))
    assert np.ptp([len(fold) for fold in found]) <= 1
    shares = np.array([np.bincount(labels[fold], minlength=len(counts)) for fold in found])
    assert (np.abs(shares - np.array(counts) / count) < 1).all()
    model = StratifiedKFold(count, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes with fewer samples than folds
        theirs = [fold for _, fold in model.split(labels, labels)]
    their_shares = [np.bincount(labels[fold], minlength=len(counts)) for fold in theirs]
    assert sorted(map(len, found)) == sorted(map(len, theirs)) or np.ptp([*map(len, theirs)]) > 1
    np.testing.assert_array_equal(np.sort(shares, 0), np.sort(their_shares, 0))


def test_folds_of_numbers_and_of_several_targets_are_dealt_at_random():
    for y in (np.arange(50) / 3, np.zeros((50, 2), np.float32), torch.rand(50)):
        found = split.folds(y, 4, seed=0)
        assert sorted(chain(*found)) == list(range(50))
        assert sorted(map(len, found)) == [12, 12, 13, 13]
        assert any((np.diff(fold) != 4).any() for fold in found)


def test_folds_keep_groups_whole_as_group_k_fold_does():
    made = grouped([1 + n * n % 13 for n in range(40)])
    groups = made.groups.numpy()
    found = split.folds(made.y, 5, seed=0, groups=made.groups)
    assert sorted(chain(*found)) == list(range(len(groups)))
    assert sum(len({*groups[fold]}) for fold in found) == 40
    theirs = [len(fold) for _, fold in GroupKFold(5).split(groups, groups=groups)]
    assert np.ptp([len(fold) for fold in found]) <= max(1, np.ptp(theirs))
    alone = split.folds(np.zeros(23), 5, seed=0, groups=np.arange(23))
    assert sorted(map(len, alone)) == [4, 4, 5, 5, 5]


def test_folds_are_decided_by_their_seed_alone():
    labels = np.array(uneven_labels([30, 40]))
    first, again, other = (split.folds(labels, 5, seed) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any(len(a) != len(b) or (a != b).any() for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("count", [1, 0, 9])
def test_as_many_folds_as_there_are_samples_or_groups(count):
    with pytest.raises(
        ValueError, match=f"folds must be from 2 to 8, as many as samples, .*{count}"
    ):
        split.folds(np.zeros(8), count, 0)
    with pytest.raises(ValueError, match="as many as groups"):
        split.folds(np.zeros(20), count, 0, groups=np.arange(20) % 8)


def test_a_bootstrap_draws_with_replacement_and_says_what_is_left():
    rows, left = split.bootstrap(10_000, seed=0)
    assert len(rows) == 10_000
    assert not np.isin(left, rows).any()
    assert len(left) + len(np.unique(rows)) == 10_000
    assert len(left) / 10_000 == pytest.approx(1 / math.e, abs=0.015)
    times = np.bincount(np.unique(rows, return_counts=True)[1])
    assert times[1] / 10_000 == pytest.approx(1 / math.e, abs=0.015)  # Poisson with mean 1
    assert (split.bootstrap(10_000, seed=0)[0] == rows).all()
    assert (split.bootstrap(10_000, seed=1)[0] != rows).any()


def test_a_bootstrap_of_groups_draws_them_whole():
    groups = np.arange(60) // 3
    rows, left = split.bootstrap(60, seed=2, groups=groups)
    assert len(rows) == 60
    assert not {*groups[rows]} & {*groups[left]}
    counts = np.bincount(rows, minlength=60).reshape(20, 3)
    assert (counts == counts[:, :1]).all()
    assert len(left)
