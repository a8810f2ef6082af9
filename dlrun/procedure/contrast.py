"""Train a recipe in named variants, and draw their curves in one figure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from statistics import fmean, stdev
from typing import Any

from dlrun import shell
from dlrun.errors import Mistake
from dlrun.metric import Metric, known
from dlrun.procedure import Lab, Outcome, RecordedRun, Training, procedure
from dlrun.record.expected import FOUND, reached, reached_by_all
from dlrun.report.chart import Chart
from dlrun.report.curves import curve

_LOSS = "train/loss"
_SAID = 2  # findings in the title of a panel
_TITLES = {"train": "Training", "val": "Validation", "test": "Test"}
_LABELS = {"lr": "learning rate", "grad/norm": "norm of the gradient"}


@dataclass(frozen=True)
class _Variant:
    """A variant, and its runs, one for each seed."""

    name: str
    runs: Sequence[RecordedRun]

    def values(self) -> dict[str, float]:
        """The mean over the seeds of all that the runs come to, by name."""
        return reached_by_all(reached(run.directory) for run in self.runs)

    @property
    def found(self) -> list[str]:
        """The names of the findings, the worst first."""
        return [name.removeprefix(FOUND) for name in self.values() if name.startswith(FOUND)]

    def course(self, key: str) -> tuple[list[float], list[float]]:
        """The epochs that all runs have a value of, and the mean of these."""
        found = [dict(zip(*curve(run.points, key), strict=True)) for run in self.runs]
        shared = [epoch for epoch in found[0] if all(epoch in values for values in found)]
        return shared, [fmean(values[epoch] for values in found) for epoch in shared]


@procedure(judged=False)
def contrast(
    lab: Lab,
    variants: dict[str, Any] | None = None,
    seeds: int = 1,
    metric: str | None = None,
    also: Sequence[str] | None = None,
    test: bool = False,
    apart: bool = False,
    title: str = "",
) -> Outcome:
    """The procedure `contrast`: each variant is the recipe with its overrides.

    Raises Mistake that names the variant, before any is trained, where one cannot be.
    """
    if not variants:
        raise Mistake(
            "procedure.variants is required: overrides by the name of each variant, e.g. "
            "\"procedure.variants={low: 'optimizer.lr=1e-4', good: 'optimizer.lr=0.1'}\""
        )
    if seeds < 1:
        raise Mistake(f"procedure.seeds={seeds}: must be at least 1")
    labs = {str(name): _lab(lab, str(name), words) for name, words in variants.items()}
    trained = [
        _Variant(name, each.train(_wanted(each, name, seeds, test))) for name, each in labs.items()
    ]
    runs = [run for each in trained for run in each.runs]
    told = next((run.info for run in runs if "monitor" in run.info), {})
    key = metric or str(told.get("monitor") or lab.untrained().monitor)
    measured = {name for run in runs for point in run.points for name in point["values"]}
    for setting, wanted in (("metric", [metric] * bool(metric)), ("also", also or [])):
        for name in wanted:
            if name not in measured:
                there = ", ".join(sorted(measured))
                raise Mistake(
                    f"procedure.{setting}={name}: no run has recorded it; there are {there}"
                )
    metrics = known(told.get("metrics"))
    shared = [_shared(trained, each, metrics) for each in (_LOSS, key, *(also or ()))]
    if title:
        shared[0] = replace(shared[0], title=title)
    return Outcome(
        runs=runs,
        values=_values(trained),
        table=[_row(each, key) for each in trained],
        chart=[_panel(each) for each in trained] if apart else shared,
    )


def _shared(trained: Sequence[_Variant], key: str, metrics: Mapping[str, Metric]) -> Chart:
    """The course of a value in all variants."""
    split, _, name = key.rpartition("/")
    kind = metrics.get(name)
    return Chart(
        name="contrast",
        x="epoch",
        y=(kind.label or name if kind else _LABELS.get(key, key)).replace("_", " "),
        paths={each.name: each.course(key) for each in trained},
        linear=kind is not None and kind.higher_is_better,
        title=_TITLES.get(split, "") if kind else "",
    )


def _lab(lab: Lab, name: str, words: Any) -> Lab:
    """The lab of a variant. Raises Mistake that names it."""
    try:
        typed = shell.words(words)
        if wrong := [word for word in typed if "=" not in word and not word.startswith("~")]:
            raise Mistake(f"{wrong[0]}: write key=value, e.g. epochs=20")
        return lab.variant(typed)
    except (Mistake, ValueError) as mistake:
        raise Mistake(f"procedure.variants.{name}: {mistake}") from None


def _wanted(lab: Lab, name: str, seeds: int, test: bool) -> list[Training]:
    """The runs of a variant."""
    first = int(lab.recipe["seed"])
    if seeds == 1:
        return [Training(name, test=test, may_diverge=True)]
    return [
        Training(f"{name}, seed {seed}", {"seed": seed}, test=test, may_diverge=True)
        for seed in range(first, first + seeds)
    ]


def _panel(variant: _Variant) -> Chart:
    """The figure of a variant by itself, with what was found of it."""
    found = [name for name in variant.found if name != "inconclusive"] or variant.found
    courses = {"training": variant.course(_LOSS), "validation": variant.course("val/loss")}
    said = ", ".join(name.replace("_", " ") for name in found[:_SAID])
    return Chart(
        name="contrast",
        x="epoch",
        y="loss",
        paths=courses,
        title=variant.name if said in ("", variant.name) else f"{variant.name}: {said}",
        linear="diverged" not in found,
    )


def _values(trained: Iterable[_Variant]) -> dict[str, float]:
    return {
        f"{each.name} {key}": value
        for each in trained
        for key, value in each.values().items()
        if isfinite(value)
    }


def _row(variant: _Variant, key: str) -> dict[str, Any]:
    """A variant in the closing table."""
    values = variant.values()
    best = [run.value for run in variant.runs if run.value is not None]
    return {
        "variant": variant.name,
        _LOSS: values.get(_LOSS),
        key: values.get(key),
        "best": fmean(best) if best else None,
        **({"±": stdev(best) if len(best) > 1 else None} if len(variant.runs) > 1 else {}),
        "epochs": f"{values['epochs']:g}",
        "found": ", ".join(variant.found),
    }
