"""What does not fit together is said before training, by key and with what would be right."""

import re
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from dlrun.data import Data, Split
from dlrun.errors import Mistake
from dlrun.recipe import build
from tests.conftest import Recipe


def refused(compose_recipe: Recipe, data: Data, *words: str, chosen: tuple[str, ...] = ()) -> str:
    """The message with which a recipe is refused."""
    recipe = compose_recipe(*words)

    def attempt() -> None:
        build.check(recipe, chosen)
        build.build(recipe, data)

    with pytest.raises(Mistake) as mistake:
        attempt()
    message = str(mistake.value)
    assert len(message.splitlines()) <= 3
    return message


@pytest.fixture
def table(digits):
    """A regression with 5 features and 2 targets."""
    x, y = torch.randn(60, 5), torch.randn(60, 2)
    splits = [Split(x, y, rows) for rows in torch.arange(60).split([40, 10, 10])]
    return Data("table", *splits, (5,), (), 2, "")


def test_an_activation_that_the_model_does_not_take(compose_recipe, digits):
    words = ("model=torchvision", "model.name=resnet18", "activation=tanh")
    message = refused(compose_recipe, digits, *words, chosen=("activation",))
    assert "activation: changes nothing" in message
    assert "mlp, cnn or resnet" in message


def test_the_limit_of_parameters(compose_recipe, digits):
    words = ("model.max_parameters=1000",)
    assert "model.max_parameters=1,000: this model has 4,810" in refused(
        compose_recipe, digits, *words
    )
    build.build(compose_recipe("model.max_parameters=4810"), digits)


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (
            ["regularization=[weight_average,lookahead]"],
            ["regularization.lookahead", "regularization.weight_average"],
        ),
        *(
            (
                [f"optimizer={name}", "regularization=[weight_average]"],
                ["optimizer (", "regularization.weight_average"],
            )
            for name in ("asgd", "schedulefree_adamw")
        ),
    ],
)
def test_two_averages(words, keys, compose_recipe, digits):
    message = refused(compose_recipe, digits, *words)
    assert all(key in message for key in keys)
    assert "choose one" in message
    build.build(compose_recipe(words[0].replace(",lookahead", "")), digits)


def test_a_loss_for_another_task(compose_recipe, table):
    assert "loss" in refused(compose_recipe, table, "loss=hinge", "model=linear")


@pytest.mark.parametrize(
    ("words", "right"),
    [
        (("monitor=val/accuracy", "loss=mse"), "use monitor=val/loss or val/mae"),
        (("sampling=balanced", "loss=mse"), "sampling=shuffle"),
        (("class_weights=balanced", "loss=mse"), "loss=cross_entropy"),
        (("model=cnn", "loss=mse"), "image"),
        (("augmentation=[flip]", "loss=mse"), "augmentation=none"),
    ],
)
def test_what_needs_classes_or_images(compose_recipe, table, words, right):
    assert right in refused(compose_recipe, table, *words)


def test_no_validation_split(compose_recipe, digits):
    empty = replace(digits, val=Split(digits.val.x, digits.val.y, digits.val.rows[:0]))
    assert "monitor=train/loss" in refused(compose_recipe, empty, "monitor=val/loss")
    assert build.build(compose_recipe(), empty).monitor == "train/loss"


@pytest.mark.parametrize(
    ("words", "right"),
    [
        (("batch_size=1",), "batch_size=1: batch norm needs more than one value"),
        (("batch_size=359",), "drop_last=true"),  # 1078 = 3·359 + 1
    ],
)
def test_batch_norm_needs_two(compose_recipe, digits, words, right):
    assert right in refused(compose_recipe, digits, "model.norm=batch", *words)
    build.build(compose_recipe("model.norm=batch", "batch_size=359", "drop_last=true"), digits)


class NormsByBatch(nn.Sequential):
    """A norm that takes the statistics of the batch in evaluation, too."""

    def __init__(self):
        norm = nn.BatchNorm1d(10, track_running_stats=False)
        super().__init__(nn.Flatten(), nn.Linear(64, 10), norm)


class DividesByNothing(nn.Linear):
    """The same by hand: one sample has no deviation, and gives nan."""

    def __init__(self):
        super().__init__(64, 10)

    def forward(self, x):
        out = super().forward(x.flatten(1))
        return (out - out.mean(0)) / out.std(0, correction=0)


