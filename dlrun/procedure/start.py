"""The first steps with a recipe in the order of the course: look, check, memorize, search.

Karpathy 2019, A Recipe for Training Neural Networks; Stanford's CS231n, Neural Networks Part 3.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from dlrun import shell
from dlrun.errors import Failure, Mistake
from dlrun.finding import NOTE, WARN, Finding
from dlrun.metric import known, score
from dlrun.procedure import Lab, Outcome, RecordedRun, Training, at_least, procedure
from dlrun.procedure.overfit import check_samples
from dlrun.report import steps
from dlrun.report.chart import Chart
from dlrun.report.known import reaching
from dlrun.report.steps import Head, Step

DECAYS = (1e-4, 1e-5, 0.0)
"""What is tried of weight decay, beside the recipe's own."""
COARSE, DECADE = 3.0, 10.0
"""From one rate to the next; finer ones, and decays, lie within half of it and of a decade."""
_SPREAD = ((0.0, 0.0), (-0.5, -0.25), (-0.25, 0.5), (0.25, -0.5), (0.5, 0.25))
"""Powers of both: a Latin square without correlation, which tells both apart."""
_CHECKS = (
    ("show_data", "Look at the data"),
    ("preflight", "Check the set-up, and memorize one mini-batch"),
    ("overfit", "Memorize a few samples"),
    ("find_lr", "Find a learning rate"),
)
_RATE = "optimizer.lr"

_log = logging.getLogger("dlrun")


@procedure(judged=False, alone=True)
def start(
    lab: Lab,
    samples: Sequence[int] = (1, 10, 100),
    rates: int = 3,
    epochs: int = 3,
    fine_epochs: int = 10,
) -> Outcome:
    """The procedure `start`: other procedures one after another, then runs over rate and decay.

    samples: to be memorized. rates: how many, around the one that was found. epochs: of the first
    runs; fine_epochs: of those around the best of them. Its value is the best validation.

    Raises Mistake where a setting is below 1. Fails where a check fails or nothing is memorized.
    """
    at_least(1, rates=rates, epochs=epochs, fine_epochs=fine_epochs)
    check_samples(samples)
    report = _Report(lab)
    rate, largest = lab.recipe["optimizer"].get("lr"), math.inf
    for name, title in _CHECKS:
        outcome = report.do(name, title, {"samples": list(samples)} if name == "overfit" else {})
        if outcome is not None and outcome.failure:
            return report.stopped(outcome)
        found = {each.name: each.numbers for each in outcome.findings} if outcome else {}
        rate = found.get("best_rate", {}).get("lr", rate)
        largest = found.get("best_rate", {}).get("largest", largest)
    points = list(_coarse(lab.recipe, rate, largest, rates))
    coarse = report.search("Runs over rate and decay", points, epochs)
    around = list(_around(coarse[0].point, largest))
    fine = report.search("Longer runs around the best", around, fine_epochs)
    beaten = report.do("baseline", "What any network must beat", {})
    return report.ended(fine, coarse, beaten)


@dataclass(frozen=True)
class _Point:
    """Settings of a run. rate: None for optimizers without; decay_key: whose value decay is."""

    rate: float | None
    decay: float
    decay_key: str
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        found = {} if self.rate is None else {_RATE: self.rate}
        return found | dict(self.more) | {self.decay_key: self.decay}

    @property
    def name(self) -> str:
        rate = "" if self.rate is None else f"lr {self.rate:g} "
        return f"{rate}decay {self.decay:g}"


@dataclass(frozen=True)
class _Tried:
    """A point that has been trained."""

    point: _Point
    run: RecordedRun

    @property
    def key(self) -> str:
        """What the recipe monitors."""
        return str(self.run.info["monitor"])

    @property
    def score(self) -> tuple[float, float]:
        """By which the best is chosen: what is monitored, then the least loss."""
        if self.run.value is None:
            return -math.inf, -math.inf
        measured = [point["values"] for point in self.run.at_best]
        losses = [values["val/loss"] for values in measured if "val/loss" in values]
        loss = losses[0] if losses else math.inf
        return self.scored(self.run.value), -loss

    def scored(self, value: float) -> float:
        """A value of what is monitored, where more is better."""
        return score(self.key, value, known(self.run.info["metrics"]))

    @property
    def error(self) -> float:
        """The standard error of its value."""
        return math.nan if self.run.value is None else self.error_of(self.run.value)

    def error_of(self, value: float) -> float:
        """The standard error of a share, such as an accuracy; nan where nothing tells it."""
        name, many = self.key.rpartition("/")[2], self.run.info["data"]["samples"].get("val", 0)
        if not many or not self.run.info["metrics"][name].get("share"):
            return math.nan
        return math.sqrt(value * (1 - value) / many)


