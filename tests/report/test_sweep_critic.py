"""The critic against planted cases, and against cases in which it must stay silent."""

import itertools
import math
import random
import statistics
from dataclasses import replace

import pytest
from scipy import stats

from dlrun.record.sweep import Dimension, number
from dlrun.report import commands, critic, evidence, page, plots
from dlrun.report.evidence import importances
from tests.report.conftest import L2, LR, WIDTH, grid, peak


def unpaired(point):
    """The same point, run with seeds that no other point has."""
    return replace(point, runs=[replace(run, seed=100 + run.seed) for run in point.runs])


def test_the_best_two_within_their_noise_are_to_be_repeated(sweep, point):
    points = [
        point(0, {"optimizer.lr": 0.01, "l2": 0.1}, 0.90, 0.94, 0.92),
        unpaired(point(1, {"optimizer.lr": 0.02, "l2": 0.1}, 0.89, 0.93, 0.91)),
    ]
    found = critic.within_noise(sweep([LR, L2], points))
    assert "0.92 ± 0.012" in found[0].text
    assert (
        "differ by 0.01; two standard errors of val/accuracy are 0.033 over 3 seeds each"
        in found[0].text
    )
    # The difference is 0.01, its error √2·0.02/√n: 2 errors at n = 32, more than is proposed.
    assert "7 more seeds" in found[0].text
    assert found[0].command == "dlrun -m model=mlp optimizer.lr=0.01,0.02 l2=0.1 sweep.repeats=10"


def test_points_that_differ_in_several_values_are_compared_as_they_are(sweep, point):
    values = [{"optimizer.lr": 0.01, "l2": 0.1}, {"optimizer.lr": 0.02, "l2": 0.3}]
    points = [
        point(n, each, *scores)
        for n, (each, scores) in enumerate(zip(values, [(0.9, 0.92), (0.91, 0.9)], strict=True))
    ]
    found = critic.within_noise(sweep([LR, L2], points))
    assert "optimizer.lr=0.01,0.02 l2=0.1,0.3 'sweep.zip=[[optimizer.lr,l2]]'" in found[0].command


def test_the_seeds_proposed_are_those_that_would_tell_the_two_apart(sweep, point):
    points = [
        point(0, {"optimizer.lr": 0.01}, 0.91, 0.93, 0.92),
        unpaired(point(1, {"optimizer.lr": 0.02}, 0.90, 0.92, 0.91)),
    ]
    found = critic.within_noise(sweep([LR], points))
    assert "sweep.repeats=8" in found[0].command  # 2·√2·0.01/√8 = 0.01


@pytest.mark.parametrize("objective", ["val/accuracy", "val/loss"])
@pytest.mark.parametrize("many", [2, 3, 5, 20])
def test_paired_seeds_are_compared_as_student_does(sweep, point, many, objective):
    draw = random.Random(many)
    luck = [draw.gauss(0.8, 0.05) for _ in range(many)]  # of a seed, alike for both
    here = [each + draw.gauss(0.01, 0.01) for each in luck]
    there = [each + draw.gauss(0.0, 0.01) for each in luck]
    points = [point(0, {"optimizer.lr": 0.01}, *here), point(1, {"optimizer.lr": 0.02}, *there)]
    made = sweep([LR], points, objective=objective)
    apart = evidence.difference(made, *points)
    sign = 1 if objective == "val/accuracy" else -1
    known = stats.ttest_rel(here, there)
    ends = sorted(sign * end for end in known.confidence_interval(0.95))
    assert apart.ends == pytest.approx(ends)
    assert apart.mean == pytest.approx(sign * (statistics.fmean(here) - statistics.fmean(there)))
    assert apart.decided == bool(known.pvalue < 0.05)
    assert apart.pairs == many


def test_the_seeds_wanted_are_the_fewest_that_decide(sweep, point):
    differences = [0.03, -0.01, 0.02, 0.0]
    points = [
        point(0, {"optimizer.lr": 0.01}, *(0.5 + each for each in differences)),
        point(1, {"optimizer.lr": 0.02}, *[0.5] * 4),
    ]
    apart = evidence.difference(sweep([LR], points), *points)
    mean, spread = statistics.fmean(differences), statistics.stdev(differences)
    decides = [n for n in range(5, 99) if mean > stats.t.ppf(0.975, n - 1) * spread / math.sqrt(n)]
    assert apart.wanted == decides[0] == 16
    [found] = critic.within_noise(sweep([LR], points))
    assert (
        "over the same 4 seeds the 95% interval of their difference in val/accuracy is -0.019 to "
        "0.039, so this may" in found.text
    )
    assert "About 12 more seeds would decide." in found.text
    assert found.command.endswith("optimizer.lr=0.01,0.02 sweep.repeats=16")


