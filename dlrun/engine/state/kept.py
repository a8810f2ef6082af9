"""What of a run changes while it trains, and all of it as tensors and plain values."""

import copy
import math
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from dlrun.engine import checkpoint
from dlrun.engine.evaluate import averaged, averages, estimate_statistics
from dlrun.engine.run import Run

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
    best_loss: float = math.inf  # val/loss with it, which breaks ties
    best_step: int = 0
    best_averaged: bool = False  # its weights are averages

    def beaten(self, score: float, loss: float, margin: float = 0.0) -> bool:
        """Whether a score is above the best by more than a margin, or equals it at less loss."""
        tie = score == self.best_score and loss < self.best_loss
        return tie or score > self.best_score + margin


Result = tuple[Tensor, Tensor, Tensor | None, list[Tensor]]
"""Of a mini-batch: loss, hits, the objective where it is another than the loss, penalties."""


@dataclass
class Window:
    """What the mini-batches since the last point gave, scalars on the device.

    losses: as val/loss is computed. objectives: what was trained, without penalties; none where
    it is the loss. penalties: of each rule that has one, in a step; none where no rule has.
    """

    losses: list[Tensor] = field(default_factory=list)
    hits: list[Tensor] = field(default_factory=list)
    objectives: list[Tensor] = field(default_factory=list)
    penalties: list[list[Tensor]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    seconds: float = 0.0

    def add(
        self,
        size: int,
        loss: Tensor,
        hits: Tensor,
        objective: Tensor | None,
        penalties: list[Tensor],
    ) -> None:
        """One more mini-batch of so many samples."""
        self.sizes.append(size)
        self.losses.append(loss)
        self.hits.append(hits)
        if objective is not None:
            self.objectives.append(objective)
        if penalties:
            self.penalties.append(penalties)

    def minimized(self) -> Tensor:
        """(n,): of each mini-batch what its step made small, the objective and the penalties."""
        objectives = torch.stack(self.objectives or self.losses)
        if not self.penalties:
            return objectives
        return objectives + torch.stack([torch.stack(each).sum() for each in self.penalties])

    def clear(self) -> None:
        """Begin a new window."""
        self.losses, self.hits, self.objectives, self.penalties = [], [], [], []
        self.sizes, self.seconds = [], 0.0


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


def settle(run: Run, state: State) -> int:
    """Put the weights that count into the model, and say of which step they are.

    They are the best, or the last ones where a rule wants those. Averages get batch norm's
    statistics from the whole training split, those that are the best in `state` as well.
    """
    at, best = state.at, None if keeps_last(run) else state.best
    are_averages = bool(averages(run)) if best is None else at.best_averaged
    run.model.load_state_dict(best_weights(run) if best is None else best)
    run.averaging = []
    if are_averages and estimate_statistics(run) and best is not None:
        state.best = best_weights(run)
    return at.step if best is None else at.best_step


def keeps_last(run: Run) -> bool:
    """Whether a rule wants the last weights rather than the best."""
    return any(not getattr(rule, "restore_best", True) for rule in run.stopping)


def capture(run: Run, state: State, recorded: int) -> dict[str, Any]:
    """All of it as tensors and plain values; `recorded` is the length of the record so far."""
    window = state.window
    return {
        "position": asdict(state.at),
        "monitor": run.monitor,
        "window": {
            "losses": torch.stack(window.losses) if window.losses else None,
            "hits": torch.stack(window.hits) if window.hits else None,
            "objectives": torch.stack(window.objectives) if window.objectives else None,
            "penalties": torch.stack([torch.stack(each) for each in window.penalties])
            if window.penalties
            else None,
            "sizes": window.sizes,
            "seconds": window.seconds,
        },
        "best": None if _is_current(run, state) else state.best,
        "model": run.model.state_dict(),
        "preprocessing": run.preprocessing.state_dict(),
        "steps": steps(run),
        "optimizer": {
            "name": type(run.optimizer).__name__,
            "groups": groups(run),
            "state": run.optimizer.state_dict(),
        },
        "schedule": _memory(run.schedule),
        "regularization": {key: _memory(rule) for key, rule in run.regularizers.items()},
        "scaler": None if run.scaler is None else run.scaler.state_dict(),
        "random": checkpoint.random_state(run.generator),
        "recorded": recorded,
        "good": state.good,
    }


def steps(run: Run) -> dict[str, int | bool]:
    """What decides which samples a step sees, and how many steps an epoch has."""
    lengths = run.lengths
    return {
        "batch_size": lengths.batch_size,
        "accumulate": lengths.accumulate,
        "drop_last": lengths.drop_last,
        "steps_per_epoch": lengths.steps_per_epoch,
    }


def groups(run: Run) -> list[list[str]]:
    """The names of the weights in the optimizer's groups: its state only counts them."""
    names = {id(weight): name for name, weight in run.model.named_parameters()}
    return [
        [names.get(id(weight), "") for weight in group["params"]]
        for group in run.optimizer.param_groups
    ]


def _is_current(run: Run, state: State) -> bool:
    """Whether the best weights are those of the model, so that they need no second place.

    Averages are not: only a recipe that averages, too, could make them again.
    """
    return state.at.best_step == state.at.step and not run.averaging


def _memory(part: object) -> Any:
    if not hasattr(part, "state_dict"):
        return None
    return {"name": kind(part), "state": part.state_dict()}


def kind(part: object) -> str:
    """The class, of a schedule after a warm-up its own."""
    return type(getattr(part, "schedule", part)).__name__