@pytest.mark.parametrize("name", ["val", "test", "train_dev"])
@pytest.mark.parametrize(
    ("network", "why"), [(NormsByBatch, "more than 1 value"), (DividesByNothing, "gives nan")]
)
def test_a_split_of_one_sample_is_refused_where_none_is_answered_alone(
    name, network, why, compose_recipe, digits, monkeypatch
):
    """Which a norm over the batch does not; batch norm's running statistics do."""
    monkeypatch.setitem(sys.modules, "own", sys.modules[__name__])

    def cut(many: int) -> Data:
        part = replace(digits.val, rows=digits.val.rows[:many])
        given = {"extra": {name: part}} if name == "train_dev" else {name: part}
        return replace(digits, **given)

    words = ("model=custom", f"model._target_=own.{network.__name__}")
    message = refused(compose_recipe, cut(1), *words)
    assert f"model={network.__name__}: answers no sample alone (" in message
    assert why in message
    assert f"the {name} split has one" in message
    build.build(compose_recipe(*words), cut(2))
    build.build(compose_recipe("model.norm=batch"), cut(1))


def test_a_model_that_gives_another_shape(compose_recipe, digits):
    words = ("model=custom", "model._target_=tests.recipe.test_checks.Nine")
    message = refused(compose_recipe, digits, *words)
    assert "model=Nine: gives (2, 9)" in message
    assert "(2, 10), one number a class" in message


def test_a_model_with_a_layer_of_no_units(compose_recipe, digits):
    words = ("model=custom", "model._target_=tests.recipe.test_checks.Nothing")
    message = refused(compose_recipe, digits, *words)
    assert message == "model=Nothing: 1.weight has the shape (0, 64); a layer needs a unit"


def test_a_model_for_another_input(compose_recipe, digits):
    words = ("model=custom", "model._target_=torch.nn.Linear")
    words += ("+model.in_features=3", "+model.out_features=10")
    message = refused(compose_recipe, digits, *words)
    assert "model=Linear: does not take samples of shape (1, 8, 8) from data=digits" in message


def test_probabilities_where_logits_are_due(compose_recipe, digits):
    words = ("model=custom", "model._target_=tests.recipe.test_checks.Probable")
    assert "softmax" in refused(compose_recipe, digits, *words)


class Nine(torch.nn.Sequential):
    """One class too few."""

    def __init__(self) -> None:
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(64, 9))


class Nothing(torch.nn.Sequential):
    """A width of 0."""

    def __init__(self) -> None:
        narrow, last = torch.nn.Linear(64, 1, bias=False), torch.nn.Linear(1, 10)
        narrow.weight = torch.nn.Parameter(torch.empty(0, 64))
        last.weight = torch.nn.Parameter(torch.empty(10, 0))
        super().__init__(torch.nn.Flatten(), narrow, last)


class Probable(torch.nn.Sequential):
    """Ends in a softmax."""

    def __init__(self) -> None:
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(64, 10), torch.nn.Softmax(1))


def test_cross_entropy_on_numbers(compose_recipe, table):
    message = refused(compose_recipe, table, "model=linear", "loss=cross_entropy")
    assert "loss=cross_entropy: compares classes" in message
    assert "loss=mse" in message


class Own(torch.nn.Module):
    """A network of a user's, which fails in one of many ways."""

    def __init__(self, how: str, outputs: int) -> None:
        super().__init__()
        if how == "init":
            raise KeyError("width")
        self.how = how
        self.norm, self.layer = torch.nn.BatchNorm1d(64), torch.nn.Linear(64, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.how == "attribute":
            return self.nothing(x)
        if self.how == "training" and self.training:
            raise KeyError("mask")
        if self.how == "shape" and self.training:
            return self.layer(x.flatten(1)[:, :3])
        logits = self.layer(self.norm(x.flatten(1)))
        made = {"detached": logits.detach(), "whole": logits.round().long()}
        return made.get(self.how, logits)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("init", "KeyError: 'width'"),
        ("attribute", "AttributeError: 'Own' object has no attribute 'nothing'"),
        ("training", "KeyError: 'mask'"),
        ("shape", "fails in a step of training"),
        ("detached", "its result has no gradient"),
        ("whole", "gives torch.int64; it must give floating-point numbers"),
    ],
)
def test_a_users_network_that_fails(compose_recipe, digits, monkeypatch, how, message):
    import sys

    monkeypatch.setitem(sys.modules, "owned", sys.modules[__name__])
    words = ("model=custom", "model._target_=owned.Own", f"+model.how={how}")
    said = refused(compose_recipe, digits, *words, "+model.outputs=${facts.outputs}")
    assert said.startswith(("model=", "model._target_="))
    assert message in said
    fails = how not in ("detached", "whole")
    assert fails == bool(re.search(rf"{re.escape(__file__)}:\d+\)$", said))