@pytest.mark.parametrize(
    ("seeds", "listed"), [((5, 6, 7), "5,6,7,8"), ((0, 9, 3), "0,3,9,12"), ((5,), None)]
)
def test_seeds_that_were_typed_are_kept_and_others_added(sweep, point, seeds, listed):
    """As `sweep.repeats` would train the seeds from the recipe's own on."""
    scores = [(0.91, 0.9, 0.92), (0.9, 0.905, 0.91)]
    points = [
        point(n, {"optimizer.lr": 0.01 * (n + 1)}, *some[: len(seeds)])
        for n, some in enumerate(scores)
    ]
    points = [
        replace(p, runs=[replace(run, seed=seed) for run, seed in zip(p.runs, seeds, strict=True)])
        for p in points
    ]
    command = commands.compare(sweep([LR], points, repeats=1), points, 4)
    assert command.endswith(f" seed={listed}" if listed else " sweep.repeats=4")
    repeated = commands.compare(sweep([LR], points, repeats=3), points, 4)
    assert repeated.endswith(" sweep.repeats=4"), "which begins with the same seed"


def test_what_a_seed_gives_to_both_is_no_noise(sweep, point):
    """The spread of each is ten times the difference, which every seed shows."""
    luck = (0.5, 0.6, 0.7, 0.8)
    points = [
        point(0, {"optimizer.lr": 0.01}, *(each + 0.01 + 0.001 * n for n, each in enumerate(luck))),
        point(1, {"optimizer.lr": 0.02}, *luck),
    ]
    assert critic.within_noise(sweep([LR], points)) == []
    assert len(critic.within_noise(sweep([LR], [points[0], unpaired(points[1])]))) == 1


def test_too_small_a_difference_is_not_to_be_decided(sweep, point):
    points = [
        point(0, {"optimizer.lr": 0.01}, 0.90, 0.80, 0.8501),
        point(1, {"optimizer.lr": 0.02}, 0.80, 0.90, 0.85),
    ]
    [found] = critic.within_noise(sweep([LR], points))
    assert "100 seeds would not be enough" in found.text
    assert (found.command, found.numbers["seeds"]) == ("", 0)


def test_seeds_that_agree_to_the_last_sample_are_not_certain(sweep, point):
    """Two accuracies of 100 samples that differ by one sample in each of two seeds."""
    points = [
        point(0, {"optimizer.lr": 0.01}, 0.91, 0.93, samples=100),
        point(1, {"optimizer.lr": 0.02}, 0.90, 0.92, samples=100),
    ]
    [found] = critic.within_noise(sweep([LR], points))
    assert "over the same 2 seeds" in found.text


def test_chance_is_seldom_taken_for_a_difference(sweep, point):
    draw = random.Random(1)
    said = 0
    for _ in range(400):
        luck = [draw.gauss(0.8, 0.05) for _ in range(3)]
        scores = [[each + draw.gauss(0, 0.01) for each in luck] for _ in range(2)]
        points = [point(n, {"optimizer.lr": 0.01 * (n + 1)}, *s) for n, s in enumerate(scores)]
        said += evidence.difference(sweep([LR], points), *points).decided
    assert 0.02 * 400 <= said <= 0.08 * 400


def test_the_best_two_apart_by_more_than_their_noise_are_not_said(sweep, point):
    points = [
        point(0, {"optimizer.lr": 0.01}, 0.91, 0.93, 0.92),
        point(1, {"optimizer.lr": 0.02}, 0.80, 0.82, 0.81),
    ]
    assert critic.within_noise(sweep([LR], points)) == []


@pytest.mark.parametrize(
    ("scores", "samples", "noise"),
    [
        ((0.90, 0.895), 360, 0.046),  # √(0.8956·0.1044/364 + 0.8907·0.1093/364) = 0.0229
        ((0.90, 0.86), 360, 0.049),
        ((0.90, 0.842), 360, None),
        ((0.90, 0.842), 100, 0.097),
        ((0.90, 0.895), 100_000, None),
        ((0.9, 0.9), 360, 0.045),
        ((1.0, 0.5), 360, None),
        ((1.0, 1.0), 20, 0.16),  # √2·√(22/24 · 2/24 / 24) = 0.0798, and not 0
    ],
)
def test_an_accuracy_measured_once_has_the_noise_of_its_samples(
    sweep, point, scores, samples, noise
):
    points = [
        point(n, {"optimizer.lr": 0.01 * (n + 1)}, score, samples=samples)
        for n, score in enumerate(scores)
    ]
    # What lies behind the best two changes nothing.
    worst = point(2, {"optimizer.lr": 0.09}, 0.1, samples=samples)
    for more in ([], [worst], [worst] * 9):
        found = critic.within_noise(sweep([LR], points + more))
        assert len(found) == (noise is not None)
        for finding in found:
            assert (
                f"two standard errors of val/accuracy are {noise} for accuracies of {samples}"
                in finding.text
            )
            gap = scores[0] - scores[1]
            assert (f"differ by {gap:.2g};" if gap else "score the same;") in finding.text
            assert finding.command.endswith("optimizer.lr=0.01,0.02 sweep.repeats=3")


def test_repeats_tell_the_noise_before_samples_do(sweep, point):
    points = [
        point(0, {"optimizer.lr": 0.01}, 0.92, 0.93, 0.94, samples=100),
        point(1, {"optimizer.lr": 0.02}, 0.90, 0.90, 0.90, samples=100),
    ]
    assert critic.within_noise(sweep([LR], [points[0], unpaired(points[1])])) == []
    points[1] = replace(points[1], runs=points[1].runs[:1])
    assert "two standard errors of val/accuracy are 0.064 for accuracies of 100 samples" in (
        critic.within_noise(sweep([LR], points))[0].text
    )


