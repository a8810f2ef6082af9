"""Lines before a training of what a recipe comes to."""

import pytest

from dlrun.recipe import build
from dlrun.recipe.notes import notes


def said(recipe, samples=100):
    return notes(recipe, build.lengths_of(recipe, samples, 1))


@pytest.mark.parametrize(
    ("words", "samples", "times"),
    [
        (("batch_size=5000",), 100, 100 / 32),
        (("batch_size=25", "accumulate=1000"), 100, 100 / 32),
        (("batch_size=30", "accumulate=1000", "drop_last=true"), 90, 90 / 32),
        (("batch_size=full", "base_batch_size=10"), 100, 10),
        (("batch_size=8", "accumulate=2"), 16, 0.5),
    ],
)
def test_a_rate_grows_by_the_samples_that_a_step_has(compose_recipe, digits, words, samples, times):
    recipe = compose_recipe("data.samples=100", "scale_lr=linear", "optimizer.lr=0.02", *words)
    run = build.build(recipe, build.load_data(recipe))
    assert run.optimizer.param_groups[0]["lr"] == pytest.approx(0.02 * times)
    [line] = said(recipe)
    assert line.startswith(f"scale_lr=linear: multiplies the rate by {times:.4g}, to ")
    assert f"for steps of {samples} samples" in line
    recipe.scale_lr = "sqrt"
    assert f"by {times**0.5:.4g}, to {0.02 * times**0.5:.4g}," in said(recipe)[0]


def test_the_usual_batch_keeps_the_rate_and_nothing_is_said(compose_recipe):
    assert said(compose_recipe("scale_lr=linear")) == []


SWA = ["regularization=[weight_average]", "regularization.weight_average.form=swa"]


@pytest.mark.parametrize(
    ("words", "beginning"),
    [
        ([*SWA, "regularization.weight_average.start='50 epochs'"], "start=50 epochs: is too long"),
        (["optimizer=asgd", "optimizer.start=1e9"], "optimizer.start="),
        (["optimizer=asgd", "optimizer.start=3"], "optimizer.start=3: is too long"),
        (["warmup='50 epochs'"], "warmup=50 epochs: is too long for a training of 12 steps (3 ep"),
        (["freeze=[backbone]", "unfreeze_at=3"], "unfreeze_at=3: is too long"),
        (
            ["schedule=multistep", "schedule.milestones=[1,3]"],
            "schedule.milestones=[1,3]: is too long",
        ),
        (["schedule=manual", "schedule.table=[[0,0.1],[3,0.01]]"], "schedule.table=[[0,0.1],[3,0"),
        (["optimizer.momentum_start=0.5"], "optimizer.momentum_steps=5 epochs: is too long"),
        (["schedule=step", "schedule.every='13 steps'"], "schedule.every=13 steps: is too long"),
        (["regularization=[early_stopping]"], "regularization.early_stopping.patience=5 epochs"),
    ],
)
def test_what_is_never_reached(compose_recipe, words, beginning):
    [line] = said(compose_recipe("epochs=3", *words))
    assert beginning in line
    assert "12 steps (3 epochs); " in line


@pytest.mark.parametrize(
    "words",
    [
        [*SWA, "regularization.weight_average.start=3"],
        ["regularization=[weight_average]", "epochs='2 steps'"],  # the period is for swa
        ["optimizer=asgd", "optimizer.start=2"],
        ["warmup=3"],
        ["warmup=100%"],
        ["schedule=multistep", "schedule.milestones=[1,'11 steps']"],
        ["schedule=manual", "schedule.table=[[0,0.1],[2,0.01]]"],
        ["schedule=step", "schedule.every=3"],
        ["schedule=restarts", "schedule.first=3"],
        ["regularization=[early_stopping]", "regularization.early_stopping.patience=2"],
    ],
)
def test_what_is_reached_is_not_said(compose_recipe, words):
    assert said(compose_recipe("epochs=3", *words)) == []


def test_a_short_warm_up_is_said_with_how_far_the_rate_rises(compose_recipe):
    [line] = said(compose_recipe("epochs=3", "warmup='48 steps'"))
    assert line.endswith("the rate rises to 0.25 of what it is to be")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["optimizer=lbfgs"], ["this optimizer has no weight decay"]),
        (["optimizer=sgd"], ["optimizer.weight_decay is 0"]),
        (["optimizer=adamw"], []),
        (["optimizer=sgd", "optimizer.weight_decay=1e-4"], []),
    ],
)
def test_a_choice_of_what_decays_is_said_to_do_nothing_where_nothing_does(
    compose_recipe, words, why
):
    lines = [f"decay=weights: has no effect, because {each}" for each in why]
    assert said(compose_recipe(*words, "decay=weights")) == lines
    assert said(compose_recipe(*words)) == []
