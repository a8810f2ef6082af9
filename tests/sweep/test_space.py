"""The overrides of a sweep as dimensions, and the points of a grid."""

import random

import pytest

from dlrun.errors import Mistake
from dlrun.recipe import compose
from dlrun.record.sweep import Dimension, without_noise
from dlrun.sweep import space


@pytest.mark.parametrize(
    ("word", "kind", "scale", "low", "high", "choices"),
    [
        ("optimizer.lr=interval(0.001,0.1)", "float", "linear", 0.001, 0.1, ()),
        ("optimizer.lr=tag(log,interval(1e-6,1e-3))", "float", "log", 1e-6, 1e-3, ()),
        ("batch_size=interval(16,64)", "int", "linear", 16, 64, ()),
        ("batch_size=tag(log,int(interval(16,64)))", "int", "log", 16, 64, ()),
        ("batch_size=float(interval(16,64))", "float", "linear", 16, 64, ()),
        ("batch_size=interval(16.0,64)", "float", "linear", 16, 64, ()),
        ("optimizer.lr=interval(0,1)", "float", "linear", 0, 1, ()),
        ("batch_size=range(16,65,16)", "int", "linear", 16, 64, ()),
        ("optimizer.lr=range(0.1,0.5,0.1)", "float", "linear", 0.1, 0.4, ()),
        ("optimizer.lr=0.1,0.01", "categorical", "linear", None, None, (0.1, 0.01)),
        ("optimizer=choice(sgd,adam,sgd)", "categorical", "linear", None, None, ("sgd", "adam")),
        (
            "regularization=[l2],[dropout]",
            "categorical",
            "linear",
            None,
            None,
            (["l2"], ["dropout"]),
        ),
        (
            "schedule=glob(c*)",
            "categorical",
            "linear",
            None,
            None,
            ("constant", "cosine", "cyclic"),
        ),
        ("test=true,false", "categorical", "linear", None, None, (True, False)),
    ],
)
def test_a_word_becomes_a_dimension(planned, word, kind, scale, low, high, choices):
    [found] = planned(word, "sweep=random").space.dimensions
    assert found.key == word.partition("=")[0]
    assert (found.kind, found.scale, found.choices) == (kind, scale, choices)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.proves("sweep=grid")
def test_a_grid_is_the_product_in_the_order_typed(planned):
    plan = planned("optimizer=sgd,adam", "batch_size=range(8,25,8)", "epochs=3")
    points = [plan.space.overrides(values) for values in plan.space.grid()]
    assert points == [
        [f"optimizer={o}", f"batch_size={b}"] for o in ("sgd", "adam") for b in (8, 16, 24)
    ]
    assert list(plan.words) == ["epochs=3"]


def test_values_of_a_zip_may_come_again(planned):
    words = ("batch_size=8,8,16,8", "seed=3,4,5,3", "sweep.zip=[batch_size,seed]")
    points = planned(*words).space.grid()
    assert [(p["batch_size"], p["seed"]) for p in points] == [(8, 3), (8, 4), (16, 5)]
    assert len(planned("batch_size=8,8,16").space.grid()) == 2


def test_values_of_a_zip_that_agree_to_four_digits_are_several(planned):
    words = ("optimizer.momentum=0.99999,0.999999", "optimizer.lr=0.1,0.1")
    points = planned(*words, "sweep.zip=[optimizer.momentum,optimizer.lr]").space.grid()
    assert [point["optimizer.momentum"] for point in points] == [0.99999, 0.999999]


def test_zipped_keys_advance_together(planned):
    words = ["optimizer=sgd,adam", "optimizer.lr=0.1,0.001", "seed=0,1"]
    plan = planned(*words, "sweep.zip=[[optimizer,optimizer.lr]]")
    points = [tuple(values.values()) for values in plan.space.grid()]
    assert points == [("sgd", 0.1, 0), ("sgd", 0.1, 1), ("adam", 0.001, 0), ("adam", 0.001, 1)]
    assert planned(*words, "sweep.zip=[optimizer,optimizer.lr]").space.grid() == plan.space.grid()