def test_the_error_that_a_procedure_knows_is_that_of_its_point(sweep, point):
    def folds(trial, mean, error):
        [run] = (made := point(trial, {"optimizer": "sgd" if trial else "adam"}, mean)).runs
        return replace(made, runs=[replace(run, error=error)])

    first, far, near = folds(0, 0.73, 0.02), folds(1, 0.37, 0.016), folds(1, 0.72, 0.016)
    names, objective = Dimension("optimizer", choices=("adam", "sgd")), "held_out/accuracy"
    assert page.score(first) == "0.7300 ± 0.0200"
    assert critic.within_noise(sweep([names], [first, far], objective=objective)) == []
    [found] = critic.within_noise(sweep([names], [first, near], objective=objective))
    assert found.numbers["noise"] == pytest.approx(2 * math.hypot(0.02, 0.016))
    assert "are 0.051 as their procedure gives them, so this may be chance" in found.text
    assert "trained once" not in found.text


def test_a_loss_that_was_measured_once_has_no_known_noise(sweep, point):
    points = [point(n, {"optimizer.lr": 0.01 * (n + 1)}, 0.5 + n, samples=360) for n in range(3)]
    found = critic.within_noise(sweep([LR], points, objective="val/loss"))
    assert "differ by 1; trained once, they don't tell how much of val/loss" in found[0].text
    assert found[0].command.endswith("optimizer.lr=0.01,0.02 sweep.repeats=3")


def test_choices_that_agree_to_four_digits_are_several(sweep, point):
    decay = Dimension("decay", choices=(0.999, 0.99999, 0.999999))
    made = grid(sweep, point, decay, [0.5, 0.9, 0.6], objective="val/loss")
    assert evidence.varied(replace(made, points=made.points[1:])) == [decay]
    first, _, last = made.points
    assert not evidence.alike(made, made.points[1], last)
    assert [cells for name, _, cells in page.ranking(made, 9) if name == "decay"] == [
        ["0.999", "0.999999", "0.99999"]
    ]
    labels = [each.label for each in (first, last)]
    assert labels == ["decay=0.999", "decay=0.999999"]
    svg = plots.coordinates(made)
    assert all(f">{value}<" in svg for value in ("0.999", "0.99999", "0.999999"))


def test_neighbours_are_not_to_be_compared(sweep, point):
    rates = [0.0100, 0.0102, 0.0096, 0.02]
    points = [
        point(n, {"optimizer.lr": rate, "optimizer": "sgd"}, 0.9 - n / 1000, samples=360)
        for n, rate in enumerate(rates)
    ]
    names = Dimension("optimizer", choices=("sgd", "adam"))
    found = critic.within_noise(sweep([LR, names], points))
    assert "the next that is not its neighbour (optimizer.lr=0.02 " in found[0].text
    assert "optimizer.lr=0.01,0.02 optimizer=sgd " in found[0].command
    assert critic.within_noise(sweep([LR, names], points[:3])) == []
    other = replace(points[1], values={"optimizer.lr": 0.0102, "optimizer": "adam"})
    found = critic.within_noise(sweep([LR, names], [points[0], other]))
    assert "and the next (" in found[0].text
    listed = Dimension("optimizer.lr", choices=(0.01, 0.0102))  # typed so, to be compared
    assert len(critic.within_noise(sweep([listed, names], points[:2]))) == 1


def test_what_has_no_effect_hardly_matters(drawn):
    said = []
    for seed in range(10):
        planted = drawn(peak(-1.5), many=40, seed=seed)
        found = critic.hardly_matters(planted, importances(planted))
        assert {each.name for each in found} <= {"hardly_matters"}
        said += [finding.text.split()[0] for finding in found]
        for finding in found:
            assert f" {planted.ranked[0].words['l2']}" in finding.command
            assert "l2=tag" not in finding.command
            assert "optimizer.lr=tag" in finding.command
    assert said == ["l2"] * len(said)
    assert len(said) >= 8


def test_what_has_an_effect_is_not_said_to_hardly_matter(drawn):
    def score(values, draw):
        return peak(-2.5)(values, draw) - 0.03 * (math.log10(values["l2"]) + 3) ** 2

    planted = drawn(score, many=40)
    assert critic.hardly_matters(planted, importances(planted)) == []
    # A small share alone is not enough: the ranks show the effect.
    clear = drawn(lambda values, draw: -math.log10(values["l2"]), many=40)
    assert critic.hardly_matters(clear, {"optimizer.lr": 0.97, "l2": 0.03}) == []
    assert critic.hardly_matters(drawn(peak(-2.0), many=9), {"l2": 0.01}) == []


def diverging(limit):
    def score(values, draw):
        return math.nan if values["optimizer.lr"] > limit else 0.5 + draw.gauss(0, 0.1)

    return score


def test_points_that_failed_above_a_rate(drawn):
    planted = drawn(diverging(0.02), many=30)
    found = critic.above_a_rate(planted)
    many = planted.counts()["FAILED"]
    assert f"{many} of the {many} points with optimizer.lr above" in found[0].text
    limit = float(found[0].text.split("above ")[1].split()[0])
    good = [p.values["optimizer.lr"] for p in planted.points if p.status == "FINISHED"]
    bad = [p.values["optimizer.lr"] for p in planted.points if p.status == "FAILED"]
    assert max(good) <= limit < min(bad)
    assert f"optimizer.lr=tag(log,interval(0.0001,{limit}))" in found[0].command


