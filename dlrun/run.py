"""Run: the plain parts of one training run, put together by `build` and used by `train`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.data import Data
from dlrun.duration import Duration
from dlrun.feed import Feed

Augment = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]


@dataclass
class Run:
    """Everything that `train` needs, and nothing that knows where it came from.

    forward: the model as it is called: compiled, and in lower precision, where asked.
    schedule: (step, total_steps, steps_per_epoch) -> multiplier of the learning rates.
    change_batch, penalties, constraints, stopping: the regularizers by where they act.
    """

    data: Data
    train: Feed
    val: Feed
    preprocessing: nn.Module
    augmentation: list[Augment]
    model: nn.Module
    forward: Callable[[Tensor], Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    schedule: Callable[[int, int, int], float]
    lengths: "Lengths"
    device: torch.device
    generator: torch.Generator
    monitor: str
    seed: int
    clip_norm: float | None = None
    clip_value: float | None = None
    layout: torch.memory_format = torch.contiguous_format
    scaler: torch.amp.GradScaler | None = None
    change_batch: list[Augment] = field(default_factory=list)
    penalties: list[Any] = field(default_factory=list)
    constraints: list[Any] = field(default_factory=list)
    stopping: list[Any] = field(default_factory=list)

    @property
    def regression(self) -> bool:
        """Whether the targets are numbers rather than classes."""
        return not self.data.classes

    @property
    def weights(self) -> list[nn.Parameter]:
        """What penalties act on: all trainable parameters."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]


@dataclass(frozen=True)
class Lengths:
    """How long and how often, in optimizer steps except where it says samples."""

    batch_size: int  # samples in a mini-batch
    accumulate: int  # mini-batches in a step
    drop_last: bool
    steps_per_epoch: int
    total_steps: int
    validate_every: int
    log_every: int
    checkpoint_every: Duration  # in steps or in seconds
    evaluation_batch: int  # samples
