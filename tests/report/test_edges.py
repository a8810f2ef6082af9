"""Edges of ranges against planted cases, and against cases in which nothing must be said."""

import random
from dataclasses import replace

import pytest

from dlrun.record.sweep import Dimension
from dlrun.report import edges
from dlrun.report.evidence import importances
from tests.report.conftest import LR, WIDTH, grid, peak

DROPOUT = Dimension("dropout.rate", "float", "linear", 0.0, 0.9)
ALONE = {"optimizer.lr": 0.98, "l2": 0.02}


def test_a_best_value_at_the_upper_edge_is_to_be_widened(drawn):
    found = edges.at_the_edge(drawn(peak(1.0)), ALONE)
    assert found[0].name == "at_the_edge"
    assert len(found) == 1
    assert "best optimizer.lr" in found[0].text
    assert "upper edge" in found[0].text
    assert "'optimizer.lr=tag(log,interval(0.0001,1.0))'" in found[0].command
    assert found[0].command.startswith("dlrun -m sweep=random sweep.trials=20 model=mlp ")
    assert "l2=tag(log,interval(1e-06,1.0))" in found[0].command


def test_a_best_value_at_the_lower_edge_is_to_be_widened(drawn):
    found = edges.at_the_edge(drawn(peak(-6.0)), ALONE)
    assert "lower edge" in found[0].text
    assert "optimizer.lr=tag(log,interval(1e-5,0.1))" in found[0].command


@pytest.mark.parametrize(
    ("place", "said"), [(0.96, True), (0.94, False), (0.04, True), (0.06, False)]
)
def test_the_edge_is_five_percent_of_the_range_on_its_own_scale(sweep, point, place, said):
    values = [10 ** (-4 + 3 * each) for each in (place, 0.3, 0.5, 0.02, 0.98)]
    points = [point(n, {"optimizer.lr": lr}, 0.9 - n / 10) for n, lr in enumerate(values)]
    assert bool(edges.at_the_edge(sweep([LR], points), {})) is said


def test_the_outermost_value_that_was_tried_may_lie_further_in(sweep, point):
    def made(*places, status="FINISHED"):
        points = [
            point(n, {"optimizer.lr": 10 ** (-4 + 3 * each)}, 0.9 - n / 10)
            for n, each in enumerate(places)
        ]
        points[-1] = replace(points[-1], status=status)
        return sweep([LR], points)

    assert edges.at_the_edge(made(0.88, 0.1, 0.5, 0.7), {}) != []
    assert edges.at_the_edge(made(0.88, 0.1, 0.5, 0.9), {}) == []
    assert edges.at_the_edge(made(0.82, 0.1, 0.5, 0.7), {}) == []
    assert edges.at_the_edge(made(0.97, 0.1, 0.5, 0.99), {}) != []
    assert edges.at_the_edge(made(0.97, 0.1, 0.5, 0.99, status="FAILED"), {}) == []
    assert edges.at_the_edge(made(0.97, 0.1, 0.5, 0.7, status="FAILED"), {}) != []


def test_the_least_loss_is_the_best_where_the_objective_is_one(sweep, point):
    points = [point(n, {"optimizer.lr": lr}, lr) for n, lr in enumerate([1.1e-4, 1e-3, 9e-2])]
    found = edges.at_the_edge(sweep([LR], points, objective="val/loss"), {})
    assert "lower edge" in found[0].text


@pytest.mark.parametrize("seed", range(5))
def test_a_best_value_inside_is_no_edge(drawn, seed):
    assert edges.at_the_edge(drawn(peak(-2.5), seed=seed, dimensions=(LR,)), {}) == []


def test_an_edge_of_what_hardly_matters_is_not_said(drawn):
    planted = drawn(peak(1.0), dimensions=(LR,))
    assert edges.at_the_edge(planted, {"optimizer.lr": 0.06}) != []
    assert edges.at_the_edge(planted, {"optimizer.lr": 0.04}) == []


@pytest.mark.parametrize("at", [1.0, -6.0])
def test_a_best_value_beyond_the_edge_is_found_from_22_random_points(drawn, at):
    found = wrong = 0
    for seed in range(10):
        planted = drawn(peak(at), seed=seed)
        said = [finding.text for finding in edges.at_the_edge(planted, importances(planted))]
        found += any(text.startswith("The best optimizer.lr") for text in said)
        wrong += any(text.startswith("The best l2") for text in said)
    assert found == 10
    assert wrong <= 1  # where chance gives it a part of the variation


