"""What moves the weights of a stack: one rule for all its runs, or each run's own optimizer."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dlrun.engine.run import Run
from dlrun.optimizer import forms
from dlrun.optimizer.forms import Form
from dlrun.optimizer.rules import Number
from dlrun.stack.weights import Columns, Stack

_AT_HAND = 2**20
"""Bytes of weights that are moved at a time: they come from the memory once for all of a rule."""


class Update:
    """The optimizers of some runs as one, where a rule is known for them.

    What an optimizer remembers of a weight is a view of what is remembered of all; counts
    and the like it gets from `settle`. Without a rule the optimizers step one after another.
    """

    def __init__(self, runs: Sequence[Run], stack: Stack) -> None:
        self._runs, self._stack = list(runs), stack
        self._factors: Sequence[float] = [1.0] * len(runs)
        known = [forms_of(run) for run in runs]
        self._groups = [
            _Group(runs, stack, place, [own[place] for own in known])
            for place in range(len(stack.groups))
            if known[0]
        ]
        self._steps, self._before = 0, [_taken(run) for run in runs]  # of the stack; without it
        self._began = number_of(self._before, stack.flat)

    def step(self, factors: Sequence[float]) -> None:
        """Move the weights; factors: of each run's learning rates."""
        self._factors = factors
        if not self._groups:
            self.set_rates()
            for run in self._runs:
                run.optimizer.step()
            return
        self._steps += 1
        t = self._began + self._steps
        factor = number_of(factors, self._stack.flat)
        for group in self._groups:
            group.step(factor, t)

    def set_rates(self) -> None:
        """Tell each optimizer the rates of the last step."""
        for run, factor in zip(self._runs, self._factors, strict=True):
            for options, rate in zip(run.optimizer.param_groups, run.rates, strict=True):
                options["lr"] = rate * factor

    def settle(self) -> None:
        """Put into each optimizer's state what is no view."""
        self.set_rates()
        for group in self._groups:
            group.settle([before + self._steps for before in self._before])

    def release(self, numbers: Sequence[int]) -> None:
        """Give the optimizers of these runs tensors of their own, with the same values."""
        for group in self._groups:
            group.release(numbers)

    def forget(self, number: int) -> None:
        """Let the optimizer of a run begin anew."""
        if not self._groups:
            self._runs[number].optimizer.state.clear()
        self._before[number] = -self._steps
        self._began = number_of(self._before, self._stack.flat)
        for group in self._groups:
            group.forget(number)

    def rate(self, place: int) -> Number:
        """Of a group in the last step: a number, or (runs, 1)."""
        rates = [run.rates[place] for run in self._runs]
        moved = [a * b for a, b in zip(rates, self._factors, strict=True)]
        return number_of(moved, self._stack.flat)