def test_points_that_collapsed_to_one_score_have_diverged(drawn):
    def score(values, draw):
        return 0.1 if values["optimizer.lr"] > 0.02 else 0.5 + draw.gauss(0, 0.1)

    planted = drawn(score, many=30)
    many = sum(point.scores == [0.1] for point in planted.points)
    found = critic.above_a_rate(planted)
    assert f"{many} of the {many} points with optimizer.lr above" in found[0].text


@pytest.mark.parametrize(
    ("best", "lossless", "lost"), [(1.0, 0.2, 0), (0.95, 0.2, 0), (1.0, 0.9, 0), (0.99, 0.9, 5)]
)
def test_what_shares_the_worst_score_need_not_have_diverged(sweep, point, best, lossless, lost):
    """Of 20 samples, or with a loss below that of the others, it may be as good as these."""
    samples = 400 if lost or best == 0.95 else 20
    points = [
        point(n, {"optimizer.lr": 0.001 * (n + 1)}, best - n / 1000, samples=samples, loss=0.4)
        for n in range(7)
    ]
    worst = 0.6 if lost else 0.9
    points += [
        point(n, {"optimizer.lr": 0.01 * n}, worst, samples=samples, loss=lossless)
        for n in range(7, 12)
    ]
    assert len(critic._lost(sweep([LR], points), {})) == lost


def test_points_with_a_loss_above_that_of_guessing_have_diverged(sweep, point):
    """One epoch of digits: above a rate of 0.3 accuracies about, and not at, a tenth."""
    found = {
        **{0.03: (0.8, 1.2), 0.1: (0.914, 0.32), 0.3: (0.911, 0.28), 3: (0.111, 2.43)},
        **{5: (0.1, 2.72), 10: (0.1, 2.51), 20: (0.1, 5.3), 50: (0.1, 16.6), 100: (0.2, 94)},
        200: (0.097, 1733),
    }
    rates = Dimension("optimizer.lr", choices=tuple(found))
    points = [
        point(n, {"optimizer.lr": rate}, score, loss=loss, samples=360)
        for n, (rate, (score, loss)) in enumerate(found.items())
    ]
    made = sweep([rates], points, sampler="grid")
    seen = {"undecided": 2.3026, "guess": 0.1}
    [said] = critic.above_a_rate(made, seen)
    assert said.text.startswith("7 of the 7 points with optimizer.lr above ")
    overfit = [replace(p, runs=[replace(p.runs[0], loss=9.0)]) for p in points[:3]]
    assert critic._lost(replace(made, points=(*overfit, *points[3:6])), seen) == {3, 4, 5}
    assert critic.above_a_rate(made, {"undecided": 1e4, "guess": 0.1}) == []


def test_failures_that_are_scattered_have_no_rate(drawn):
    silent = sum(
        critic.above_a_rate(
            drawn(lambda values, draw: math.nan if draw.random() < 0.3 else 0.5, seed=seed)
        )
        == []
        for seed in range(40)
    )
    assert silent >= 38  # two dimensions, a chance below 5 % each
    few = drawn(diverging(0.06), many=8)
    assert critic.above_a_rate(few) == []
    assert critic.above_a_rate(drawn(peak(-2.0))) == []


def test_failures_above_a_rate_of_a_grid(sweep, point):
    rates = Dimension("optimizer.lr", choices=(0.01, 0.1, 1.0))
    points = []
    for trial, (rate, seed) in enumerate(itertools.product(rates.choices, range(4))):
        values = {"optimizer.lr": rate, "width": seed}
        status = {"status": "FAILED"} if rate == 1.0 else {}
        points.append(point(trial, values, *([] if rate == 1.0 else [0.5]), **status))
    planted = sweep([rates], points, command="dlrun -m optimizer.lr=0.01,0.1,1.0", sampler="grid")
    found = critic.above_a_rate(planted)
    assert "4 of the 4 points with optimizer.lr above 0.3" in found[0].text
    assert found[0].command == "dlrun -m optimizer.lr=0.01,0.1"


def curve(function, epochs=10):
    at = [float(epoch) for epoch in range(1, epochs + 1)]
    return at, [function(epoch) for epoch in at]


def test_what_still_improves_is_to_be_trained_longer(sweep, point):
    planted = sweep([LR], [point(0, {"optimizer.lr": 0.01}, 0.9), point(1, {"optimizer.lr": 1}, 0)])
    rising = {0: [curve(lambda epoch: epoch / 12)], 1: [curve(lambda epoch: 0.5)]}
    found = critic.still_improving(planted, rising)
    assert found[0].command == "dlrun model=mlp optimizer.lr=0.01 epochs=20"
    assert "epoch 10" in found[0].text
    falling = replace(planted, objective="val/loss", points=planted.points[:1])
    assert critic.still_improving(falling, rising) == []
    sinking = {0: [curve(lambda epoch: 2 - epoch / 12)]}
    assert "fell by 0.25" in critic.still_improving(falling, sinking)[0].text
    short = {0: [curve(lambda epoch: epoch / 12, epochs=5)]}
    assert critic.still_improving(planted, short)[0].command.endswith("epochs=10")


