"""What an ablation says: the differences by seed, their order, the findings, the figure."""

import statistics

import pytest
from scipy import stats

from dlrun.record.sweep import Dimension
from dlrun.report import critic, evidence, page

WHOLE = (0.80, 0.85, 0.90)


@pytest.fixture
def ablation(sweep, point):
    """An ablation from what its points go without, and their scores by seed."""

    def made(
        objective="val/accuracy",
        command="dlrun -m sweep=ablation activation=tanh",
        samples=None,
        **scores,
    ):
        named = {"nothing": scores.pop("nothing", WHOLE)}
        named |= {name.replace("__", "."): each for name, each in scores.items()}
        points = [
            point(n, {"without": name}, *each, samples=samples)
            for n, (name, each) in enumerate(named.items())
        ]
        dimension = Dimension("without", choices=tuple(named))
        more = {"command": command, "sampler": "ablation", "overrides": ()}
        return sweep([dimension], points, objective=objective, **more)

    return made


def test_what_an_ingredient_gives_is_the_mean_of_the_paired_differences(ablation):
    scores = {"activation": (0.70, 0.76, 0.79), "model": (0.90, 0.94, 1.0)}
    found = evidence.gains(ablation(**scores))
    assert [point.values["without"] for point, _ in found] == ["activation", "model"]
    for point, gives in found:
        known = stats.ttest_rel(WHOLE, scores[point.values["without"]])
        assert gives.ends == pytest.approx(tuple(known.confidence_interval(0.95)))
        assert gives.mean == pytest.approx(statistics.fmean(WHOLE) - point.mean)
    loss = evidence.gains(ablation("val/loss", **scores))
    assert [point.values["without"] for point, _ in loss] == ["model", "activation"]


def test_what_does_harm_is_to_be_left_out(ablation):
    made = ablation(regularization__l2=(0.90, 0.951, 1.0), model=(0.6, 0.651, 0.7))
    [found] = critic.findings(made, {}, {})
    assert (found.name, found.level) == ("better_without", "warn")
    assert found.text == (
        "The recipe is better without regularization.l2: val/accuracy rises by 0.1 (0.099 to 0.1)."
    )
    assert found.command == "dlrun without=regularization.l2"  # what the fixture has for its words


def test_what_may_be_chance_is_said_with_the_seeds_that_decide(ablation):
    made = ablation(model=(0.78, 0.85, 0.87), schedule=(0.80, 0.86, 0.885))
    [found] = critic.findings(made, {}, {})
    assert (found.name, found.level) == ("inconclusive", "note")
    assert "The intervals of model and schedule contain 0" in found.text
    wanted = evidence.gains(made)[0][1].wanted
    assert f"About {wanted} seeds would decide on model; the other needs more." in found.text
    assert found.command == (f"dlrun -m sweep=ablation activation=tanh sweep.repeats={wanted}")
    assert found.numbers == {"ingredients": 2, "seeds": wanted}


def test_what_changes_nothing_is_said_by_itself(ablation):
    made = ablation(regularization__early_stopping=WHOLE, model=(0.6, 0.65, 0.71))
    [found] = critic.findings(made, {}, {})
    assert (found.name, found.level) == ("no_effect", "note")
    assert found.text == "Every run ends exactly the same without regularization.early_stopping."


def test_one_seed_decides_nothing_of_a_loss(ablation):
    made = ablation("val/loss", nothing=(0.5,), model=(0.9,), loss=(0.2,))
    [found] = critic.findings(made, {}, {})
    assert found.name == "inconclusive"
    assert found.command.endswith(" sweep.repeats=3")
    assert [name for name, *_ in page.ranking(made, 9)] == ["without", "gives", "val/loss"]


def test_the_table_begins_with_the_whole_recipe(ablation):
    made = ablation(activation=(0.70, 0.76, 0.79), model=(0.90, 0.94, 1.0))
    columns = {name: cells for name, _, cells in page.ranking(made, 9)}
    assert columns["without"] == ["nothing", "activation", "model"]
    assert columns["gives"] == ["", "+0.1000 ± 0.0058", "-0.0967 ± 0.0033"]
    assert columns["95% interval"] == ["", "+0.0752 to +0.1248", "-0.1110 to -0.0823"]
    written = page.page(made, {}, {}, critic.findings(made, {}, {}), {})
    assert "<h2>What each ingredient gives</h2>" in written
    assert "By how much val/accuracy falls without it" in written
    assert '<tr class="best"><td>model' in written


@pytest.mark.parametrize(
    ("objective", "scores", "note"),
    [
        (
            "val/accuracy",
            {"nothing": WHOLE, "model": (0.6, 0.7, 0.7)},
            "falls without it, the mean over the same seeds. Lines are 95% intervals; grey where",
        ),
        (
            "val/accuracy",
            {"nothing": (0.8,), "model": (0.6,), "samples": 1000},
            "falls without it. Lines reach 2 standard errors to either side; grey where they",
        ),
        (
            "val/loss",
            {"nothing": (0.5,), "model": (0.9,)},
            "rises without it, with one seed each. All are grey, as one seed does not show",
        ),
    ],
)
def test_the_note_says_of_the_lines_what_they_are(ablation, objective, scores, note):
    assert f"By how much {objective} {note}" in page.page(
        ablation(objective, **scores), {}, {}, [], {}
    )


def test_without_the_whole_recipe_there_is_a_plain_ranking(ablation, point):
    made = ablation(nothing=(), activation=(0.7, 0.8), model=(0.9, 0.7))
    assert evidence.gains(made) == []
    assert [name for name, *_ in page.ranking(made, 9)][:2] == ["", "val/accuracy"]
    assert "What each ingredient gives" not in page.page(made, {}, {}, [], {})