class _Report:
    """What has been done so far, for the closing lines and for the page."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._steps: list[Step] = []
        self._runs: list[RecordedRun] = []

    def do(self, name: str, title: str, options: Mapping[str, Any]) -> Outcome | None:
        """Do another procedure; None where this recipe has no use for it."""
        settings = {f"procedure.{key}": value for key, value in options.items()}
        command = self._lab.command({"procedure": name, **settings})
        try:
            done = self._lab.do(name, **options)
        except Mistake as mistake:
            if name not in ("find_lr", "baseline"):
                raise
            said = f"{name} is left out: {str(mistake).removeprefix(f'procedure={name}: ')}"
            _log.warning(said)
            self._steps.append(Step(title, "", f"Left out: {said.partition(': ')[2]}"))
            return None
        outcome, figures = done.outcome, done.directory / "figures"
        self._steps.append(
            Step(
                title,
                command,
                outcome.text,
                outcome.table,
                outcome.findings,
                outcome.chart,
                [figures / "examples.png"] if name == "show_data" else [],
            )
        )
        self._runs += outcome.runs
        return outcome

    def search(self, title: str, points: Sequence[_Point], epochs: int) -> list[_Tried]:
        """Train all points, with a constant rate; gives them, the best first."""
        self._lab.say(
            f"{title}: {shell.counted(len(points), 'run')} of {shell.counted(epochs, 'epoch')}"
        )
        tried = []
        for point in points:
            try:
                [run] = self._lab.train([_training(point, epochs)])
            except Failure as failure:
                _log.warning(f"{point.name} is left out: {failure}")
            else:
                tried.append(_Tried(point, run))
        if not tried:
            raise Failure(f"procedure=start: none of the {len(points)} runs could be trained")
        self._runs += [each.run for each in tried]
        failed = len(points) - len(tried)
        more = f"; {failed} could not be trained" if failed else ""
        swept = _swept(points)
        ranked = _ranked(tried, grid="sweep.zip" not in swept)
        if ranked[0].score < max(each.score for each in tried):
            more += "; first stand those of the rate with the best mean, as one run may be lucky"
        self._steps.append(
            Step(
                title,
                self._lab.command({**swept, **_length(epochs), "test": False}),
                f"{shell.counted(len(tried), 'run')} of {shell.counted(epochs, 'epoch')} with a "
                f"constant rate{more}.",
                [_row(each) for each in ranked],
                chart=_chart(ranked),
                best=0,
            )
        )
        return ranked

    def stopped(self, outcome: Outcome) -> Outcome:
        """The end before the search, where something must be mended first."""
        command = self._steps[-1].command
        self._write(outcome.findings, again=command)
        failure = f"{outcome.failure.rstrip('.')}; mend this first, then check it with {command}"
        return Outcome(
            runs=self._runs, findings=outcome.findings, text=self._commands(), failure=failure
        )

    def ended(
        self, fine: Sequence[_Tried], coarse: Sequence[_Tried], beaten: Outcome | None
    ) -> Outcome:
        """The recipe to go on with. beaten: what simpler models have reached."""
        best = fine[0]
        assert best.run.value is not None
        rows = beaten.table if beaten else []
        simpler = {row["model"]: row[best.key] for row in rows if best.key in row}
        finding = Finding(
            "first_recipe",
            NOTE,
            _said(fine),
            {name: value for name, value in best.point.settings.items() if isinstance(value, float)}
            | {best.key: best.run.value},
            self._lab.command(_settings(self._lab.recipe, best.point)),
        )
        findings = [finding, *self._simpler(best, simpler, beaten.runs if beaten else [])]
        reached = {f"best {best.key}": best.run.value, **simpler}
        self._write(findings, {name: f"{value:.4g}" for name, value in reached.items()})
        return Outcome(
            value=best.run.value,
            runs=self._runs,
            findings=findings,
            values={best.key: best.run.value},
            text=self._commands(),
            table=[_row(each) for each in (*fine, *coarse)],
            chart=_chart(coarse),
            result=best.run,  # the first runs are those that have memorized a few samples
        )

    def _simpler(
        self, best: _Tried, reached: Mapping[str, float], runs: Sequence[RecordedRun]
    ) -> Iterator[Finding]:
        """Whether a simpler model does as well as the best: beyond the noise, a warning."""
        if not reached:
            return
        name = max(reached, key=lambda name: best.scored(reached[name]))
        value, network = reached[name], best.run.value or 0.0
        if best.scored(value) < best.scored(network):
            return
        beyond = abs(value - network) > 2 * math.hypot(best.error, best.error_of(value))
        settings = {run.info["name"]: run.info["training"]["settings"] for run in runs}.get(name)
        kept = {key: each for key, each in (settings or {}).items() if key != "preflight"}
        noise = "" if beyond or math.isnan(best.error) else ", which is within the noise"
        yield Finding(
            "simpler_would_do",
            WARN if beyond else NOTE,
            f"A simpler model, {name}, reaches {best.key} {value:.4g}, and the best of these runs "
            f"{network:.4g}{noise}. Train the network for longer, or keep the simpler model.",
            {name: value, "network": network},
            self._lab.command(kept) if kept else "",
        )

    def _commands(self) -> str:
        """Each step with what does it alone."""
        lines = []
        for number, step in enumerate(self._steps, 1):
            lines.append(f"{number}. {step.title}" + ("" if step.command else f": {step.text}"))
            lines += [f"     {step.command}"] if step.command else []
        return "\n".join(lines)

    def _write(
        self, findings: Sequence[Finding], numbers: Mapping[str, str] | None = None, again: str = ""
    ) -> None:
        """Write the page."""
        assert self._lab.directory is not None
        data = self._lab.data()
        shown = {"training samples": f"{len(data.train):,}", "steps": str(len(self._steps))}
        head = Head(
            f"Start: {data.name}",
            self._lab.command({"procedure": "start"}),
            {**(numbers or {}), **shown},
            findings,
            again,
        )
        steps.write(self._lab.directory, head, self._steps)


def _settings(recipe: Mapping[str, Any], point: _Point) -> dict[str, Any]:
    """Those of a point, whose rate is then the highest of the recipe's own schedule."""
    rate = {} if point.rate is None else reaching(recipe, point.rate)
    return rate | {key: value for key, value in point.settings.items() if key != _RATE}


