"""Lets a step that is not fitted yet load the state of a fitted one."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


def take_shapes(module: nn.Module, state: Mapping[str, Any], prefix: str) -> None:
    """Give the module's own buffers the shapes that they have in the state."""
    for name, buffer in list(module.named_buffers(recurse=False)):
        if prefix + name in state:
            setattr(module, name, torch.empty_like(state[prefix + name], device=buffer.device))
