"""What is told before a training of what passes through the network."""

from dataclasses import replace

from torch import nn

from dlrun.engine.preflight import preflight
from dlrun.finding import WARN
from dlrun.recipe import build
from tests.engine.conftest import network


def test_a_network_whose_activations_bend_nothing(compose_recipe, digits):
    run = build.build(compose_recipe(), digits)
    run.model = run.uncompiled = model = network()
    nn.init.constant_(model[1].bias, 100.0)  # all in the linear part of the rectifiers
    [one] = [each for each in preflight(run) if each.name == "linear_network"]
    assert "no sample reaches a bend of its relu" in one.text


def _times(data, factor):
    splits = {name: getattr(data, name) for name in ("train", "val", "test")}
    return {name: replace(each, x=each.x * factor) for name, each in splits.items()}


def test_gradients_that_are_large_because_inputs_are(found, digits):
    """The scale of the inputs is the cause, and is told instead."""
    said = found("preprocessing=none", data=replace(digits, **_times(digits, 1e5)))
    assert "input_scale" in said
    assert "exploding_gradient" not in said


def test_a_gradient_that_fades_from_layer_to_layer(found):
    assert found("activation=sigmoid", "model.hidden=[64,64,64,64]")["vanishing_gradient"] == WARN
    assert "vanishing_gradient" not in found("model.hidden=[64,64,64,64]")