def _ranked(tried: Sequence[_Tried], grid: bool) -> list[_Tried]:
    """The best first; of a grid, those of the rate with the best mean: one run may be lucky."""
    rates: dict[float | None, list[float]] = {}
    for each in tried:
        rates.setdefault(each.point.rate, []).append(each.score[0])
    most = max(map(len, rates.values()))  # the others have runs that could not be trained
    means = {rate: fmean(scores) for rate, scores in rates.items() if len(scores) == most}
    best = max(means, key=lambda rate: means[rate])
    return sorted(
        tried, key=lambda each: (grid and each.point.rate == best, each.score), reverse=True
    )


def _swept(points: Sequence[_Point]) -> dict[str, Any]:
    """The settings of a sweep over the same points."""
    settings = [point.settings for point in points]
    apart = [key for key in settings[0] if len({str(each[key]) for each in settings}) > 1]
    values = {key: tuple(dict.fromkeys(each[key] for each in settings)) for key in apart}
    pairs = math.prod(map(len, values.values())) > len(points)
    return {**settings[0], **values, **({"sweep.zip": apart} if pairs else {})}


def _length(epochs: int) -> dict[str, Any]:
    return {"schedule": "constant", "epochs": epochs}


def _training(point: _Point, epochs: int) -> Training:
    """A run of the search; its set-up has been checked already."""
    settings = {**point.settings, **_length(epochs), "preflight": "off"}
    name = f"{point.name}, {shell.counted(epochs, 'epoch')}"
    return Training(name=name, settings=settings, test=False, export=False)


