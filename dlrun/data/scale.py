"""Targets of a regression with mean 0 and standard deviation 1, and the way back."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.data import Data, Scale


def standardize(y: Tensor, rows: Tensor) -> tuple[Tensor, Scale]:
    """(y − mean)/std of each target, by the mean and std of these rows alone.

    y: (n, targets) float32. A target with the same value in all rows is only centred.
    """
    seen = y[rows].double()
    mean, std = seen.mean(0), seen.std(0, unbiased=False)
    std = torch.where(std > 0, std, torch.ones_like(std))
    return ((y.double() - mean) / std).float(), Scale(mean.float(), std.float())


def scale_of(about: Mapping[str, Any] | None) -> Scale | None:
    """The scale of the targets, where they were standardized; about: what a record says of data."""
    kept = (about or {}).get("scale")
    return Scale(torch.tensor(kept["mean"]), torch.tensor(kept["std"])) if kept else None


def rescaled(data: Data, scale: Scale) -> Data:
    """The same data with standardized targets on another scale than their own."""
    now = data.scale
    if now is None or (now.mean.equal(scale.mean) and now.std.equal(scale.std)):
        return data
    raw = data.train.y.double() * now.std.double() + now.mean.double()
    y = ((raw - scale.mean.double()) / scale.std.double()).float()
    train, val, test = (replace(split, y=y) for split in (data.train, data.val, data.test))
    extra = {name: replace(split, y=y) for name, split in data.extra.items()}
    return replace(data, train=train, val=val, test=test, extra=extra, scale=scale)


class Unscale(nn.Module):
    """From standardized predictions to those in the units of the data: y·std + mean."""

    def __init__(self, scale: Scale) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", scale.mean.clone())
        self.register_buffer("std", scale.std.clone())

    def forward(self, y: Tensor) -> Tensor:
        """(n, targets) -> (n, targets)."""
        return y * self.std + self.mean
