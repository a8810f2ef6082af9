"""Narrowing a space to where the best points are."""

import random
from math import log

import pytest

from dlrun.record.sweep import Dimension
from dlrun.sweep.space import Space
from tests.sweep.test_space import drawn


def test_narrowing_around_the_best(planned):
    plan = planned(
        *(
            "optimizer.lr=tag(log,interval(1e-6,1))",
            "batch_size=range(16,129,16)",
            "clip_norm=interval(1,9)",
        ),
        *("optimizer=sgd,adam,momentum", "sweep=random"),
    )
    best = [
        {"optimizer.lr": 1e-3, "batch_size": 48, "clip_norm": 8.5, "optimizer": "momentum"},
        {"optimizer.lr": 1e-2, "batch_size": 64, "clip_norm": 4.0, "optimizer": "sgd"},
    ]
    lr, batch, clip, optimizer = plan.space.around(best, 0.1).dimensions
    wide = 0.1 * log(1e6)
    assert log(lr.low) == pytest.approx(log(1e-3) - wide, rel=1e-3)
    assert log(lr.high) == pytest.approx(log(1e-2) + wide, rel=1e-3)
    assert (batch.low, batch.high) == (32, 80)
    assert (clip.low, clip.high) == (pytest.approx(3.2), 9.0), "never beyond the range"
    assert optimizer.choices == ("sgd", "momentum")


@pytest.mark.parametrize("scale", ["log", "linear"])
def test_rounding_leads_nowhere_beyond_the_range(scale):
    one = Dimension("a", "float", scale, 1.23444e-4, 9.87654)
    for value in (one.low, one.high):
        [found] = Space((one,)).around([{"a": value}], 0.1).dimensions
        assert one.low <= found.low < found.high <= one.high
        assert value in (found.low, found.high)


def test_any_space_stays_within_itself_and_holds_the_best():
    draw = random.Random(1)
    for _ in range(500):
        one = drawn(draw)
        values = one.listed or [float(f"{draw.uniform(one.low, one.high):.4g}") for _ in "1234"]
        values = [min(max(value, one.low), one.high) for value in values]
        best = [{one.key: value} for value in draw.sample(values, draw.randint(1, len(values)))]
        margin = draw.choice([0, 0.01, 0.1, 3])
        [found] = Space((one,)).around(best, margin).dimensions
        assert one.low <= found.low <= found.high <= one.high
        assert set(found.listed) <= set(one.listed)
        places = [point[one.key] for point in best]
        lowest, highest = min(places), max(places)
        assert found.low < lowest or found.low == pytest.approx(lowest, rel=1e-3)
        assert found.high > highest or found.high == pytest.approx(highest, rel=1e-3)


@pytest.mark.parametrize(
    ("one", "best", "word"),
    [
        (Dimension("batch_size", "int", "linear", 1, 3), 2, "batch_size=2"),
        (Dimension("a", "float", "linear", 0.1, 0.5, 0.1, prefix="+"), 0.3, "+a=0.3"),
        (Dimension("a", "float", "log", 0.1, 0.5), 0.25, "a=0.25"),
    ],
)
def test_a_single_value_that_is_left_is_typed_as_one(one, best, word):
    [found] = Space((one,)).around([{one.key: best}], 0).dimensions
    assert found.word() == word


@pytest.mark.parametrize(
    ("listed", "best", "finer"),
    [
        ((0.001, 0.01, 0.1, 1.0), 0.1, (0.05, 0.1, 0.2, 0.3)),
        ((0.001, 0.01, 0.1, 1.0), 1.0, (0.5, 1.0, 2.0, 3.0)),
        ((0.001, 0.01, 0.1), 0.001, (0.0005, 0.001, 0.002, 0.003)),
        ((0.1, 0.2, 0.4), 0.2, (0.14, 0.2, 0.28)),
        ((8, 64, 512), 64, (32, 64, 128, 192)),
        ((1, 2, 3), 1, (1,)),
    ],
)
def test_a_list_is_refined_between_and_beside_the_best(listed, best, finer):
    one = Dimension("a", "float", "linear", choices=listed, typed=tuple(map(str, listed)))
    [found] = Space((one,)).around([{"a": best}], 0.1, refine=True).dimensions
    assert found.choices == finer
    assert found.word() == f"a={','.join(map(str, finer))}"
    [kept] = Space((one,)).around([{"a": best}], 0.1).dimensions
    assert kept.choices == (best,)


def test_what_is_zipped_stays_whole(planned):
    words = ["batch_size=range(8,33,8)", "accumulate=range(1,5,1)"]
    plan = planned(*words, "sweep.zip=[batch_size,accumulate]")
    found = plan.space.around([{"batch_size": 8, "accumulate": 1}], 0.1)
    assert found.dimensions == plan.space.dimensions