def test_an_edge_is_not_said_where_an_inner_point_is_as_good(sweep, point):
    points = [
        point(0, {"optimizer.lr": 0.099}, 0.90, 0.92),
        point(1, {"optimizer.lr": 0.01}, 0.90, 0.915),
        point(2, {"optimizer.lr": 0.001}, 0.5, 0.51),
    ]
    assert edges.at_the_edge(sweep([LR], points), {}) == []
    apart = [points[0], point(1, {"optimizer.lr": 0.01}, 0.7, 0.71), points[2]]
    assert len(edges.at_the_edge(sweep([LR], apart), {})) == 1


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("many", [5, None])
@pytest.mark.parametrize(("gain", "least", "most"), [(0.0, 0.0, 0.06), (0.3, 0.65, 1.0)])
def test_an_edge_is_seldom_drawn_from_noise(sweep, point, many, repeats, gain, least, most):
    """Accuracies of 360 samples, which rise over the whole range by `gain`, or not at all."""
    listed = replace(LR, kind="categorical", low=None, high=None)
    listed = replace(listed, choices=(1e-4, 1e-3, 1e-2, 1e-1, 1.0)) if many else LR
    draw, said = random.Random(0), 0
    for _ in range(200):
        values = listed.choices or [10 ** draw.uniform(-4, -1) for _ in range(20)]
        points = []
        for trial, value in enumerate(values):
            right = 0.65 + gain * listed.place(value)
            scores = [sum(draw.random() < right for _ in range(360)) / 360 for _ in range(repeats)]
            points.append(point(trial, {"optimizer.lr": value}, *scores, samples=360))
        said += bool(edges.at_the_edge(sweep([listed], points), {}))
    assert least * 200 <= said <= most * 200


def test_what_ends_for_good_is_not_widened(sweep, point):
    lowest = [point(n, {"dropout.rate": rate}, 1 - rate) for n, rate in enumerate([0.01, 0.4, 0.8])]
    assert edges.at_the_edge(sweep([DROPOUT], lowest), {}) == []
    highest = [point(n, {"dropout.rate": rate}, rate) for n, rate in enumerate([0.01, 0.4, 0.89])]
    found = edges.at_the_edge(sweep([DROPOUT], highest), {})
    assert "dropout.rate=interval(0.0,0.95)" in found[0].command  # no rate of 1
    one = replace(DROPOUT, low=0.1, high=1.0)
    assert (
        edges.at_the_edge(sweep([one], [*highest[1:], point(9, {"dropout.rate": 1.0}, 2)]), {})
        == []
    )


def test_whole_numbers_stay_whole(sweep, point):
    points = [point(n, {"width": width}, width) for n, width in enumerate([8, 20, 64])]
    found = edges.at_the_edge(sweep([WIDTH], points), {})
    assert "width=int(interval(8,92))" in found[0].command
    stepped = replace(WIDTH, step=8)
    found = edges.at_the_edge(sweep([stepped], points), {})
    assert "width=range(8,104,8)" in found[0].command  # 8, 16 … 96
    layers = Dimension("layers", "int", "log", 1, 8)
    fewest = [point(n, {"layers": many}, -many) for n, many in enumerate([1, 3, 8])]
    assert edges.at_the_edge(sweep([layers], fewest), {}) == []


