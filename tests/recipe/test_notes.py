"""Lines before a training of what a recipe comes to."""

from dataclasses import replace

import pytest
import torch

from dlrun.job.session import Session
from dlrun.recipe import build
from dlrun.recipe.notes import idle, notes
from dlrun.regularization.early_stopping import EarlyStopping


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
    run = build.build(recipe, Session().data(recipe))
    assert run.optimizer.param_groups[0]["lr"] == pytest.approx(0.02 * times)
    [line] = said(recipe)
    assert line.startswith(f"scale_lr=linear: multiplies the rate by {times:.4g}, to ")
    assert f"for steps of {samples} samples" in line
    recipe.scale_lr = "sqrt"
    assert f"by {times**0.5:.4g}, to {0.02 * times**0.5:.4g}," in said(recipe)[0]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["regularization=[l1,lookahead]"], "Lookahead"),
        (["regularization=[l1]", "optimizer=asgd"], "ASGD"),
        (["regularization=[l1]", "optimizer=nesterov", "optimizer.form=classical"], None),
    ],
)
def test_averages_have_no_exact_zeros(compose_recipe, words, kind):
    recipe = compose_recipe("data.samples=100", "regularization.l1.form=proximal", *words)
    run = build.build(recipe, Session().data(recipe))
    lines = notes(recipe, run.lengths, run.averaging)
    assert [line.rpartition("(")[2] for line in lines] == ([f"{kind})"] if kind else [])
    assert all(line.startswith("regularization.l1.form=proximal: ") for line in lines)


def test_the_rates_of_a_table_of_ones_own_are_multiplied_and_named(compose_recipe, digits):
    table = "schedule.table=[[0,0.1],[1,0.02]]"
    words = ("data.samples=100", "batch_size=64", "epochs=3", "schedule=manual", table)
    recipe = compose_recipe(*words, "scale_lr=linear", "optimizer.lr=0.03")
    run = build.build(recipe, Session().data(recipe))
    base = run.optimizer.param_groups[0]["lr"]
    assert base * run.schedule(0, 6, 2) == pytest.approx(0.2)
    assert base * run.schedule(2, 6, 2) == pytest.approx(0.04)
    [line] = said(recipe)
    expected = "multiplies the rates of schedule.table by 2, to 0.2 at first and 0.04 at last, for"
    assert expected in line


def test_the_usual_batch_keeps_the_rate_and_nothing_is_said(compose_recipe):
    assert said(compose_recipe("scale_lr=linear")) == []


PATIENCE_3 = "regularization.early_stopping.patience=3"
AVERAGE = "regularization.weight_average"
AVERAGED = "regularization=[weight_average]"
SWA = ["regularization=[weight_average]", "regularization.weight_average.form=swa"]


@pytest.mark.parametrize(
    ("words", "beginning"),
    [
        ([*SWA, "regularization.weight_average.start='50 epochs'"], "start='50 epochs' is never "),
        (["optimizer=asgd", "optimizer.start=1e9"], "optimizer.start="),
        (["optimizer=asgd", "optimizer.start=3"], "optimizer.start=3 is never reached: "),
        (["warmup='50 epochs'"], "warmup='50 epochs' is longer than the training of 12 steps"),
        (["freeze=[backbone]", "unfreeze_at=3"], "unfreeze_at=3 is never reached: "),
        (
            ["schedule=multistep", "schedule.milestones=[1,3]"],
            "schedule.milestones=[1,3] is never reached: ",
        ),
        (["schedule=manual", "schedule.table=[[0,0.1],[3,0.01]]"], "schedule.table=[[0,0.1],[3,0"),
        (["optimizer.momentum_start=0.5"], "optimizer.momentum_steps='5 epochs' is never "),
        (["schedule=step", "schedule.every='13 steps'"], "schedule.every='13 steps' is never "),
        (["regularization=[early_stopping]"], "regularization.early_stopping.patience='5 epochs'"),
        (["regularization=[early_stopping]", PATIENCE_3], "begins with"),
        (["schedule=plateau", "schedule.patience=2"], "schedule.patience=2 is never"),
    ],
)
def test_what_is_never_reached(compose_recipe, words, beginning):
    [line] = said(compose_recipe("epochs=3", *words))
    assert line.startswith("warning: ")
    assert beginning in line
    assert "12 steps (3 epochs)" in line


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
        ["schedule=plateau", "schedule.patience=1"],
    ],
)
def test_what_is_reached_is_not_said(compose_recipe, words):
    assert said(compose_recipe("epochs=3", *words)) == []