@pytest.mark.parametrize(
    "function",
    [
        lambda epoch: 0.5,
        lambda epoch: 0.9 * (1 - math.exp(-epoch)),
        lambda epoch: 0.5 + 0.1 * math.sin(2.5 * epoch),
        lambda epoch: 0.9 - 0.01 * (epoch - 6) ** 2,
    ],
    ids=["constant", "saturated", "noisy", "past its best"],
)
def test_what_no_longer_improves_is_left_alone(sweep, point, function):
    planted = sweep([LR], [point(0, {"optimizer.lr": 0.01}, 0.9)])
    assert critic.still_improving(planted, {0: [curve(function)]}) == []
    assert critic.still_improving(planted, {0: [curve(lambda epoch: epoch, epochs=3)]}) == []
    assert critic.still_improving(planted, {}) == []


def test_a_gain_within_what_the_score_is_known_to_is_left_alone(sweep, point):
    gains = {0: [curve(lambda epoch: 0.9 + epoch / 1000)]}  # by 0.003 over the last epochs
    for points, silent in (
        ([point(0, {}, 0.9, samples=360)], True),  # a standard error of 0.016
        ([point(0, {}, 0.9, samples=36000)], False),
        ([point(0, {}, 0.9, 0.91)], True),  # of 0.005 over the seeds
        ([point(0, {}, 0.9, 0.902)], False),
    ):
        assert (critic.still_improving(sweep([], points), gains) == []) is silent


def test_it_is_not_to_be_trained_longer_where_less_would_do(sweep, point):
    planted = sweep([LR], [point(0, {"optimizer.lr": 0.01}, 0.9)])
    rising = {0: [curve(lambda epoch: epoch / 12)]}
    names = [each.name for each in critic.findings(planted, {}, rising)]
    assert "still_improving" in names
    left = [each.name for each in critic.findings(planted, {}, rising, ["plateau"])]
    assert left == [name for name in names if name != "still_improving"]


def test_all_points_equal(sweep, point):
    same = [point(n, {"optimizer.lr": 0.01 * (n + 1)}, 0.1) for n in range(4)]
    found = critic.findings(sweep([LR], same, sampler="grid"), {}, {})
    assert [finding.text.startswith("All 4 points give the same") for finding in found] == [True]
    assert found[0].command == "dlrun model=mlp optimizer.lr=0.04 --cfg job"
    assert critic.all_equal(sweep([LR], same))[0].name == "no_effect"
    assert critic.all_equal(sweep([LR], [*same, point(4, {"optimizer.lr": 0.09}, 0.11)])) == []


def test_points_of_one_score_and_different_losses_are_not_the_same(sweep, point):
    """What was changed had an effect, and the loss says which is best."""
    points = [
        point(n, {"optimizer.lr": 0.01 * (n + 1)}, 0.95, samples=360, loss=0.3 - 0.05 * n)
        for n in range(4)
    ]
    found = critic.findings(sweep([LR], points), {}, {})
    assert not any(one.text.startswith("All 4 points") for one in found)
    assert critic.all_equal(sweep([LR], points)) == []
    [said] = critic.within_noise(sweep([LR], points))
    assert "0.95) differ only in val/loss, 0.15 and 0.2; " in said.text
    assert "; two standard errors of val/accuracy are 0.034 for accuracies" in said.text
    assert sweep([LR], points).ranked[0].trial == 3


def test_losses_are_shown_with_digits_that_tell_them_apart(sweep, point):
    losses = (2.15201, 2.15204)
    points = [
        point(n, {"optimizer.lr": 0.01 * (n + 1)}, 0.95, samples=20, loss=loss)
        for n, loss in enumerate(losses)
    ]
    [said] = critic.within_noise(sweep([LR], points))
    assert "differ only in val/loss, 2.15201 and 2.15204; " in said.text


def test_points_of_different_losses_that_tie_are_not_ranked_by_them(sweep, point):
    names = Dimension("loss", choices=("cross_entropy", "mse", "hinge"))
    losses = zip(names.choices, (0.1463, 0.1024, 0.2), strict=True)
    points = [point(n, {"loss": key}, 0.9, loss=loss) for n, (key, loss) in enumerate(losses)]
    made = sweep([names], points, sampler="grid")
    assert made.ranked == points
    assert not made.tied
    assert "val/loss" not in [name for name, *_ in page.ranking(made, 9)]
    [found] = critic.findings(made, {}, {})
    assert found.name == "inconclusive"
    assert "tie in val/accuracy, and their losses cannot be compared" in found.text
    files = [replace(p, values={"experiment": str(p.trial)}) for p in points]
    for name, ranked in (("mse", [1, 0, 2]), (None, [0, 1, 2])):  # as their records say
        of = [replace(p, runs=[replace(p.runs[0], of_loss=name or str(p.trial))]) for p in files]
        assert [p.trial for p in sweep([], of).ranked] == ranked


