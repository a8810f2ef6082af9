"""The state of a run that changes while it trains, and how it is kept and put back."""

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from dlrun import checkpoint
from dlrun.errors import Mistake
from dlrun.evaluate import averaged
from dlrun.record import Record
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


def begin(run: Run, record: Record) -> State:
    """The state to train on from: that of the newest checkpoint in `record`, or the beginning.

    Points of the record after it are cut off: they will come again. Raises Mistake,
    and leaves the record as it is, where the checkpoint does not fit the run.
    """
    saved = checkpoint.load(record.directory / "checkpoints")
    state = restore(run, saved) if saved else State()
    record.truncate(saved["recorded"] if saved else 0)
    return state


def best_weights(run: Run) -> Weights:
    """A copy of what is evaluated: all parameters and buffers, averaged where the recipe does."""
    with averaged(run):
        return {name: value.detach().clone() for name, value in run.model.state_dict().items()}


def capture(run: Run, state: State, recorded: int) -> dict[str, Any]:
    """All of it as tensors and plain values; `recorded` is the length of the record so far."""
    window = state.window
    return {
        "position": asdict(state.at),
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
        "regularization": [_memory(rule) for rule in _with_memory(run)],
        "scaler": None if run.scaler is None else run.scaler.state_dict(),
        "random": checkpoint.random_state(run.generator),
        "recorded": recorded,
        "good": state.good,
    }


def restore(run: Run, saved: dict[str, Any]) -> State:
    """Put the Run back to where `capture` found it.

    The options of the optimizer (its rate, its momentum) stay those of the recipe, so
    that an override on resuming holds. Raises Mistake where the model has changed.
    """
    device = run.device
    try:
        run.model.load_state_dict(saved["model"])
    except RuntimeError as error:
        raise Mistake(f"the checkpoint does not fit the model: {error}") from error
    run.preprocessing.load_state_dict(saved["preprocessing"])
    if saved["optimizer"]["name"] == type(run.optimizer).__name__:
        options = [dict(group) for group in run.optimizer.param_groups]
        try:
            run.optimizer.load_state_dict(saved["optimizer"]["state"])
        except (ValueError, KeyError) as error:
            raise Mistake(f"the checkpoint does not fit the optimizer: {error}") from error
        for group, wanted in zip(run.optimizer.param_groups, options, strict=True):
            group.update({key: wanted[key] for key in wanted if key != "params"})
    _remember(run.schedule, saved["schedule"])
    for rule, memory in zip(_with_memory(run), saved["regularization"], strict=False):
        _remember(rule, memory)
    if run.scaler is not None and saved["scaler"]:
        run.scaler.load_state_dict(saved["scaler"])
    checkpoint.restore_random_state(saved["random"], run.generator)

    known = {entry.name for entry in fields(Position)}
    at = Position(**{key: value for key, value in saved["position"].items() if key in known})
    kept = saved["window"]
    losses, hits = (
        [] if kept[key] is None else list(kept[key].to(device).unbind())
        for key in ("losses", "hits")
    )
    window = Window(losses, hits, list(kept["sizes"]), kept["seconds"])
    best = saved["best"]
    if best is not None:
        best = {name: value.to(device) for name, value in best.items()}
    elif at.best_step and at.best_step == at.step:
        best = best_weights(run)
    return State(at, window, best, saved.get("good"))


def _with_memory(run: Run) -> list[Any]:
    return [rule for rule in run.regularizers if hasattr(rule, "state_dict")]


def _memory(part: object) -> Any:
    return part.state_dict() if hasattr(part, "state_dict") else None


def _remember(part: object, memory: Any) -> None:
    if memory is not None and hasattr(part, "load_state_dict"):
        part.load_state_dict(memory)