def test_a_model_must_be_a_module(compose_recipe, digits):
    words = ("model=custom", "model._target_=builtins.dict")
    assert "gives a dict, no torch.nn.Module" in refused(compose_recipe, digits, *words)


def test_the_trial_step_leaves_the_model_as_it_is(compose_recipe, digits):
    run = build.build(compose_recipe("model=mlp", "model.norm=batch"), digits)
    means = [value for name, value in run.model.named_buffers() if name.endswith("running_mean")]
    assert means
    assert all(not mean.any() for mean in means)
    assert all(weight.grad is None for weight in run.model.parameters())


def test_batch_norm_needs_more_than_one_value(compose_recipe, digits):
    deep = ("model=torchvision", "model.name=resnet18")  # 8×8 pixels end as 1×1
    assert "batch_size=1: batch norm" in refused(compose_recipe, digits, *deep, "batch_size=1")
    samples = len(digits.train)
    left = (*deep, f"batch_size={samples - 1}")
    assert "a last mini-batch of 1" in refused(compose_recipe, digits, *left)
    build.build(compose_recipe("model=cnn", "regularization=batch_norm", "batch_size=1"), digits)


def test_views_that_the_model_does_not_take(compose_recipe, digits):
    words = ("test_augmentation=five_crop", "test_augmentation.size=6")
    message = refused(compose_recipe, digits, *words)
    assert (
        "test_augmentation=five_crop: the model does not take views of shape (1, 6, 6)" in message
    )


@pytest.fixture
def floats(digits):
    """The digits as they come, from 0 to 16."""
    x = digits.train.x.float() / 15
    splits = [Split(x, s.y, s.rows) for s in (digits.train, digits.val, digits.test)]
    return Data("floats", *splits, digits.shape, digits.classes, 10, "")


@pytest.mark.parametrize("name", ["noise", "color_jitter", "photometric", "randaugment", "elastic"])
def test_an_augmentation_that_would_cut_values_off(compose_recipe, floats, name):
    message = refused(compose_recipe, floats, f"augmentation=[{name}]")
    assert message.startswith(f"augmentation.{name}: takes images with values from 0 to 1")
    assert "data=floats go from 0 to 16; rescale them to 0..1 in the file, or save" in message


def test_augmentations_that_keep_any_values(compose_recipe, floats):
    words = ("augmentation=[flip,rotate,cutout,mixup]", "augmentation.cutout.size=2")
    x, y = floats.train.x[floats.train.rows[:64]], floats.train.y[floats.train.rows[:64]]
    run = build.build(compose_recipe(*words), floats)
    assert run.augmentation is not None
    assert run.augmentation(x, y, torch.Generator().manual_seed(0))[0].max() > 10


def test_float_images_in_the_unit_range_are_augmented(compose_recipe, floats):
    splits = [Split(s.x / 16, s.y, s.rows) for s in (floats.train, floats.val, floats.test)]
    scaled = Data("unit", *splits, floats.shape, floats.classes, 10, "")
    build.build(compose_recipe("augmentation=[noise]"), scaled)


def whole_labels(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A user's loss that takes class indices only."""
    return -logits.log_softmax(1).gather(1, y[:, None]).mean()


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
@pytest.mark.parametrize("loss", ["hinge", "whole_labels"])
def test_mixed_labels_and_a_loss_that_takes_whole_ones(
    compose_recipe, digits, monkeypatch, name, loss
):
    import sys

    monkeypatch.setitem(sys.modules, "owned", sys.modules[__name__])
    words = ("loss=hinge",)
    if loss != "hinge":
        words = (f"loss._target_=owned.{loss}",)
    message = refused(compose_recipe, digits, f"augmentation=[flip,{name}]", *words)
    assert message.startswith(f"augmentation=[flip,{name}]: mixes labels into probabilities")
    assert f"loss={loss} takes whole labels only; use loss=cross_entropy, bce or mse" in message


@pytest.mark.parametrize("loss", ["cross_entropy", "bce", "mse", "mae", "huber"])
def test_mixed_labels_and_a_loss_that_takes_probabilities(compose_recipe, digits, loss):
    build.build(compose_recipe("augmentation=[mixup]", f"loss={loss}"), digits)


def test_an_initializer_that_would_work_for_hours(compose_recipe, digits):
    words = ("initializer=data_dependent", "initializer.rounds=100000")
    message = refused(compose_recipe, digits, *words)
    assert message.startswith("initializer.rounds=100000: rounds must be between 0 and 1000")


def test_views_of_a_table(compose_recipe, table):
    words = ("test_augmentation=flip", "loss=mse", "model=linear", "preprocessing=none")
    assert "needs images" in refused(compose_recipe, table, *words)
