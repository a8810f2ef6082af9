"""What of a run changes while it trains, and all of it as tensors and plain values."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from dlrun.engine import checkpoint
from dlrun.engine import memory as own
from dlrun.engine.evaluate import averages, best_weights, estimate_statistics
from dlrun.engine.run import Run, Weights
from dlrun.engine.step import StepResult
from dlrun.regularization import Regularizer
from dlrun.schedule import Schedule


@dataclass
class Counters:
    """How far the loop is, with all the runs that it trains together."""

    step: int = 0  # optimizer steps taken
    epoch: int = 0  # whole epochs behind it
    seen: int = 0  # samples of the current epoch behind it
    elapsed: float = 0.0  # seconds in the loop, validation included


@dataclass
class Standing:
    """What one run has reached."""

    stopped: bool = False  # a stopping rule held
    scale: float = 1.0  # of all rates, after returns from a divergence
    backoffs: int = 0  # how many of these there were
    least: float | None = None  # the loss of a network that says nothing, or that of the first step
    losses: list[float] = field(default_factory=list)  # of validation, since the last return
    best_score: float = -math.inf
    best_loss: float = math.inf  # val/loss with it, which breaks ties
    best_step: int = 0
    best_averaged: bool = False  # its weights are averages
    best: Weights | None = None  # the weights at `best_step`
    good: dict[str, Any] | None = None  # what a diverged run returns to

    def beaten(self, score: float, loss: float, margin: float = 0.0) -> bool:
        """Whether a score is above the best by more than a margin, or equals it at less loss."""
        tie = score == self.best_score and loss < self.best_loss
        return tie or score > self.best_score + margin

    def numbers(self) -> dict[str, Any]:
        """All but weights and states."""
        return {name: value for name, value in vars(self).items() if name not in ("best", "good")}


@dataclass
class Window:
    """What the mini-batches since the last point gave, on the device.

    Each entry is a scalar, or (runs,) where several train at once. losses: as val/loss is
    computed. objectives: what was trained, without penalties; none where it is the loss.
    penalties: of each rule that has one, in a step; none where no rule has.
    """

    losses: list[Tensor] = field(default_factory=list)
    metric_sums: list[Tensor] = field(default_factory=list)
    objectives: list[Tensor] = field(default_factory=list)
    penalties: list[list[Tensor]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    seconds: float = 0.0
    _read: dict[tuple[str, int], list[list[float]]] = field(default_factory=dict, repr=False)

    def add(self, result: StepResult) -> int:
        """The mini-batches of one more step; how many samples they had."""
        samples, self._read = 0, {}
        for size, loss, metric_sum, objective, penalties in result.batches:
            samples += size
            self.sizes.append(size)
            self.losses.append(loss)
            self.metric_sums.append(metric_sum)
            if objective is not None:
                self.objectives.append(objective)
            if penalties:
                self.penalties.append(penalties)
        return samples

    def of(self, name: str, number: int, place: int = 0) -> list[float]:
        """Of each mini-batch what one run has; all runs are read out at once.

        name: of what is kept, or "minimized". place: of the rule, among the penalties.
        """
        if (name, place) not in self._read:
            entries = self.minimized() if name == "minimized" else getattr(self, name)
            if name == "penalties":
                entries = [each[place] for each in entries]
            values = entries if isinstance(entries, Tensor) else torch.stack(entries)
            self._read[name, place] = values.reshape(len(values), -1).T.tolist()
        return self._read[name, place][number]

    def minimized(self) -> Tensor:
        """(n,) or (n, runs): of each mini-batch the objective and the penalties of its step."""
        objectives = torch.stack(self.objectives or self.losses)
        if not self.penalties:
            return objectives
        return objectives + torch.stack([torch.stack(each).sum(0) for each in self.penalties])

    def clear(self) -> None:
        """Begin a new window."""
        self.losses, self.metric_sums, self.objectives, self.penalties = [], [], [], []
        self.sizes, self.seconds, self._read = [], 0.0, {}

    def part(self, numbers: Sequence[int], alone: bool = True) -> "Window":
        """That of some of the runs. alone: whether of a single one there are scalars again."""

        def chosen(entries: Iterable[Tensor]) -> list[Tensor]:
            entries = list(entries)
            if not entries or entries[0].dim() == 0:
                return entries
            kept = torch.stack(entries)[:, list(numbers)]
            return list((kept[:, 0] if alone and len(numbers) == 1 else kept).unbind())

        apart = [
            list(each) for each in zip(*map(chosen, zip(*self.penalties, strict=True)), strict=True)
        ]
        return Window(
            chosen(self.losses),
            chosen(self.metric_sums),
            chosen(self.objectives),
            apart,
            list(self.sizes),
            self.seconds,
        )


@dataclass
class State:
    """Everything beside the parts of the runs that a checkpoint must hold.

    runs: of each run that trains; one, where they train one by one.
    """

    counters: Counters = field(default_factory=Counters)
    window: Window = field(default_factory=Window)
    runs: list[Standing] = field(default_factory=lambda: [Standing()])

    def become(self, other: "State") -> None:
        """Take over another state, in place."""
        self.counters, self.window, self.runs[:] = other.counters, other.window, other.runs

    def part(self, numbers: Sequence[int], alone: bool = True) -> "State":
        """That of some of the runs, with counters of its own; see `Window.part`."""
        runs = [self.runs[number] for number in numbers]
        return State(replace(self.counters), self.window.part(numbers, alone), runs)


def together(states: Sequence[State]) -> State:
    """The state of runs that train together from the same step on. Raises ValueError."""
    counters = [replace(state.counters, elapsed=0.0) for state in states]
    sizes = [state.window.sizes for state in states]
    if any(each != counters[0] for each in counters) or any(each != sizes[0] for each in sizes):
        raise ValueError("runs that train together stand at the same step")

    def stacked(entries: Sequence[list[Tensor]]) -> list[Tensor]:
        return [torch.stack(each) for each in zip(*entries, strict=True)]

    windows = [state.window for state in states]
    apart = [
        [torch.stack(rule) for rule in zip(*step, strict=True)]
        for step in zip(*(window.penalties for window in windows), strict=True)
    ]
    slowest = max(states, key=lambda state: state.counters.elapsed)
    window = Window(
        stacked([each.losses for each in windows]),
        stacked([each.metric_sums for each in windows]),
        stacked([each.objectives for each in windows]),
        apart,
        list(sizes[0]),
        slowest.window.seconds,
    )
    runs = [standing for state in states for standing in state.runs]
    return State(replace(slowest.counters), window, runs)


def load_best_weights(run: Run, counters: Counters, standing: Standing) -> int:
    """Put the weights that count into the model, and say of which step they are.

    They are the best, or the last ones where a rule wants those. Averages get batch norm's
    statistics from the whole training split, those that are the best in `standing` as well.
    """
    best = None if keeps_last(run) else standing.best
    are_averages = bool(averages(run)) if best is None else standing.best_averaged
    run.model.load_state_dict(best_weights(run) if best is None else best)
    run.averaging, run.modes = [], None
    if are_averages and estimate_statistics(run) and best is not None:
        standing.best = best_weights(run)
    return counters.step if best is None else standing.best_step


def keeps_last(run: Run) -> bool:
    """Whether a rule wants the last weights rather than the best."""
    return any(not rule.restore_best for rule in run.stopping)


def capture(
    run: Run, state: State, recorded: int, number: int, drawn: checkpoint.State | None = None
) -> dict[str, Any]:
    """All of it as tensors and plain values.

    recorded: the length of the record so far. number: of the run among those of the state.
    drawn: as `checkpoint.random_state` takes it.
    """
    window, standing = state.window.part([number]), state.runs[number]
    return {
        "position": asdict(state.counters) | standing.numbers(),
        "monitor": run.monitor,
        "window": {
            "losses": torch.stack(window.losses) if window.losses else None,
            "metric_sums": torch.stack(window.metric_sums) if window.metric_sums else None,
            "objectives": torch.stack(window.objectives) if window.objectives else None,
            "penalties": torch.stack([torch.stack(each) for each in window.penalties])
            if window.penalties
            else None,
            "sizes": window.sizes,
            "seconds": window.seconds,
        },
        "best": None if _is_current(run, state.counters, standing) else standing.best,
        "model": run.model.state_dict(),
        "own": own.changed(run),
        "preprocessing": run.preprocessing.state_dict(),
        "steps": steps(run),
        "optimizer": {
            "name": type(run.optimizer).__name__,
            "groups": groups(run),
            "state": run.optimizer.state_dict(),
        },
        "schedule": memory(run.schedule),
        "regularization": {key: memory(rule) for key, rule in run.regularizers.items()},
        "scaler": None if run.scaler is None else run.scaler.state_dict(),
        "random": checkpoint.random_state(run.generator, drawn),
        "recorded": recorded,
        "good": standing.good,
    }


def start(run: Run) -> dict[str, Any]:
    """What a run begins with whose weights come from elsewhere."""
    return {
        "model": run.model.state_dict(),
        "preprocessing": run.preprocessing.state_dict(),
        "facts": run.began,
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


def _is_current(run: Run, counters: Counters, standing: Standing) -> bool:
    """Whether the best weights are those of the model, so that they need no second place.

    Averages are not: only a recipe that averages, too, could make them again.
    """
    return standing.best_step == counters.step and not run.averaging and run.modes is None


def memory(part: Schedule | Regularizer) -> dict[str, Any] | None:
    """What of a part must survive a kill, under its name; None where it has nothing to keep."""
    state = part.state_dict()
    return {"name": kind(part), "state": state} if state else None


def kind(part: Schedule | Regularizer) -> str:
    """The class, of a schedule after a warm-up its own."""
    return part.kind if isinstance(part, Schedule) else type(part).__name__