def _coarse(
    recipe: Mapping[str, Any], rate: float | None, largest: float, count: int
) -> Iterator[_Point]:
    """So many rates around one, with each decay; the recipe's own decay is among them."""
    key, more = "optimizer.weight_decay", {}
    own = recipe["optimizer"].get("weight_decay")
    if "weight_decay" not in recipe["optimizer"]:
        key, rules = "regularization.l2.strength", recipe["regularization"] or {}
        own = (rules.get("l2") or {}).get("strength")
        more = {} if "l2" in rules else {"regularization": [*rules, "l2"]}
    decays = dict.fromkeys([*([own] if isinstance(own, float) and own > 0 else []), *DECAYS])
    rates: list[float | None] = [None]
    if isinstance(rate, int | float):
        powers = [_digits(rate * COARSE ** (place - count // 2)) for place in range(count)]
        rates = [each for each in powers if each <= max(largest, powers[0])]
    for chosen in rates:
        for decay in decays:
            yield _Point(chosen, decay, key, more)


def _around(best: _Point, largest: float) -> Iterator[_Point]:
    """Points around one and itself, all rates and all decays different where they can be."""
    rates, decays = set(), set()
    for power, other in _SPREAD:
        rate = None if best.rate is None else _digits(best.rate * COARSE**power)
        decay = _digits(best.decay * DECADE**other)
        known = rate in rates and decay in decays
        rates.add(rate)
        decays.add(decay)
        if not known and (rate is None or rate <= largest or not power):
            yield _Point(rate, decay, best.decay_key, best.more)


def _digits(value: float) -> float:
    """Two of them, so that what is tried can be typed."""
    return float(f"{value:.2g}")


def _row(tried: _Tried) -> dict[str, Any]:
    point, end = tried.point, tried.run.last
    rate = {} if point.rate is None else {_RATE: f"{point.rate:g}"}
    epochs = tried.run.points[-1]["epoch"]
    row = {**rate, point.decay_key: f"{point.decay:g}", "epochs": f"{epochs:.4g}"}
    return {**row, tried.key: tried.run.value, "at epoch": f"{end['best/epoch']:.4g}"}


def _said(fine: Sequence[_Tried]) -> str:
    """Which is best, how many others are as good within the noise, and what it was measured by."""
    best = fine[0]
    value = f"{best.key} {best.run.value:.4g}"
    said = (
        f"The best of {len(fine)} runs around the best rate and decay: {best.point.name}, {value}"
    )
    own = "The command trains it with the recipe's own length and schedule"
    if math.isnan(best.error):
        return f"{said}. {own}."
    near = sum(
        abs((each.run.value or 0.0) - (best.run.value or 0.0))
        <= 2 * math.hypot(each.error, best.error)
        for each in fine[1:]
    )
    many = f"{near} of the others are" if near != 1 else "one of the others is"
    return f"{said} ± {best.error:.2g}; {many} within two standard errors of it. {own}."


def _chart(tried: Sequence[_Tried]) -> Chart | None:
    """What is monitored over the rates, a curve for each decay; the best comes first.

    On a grid, the mean over the decays too, by which the best rate is chosen; see `_ranked`.
    """
    if tried[0].point.rate is None:
        return None
    rates = sorted({each.point.rate for each in tried if each.point.rate is not None})
    values = {(each.point.rate, each.point.decay): each.run.value for each in tried}
    decays = dict.fromkeys(each.point.decay for each in tried)
    curves = {f"decay {decay:g}": [values.get((rate, decay)) for rate in rates] for decay in decays}
    if len(decays) == len(tried) > 1:
        of_rates = {each.point.rate: each.run.value for each in tried}
        curves = {"each with another decay": [of_rates[rate] for rate in rates]}
    elif len(decays) > 1:
        curves = {"mean": list(map(_mean, zip(*curves.values(), strict=True)))} | curves
    return Chart("rates", _RATE, tried[0].key, rates, curves, log=True, best=tried[0].point.rate)


def _mean(values: Sequence[float | None]) -> float | None:
    """None where one is missing."""
    there = [value for value in values if value is not None]
    return fmean(there) if len(there) == len(values) else None
