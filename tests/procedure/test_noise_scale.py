"""How far a rate can grow with the batch: the procedure, and the warning of the setting."""

from math import inf

import pytest

from dlrun import record
from dlrun.__main__ import main
from dlrun.engine.noise_scale import Noise, noise_scale
from dlrun.engine.preflight import preflight
from dlrun.procedure import noise_scale as measured
from dlrun.recipe import build

LARGE = ["batch_size=500", "epochs=3", "scale_lr=linear"]


@pytest.mark.proves("procedure=noise_scale")
def test_it_measures_before_and_after_and_says_by_how_much_a_rate_grows(
    here, capsys, compose_recipe, digits
):
    words = [*LARGE, "tracking=none", "threads=1", "preflight=off"]
    assert main(["procedure=noise_scale", *words]) == 0
    said = capsys.readouterr().out
    [own] = [
        run
        for run in record.all_runs("outputs")
        if record.read_json(run / "run.json").get("kind") == "procedure"
    ]
    values = record.last_values(record.read_points(own))
    first = noise_scale(build.build(compose_recipe(*words), digits))
    assert values["noise_scale/first"] == pytest.approx(first.scale, rel=1e-3)
    assert values["rate/linear"] == pytest.approx(500 / 32)
    best = values["noise_scale/best"]
    assert values["rate/best"] == pytest.approx((1 + best / 32) / (1 + best / 500))
    assert best > first.scale
    assert "scale_lr=sqrt" in said
    [found] = [each for each in record.findings_of(own) if each.name == "linear_scaling"]
    assert found.level == "warn"


UNKNOWN = Noise(inf, inf)


@pytest.mark.parametrize(
    ("first", "last", "level", "said", "values"),
    [
        (Noise(44, 3), UNKNOWN, "warn", "first weights the gradient noise scale is 44 ± 3", {44.0}),
        (
            Noise(44, 3),
            Noise(900, 300),
            "note",
            "best weights the gradient noise scale is 900 ± 300",
            {44.0, 900.0},
        ),
        (
            UNKNOWN,
            Noise(44, 3),
            "warn",
            "With its best weights the gradient noise scale is 44",
            {44.0},
        ),
        (UNKNOWN, UNKNOWN, "note", "how far the rate can grow is unknown", set()),
        (
            Noise(44, 3),
            Noise(900, inf),
            "warn",
            "first weights the gradient noise scale is 44 ± 3",
            {44.0},
        ),
    ],
    ids=str,
)
def test_weights_whose_gradient_no_one_sees_give_no_advice(
    here, monkeypatch, capsys, first, last, level, said, values
):
    given = iter((first, last))
    monkeypatch.setattr(measured, "noise_scale", lambda run: next(given))
    words = ["procedure=noise_scale", "batch_size=100", "epochs='2 steps'", "data.samples=200"]
    assert main([*words, "tracking=none", "threads=1"]) == 0
    out = capsys.readouterr().out
    assert "inf" not in out
    runs = [run for run in record.all_runs("outputs") if record.findings_of(run)]
    [found] = [
        each for run in runs for each in record.findings_of(run) if each.name == "linear_scaling"
    ]
    assert found.level == level
    assert said in found.text
    assert ("no gradient is seen" in found.text) == (last.error == inf)
    [own] = [r for r in runs if record.read_json(r / "run.json").get("kind") == "procedure"]
    kept = record.last_values(record.read_points(own))
    assert {value for key, value in kept.items() if key.startswith("noise_scale/")} == values


@pytest.mark.parametrize(
    ("base", "level", "said"),
    [
        (100, "note", "a step of 100 is beyond it, so a larger batch hardly allows a larger rate."),
        (200, "warn", "from batch 200 to 100 the best rate changes by a factor of 0.855; in"),
        (50, "warn", "from batch 50 to 100 the best rate changes by a factor of 1.29; in"),
    ],
)
def test_a_batch_beyond_it_is_set_against_the_one_that_the_rate_is_for(
    here, monkeypatch, base, level, said
):
    """(1 + B/base)/(1 + B/100) with B = 41: 1.205/1.41, and 1.82/1.41."""
    monkeypatch.setattr(measured, "noise_scale", lambda run: Noise(41, 3))
    words = ["procedure=noise_scale", "batch_size=100", "epochs='2 steps'", "data.samples=200"]
    assert main([*words, f"base_batch_size={base}", "tracking=none", "threads=1"]) == 0
    [found] = [
        each
        for run in record.all_runs("outputs")
        for each in record.findings_of(run)
        if each.name == "linear_scaling"
    ]
    assert found.level == level
    assert said in found.text


def test_too_few_samples_are_not_taken_for_noise(here, capsys):
    words = ["procedure=noise_scale", "data.samples=15", "tracking=none", "threads=1"]
    assert main(words) == 2
    assert "needs at least 16 training samples; there are 15" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "warns"),
    [
        (LARGE, True),
        ([*LARGE, "warmup=1"], False),
        ([*LARGE, "scale_lr=sqrt"], False),
        ([*LARGE, "batch_size=32", "base_batch_size=16"], False),
    ],
)
def test_linear_scaling_warns_where_the_first_weights_do_not_allow_it(
    words, warns, compose_recipe, digits
):
    found = [each.name for each in preflight(build.build(compose_recipe(*words), digits))]
    assert ("linear_scaling" in found) == warns


@pytest.mark.parametrize(("epochs", "warmup"), [(2, "10%"), (9, "10%"), (10, "5 epochs")])
def test_a_warm_up_is_proposed_that_the_training_outlasts(epochs, warmup, compose_recipe, digits):
    run = build.build(compose_recipe(*LARGE, f"epochs={epochs}"), digits)
    [found] = [each for each in preflight(run) if each.name == "linear_scaling"]
    assert found.changes == {"warmup": warmup}
