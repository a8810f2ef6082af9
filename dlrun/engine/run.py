"""Run: the plain parts of one training run, put together by `build` and used by `train`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.data import Data, Scale
from dlrun.data.fingerprint import hash_rows
from dlrun.duration import Duration
from dlrun.engine.feed import Feed
from dlrun.loss import Loss
from dlrun.model.count import parameters

Augment = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]


@dataclass
class Run:
    """Everything that `train` needs, and nothing that knows where it came from.

    preprocessing: of training batches; evaluation: of all others, where images may have
        to be cut to the size that the model is trained on.
    forward: the model as it is called: compiled, and in lower precision, where asked.
    uncompiled: the same, never compiled, for what would have to be compiled anew.
    loss: what is measured. objective: what is trained, the loss with what class weights
        and regularizers make of it; penalties are apart.
    order: the rows of the training split in the order of an epoch, by its number.
    schedule: (step, total_steps, steps_per_epoch) -> multiplier of the learning rates.
    flops: of the forward pass of one sample.
    views: a raw batch as several, whose predictions are averaged on the test split.
    backoff: whether a diverged run returns to its last good state with a smaller rate.
    regularizers: by their keys in the recipe; each acts in one or more places;
        `change_batch`, `penalties` and the others after them are those that act there.
    rates: of the optimizer's groups, which the schedule multiplies; known once it trains.
    """

    data: Data
    train: Feed
    val: Feed
    preprocessing: nn.Module
    evaluation: nn.Module
    augmentation: Augment | None
    model: nn.Module
    forward: Callable[[Tensor], Tensor]
    uncompiled: Callable[[Tensor], Tensor]
    loss: Loss
    objective: Loss
    order: Callable[[int], Tensor]
    optimizer: torch.optim.Optimizer
    schedule: Callable[[int, int, int], float]
    lengths: "Lengths"
    device: torch.device
    generator: torch.Generator
    monitor: str
    clip_norm: float | None = None
    clip_value: float | None = None
    layout: torch.memory_format = torch.contiguous_format
    scaler: torch.amp.GradScaler | None = None
    flops: int = 0
    views: Callable[[Tensor], list[Tensor]] | None = None
    backoff: bool = False
    regularizers: dict[str, Any] = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.change_batch = self._acting("change_batch")
        self.change_gradient = self._acting("add_gradient")
        self.penalties = self._acting("penalty")
        self.constraints = self._acting("constrain")
        self.stopping = self._acting("should_stop")
        self.averaging = [
            part
            for part in (self.optimizer, *self.regularizers.values())
            if hasattr(part, "averages")
        ]

    def _acting(self, method: str) -> list[Any]:
        return [rule for rule in self.regularizers.values() if hasattr(rule, method)]

    @property
    def regression(self) -> bool:
        """Whether the targets are numbers rather than classes."""
        return self.reconstructs or not self.data.classes

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of what the model's outputs are of; none where they are numbers."""
        return () if self.regression else tuple(self.data.classes)

    @property
    def units(self) -> Tensor | None:
        """In regression what a difference of 1 is in the units of the data; None for classes."""
        if not self.regression:
            return None
        one = torch.ones(1, device=self.device)
        return one if self.scale is None else self.scale.std.to(self.device)

    @property
    def scale(self) -> Scale | None:
        """Of the targets, where the model is trained on standardized ones."""
        return None if self.reconstructs else self.data.scale

    @property
    def reconstructs(self) -> bool:
        """Whether the model is to give its input back."""
        return bool(getattr(self.model, "reconstructs", False))

    @property
    def weights(self) -> list[nn.Parameter]:
        """What penalties act on: all trainable parameters."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def facts(self) -> dict[str, Any]:
        """What the record says of the run beside its recipe."""
        splits = {name: getattr(self.data, name) for name in ("train", "val", "test")}
        return {
            "device": _device_name(self.device),
            "threads": torch.get_num_threads(),
            "parameters": parameters(self.model),
            "flops": self.flops,
            "data": {
                "name": self.data.name,
                "digest": self.data.digest,
                "shape": list(self.data.shape),
                "classes": list(self.data.classes),
                "samples": {name: len(split) for name, split in splits.items()},
                "scale": self.scale
                and {
                    "mean": self.scale.mean.tolist(),
                    "std": self.scale.std.tolist(),
                },
                "reading": dict(self.data.reading),
                "splits": {name: hash_rows(split.rows.numpy()) for name, split in splits.items()},
            },
        }


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)


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

    def smallest(self, samples: int) -> int:
        """Samples in the smallest mini-batch of an epoch of so many samples."""
        left = 0 if self.drop_last else samples % self.batch_size
        return left or min(self.batch_size, samples)
