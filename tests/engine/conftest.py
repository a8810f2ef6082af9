"""What checks before a training are tried on."""

import pytest
import torch
from torch import nn

from dlrun.data import Data, Split
from dlrun.engine.preflight import preflight
from dlrun.loss import Loss
from dlrun.recipe import build


def network(*last, shape=(1, 8, 8), outputs=10, width=16):
    inputs = shape[0] * shape[1] * shape[2]
    layers = (nn.Flatten(), nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, outputs))
    return nn.Sequential(*layers, *last)


@pytest.fixture
def found(compose_recipe, digits):
    """found(words, model=..., data=...) is {name: level} of what preflight says."""

    def look(*words, model=None, data=digits, loss=None):
        run = build.build(compose_recipe(*words), data)
        if loss is not None:
            run.loss = Loss(loss)
        if model is not None:
            run.model = run.uncompiled = model
        return {each.name: each.level for each in preflight(run)}

    return look


def made(x, y, train=None, classes=3, scale=None):
    rows = torch.arange(len(x))
    train = rows[: len(x) // 2] if train is None else train
    splits = [Split(x, y, part) for part in (train, rows[len(x) // 2 :], rows[:0])]
    names = tuple("abcdefghij"[:classes])
    outputs = classes or y.shape[1]
    return Data("made", *splits, tuple(x.shape[1:]), names, outputs, "", scale)


@pytest.fixture
def table():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 5, generator=generator)
    return x, torch.arange(400) % 3
