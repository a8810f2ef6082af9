"""Find a learning rate by short trials, each from the same weights over the same batches."""

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise, repeat, takewhile
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlrun.engine.divergence import good
from dlrun.engine.run import Run
from dlrun.engine.state import State, restore
from dlrun.engine.step import SingleStep, endless
from dlrun.errors import Mistake
from dlrun.finding import NOTE, WARN, Finding
from dlrun.procedure import Lab, Outcome, Training, at_least, procedure
from dlrun.report.chart import Chart
from dlrun.report.known import reaching
from dlrun.shell import counted

FAR = 4.0
"""A trial whose smoothed loss is so many times the first loss is given up."""
LEAST = 0.01
"""A rate has done something where it makes the loss smaller by this share."""
_PREFIX = "find_lr/"  # of what the record's points hold
_LOOK = 10  # steps between two looks at the loss, each of which waits for the device
_SMOOTH = 0.9  # weight of what came before in the running mean of the loss
_FINER = 4  # times as many rates around the best
_PART = 20  # of a range, over which its slope is fitted: a part on each side


@procedure(judged=False, trains=False)
def find_lr(
    lab: Lab,
    method: str = "grid",
    rates: list[float] | None = None,
    steps: int = 100,
    lowest: float = 1e-6,
    highest: float = 10.0,
    per_decade: int = 3,
) -> Outcome:
    """The procedure `find_lr`: proposes an `optimizer.lr`, and says how it was found.

    method: `grid` tries every rate from the same weights; `range` lets it grow from step to step.
    rates: those of the grid; None for `per_decade` of each decade from `lowest` to `highest`,
        then finer around the best. steps: of each trial, or of the range.

    Raises Mistake for what cannot be tried.
    """
    lr = _settable(lab)
    _check(method, rates, steps, lowest, highest, per_decade)
    if method == "range":
        return _range(lab, lr, [float(r) for r in np.geomspace(lowest, highest, steps)])
    known = {trial["lr"]: trial for trial in _noted(lab)}
    coarse = [float(r) for r in rates] if rates else _grid(lowest, highest, per_decade)
    _try(lab, lr, coarse, steps, known)
    if rates is None:
        around = _around(_best([known[rate] for rate in coarse])["lr"], coarse)
        _try(lab, lr, around, steps, known)
        coarse += [rate for rate in around if rate not in coarse]
    return _proposed(lab, [known[rate] for rate in sorted(set(coarse))], steps)


class Trials:
    """Short trials of a run that is not trained: each goes on from its very first state.

    lr: the `optimizer.lr` that it was built with. Schedule and warm-up have no say; all else of
    the recipe has, its penalties too.
    """

    def __init__(self, run: Run, lr: float) -> None:
        SingleStep(run)  # which asks for the rates of the optimizer's groups
        self._run, self._lr, self._rates = run, lr, list(run.rates)
        self._start = good(run, State())

    def losses(self, rates: Iterable[float]) -> Iterator[Tensor]:
        """The loss of each step before its update, a scalar on the device; a step a rate."""
        run = self._run
        restore(run, copy.deepcopy(self._start))
        run.model.train()
        if run.modes is not None:
            run.modes.train()
        step = SingleStep(run)
        for rate, group in zip(rates, endless(step), strict=False):
            run.rates[:] = self._at(rate)
            batches = step(group, [1.0], norm=False).batches
            samples = sum(batch.samples for batch in batches)
            yield torch.stack([batch.loss * (batch.samples / samples) for batch in batches]).sum()

    def course(self, rates: Iterable[float]) -> list[float]:
        """The losses, until they are not finite or far above the first."""
        course: list[float] = []
        left = self.losses(rates)
        while part := list(islice(left, _LOOK)):
            course += torch.stack(part).tolist()
            if is_lost(course):
                break
        return course

    def _at(self, rate: float) -> list[float]:
        """The rates of the optimizer's groups where `optimizer.lr` is `rate`."""
        groups = self._run.optimizer.param_groups
        return [
            own if group.get("own_rate") else rate * (own / self._lr)
            for own, group in zip(self._rates, groups, strict=True)
        ]


def smoothed(course: Sequence[float]) -> float:
    """The running mean of the losses at their end, without a bias to the first one."""
    mean = 0.0
    for loss in course:
        mean = _SMOOTH * mean + (1 - _SMOOTH) * loss
    return mean / (1 - _SMOOTH ** len(course))


