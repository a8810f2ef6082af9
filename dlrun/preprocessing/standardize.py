"""Mean 0 and standard deviation 1, by channel or by feature."""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.preprocessing.moments import moments


class Standardize(nn.Module):
    """(x − mean) / std, folded into x·scale + shift.

    by: "channel" takes one mean and std for each channel of an image, "feature" one
    for each pixel. Tables always go by feature. A constant feature is only centred.
    """

    takes_bytes = True
    scale: Tensor
    shift: Tensor
    byte_scale: Tensor

    def __init__(self, by: str = "channel") -> None:
        super().__init__()
        if by not in ("channel", "feature"):
            raise ValueError(f"by must be channel or feature, got {by}")
        self.by = by
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("shift", torch.zeros(()))
        self.register_buffer("byte_scale", torch.tensor(1 / 255))

    def fit(self, batches: Iterable[Tensor]) -> None:
        """Learn mean and std of (n, *shape) batches, uint8 or float."""
        rest = iter(batches)
        first = next(rest, torch.zeros(0))
        by = self.by if first.ndim > 2 else "feature"
        mean, variance = moments(chain([first], rest), by)
        std = variance.sqrt()
        # Rounding leaves a constant feature with a std of some 1e-16 of its size.
        std = torch.where(std > 1e-12 * mean.abs(), std, torch.ones_like(std))
        unit = 255 if first.dtype == torch.uint8 else 1
        device = self.scale.device
        self.scale = (unit / std).float().to(device)
        self.byte_scale = (unit / 255 / std).float().to(device)
        self.shift = (-mean / std).float().to(device)

    def forward(self, x: Tensor) -> Tensor:
        """(n, *shape) uint8 (0..255) or float (0..1) -> (n, *shape) float32."""
        # Two kernels; one addcmul with its broadcasting takes three times as long.
        if x.dtype == torch.uint8:
            return (x * self.byte_scale).add_(self.shift)
        return (x.to(torch.float32) * self.scale).add_(self.shift)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        # Before fit the buffers have no shape yet: take that of the state.
        for name in ("scale", "shift", "byte_scale"):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name]))
        super()._load_from_state_dict(state_dict, prefix, *args)