class _Group:
    """One group of parameters of all optimizers."""

    def __init__(self, runs: Sequence[Run], stack: Stack, place: int, forms: list[Form]) -> None:
        self._form, self._runs = forms[0], runs
        self._columns = [stack.columns[name] for name in stack.groups[place]]
        self._start, self._stop = self._columns[0].start, self._columns[-1].stop
        self._weights = [run.optimizer.param_groups[place]["params"] for run in runs]
        self._p, self._grad = (
            every[:, self._start : self._stop] for every in (stack.flat, stack.grad)
        )
        self._rate = number_of([run.rates[place] for run in runs], stack.flat)
        self._numbers = {
            name: number_of([form.numbers[name] for form in forms], stack.flat)
            for name in forms[0].numbers
        }
        self._first = {
            name: number_of([form.first.get(name, 0.0) for form in forms], stack.flat)
            for name in self._form.names
        }
        self._memory = {name: self._remembered(name) for name in self._form.names if name != "step"}
        self._parts = [
            (
                some,
                self._p[some],
                self._grad[some],
                {name: memory[some] for name, memory in self._memory.items()},
            )
            for some in self._some()
        ]
        shapes = [columns.shape for columns in self._columns]
        rule = self._form.rule
        self._rule = partial(rule, shapes=shapes) if self._form.shaped else rule

    def step(self, factor: Number, t: Number) -> None:
        numbers = self._numbers | {"lr": self._rate * factor}
        for some, p, grad, memory in self._parts:
            own = {name: _of(number, some) for name, number in numbers.items()}
            self._rule(p, grad, memory, own, self._form.ways, _of(t, some))

    def _some(self) -> list[slice]:
        """The runs in parts whose weights, gradients and memories a core has at hand."""
        size, runs = self._p[0].nbytes, len(self._p)
        most = runs if self._form.shaped or not self._p.is_cpu else max(1, _AT_HAND // size)
        return [slice(start, start + most) for start in range(0, runs, most)]

    def settle(self, taken: Sequence[int]) -> None:
        form = self._form
        for number, (run, weights) in enumerate(zip(self._runs, self._weights, strict=True)):
            for weight in weights:
                memory = run.optimizer.state[weight]
                for name in form.scalars:
                    memory[form.names[name]] = self._memory[name][number, 0].clone()
                if "step" in form.names:
                    count = taken[number]
                    memory["step"] = count if form.counts else torch.tensor(float(count))

    def release(self, numbers: Sequence[int]) -> None:
        over = len(numbers) == len(self._runs)
        if over:
            self._parts = []
        for name in [name for name in self._memory if name not in self._form.scalars]:
            known = self._form.names[name]
            for number in numbers:
                for weight in self._weights[number]:
                    memory = self._runs[number].optimizer.state[weight]
                    memory[known] = memory[known].clone()
            if over:
                del self._memory[name]  # before the next one takes as much

    def forget(self, number: int) -> None:
        for name, memory in self._memory.items():
            first = self._first[name]
            memory[number] = first[number] if isinstance(first, Tensor) else first

    def _remembered(self, name: str) -> Tensor:
        """(runs, n) of what the optimizers have of all weights; theirs become views of it."""
        form, like = self._form, self._p
        known, first = form.names[name], self._first[name]
        if name in form.scalars:
            numbers = [
                float(run.optimizer.state[weights[0]].get(known, form.first.get(name, 0.0)))
                for run, weights in zip(self._runs, self._weights, strict=True)
            ]
            return torch.tensor(numbers, device=like.device)[:, None]
        memory = torch.empty_like(like, memory_format=torch.contiguous_format)
        memory.copy_(first.to(like) if isinstance(first, Tensor) else torch.full_like(like, first))
        for number, (run, weights) in enumerate(zip(self._runs, self._weights, strict=True)):
            for place, weight in zip(self._columns, weights, strict=True):
                own: dict[str, Any] = run.optimizer.state[weight]
                start, stop = place.start - self._start, place.stop - self._start
                row = Columns(start, stop, place.shape).of(memory)[number]
                if own.get(known) is not None:
                    row.copy_(own[known])
                own[known] = row
        return memory


def forms_of(run: Run) -> list[Form]:
    """The rules of the optimizer's groups; none where one has none."""
    found = [forms.form(run.optimizer, group) for group in run.optimizer.param_groups]
    return [form for form in found if form is not None] if all(found) else []


def number_of(numbers: Sequence[float], like: Tensor) -> Number:
    """The number that all runs have, or (runs, 1) float64, on the GPU where `like` is there."""
    if numbers.count(numbers[0]) == len(numbers):
        return float(numbers[0])
    found = torch.tensor(numbers, dtype=torch.float64)[:, None]
    return found.to(like.device, non_blocking=True) if like.is_cuda else found


def _of(number: Number, runs: slice) -> Number:
    """What some of the runs have."""
    return number[runs] if isinstance(number, Tensor) else number


def _taken(run: Run) -> int:
    """The steps that an optimizer has counted."""
    counts = [int(memory["step"]) for memory in run.optimizer.state.values() if "step" in memory]
    return max(counts, default=0)