def is_lost(course: Sequence[float]) -> bool:
    """Whether a trial's loss is no longer finite, or far above the first one."""
    return not all(map(math.isfinite, course)) or smoothed(course) > FAR * course[0]


def steepest(rates: Sequence[float], course: Sequence[float]) -> float:
    """The rate of a range at which the log loss falls fastest with the log rate.

    By straight lines fitted to its neighbours on both sides, which smooth the noise of
    mini-batches and shift nothing; up to the least of the running means, since a loss that has
    jumped falls fast as well.
    """
    reach = max(2, len(rates) // _PART)
    means = [smoothed(course[: place + 1]) for place in range(len(course))]
    logs = np.log(np.maximum(course, np.finfo(float).tiny))[: int(np.argmin(means)) + reach + 1]
    offsets = np.arange(-reach, reach + 1)
    slopes = np.correlate(logs, offsets / (offsets @ offsets), mode="valid")
    return rates[int(slopes.argmin()) + reach] if len(logs) > 2 * reach else rates[0]


def _settable(lab: Lab) -> float:
    """The recipe's `optimizer.lr`. Raises Mistake where no other can take its place."""
    lr = lab.recipe["optimizer"].get("lr")
    if lr is None:
        target = lab.recipe["optimizer"]["_target_"]
        raise Mistake(f"procedure=find_lr: {target} has no setting optimizer.lr")
    if isinstance(lr, str) or not lr > 0:
        raise Mistake(f"optimizer.lr={lr}: procedure=find_lr needs a number above 0 to begin with")
    return float(lr)


def _check(
    method: str,
    rates: list[float] | None,
    steps: int,
    lowest: float,
    highest: float,
    per_decade: int,
) -> None:
    if method not in ("grid", "range"):
        raise Mistake(f"procedure.method={method}: must be grid or range")
    if rates is not None and (method == "range" or not rates or not min(rates) > 0):
        need = "must hold at least one rate, all above 0"
        if method == "range":
            need = "are those of a grid; a range has procedure.lowest and procedure.highest"
        raise Mistake(f"procedure.rates={rates}: {need}")
    if not 0 < lowest < highest < math.inf:
        raise Mistake(f"procedure.lowest={lowest}: must be above 0 and below highest={highest}")
    at_least(10, steps=steps)
    at_least(1, per_decade=per_decade)


def _grid(lowest: float, highest: float, per_decade: int) -> list[float]:
    """So many rates in each decade, of two digits, so that what is tried can be typed."""
    number = max(1, round(math.log10(highest / lowest) * per_decade))
    return list(dict.fromkeys(float(f"{r:.2g}") for r in np.geomspace(lowest, highest, number + 1)))


def _around(best: float, rates: Sequence[float]) -> list[float]:
    """Finer ones between the neighbours of the best rate."""
    place = rates.index(best)
    ends = rates[max(0, place - 1) : place + 2]
    return [
        float(f"{rate:.2g}")
        for low, high in pairwise(ends)
        for rate in np.geomspace(low, high, _FINER + 1)[1:-1]
    ]


def _noted(lab: Lab) -> list[dict[str, float]]:
    """What has been tried before, as the record's points have it."""
    assert lab.record is not None
    points = [point["values"] for point in lab.record.points()]
    return [{key.removeprefix(_PREFIX): value for key, value in p.items()} for p in points]


def _note(lab: Lab, number: int, **values: float) -> dict[str, float]:
    """Add a point to the record: what is there need not be tried again."""
    assert lab.record is not None
    lab.record.append(number, 0.0, {f"{_PREFIX}{key}": value for key, value in values.items()})
    return values


def _try(
    lab: Lab, lr: float, rates: Sequence[float], steps: int, known: dict[float, dict[str, float]]
) -> None:
    """Try the rates that are not known yet; `loss` is nan where a trial was given up."""
    new = [rate for rate in rates if rate not in known]
    if not new:
        return
    with lab.built(Training(recorded=False)) as built:
        trials = Trials(built.run, lr)
        for number, rate in enumerate(new):
            lab.progress(f"trying optimizer.lr={rate:g}", number, len(new))
            course = trials.course(repeat(rate, steps))
            loss = math.nan if is_lost(course) else smoothed(course)
            told = {"lr": rate, "loss": loss, "first": course[0], "steps": len(course)}
            known[rate] = _note(lab, len(known) + 1, **told)


def _finite(trials: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    return [trial for trial in trials if math.isfinite(trial["loss"])]


def _best(trials: Sequence[dict[str, float]]) -> dict[str, float]:
    """The trial with the least loss: from the same first loss, its log has fallen most."""
    return min(_finite(trials) or trials, key=lambda trial: trial["loss"])


def _proposed(lab: Lab, trials: Sequence[dict[str, float]], steps: int) -> Outcome:
    """What the trials of a grid come to; they are in the order of their rates."""
    best, finite = _best(trials), [trial["lr"] for trial in _finite(trials)]
    first, tried = best["first"], [trial["lr"] for trial in trials]
    untrained = max(first, _finite(trials)[0]["loss"]) if finite else first
    if not (finite and best["loss"] < (1 - LEAST) * untrained):
        found = _without(tried, first, f", within {counted(steps, 'step')}")
        return Outcome(findings=[found], table=_table(trials))
    lr, largest = best["lr"], max(finite)
    text = (
        f"The loss fell most at optimizer.lr={lr:g}, from {first:.4g} to {best['loss']:.4g} "
        f"in {counted(steps, 'step')}; the largest rate with a loss within {FAR:g} times the first "
        f"one is {largest:g}"
    )
    if lr in (tried[0], tried[-1]):
        end = "lower" if lr == tried[0] else "higher"
        text += f", and no {end if len(tried) > 1 else 'other'} rate was tried"
    text += "."
    losses = [trial["loss"] if trial["lr"] in finite else None for trial in trials]
    chart = Chart(
        "rates",
        "optimizer.lr",
        "loss",
        tried,
        {f"after {counted(steps, 'step')}": losses},
        log=True,
        gap="given up",
        lines={f"the largest within {FAR:g} times the first loss": largest},
        best=lr,
    )
    return Outcome(findings=[_finding(lab, lr, largest, text)], table=_table(trials), chart=chart)


def _table(trials: Sequence[dict[str, float]]) -> list[dict[str, Any]]:
    return [
        {
            "optimizer.lr": f"{trial['lr']:g}",
            "loss": trial["loss"] if math.isfinite(trial["loss"]) else "given up",
            "steps": f"{trial['steps']:.0f}",
        }
        for trial in trials
    ]


def _without(rates: Sequence[float], first: float, within: str = "") -> Finding:
    """That no rate is good."""
    none = f"No rate from {rates[0]:g} to {rates[-1]:g} lowered"
    if len(rates) == 1:
        none = f"optimizer.lr={rates[0]:g}, the only rate tried, did not lower"
    text = f"{none} the loss by {LEAST:.0%} from its first value, {first:.4g}{within}."
    return Finding("best_rate", WARN, text)


def _finding(lab: Lab, best: float, largest: float, text: str) -> Finding:
    numbers = {"lr": best, "largest": largest}
    return Finding("best_rate", NOTE, text, numbers, lab.command(reaching(lab.recipe, best)))


def _range(lab: Lab, lr: float, rates: Sequence[float]) -> Outcome:
    """One run whose rate grows exponentially, until its loss is far above the least so far."""
    assert lab.record is not None
    if not lab.record.info.get("swept"):
        lab.record.truncate(0)  # of one that was killed in between
        with lab.built(Training(recorded=False)) as built:
            course = Trials(built.run, lr).course(rates)
        for number, (rate, loss) in enumerate(zip(rates, course, strict=False), 1):
            _note(lab, number, lr=rate, loss=loss)
        lab.record.update(swept=True)
    finite = _finite(_noted(lab))
    losses, at = [trial["loss"] for trial in finite], [trial["lr"] for trial in finite]
    runs = [smoothed(losses[: place + 1]) for place in range(len(losses))]
    if not (runs and min(runs) < (1 - LEAST) * losses[0]):
        return Outcome(findings=[_without(rates, losses[0] if losses else math.nan)])
    best = float(f"{steepest(at, losses):.2g}")
    chart = Chart(
        "rates",
        "optimizer.lr",
        "loss",
        at,
        {"of each step": losses, "smoothed": runs},
        log=True,
        lines={"falls fastest": best},
        # The choice is made below it; the last steps may be 10¹⁸ times as high.
        most=2 * FAR * losses[0] if losses[0] > 0 else None,
    )
    near = list(takewhile(lambda mean: mean <= FAR * losses[0], runs))
    largest = at[len(near) - 1]
    text = (
        f"The log loss falls fastest at optimizer.lr={best:g}, in one run from {at[0]:g} to "
        f"{at[-1]:.2g}; up to {largest:.2g} its running mean is within {FAR:g} times the first "
        "loss."
    )
    return Outcome(findings=[_finding(lab, best, largest, text)], chart=chart)
