"""Tests of what runs a network to see the order of its layers."""

import pytest
import torch
from torch import nn

from dlrun.model.order import hooked


def test_hooks_are_gone_afterwards_and_after_an_error():
    layer, seen = nn.Linear(2, 2), list[object]()
    hooks = hooked(one.register_forward_hook(lambda *given: seen.append(given)) for one in [layer])
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), hooks:
        layer(layer(torch.zeros(1, 2)) @ torch.zeros(2, 3))
    layer(torch.zeros(1, 2))
    assert len(seen) == 1