def test_a_later_word_of_a_key_holds(planned):
    assert not planned("seed=0,1", "seed=7").space.dimensions
    [one] = planned("seed=7", "seed=0,1").space.dimensions
    assert one.choices == (0, 1)


def test_a_shuffle_is_the_same_every_time(planned):
    word = "seed=shuffle(range(0,20))"
    first, again = (planned(word).space.dimensions[0].choices for _ in range(2))
    assert first == again
    assert sorted(first) == list(range(20))
    assert first != tuple(range(20))
    assert planned(word, "sweep.seed=1").space.dimensions[0].choices != first


def test_every_dimension_can_be_typed_again(planned):
    words = [
        "optimizer.lr=tag(log,interval(1e-06,0.001))",
        "batch_size=range(16,65,16)",
        "model.hidden=[50],[100,50]",
        "accumulate=int(interval(1,4))",
        "warmup='2 epochs','3 epochs'",
    ]
    found = planned(*words, "sweep=random").space.dimensions
    again = planned(*(one.word() for one in found), "sweep=random").space.dimensions
    assert found == again


def test_steps_of_a_float_are_typed_again_as_they_are(planned):
    [one] = planned("optimizer.lr=range(0.1,0.25,0.1)").space.dimensions
    assert one.listed == [0.1, 0.2]
    assert one.word() == "optimizer.lr=range(0.1,0.25,0.1)"
    [three] = planned("optimizer.lr=range(0.1,0.4,0.1)").space.dimensions
    assert three.listed == [0.1, 0.2, 0.3], "without the noise of adding"


def test_any_space_can_be_typed_again(planned):
    draw = random.Random(0)
    base = planned("seed=0,1").base
    with compose.composer([]) as composer:
        for _ in range(300):
            one = drawn(draw)
            [again] = space.build(space.read(composer, [one.word()])[1], base, [], 0).dimensions
            assert again == one, one.word()
            assert again.listed == one.listed


def drawn(draw: random.Random) -> Dimension:
    """Any range of numbers, whole, in steps, or on a logarithmic scale."""
    key = draw.choice(["optimizer.lr", "clip_norm"])
    if draw.random() < 0.3:
        low, step = draw.randint(-9, 9), draw.randint(1, 5)
        return Dimension(key, "int", "linear", low, low + step * draw.randint(1, 9), step)
    low = float(f"{10 ** draw.uniform(-6, 2):.{draw.randint(1, 8)}g}")
    if draw.random() < 0.5:
        step = draw.choice([0.1, 0.25, 0.3, 0.7, 0.001, 1e-5])
        high = without_noise(low + step * draw.randint(1, 12))
        return Dimension(key, "float", "linear", low, high, step)
    high = float(f"{low * draw.uniform(1.5, 1e4):.{draw.randint(2, 8)}g}")
    scale = draw.choice(["linear", "log"])
    if high.is_integer() and low.is_integer():
        return Dimension(key, "int", "log", 1, int(high) + 1)
    return Dimension(key, "float", scale, low, high)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["optimizer.lr=interval(0,1)"], "needs a sampler"),
        (
            ["sweep=random", "optimizer.lr=tag(lgo,interval(0.1,1))"],
            "no tag is called .lgo.; there is log",
        ),
        (["sweep=random", "optimizer.lr=interval(1,0.1)"], "the smaller one"),
        (["sweep=random", "optimizer.lr=int(interval(0.2,0.7))"], "leaves no two whole numbers"),
        (["sweep=random", "optimizer.lr=tag(log,interval(0,1))"], "begin above 0"),
        (
            ["seed=0,1", "batch_size=8,16,32", "sweep.zip=[seed,batch_size]"],
            "seed has 2, batch_size has 3",
        ),
        (["seed=0,1", "sweep.zip=[seed,epochs]"], "epochs has no list of values"),
        (["optimizer=glob(x*)"], "leaves no value"),
        (["sweep=random,tpe"], "cannot itself be swept"),
        (["sweep.trials=1,2"], "cannot itself be swept"),
    ],
)
def test_what_cannot_be_searched_is_said(planned, words, what):
    with pytest.raises(Mistake, match=what):
        planned(*words).total()