def test_the_end_of_a_grid_goes_on_in_its_steps(sweep, point):
    rates = Dimension("optimizer.lr", choices=(0.001, 0.01, 0.1))
    found = edges.at_the_edge(grid(sweep, point, rates, [0.3, 0.5, 0.7]), {})
    assert found[0].command == "dlrun -m model=mlp optimizer.lr=0.1,1.0,10.0"
    coarse = Dimension("optimizer.lr", choices=(1e-6, 1e-3, 1.0))
    found = edges.at_the_edge(grid(sweep, point, coarse, [0.3, 0.5, 0.7]), {})
    assert found[0].command.endswith(" optimizer.lr=1,10.0,100.0"), "a decade a step, at most"
    found = edges.at_the_edge(grid(sweep, point, coarse, [0.7, 0.5, 0.3]), {})
    assert found[0].command.endswith(" optimizer.lr=1e-06,1e-7,1e-8")
    depth = Dimension("depth", choices=(2, 3, 4))
    found = edges.at_the_edge(grid(sweep, point, depth, [0.3, 0.5, 0.7]), {})
    assert found[0].command == "dlrun -m model=mlp depth=4,5,6"
    shares = Dimension("rate", choices=(0.7, 0.8, 0.9))
    found = edges.at_the_edge(grid(sweep, point, shares, [0.3, 0.5, 0.7]), {})
    assert found[0].command.endswith(" rate=0.9,0.95,0.97"), "half of what is left to 1"
    whole = Dimension("rate", choices=(0.5, 0.75, 1.0))
    assert edges.at_the_edge(grid(sweep, point, whole, [0.3, 0.5, 0.7]), {}) == []
    near = Dimension("optimizer.lr", choices=(0.100, 0.101, 0.102))
    found = edges.at_the_edge(grid(sweep, point, near, [0.3, 0.5, 0.7]), {})
    assert found[0].command.endswith(" optimizer.lr=0.102,0.103,0.104")
    assert edges.at_the_edge(grid(sweep, point, rates, [0.3, 0.7, 0.5]), {}) == []


def ranges(draw):
    """A range or a list of numbers, anywhere: wide or narrow, whole or not."""
    low = 10 ** draw.uniform(-6, 4) if draw.random() < 0.8 else -draw.uniform(0, 5)
    ratio = 1 + 10 ** draw.uniform(-4, 3)
    if draw.random() < 0.5:
        low = max(1, round(abs(low)))
        high = max(low + 2, round(low * ratio))
        listed = sorted({low, draw.randint(low + 1, high - 1), high})
        log = draw.random() < 0.5
        ranged = Dimension("width", "int", "log" if log else "linear", low, high)
    else:
        high = low * ratio if low > 0 else low + ratio
        listed = [low, draw.uniform(low, high), high]
        log = low > 0 and draw.random() < 0.5
        ranged = Dimension("rate", "float", "log" if log else "linear", low, high)
    if not log and low > 0 and draw.random() < 0.3:
        return replace(ranged, high=low + 3 * low, step=low)
    return ranged if draw.random() < 0.5 else Dimension("rate", choices=tuple(listed))


@pytest.mark.parametrize("up", [True, False])
def test_what_is_proposed_lies_beyond_the_edge(up):
    draw = random.Random(up)
    said = 0
    for _ in range(3000):
        one = ranges(draw)
        low, high = one.ends
        wider = edges._wider(one, up)
        if wider is None:
            assert (low <= 1 and not up) or (up and high <= 1) or one.ranged, one
            continue
        said += 1
        assert (wider[0] > high) if up else (wider[0] < low), one
        assert up or low <= 0 or wider[0] > 0, one
        assert wider[0] < 1 or not up or high >= 1 or low < 0 or one.log, one
        if not one.ranged:
            new = [float(word) for word in wider[1].partition("=")[2].split(",")]
            assert new == sorted(set(new), reverse=not up), one
            assert all(isinstance(c, float) for c in one.choices) or wider[0] == int(wider[0])
    assert said > 1500


def test_two_values_and_names_have_no_edge(sweep, point):
    two = Dimension("optimizer.lr", choices=(0.01, 0.1))
    assert edges.at_the_edge(grid(sweep, point, two, [0.3, 0.7]), {}) == []
    names = Dimension("optimizer", choices=("adam", "rmsprop", "sgd"))
    assert edges.at_the_edge(grid(sweep, point, names, [0.3, 0.5, 0.7]), {}) == []
    zipped = Dimension("optimizer.lr", choices=(0.001, 0.01, 0.1), zip=0)
    assert edges.at_the_edge(grid(sweep, point, zipped, [0.3, 0.5, 0.7]), {}) == []


def test_an_edge_is_named_in_its_own_digits(sweep, point):
    momentum = Dimension("momentum", choices=(0.9, 0.99, 0.9999))
    [found] = edges.at_the_edge(grid(sweep, point, momentum, [0.5, 0.6, 0.9]), {})
    assert "momentum, 0.9999," in found.text
    assert "(0.9 to 0.9999)" in found.text