def test_of_a_tie_of_seeds_the_interval_is_that_of_the_objective(sweep, point):
    """Accuracies of 0.95 and 0.96 with the two seeds, either way round: Student's t of 1 degree."""
    points = [
        point(0, {"optimizer.lr": 0.01}, 0.95, 0.96, samples=360, loss=0.1858),
        point(1, {"optimizer.lr": 0.1}, 0.96, 0.95, samples=360, loss=0.2042),
    ]
    [said] = critic.within_noise(sweep([LR], points))
    reach = 12.706 * 0.01 * 2**0.5 / 2**0.5
    interval = f"95% interval of their difference in val/accuracy is -{reach:.2g} to {reach:.2g}"
    assert f"only in val/loss, 0.1858 and 0.2042; over the same 2 seeds the {interval}" in (
        said.text
    )


def test_one_point_drawn_several_times_says_nothing(sweep, point):
    for dimensions, values in (([LR], {"optimizer.lr": 0.01}), ([], {})):
        same = [point(n, values, 0.5, samples=360) for n in range(4)]
        found = critic.findings(sweep(dimensions, same), {}, {})
        assert [one.text for one in found if "too few to say much" not in one.text] == []
        assert dimensions or found == []


def test_too_few_points_to_say(drawn, sweep, point):
    found = critic.too_few(drawn(peak(-2.0), many=6))
    assert found[0].name == "too_few_points"
    said = "Only 6 points finished, too few to say much about 2 hyperparameters; 10 would"
    assert found[0].text == f"{said} be enough."
    assert "sweep.trials=10 " in found[0].command
    assert "sweep.trials=20" not in found[0].command
    assert critic.too_few(drawn(peak(-2.0), many=10)) == []
    three = drawn(peak(-2.0), dimensions=(LR, L2, WIDTH), many=14)
    assert len(critic.too_few(three)) == 1
    assert importances(three) == {}
    assert critic.hardly_matters(three, {"l2": 0.01}) == []
    rates = Dimension("optimizer.lr", choices=(0.001, 0.01))
    assert critic.too_few(grid(sweep, point, rates, [0.3, 0.5])) == []
    both = [point(trial, {rates.key: rates.choices[trial]}, 0.5) for trial in range(2)]
    assert critic.too_few(sweep([rates], both)) == [], "there are no others to draw"
    assert "; 2 would be enough" in critic.too_few(sweep([rates], both[:1]))[0].text


@pytest.mark.parametrize(
    "dimensions",
    [
        [Dimension("rate", "float", low=0.1, high=0.3, step=0.1)],
        [Dimension("width", "int", low=8, high=10)],
        [replace(Dimension(key, choices=(1, 2, 3)), zip=0) for key in ("rate", "width")],
    ],
)
def test_no_more_points_are_asked_for_than_there_are(sweep, point, dimensions):
    listed = [0.1, 0.2, 0.3] if dimensions[0].step else [8, 9, 10] if len(dimensions) == 1 else None
    values = [{one.key: (listed or one.choices)[n] for one in dimensions} for n in range(3)]
    points = [point(trial, each, 0.5 + trial / 10) for trial, each in enumerate(values)]
    assert critic.too_few(sweep(dimensions, points)) == []
    [few] = critic.too_few(sweep(dimensions, points[:2]))
    assert "; 3 would be enough" in few.text


def learning_curve(sweep, point, scores, words=("10%", "50%", "100%"), **more):
    """A sweep over data.samples; scores: those of each size, by the number of samples."""
    dimension = Dimension("data.samples", choices=tuple(words))
    objective = more.pop("objective", "val/accuracy")
    points = [
        point(trial, {"data.samples": words[trial]}, *found, trained_on=count, **more)
        for trial, (count, found) in enumerate(scores.items())
    ]
    command = f"dlrun -m model=mlp data.samples={','.join(map(str, words))}"
    fixed = {"overrides": ("model=mlp",), "objective": objective, "sampler": "grid"}
    return sweep([dimension], points, command=command, **fixed)


def test_more_data_help_where_the_curve_still_rises(sweep, point):
    scores = {100: [0.7], 500: [0.8], 1000: [0.84]}
    made = learning_curve(sweep, point, scores, samples=10_000)
    [found] = critic.more_data(made)
    assert (found.name, found.level) == ("too_little_data", "warn")
    assert "With 1,000 training samples val/accuracy is 0.84, with 500 0.8: " in found.text
    assert "another doubling would gain about 0.032," in found.text  # 0.16·(1 − 0.16/0.2)
    assert "collect more" in found.text
    assert found.command == "", "the same once more would gain nothing"
    part = learning_curve(sweep, point, scores, (100, 500, 1000), samples=10_000)
    [found] = critic.more_data(part)
    assert "Train on all samples; if these were all, collect more." in found.text
    assert found.command == "dlrun model=mlp data.samples=100%"
    share = learning_curve(sweep, point, scores, ("1%", "5%", "10%"), samples=10_000)
    assert critic.more_data(share)[0].text.endswith("Train on all samples.")
    assert critic.findings(part, {}, {}) == [found], "the most samples are no edge, no noise"


