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
