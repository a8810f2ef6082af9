"""Layers of several networks as one with more channels: each comes to what it comes to alone."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlrun.stack.folded import Folded, alike, layer
from dlrun.stack.stages import Traced

RUNS = 3
KNOWN: dict[str, tuple[Callable[[], list[nn.Module]], tuple[int, ...]]] = {
    "convolutions": (
        lambda: [nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, stride=2)],
        (2, 7, 6),
    ),
    "in groups": (
        lambda: [nn.Conv2d(4, 4, 3, padding="same", groups=2, bias=False), nn.Tanh()],
        (4, 5, 5),
    ),
    "norm and pooling": (
        lambda: [nn.Conv2d(1, 4, 3, dilation=2), nn.BatchNorm2d(4), nn.MaxPool2d(2)],
        (1, 8, 8),
    ),
    "norm before": (
        lambda: [nn.BatchNorm2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1)],
        (2, 4, 4),
    ),
    "norm of batches": (
        lambda: [
            nn.Conv2d(2, 3, 1),
            nn.BatchNorm2d(3, affine=False),
            nn.BatchNorm2d(3, track_running_stats=False),
        ],
        (2, 3, 3),
    ),
    "sequences": (
        lambda: [nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3, momentum=0.5), nn.AdaptiveMaxPool1d(2)],
        (2, 9),
    ),
    "vectors": (lambda: [nn.BatchNorm1d(5), nn.LeakyReLU()], (5,)),
}


def every(modules: list[nn.Module]) -> tuple[Folded, dict[str, Tensor], list[nn.Sequential]]:
    """The layers of some networks as one, all their tensors, and each network."""
    model = nn.Sequential(*modules).double()
    networks = []
    for _ in range(RUNS):
        networks.append(copy.deepcopy(model))
        for parameter in networks[-1].parameters():
            nn.init.normal_(parameter)
    states = [network.state_dict() for network in networks]
    tensors = {name: torch.stack([state[name] for state in states]) for name in states[0]}
    weights = [name for name, _ in model.named_parameters()]
    for name in weights:
        tensors[name].requires_grad_()
    layers = []
    for place, module in enumerate(model):
        own = {name: f"{place}.{name}" for name in module.state_dict()}
        layers.append(layer(module, own) or alike(module))
    return Folded(layers, Traced(_not_asked, weights)), tensors, networks


def _not_asked(tensors: Any, x: Tensor) -> Tensor:
    raise AssertionError


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("name", KNOWN)
def test_outputs_gradients_and_statistics(name, shared):
    modules, shape = KNOWN[name]
    stage, tensors, networks = every(modules())
    x = torch.randn(1 if shared else RUNS, 6, *shape, dtype=torch.float64).expand(RUNS, 6, *shape)
    kept: dict[str, Tensor] = {}
    out, back = stage.traced(tensors, x)
    slope = torch.randn_like(out)
    through = back(slope, kept.__setitem__, not shared)  # no weights before what all share
    for number, network in enumerate(networks):
        given = x[number].clone().requires_grad_()
        alone = network(given)
        alone.backward(slope[number])
        torch.testing.assert_close(out[number], alone.detach())
        if not shared:
            torch.testing.assert_close(through[number], given.grad)
        for key, parameter in network.named_parameters():
            torch.testing.assert_close(kept[key][number], parameter.grad)
        for key, buffer in network.named_buffers():
            torch.testing.assert_close(tensors[key][number], buffer)


def test_evaluation_changes_no_statistics():
    stage, tensors, networks = every([norm := nn.BatchNorm2d(2)])
    norm.eval()
    x = torch.randn(RUNS, 4, 2, 3, 3, dtype=torch.float64)
    with torch.no_grad():
        for number, (out, network) in enumerate(zip(stage(tensors, x), networks, strict=True)):
            torch.testing.assert_close(out, network.eval()(x[number]))
    assert not tensors["0.running_mean"].any()
    assert not tensors["0.num_batches_tracked"].any()


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"),
        nn.BatchNorm2d(2, momentum=None),
        nn.MaxPool2d(2, return_indices=True),
        nn.LayerNorm(3),
        nn.LocalResponseNorm(2),
    ],
    ids=lambda module: type(module).__name__,
)
def test_what_is_something_else_is_left(module):
    assert layer(module, {name: name for name in module.state_dict()}) is None


def test_vectors_are_no_images():
    """A pooling of (n, values) pools over the values."""
    module = nn.MaxPool1d(2)
    found = layer(module, {})
    assert found is not None
    x = torch.randn(RUNS, 4, 6)
    stage = Folded([found], Traced(lambda _, x: torch.stack([module(each) for each in x])))
    torch.testing.assert_close(stage({}, x)[1], module(x[1]))