def test_the_same_of_a_loss_over_several_doublings(sweep, point):
    scores = {125: [2.0, 2.02, 1.98], 1000: [0.5, 0.51, 0.49], 250: [1.2]}
    made = learning_curve(sweep, point, scores, (125, 1000, 250), objective="val/loss")
    assert "Repeat with 3 seeds" in critic.more_data(made)[0].text, "250 was trained once"
    scores[250] = [1.19, 1.2, 1.21]
    made = learning_curve(sweep, point, scores, (125, 1000, 250), objective="val/loss")
    exponent = math.log2(1.2 / 0.5) / 2  # error ∝ samples^−exponent
    gain = 0.5 * (1 - 2**-exponent)
    assert f"would gain about {gain:.2g}, so more data would help" in critic.more_data(made)[0].text


def test_more_data_hardly_help_where_the_curve_is_flat(sweep, point):
    scores = {100: [0.5, 0.5], 500: [0.7990, 0.7991], 1000: [0.8, 0.8001]}
    [found] = critic.more_data(learning_curve(sweep, point, scores))
    assert (found.name, found.level) == ("enough_data", "note")
    assert "more data would hardly help" in found.text
    assert found.command == "dlrun model=mlp data.samples=50%"


def test_too_few_validation_samples_say_nothing_about_more_data(sweep, point):
    scores = {100: [0.7], 500: [0.8], 1000: [0.84]}
    [found] = critic.more_data(learning_curve(sweep, point, scores, samples=200))
    assert (found.name, found.level, found.numbers["seeds"]) == ("inconclusive", "note", 3)
    assert "two standard errors of the difference are 0.077, so this doesn't say" in found.text
    assert found.command == "dlrun -m model=mlp data.samples=100%,50% sweep.repeats=3"
    unknown = learning_curve(sweep, point, scores, objective="val/loss")
    assert "trained once" in critic.more_data(unknown)[0].text
    noisy = {100: [0.7, 0.71], 500: [0.8, 0.84], 1000: [0.81, 0.88]}
    [found] = critic.more_data(learning_curve(sweep, point, noisy))
    assert found.command.endswith("sweep.repeats=4")


def test_noise_is_seldom_taken_for_a_learning_curve(sweep, point):
    draw = random.Random(0)
    said = 0
    for _ in range(300):
        right = {count: sum(draw.random() < 0.8 for _ in range(400)) for count in (100, 500, 1000)}
        scores = {count: [many / 400] for count, many in right.items()}
        found = critic.more_data(learning_curve(sweep, point, scores, samples=400))
        said += any("so more data would help" in one.text for one in found)
    assert said <= 0.05 * 300


def test_a_learning_curve_has_three_sizes_one_of_them_half_the_most(sweep, point):
    assert critic.more_data(learning_curve(sweep, point, {500: [0.7], 1000: [0.9]})) == []
    near = {600: [0.7], 800: [0.8], 1000: [0.9]}
    assert critic.more_data(learning_curve(sweep, point, near)) == []
    perfect = {100: [0.7], 500: [0.9], 1000: [1.0]}
    assert critic.more_data(learning_curve(sweep, point, perfect, samples=9)) == []
    rates = [point(n, {"optimizer.lr": 0.1**n}, n / 9, trained_on=100 * 2**n) for n in range(4)]
    assert critic.more_data(sweep([LR], rates)) == []


def test_nothing_finished(sweep, point):
    values = {"optimizer.lr": 0.01}
    failed = [point(n, values, status="FAILED", message="no such file\nmore") for n in range(3)]
    found = critic.findings(sweep([LR], failed), {}, {})
    assert (found[0].name, found[0].level) == ("points_failed", "fail")
    assert found[0].text == "No point finished. 3 of 3 say: no such file"
    assert found[0].command == "dlrun model=mlp optimizer.lr=0.01"
    assert critic.findings(sweep([LR], []), {}, {}) == []
    finished = point(3, values, None)
    assert critic.findings(sweep([LR], [*failed, finished]), {}, {}) == []


@pytest.mark.parametrize(
    ("seeds", "repeats", "failed", "word"),
    [
        ((3, 4), 1, 1, " seed=4"),  # typed
        ((3, 4), 1, None, " seed=3"),
        ((0, 1), 2, 1, " seed=1"),
        ((0, 1), 2, None, ""),
        ((5,), 1, 0, ""),  # the recipe's own
    ],
)
def test_one_run_has_the_seed_that_failed(sweep, point, seeds, repeats, failed, word):
    runs = [
        replace(run, seed=seed, status="FAILED" if place == failed else "FINISHED")
        for place, (seed, run) in enumerate(zip(seeds, point(0, {}, 0.5, 0.5).runs, strict=False))
    ]
    made = sweep([], [replace(point(0, {"l2": 0.1}), runs=runs)], repeats=repeats)
    made = replace(made, overrides=["model=mlp", "seed=7"] if failed == 1 else ["model=mlp"])
    fixed = " seed=7" if failed == 1 and not word else ""
    assert commands.once(made, made.points[0]) == f"dlrun model=mlp{fixed} l2=0.1{word}"


