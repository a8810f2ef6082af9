"""Whether runs train faster at once than one after another, and how many fit into memory."""

from collections.abc import Callable, Sequence
from itertools import count
from statistics import median
from time import perf_counter

import torch
from torch.autograd.graph import saved_tensors_hooks

from dlrun.engine import device
from dlrun.engine.feed import free_memory
from dlrun.engine.run import Run
from dlrun.engine.step import SingleStep, Step
from dlrun.stack.step import StackedStep

LEAST = 1.05  # times as fast, from which on it is worth it
_STEPS = 20  # that are timed
_SHARE = 0.5  # of the free memory that a stack may take
_COPIES = 8  # of the weights: a gradient, what the update remembers, the best, a checkpoint
_SMALL = 4  # times the operations of one network that keep a thread as busy: in smaller products


def threads(runs: Sequence[Run], asked: int | None, cores: int | None) -> int:
    """CPU threads that train runs at once; no fewer than one of them has alone.

    asked: by the recipe. cores: that there are for it; None for all. On two cores two threads take
    steps of 32 networks of 64-64-10 units 1.4 times as fast as one, of 128 1.7 times; of 8 no
    faster, and slower where another process has the second core.
    """
    one = min(runs[0].lengths.batch_size, len(runs[0].train.rows)) * runs[0].flops
    most = cores or device.CORES
    return asked or max(device.worthwhile(n, most) for n in (one, one * len(runs) // _SMALL))


def gain(runs: Sequence[Run]) -> float:
    """How many times as fast the runs train at once as one after another.

    By the medians of a few steps of both ways, in turn, with their share of the validations. The
    runs are used up.
    """
    alone, together = _Timed(SingleStep(runs[0]), runs[:1]), _Timed(StackedStep(runs), runs)
    for _ in range(_STEPS):
        alone.step()
        together.step()
    return len(runs) * alone.seconds() / together.seconds()


def room(run: Run) -> int:
    """How many runs like this one fit into the memory that is free, at least one."""
    weights = sum(p.nbytes for p in (*run.model.parameters(), *run.model.buffers()))
    rows = run.train.rows[:2]  # some batch norms take no single sample
    x = run.train.x[rows].to(run.device)
    sizes: list[int] = []

    def seen(tensor: torch.Tensor) -> torch.Tensor:
        sizes.append(tensor.nbytes)
        return tensor

    was_training = run.model.training
    run.model.eval()
    with saved_tensors_hooks(seen, lambda tensor: tensor), torch.enable_grad():
        run.uncompiled(x if run.train.prepared else run.evaluation(x))
    run.model.train(was_training)
    lengths = run.lengths
    batch = max(lengths.batch_size, min(lengths.evaluation_batch, len(run.val)))
    own = _COPIES * weights + batch * max(0, sum(sizes) - weights) // len(rows)
    return max(1, int(_SHARE * free_memory(run.device) / max(own, 1)))


class _Timed:
    """Steps that are timed one by one."""

    def __init__(self, step: Step, runs: Sequence[Run]) -> None:
        for run in runs:
            run.model.train()
            if run.modes is not None:
                run.modes.train()
        self._step, self._run, self._factors = step, runs[0], [1.0] * len(runs)
        self._groups = (group for epoch in count() for group in step.batches(step.rows(epoch), 0))
        self._times: list[float] = []

    def step(self) -> None:
        """Take a step."""

        def work() -> None:
            self._step(next(self._groups), self._factors, norm=False)

        self._times.append(self._lasts(work))

    def seconds(self) -> float:
        """Of a step, with its share of the validations; the first made buffers and the like."""
        found = median(self._times[1:])
        if len(self._run.val):
            times = [self._lasts(self._step.measure) for _ in range(3)]
            found += median(times) / self._run.lengths.validate_every
        return found

    def _lasts(self, work: Callable[[], object]) -> float:
        begun = perf_counter()
        work()
        if self._run.device.type == "cuda":
            torch.cuda.synchronize(self._run.device)
        return perf_counter() - begun
