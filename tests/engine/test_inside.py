"""What is in a network: filters, histograms, and inputs on their way in."""

import numpy as np
import pytest
import torch

from dlrun.engine import inside
from dlrun.engine.look import some
from dlrun.recipe import build


@pytest.fixture
def built(compose_recipe, digits):
    return lambda *words: build.build(compose_recipe(*words), digits)


def test_filters_of_a_convolution_are_its_kernels(built, digits):
    run = built("model=cnn")
    first = next(m for m in run.model.modules() if isinstance(m, torch.nn.Conv2d))
    found = inside.filters(run, digits.train)
    assert np.array_equal(found, first.weight.detach().numpy()[: inside.FILTERS])


def test_weights_of_a_layer_that_sees_images_are_images(built, digits):
    run = built("model.hidden=[5]")
    first = next(m for m in run.model.modules() if isinstance(m, torch.nn.Linear))
    found = inside.filters(run, digits.train)
    assert np.array_equal(found, first.weight.detach().numpy().reshape(5, 1, 8, 8))


def test_there_are_none_where_it_sees_no_images(built, digits):
    run = built("preprocessing=[pca]")
    assert inside.filters(run, digits.train) is None


def test_histograms_count_every_value(built, digits):
    run = built("model.hidden=[7]")
    found = inside.distributions(run, digits.val)
    assert [sum(each.counts) for each in found.weights] == [64 * 7, 7 * 10]
    samples = found.samples
    assert [(each.kind, sum(each.counts)) for each in found.activations] == [
        ("Linear", samples * 7),
        ("ReLU", samples * 7),
        ("Linear", samples * 10),
    ]
    relu = found.activations[1]
    x, _ = some(run, digits.val, inside.BATCH)
    with torch.no_grad():
        zeros = (torch.relu(run.model[1](x.flatten(1))) == 0).float().mean()
    assert relu.zeros == pytest.approx(float(zeros))
    assert found.left_out == 0


def test_of_many_layers_some_are_left_out(built, digits):
    run = built(f"model.hidden={[4] * 30}")
    found = inside.distributions(run, digits.val)
    assert len(found.weights) == len(found.activations) == inside.LAYERS
    assert found.left_out == 61 - inside.LAYERS
    assert found.weights[0].layer < found.weights[-1].layer or found.weights[0].layer == "1"


def test_inputs_before_and_after(built, digits):
    run = built("augmentation=[rotate]", "preprocessing=[standardize]")
    found = inside.inputs(run, digits.train, 4)
    assert found.raw.shape == (4, 1, 8, 8)
    assert found.raw.min() >= 0
    assert found.raw.max() <= 1
    assert len(found.augmented) == 3
    assert not np.array_equal(found.augmented[0], found.augmented[1])
    assert found.seen.min() < 0
    assert not inside.inputs(built("augmentation=none"), digits.train, 4).augmented
