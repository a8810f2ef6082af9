"""What does not fit together is said before training, by key and with what would be right."""

from dataclasses import replace

import pytest
import torch

from dlrun import build
from dlrun.data import Data, Split
from dlrun.errors import Mistake
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
def table(digits: Data) -> Data:
    """A regression with 5 features and 2 targets."""
    x, y = torch.randn(60, 5), torch.randn(60, 2)
    splits = [Split(x, y, rows) for rows in torch.arange(60).split([40, 10, 10])]
    return Data("table", *splits, (5,), (), 2, "")


def test_an_activation_that_the_model_does_not_take(compose_recipe: Recipe, digits: Data) -> None:
    words = ("model=torchvision", "model.name=resnet18", "activation=tanh")
    message = refused(compose_recipe, digits, *words, chosen=("activation",))
    assert "activation: changes nothing" in message
    assert "mlp, cnn or resnet" in message


def test_the_limit_of_parameters(compose_recipe: Recipe, digits: Data) -> None:
    words = ("model.max_parameters=1000",)
    assert "model.max_parameters=1,000: this model has 4,810" in refused(
        compose_recipe, digits, *words
    )
    build.build(compose_recipe("model.max_parameters=4810"), digits)


def test_a_loss_for_another_task(compose_recipe: Recipe, table: Data) -> None:
    assert "loss" in refused(compose_recipe, table, "loss=hinge", "model=linear")


@pytest.mark.parametrize(
    ("words", "right"),
    [
        (("monitor=val/accuracy", "loss=mse"), "monitor=val/loss"),
        (("sampling=balanced", "loss=mse"), "sampling=shuffle"),
        (("class_weights=balanced", "loss=mse"), "loss=cross_entropy"),
        (("model=cnn", "loss=mse"), "image"),
        (("augmentation=[flip]", "loss=mse"), "augmentation=none"),
    ],
)
def test_what_needs_classes_or_images(
    compose_recipe: Recipe, table: Data, words: tuple[str, ...], right: str
) -> None:
    assert right in refused(compose_recipe, table, *words)


def test_no_validation_split(compose_recipe: Recipe, digits: Data) -> None:
    empty = replace(digits, val=Split(digits.val.x, digits.val.y, digits.val.rows[:0]))
    assert "monitor=train/loss" in refused(compose_recipe, empty, "monitor=val/loss")
    assert build.build(compose_recipe(), empty).monitor == "train/loss"


@pytest.mark.parametrize(
    ("words", "right"),
    [
        (("batch_size=1",), "at least 2 samples"),
        (("batch_size=359",), "drop_last=true"),  # 1078 = 3·359 + 1
    ],
)
def test_batch_norm_needs_two(
    compose_recipe: Recipe, digits: Data, words: tuple[str, ...], right: str
) -> None:
    assert right in refused(compose_recipe, digits, "model.norm=batch", *words)
    build.build(compose_recipe("model.norm=batch", "batch_size=359", "drop_last=true"), digits)


def test_a_model_that_gives_another_shape(compose_recipe: Recipe, digits: Data) -> None:
    words = ("model=custom", "model._target_=tests.test_compatible.Nine")
    message = refused(compose_recipe, digits, *words)
    assert "model=Nine: gives (2, 9)" in message
    assert "(2, 10), one number a class" in message


def test_a_model_for_another_input(compose_recipe: Recipe, digits: Data) -> None:
    words = ("model=custom", "model._target_=torch.nn.Linear")
    words += ("+model.in_features=3", "+model.out_features=10")
    message = refused(compose_recipe, digits, *words)
    assert "model=Linear: does not take samples of shape (1, 8, 8) from data=digits" in message


def test_probabilities_where_logits_are_due(compose_recipe: Recipe, digits: Data) -> None:
    words = ("model=custom", "model._target_=tests.test_compatible.Probable")
    assert "softmax" in refused(compose_recipe, digits, *words)


class Nine(torch.nn.Sequential):
    """One class too few."""

    def __init__(self) -> None:
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(64, 9))


class Probable(torch.nn.Sequential):
    """Ends in a softmax."""

    def __init__(self) -> None:
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(64, 10), torch.nn.Softmax(1))


def test_cross_entropy_on_numbers(compose_recipe: Recipe, table: Data) -> None:
    message = refused(compose_recipe, table, "model=linear")
    assert "loss=cross_entropy: compares classes" in message
    assert "loss=mse" in message