def test_nothing_is_said_of_a_length_that_a_procedure_chooses(compose_recipe):
    recipe = compose_recipe("epochs=3", "regularization=[early_stopping]")
    assert notes(recipe, build.lengths_of(recipe, 100, 1), chosen=True) == []


@pytest.mark.parametrize(("epochs", "stops"), [(5, False), (6, True)])
def test_patience_counts_from_the_first_validation(compose_recipe, epochs, stops):
    """The rule itself, where no epoch is better than the first."""
    words = [f"epochs={epochs}", "regularization=[early_stopping]"]
    rule = EarlyStopping(patience=5)
    assert any(rule.should_stop(0.0, epoch + 1) for epoch in range(epochs)) == stops
    assert (said(compose_recipe(*words)) == []) == stops


def test_a_short_warm_up_is_said_with_how_far_the_rate_rises(compose_recipe):
    [line] = said(compose_recipe("epochs=3", "warmup='48 steps'"))
    assert line.endswith("the rate rises to 0.25 of its full value")


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


@pytest.mark.parametrize(
    ("word", "about", "nothing"),
    [
        ("base_batch_size=64", "scale_lr=linear", "none"),
        ("layer_lr_power=0.25", "layer_lr=fan_in", "null"),
        ("optimizer.momentum_steps=10", "optimizer.momentum_start=0.5", "null"),
        ("watch_every=2", "watch=layers", "null"),
        ("optimizer.momentum_rise=switch", "optimizer.momentum_start=0.5", "null"),
        (
            "optimizer=sam; optimizer.base=adamw; optimizer.momentum=0.5",
            "optimizer.base=momentum",
            "adamw",
        ),
        ("optimizer=sam; optimizer.eta=0.1", "optimizer.adaptive=true", "false"),
        ("model=cnn; model.pooling=none; model.pool_every=1", "model.pooling=max", "none"),
        ("model=resnet; model.skip=false; model.shortcut=project", "model.skip=true", "false"),
        (f"{AVERAGED}; {AVERAGE}.start=50%", f"{AVERAGE}.form=swa", "ema"),
        (f"{AVERAGED}; {AVERAGE}.form=swa; {AVERAGE}.decay=0.9", f"{AVERAGE}.form=ema", "swa"),
    ],
)
def test_a_setting_that_is_typed_without_what_it_is_about_is_said(
    compose_recipe, word, about, nothing
):
    *before, word = word.split("; ")
    key = word.partition("=")[0]
    line = f"{word}: has no effect, because {about.partition('=')[0]} is {nothing}"
    for words, typed, expected in (
        ([word], [key], [line]),
        ([word], [], []),
        ([word, about], [key], []),
    ):
        recipe = compose_recipe("epochs=20", *before, *words)
        lines = notes(recipe, build.lengths_of(recipe, 1000, 1), typed=typed)
        assert [each for each in lines if key in each and "no effect" in each] == expected


NO_CONVOLUTIONS = "the model has no convolutions of images"


@pytest.mark.parametrize(
    ("word", "why", "otherwise"),
    [
        ("data.split_seed=0", "the set comes with its own splits", ["data.samples=50"]),
        ("channels_last=true", NO_CONVOLUTIONS, ["model=cnn"]),
        ("accumulate=4", "an epoch has one mini-batch", ["batch_size=999"]),
        ("drop_last=true", "no mini-batch of an epoch is smaller", ["batch_size=300"]),
        ("validate_on=30", "there are 30 validation samples", ["validate_on=29"]),
        ("test=true", "there are no test samples", ["test=false"]),
    ],
)
def test_a_setting_that_does_nothing_to_this_run_is_said(compose_recipe, word, why, otherwise):
    recipe = compose_recipe("data.split=1000/30/767", "batch_size=full", word)
    data = replace(Session().data(recipe), drawn=frozenset())
    data = replace(data, test=replace(data.test, rows=data.test.rows[:0]))
    key = word.partition("=")[0]
    run = build.build(recipe, data)
    assert idle(recipe, run, [key]) == [f"{word}: has no effect, because {why}"]
    assert idle(recipe, run, []) == []
    other = compose_recipe("data.split=1000/30/767", word, *otherwise)
    assert idle(other, build.build(other, data), [key]) == []


