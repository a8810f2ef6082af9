"""What of a run changes while it trains, and all of it as tensors and plain values."""

import copy
import math
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from dlrun import checkpoint
from dlrun.evaluate import averaged
from dlrun.run import Run

Weights = dict[str, Tensor]


@dataclass
class Position:
    """Where a run stands, in plain numbers."""

    step: int = 0  # optimizer steps taken
    epoch: int = 0  # whole epochs behind it
    seen: int = 0  # samples of the current epoch behind it
    elapsed: float = 0.0  # seconds in the loop, validation included
    stopped: bool = False  # a stopping rule held
    scale: float = 1.0  # of all rates, after returns from a divergence
    backoffs: int = 0  # how many of these there were
    best_score: float = -math.inf
    best_step: int = 0


@dataclass
class Window:
    """What the mini-batches since the last point gave, on the device."""

    losses: list[Tensor] = field(default_factory=list)
    hits: list[Tensor] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    seconds: float = 0.0

    def clear(self) -> None:
        """Begin a new window."""
        self.losses, self.hits, self.sizes, self.seconds = [], [], [], 0.0


@dataclass
class State:
    """Everything beside the parts of the Run that a checkpoint must hold."""

    at: Position = field(default_factory=Position)
    window: Window = field(default_factory=Window)
    best: Weights | None = None  # the weights at `best_step`
    good: dict[str, Any] | None = None  # what a diverged run returns to


def best_weights(run: Run) -> Weights:
    """A copy of what is evaluated: all parameters and buffers, averaged where the recipe does."""
    with averaged(run):
        state = run.model.state_dict()
        return {  # a module of the user may keep more than tensors
            name: value.detach().clone() if isinstance(value, Tensor) else copy.deepcopy(value)
            for name, value in state.items()
        }


def capture(run: Run, state: State, recorded: int) -> dict[str, Any]:
    """All of it as tensors and plain values; `recorded` is the length of the record so far."""
    window = state.window
    return {
        "position": asdict(state.at),
        "monitor": run.monitor,
        "window": {
            "losses": torch.stack(window.losses) if window.losses else None,
            "hits": torch.stack(window.hits) if window.hits else None,
            "sizes": window.sizes,
            "seconds": window.seconds,
        },
        "best": None if state.at.best_step == state.at.step else state.best,
        "model": run.model.state_dict(),
        "preprocessing": run.preprocessing.state_dict(),
        "optimizer": {"name": type(run.optimizer).__name__, "state": run.optimizer.state_dict()},
        "schedule": _memory(run.schedule),
        "regularization": {key: _memory(rule) for key, rule in run.regularizers.items()},
        "scaler": None if run.scaler is None else run.scaler.state_dict(),
        "random": checkpoint.random_state(run.generator),
        "recorded": recorded,
        "good": state.good,
    }


def _memory(part: object) -> Any:
    if not hasattr(part, "state_dict"):
        return None
    return {"name": kind(part), "state": part.state_dict()}


def kind(part: object) -> str:
    """The class, of a schedule after a warm-up its own."""
    return type(getattr(part, "schedule", part)).__name__