def test_a_clear_result_inside_its_ranges_needs_no_remark(drawn):
    def score(values, draw):
        rate, strength = math.log10(values["optimizer.lr"]), math.log10(values["l2"])
        return 0.9 - 0.1 * (rate + 2.5) ** 2 - 0.05 * (strength + 3) ** 2 + draw.gauss(0, 1e-5)

    planted = drawn(score, many=40, repeats=3)
    curves = {p.trial: [curve(lambda epoch: 0.9 * (1 - math.exp(-epoch)))] for p in planted.points}
    assert critic.findings(planted, importances(planted), curves) == []


def test_words_are_changed_where_they_stand_or_added(sweep, point):
    made = sweep([LR], [point(0, {"optimizer.lr": 0.01}, 0.5)])
    made = replace(
        made, command="dlrun -m +experiment=x optimizer.lr=1,2 sweep.trials=3 name='a b'"
    )
    changed = commands.again(made, {"optimizer.lr": "optimizer.lr=3", "l2": "l2=1"})
    assert changed == "dlrun -m +experiment=x optimizer.lr=3 sweep.trials=3 'name=a b' l2=1"
    assert commands.again(made, {"sweep.trials": None}) == (
        "dlrun -m +experiment=x optimizer.lr=1,2 'name=a b'"
    )


def test_what_follows_an_experiment_searches_no_more(sweep, point):
    found = [point(0, {"optimizer.lr": 0.01}, 0.5), point(1, {"optimizer.lr": 0.1}, 0.4)]
    made = replace(sweep([LR], found), overrides=["+experiment=x", "sweep.trials=9"])
    once = commands.once(made, found[0])
    assert once.startswith("dlrun +experiment=x optimizer.lr=")
    assert once.endswith(" hydra.mode=RUN")
    compared = commands.compare(made, found, 3)
    assert compared.startswith("dlrun -m +experiment=x sweep=grid optimizer.lr=0.01,0.1 ")
    staged = replace(made, command="dlrun -m +experiment=x 'sweep.stages=[]'")
    assert " sweep=grid 'sweep.stages=[]' optimizer.lr=" in commands.compare(staged, found, 3)
    plain = replace(made, overrides=["epochs=3", "sweep=random"])
    assert "sweep=" not in commands.once(plain, found[0])


def test_what_says_where_a_sweep_runs_stays_in_the_command_of_another(sweep, point):
    where = "hydra/launcher=submitit_slurm hydra.launcher.partition=gpu sweep.parallel=2"
    typed = f"dlrun -m {where} sweep=random sweep.trials=9 hydra.mode=MULTIRUN"
    points = [point(n, {"optimizer.lr": 0.1**n}, 0.9) for n in (1, 2)]
    made = replace(sweep([LR], points), command=typed)
    compared = commands.compare(made, points, 3)
    assert compared == f"dlrun -m model=mlp {where} optimizer.lr=0.1,0.01 sweep.repeats=3"
    assert commands.once(made, points[0]) == "dlrun model=mlp optimizer.lr=0.1"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1, "0.1"), (1.0, "1.0"), (1e-6, "1e-6"), (64, "64"), (0.001037, "0.001037")],
)
def test_numbers_as_one_types_them(value, text):
    assert number(value) == text


def test_the_chance_of_a_split_against_counting_them_all():
    splits = list(itertools.combinations(range(9), 4))  # the places of 4 bad ones among 9
    found = sum(len(set(split) & {0, 1, 2}) >= 2 for split in splits) / len(splits)
    assert evidence.tail(9, 4, 3, 2) == pytest.approx(found)
    assert evidence.tail(9, 4, 3, 0) == pytest.approx(1)


@pytest.mark.parametrize("sizes", [[1] * 8, [2, 3, 2, 1], [4, 4]])
def test_the_chance_of_the_clearest_split_against_trying_all(sizes):
    total, bad = sum(sizes), 4
    ends = list(itertools.accumulate(sizes))[:-1]

    def clearest(places):
        return min(evidence.tail(total, bad, end, sum(p < end for p in places)) for end in ends)

    each = [clearest(places) for places in itertools.combinations(range(total), bad)]
    for least in sorted(set(each)):
        wanted = sum(one <= least * (1 + 1e-9) for one in each) / len(each)
        assert evidence.split_chance(sizes, bad, least) == pytest.approx(wanted)


def test_the_slope_and_its_error_against_numpy():
    import numpy as np

    x, y = [1.0, 2.0, 4.0, 5.0, 7.0], [0.1, 0.3, 0.2, 0.6, 0.5]
    fit, covariance = np.polyfit(x, y, 1, cov=True)
    rise, error = evidence.slope(x, y)
    assert rise == pytest.approx(fit[0])
    assert error == pytest.approx(math.sqrt(covariance[0, 0]))


def test_the_permutation_test_against_kruskal_and_wallis(drawn):
    from scipy.stats import kruskal

    names = Dimension("optimizer", choices=("adam", "rmsprop", "sgd"))
    for seed in range(4):
        made = drawn(
            lambda values, draw: draw.gauss(0.5 * (values["optimizer"] == "sgd"), 1),
            dimensions=(names,),
            many=40,
            seed=seed,
        )
        groups = [
            [p.mean for p in made.ranked if p.values["optimizer"] == name] for name in names.choices
        ]
        expected = kruskal(*groups).pvalue
        assert evidence.chance(names, made.ranked, draws=2000) == pytest.approx(expected, abs=0.05)