def test_what_needs_a_split_is_not_idle_where_a_procedure_gives_a_run_none(compose_recipe, digits):
    recipe = compose_recipe("validate_on=30", "test=true")
    none = {part: replace(digits.val, rows=digits.val.rows[:0]) for part in ("val", "test")}
    run, typed = build.build(recipe, replace(digits, **none)), ["validate_on", "test"]
    validates, tests = idle(recipe, run, typed)
    assert validates.endswith("because there are 0 validation samples")
    assert tests.endswith("because there are no test samples")
    assert idle(recipe, run, typed, splits=False) == []


DROPS, CONNECTS = "regularization=[dropout]", "regularization=[dropconnect]"
JITTER, NOISE = "augmentation=[color_jitter]", "regularization=[target_noise]"


@pytest.mark.parametrize(
    ("words", "why", "otherwise"),
    [
        ([DROPS, "regularization.dropout.convolution=0.2"], "no convolutions", "model=cnn"),
        ([DROPS, "model=linear", "regularization.dropout.hidden=0.2"], "one layer", "model=mlp"),
        ([CONNECTS, "regularization.dropconnect.convolution=0.2"], "no conv", "model=cnn"),
        (
            [JITTER, "augmentation.color_jitter.hue=0.2"],
            "are grey",
            "augmentation.color_jitter.hue=0",
        ),
        ([NOISE, "regularization.target_noise.std=0.2"], "are classes", "model=autoencoder"),
        (
            [NOISE, "model=autoencoder", "regularization.target_noise.flip=0.2"],
            "numbers",
            "model=mlp",
        ),
        (["model.hidden=[]", "activation=tanh"], "one layer alone", "model.hidden=[8]"),
    ],
)
def test_a_setting_for_other_layers_or_data_is_said(compose_recipe, digits, words, why, otherwise):
    *_, key = (word.partition("=")[0] for word in words)
    recipe = compose_recipe(*words)
    [line] = idle(recipe, build.build(recipe, digits), [key])
    assert line.startswith(key)
    assert ": has no effect, because the " in line
    assert why in line
    other = compose_recipe(*words, otherwise)
    assert idle(other, build.build(other, digits), [key]) == []


def test_splits_that_are_drawn_have_a_seed(compose_recipe, digits):
    recipe = compose_recipe("data.split_seed=3")
    assert idle(recipe, build.build(recipe, digits), ["data.split_seed"]) == []


@pytest.mark.parametrize(("hidden", "whole"), [(64, True), (8, False)])
def test_an_initializer_does_nothing_where_weights_are_given(
    compose_recipe, digits, tmp_path, hidden, whole
):
    file = tmp_path / "weights.pt"
    given = compose_recipe("initializer=he", f"model.hidden=[{hidden}]")
    torch.save(build.build(given, digits).model.state_dict(), file)
    recipe = compose_recipe("initializer=he", "model.hidden=[64]", f"weights={file}")
    lines = idle(recipe, build.build(recipe, digits), ["initializer"])
    expected = f"initializer: has no effect, because weights={file} has them all"
    assert lines == ([expected] if whole else [])


@pytest.mark.parametrize("key", ["validate_every", "log_every", "watch_every"])
def test_a_period_that_is_longer_than_the_training_is_said(compose_recipe, key):
    for value, words in (("4", [f"{key}=4"]), ("3", [])):
        recipe = compose_recipe("epochs=3", "watch=layers", f"{key}={value}")
        lines = notes(recipe, build.lengths_of(recipe, 100, 1), typed=[key])
        said = [
            f"warning: {each} is never reached: the training has 12 steps (3 epochs)"
            for each in words
        ]
        assert lines == said
        assert notes(recipe, build.lengths_of(recipe, 100, 1)) == []


@pytest.mark.parametrize(
    ("table", "counts"),
    [("[[0,0.1],[3,0.01]]", False), ("[[1,0.1]]", True), ("[[0,'${optimizer.lr}']]", True)],
)
def test_a_typed_rate_that_a_table_replaces_is_said_to_have_no_effect(
    compose_recipe, table, counts
):
    recipe = compose_recipe("schedule=manual", f"schedule.table={table}", "optimizer.lr=0.5")
    lengths = build.lengths_of(recipe, 1000, 1)
    said = notes(recipe, lengths, typed=["schedule", "optimizer.lr"])
    expected = "optimizer.lr=0.5: has no effect, because the rates are those of schedule.table"
    assert said == ([] if counts else [expected])
    assert notes(recipe, lengths, typed=["schedule"]) == []
