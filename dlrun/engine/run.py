"""Run: the plain parts of one training run, put together by `build` and used by `train`."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.data import Data, Scale
from dlrun.data.fingerprint import hash_rows
from dlrun.duration import Duration
from dlrun.engine import memory
from dlrun.engine.count import parameters, size
from dlrun.engine.feed import PreparedSplit
from dlrun.engine.freezing import Frozen
from dlrun.loss import Loss
from dlrun.metric import METRICS, Metric, absolute_errors, right, score
from dlrun.optimizer import Averaging, Landing, Switching
from dlrun.regularization import Regularizer, acting
from dlrun.schedule import Schedule

Weights = dict[str, Tensor]
Augment = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]


@dataclass
class Run:
    """Everything that `train` needs, and nothing that knows where it came from.

    val: what is measured during training; of `data.val` all or, with `validate_on`, a part.
    train_eval: samples of the training split that are measured as val is; None for none.
    preprocessing: of training batches; evaluation: of all others, where images may have
        to be cut to the size that the model is trained on.
    forward: the model as it is called: compiled, and in lower precision, where asked.
    uncompiled: the same, never compiled, for what would have to be compiled anew.
    loss: what is measured. objective: what is trained, the loss with what class weights
        and regularizers make of it; penalties are apart.
    order: the rows of the training split in the order of an epoch, by its number.
    balanced: whether sampling or class weights make up for classes that are rare.
    schedule: (step, total_steps, steps_per_epoch) -> multiplier of the learning rates.
    flops: of the forward pass of one sample.
    views: a raw batch as several, whose predictions are averaged on the test split.
    backoff: whether a diverged run returns to its last good state with a smaller rate.
    divergence: of `explosion` and `oscillation` what is one, beside a loss that is not finite.
    reconstructs: whether the model is to give its input back.
    regularizers: by their keys in the recipe; each acts in one or more places;
        `change_batch`, `penalties` and the others after them are those that act there.
    rates: of the optimizer's groups, which the schedule multiplies; known once it trains.
    metrics: what is measured beside the loss and `metric`, by name; not on training batches.
    labels: whether the targets are several labels at once, each 0 or 1; asked for `metrics`.
    watch: of `layers` and `sharpness` what is looked at while it trains.
    frozen: what is not trained, and until when; None for nothing.
    began: from which weights, and what of them fits, see `transfer.put`; None for those drawn.
    """

    data: Data
    train: PreparedSplit
    val: PreparedSplit
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
    schedule: Schedule
    lengths: "LoopConfig"
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
    divergence: tuple[str, ...] = ()
    reconstructs: bool = False
    regularizers: dict[str, Regularizer] = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)
    metrics: dict[str, Metric] = field(default_factory=dict)
    train_eval: PreparedSplit | None = None
    labels: bool = False
    watch: tuple[str, ...] = ()
    began: dict[str, Any] | None = None
    balanced: bool = False
    frozen: Frozen | None = None

    def __post_init__(self) -> None:
        self.first = memory.of(self)  # of what the user's own parts remember
        rules = list(self.regularizers.values())
        self.change_batch = acting(rules, "change_batch")
        self.change_gradient = acting(rules, "add_gradient")
        self.penalties = acting(rules, "penalty")
        self.constraints = acting(rules, "constrain")
        self.stopping = acting(rules, "should_stop")
        self.averaging: list[Averaging] = [*acting(rules, "averages")]
        if isinstance(self.optimizer, Averaging):
            self.averaging.insert(0, self.optimizer)
        self.modes = self.optimizer if isinstance(self.optimizer, Switching) else None
        self.landed: Callable[[], AbstractContextManager[None]] = nullcontext
        if isinstance(self.optimizer, Landing):
            self.landed = self.optimizer.landed

        # Numbers rather than classes; what outputs are of; standardized targets.
        self.regression = self.reconstructs or not self.data.classes
        self.classes = () if self.regression else tuple(self.data.classes)
        self.scale: Scale | None = None if self.reconstructs else self.data.scale
        self.metric = METRICS["mae" if self.regression else "accuracy"]
        self.metrics.pop(self.metric.name, None)  # is measured anyway
        own = {self.metric.name: self.metric, "loss": METRICS["loss"]}
        self.measured: dict[str, Metric] = own | self.metrics
        if self.scale is not None:
            self._std, self._mean = (
                value.to(self.device) for value in (self.scale.std, self.scale.mean)
            )

    def multiplier(self, step: int) -> float:
        """Of the learning rates, by the schedule, after so many steps."""
        lengths = self.lengths
        return self.schedule(step, lengths.schedule_steps, lengths.steps_per_epoch)

    def metric_sum(self, logits: Tensor, y: Tensor) -> Tensor:
        """The metric beside the loss, summed over a batch: a scalar on the device."""
        return self.metric(*self._compared(logits, y))

    def metric_each(self, logits: Tensor, y: Tensor) -> Tensor:
        """(n,) The same of each sample alone."""
        return (absolute_errors if self.regression else right)(*self._compared(logits, y))

    def _compared(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """What this metric compares."""
        if self.regression:
            logits = self.loss.predicted(logits.detach())
        if self.scale is not None:
            logits, y = logits * self._std, y * self._std
        return logits, y

    def answers(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The predictions, from logits, and the true targets, as the metrics take both."""
        predicted = self.said(logits)
        y = y.to(predicted.device)
        if not self.regression or self.labels:
            return predicted, y.long()
        y = y.double()
        return predicted, (y if self.scale is None else y * self._std + self._mean).flatten(1)

    def said(self, logits: Tensor) -> Tensor:
        """What the logits say, as the metrics take it: see `dlrun.metric`."""
        logits = logits.to("cpu" if self.device.type == "mps" else self.device, torch.float64)
        if not self.regression or self.labels:
            return self.loss.scores(logits)
        predicted = self.loss.predicted(logits)
        if self.scale is not None:
            predicted = predicted * self._std + self._mean
        return predicted.flatten(1)

    def score(self, key: str, value: float) -> float:
        """A value that is recorded under this key, with the sign that makes higher better."""
        return score(key, value, self.measured)

    @property
    def weights(self) -> list[nn.Parameter]:
        """What penalties act on: all trainable parameters."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def facts(self) -> dict[str, Any]:
        """What the record says of the run beside its recipe."""
        splits, on_gpu = self.data.splits, self.device.type == "cuda"
        gpu = torch.cuda.get_device_name(self.device) if on_gpu else ""
        known: dict[str, Any] = {"layers": self._layers()} if "layers" in self.watch else {}
        known |= {"weights": self.began} if self.began else {}
        known |= {"frozen": self.frozen.facts()} if self.frozen else {}
        return known | {
            "device": f"{self.device} ({gpu})" if gpu else str(self.device),
            "threads": torch.get_num_threads(),
            **self._size(),
            "flops": self.flops,
            "metrics": {name: one.facts() for name, one in self.measured.items()},
            "data": {
                "name": self.data.name,
                "digest": self.data.digest,
                "shape": list(self.data.shape),
                "classes": list(self.data.classes),
                "samples": {name: len(split) for name, split in splits.items()},
                "scale": self.scale
                and {"mean": self.scale.mean.tolist(), "std": self.scale.std.tolist()},
                "types": {
                    name: str(values.dtype).removeprefix("torch.")
                    for name, values in (("x", self.data.train.x), ("y", self.data.train.y))
                },
                "outputs": self.data.outputs,
                "labels": self.labels,
                "depth": self.data.depth,
                "reading": dict(self.data.reading),
                "columns": list(self.data.columns),
                "targets": list(self.data.targets),
                "splits": {name: hash_rows(split.rows.numpy()) for name, split in splits.items()},
            },
        }

    def _size(self) -> dict[str, int]:
        """The parameters, and how many are trained sooner or later where that is not all."""
        every = size(self.model)
        trained = parameters(self.model) + (self.frozen.thawing() if self.frozen else 0)
        return {"parameters": every} | ({"trained": trained} if trained != every else {})

    def _layers(self) -> dict[str, str]:
        """The class of each module, by its name."""
        modules = self.model.named_modules()
        return {name or "model": type(module).__name__ for name, module in modules}


@dataclass(frozen=True)
class LoopConfig:
    """How long and how often, in optimizer steps except where it says samples."""

    batch_size: int  # samples in a mini-batch
    accumulate: int  # mini-batches in a step
    step_samples: int  # of a whole step, which are no more than an epoch has
    drop_last: bool
    steps_per_epoch: int
    total_steps: int
    schedule_steps: int  # for which the schedule is drawn
    validate_every: int
    log_every: int
    checkpoint_every: Duration  # in steps or in seconds
    evaluation_batch: int  # samples
    watch_every: int = 0  # 0 for never
    linear_from: int = 0  # the batch that the rate is meant for, where it grows with the batch
    stop_at: float = inf  # by the clock, in seconds since 1970

    def smallest(self, samples: int) -> int:
        """Samples in the smallest mini-batch of an epoch of so many samples."""
        left = 0 if self.drop_last else samples % self.batch_size
        return left or min(self.batch_size, samples)
