"""Train a recipe in named variants, and draw their curves in one figure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from statistics import fmean, stdev
from typing import Any

from dlrun import shell
from dlrun.errors import Mistake
from dlrun.metric import Metric, known, metric_of
from dlrun.procedure import Lab, Outcome, RecordedRun, Training, at_least, by_variant, procedure
from dlrun.record.expected import FOUND, reached, reached_by_all
from dlrun.report.chart import Chart
from dlrun.report.curves import curve, mean_curve

_LOSS = "train/loss"
_ENDING = ("train", "val", "train_eval")  # splits whose metrics can end a run
_SAID = 2  # findings in the title of a panel
_TITLES = {"train": "Training", "val": "Validation", "test": "Test"}
_OF_COMMAND = (
    *("procedure", "outputs", "tracking", "name", "resume", "sweep", "hydra", "expect", "short"),
)  # what says how the procedure is done, not what is trained
_LABELS = {"lr": "learning rate", "grad/norm": "norm of the gradient"}


@dataclass(frozen=True)
class Variant:
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
        return mean_curve([curve(run.points, key) for run in self.runs])


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
    until: dict[str, float] | None = None,
) -> Outcome:
    """The procedure `contrast`: each variant is the recipe with its overrides.

    Raises Mistake that names the variant, before any is trained, where one cannot be.
    """
    if not variants:
        raise Mistake(
            "procedure.variants is required: overrides by the name of each variant, e.g. "
            "\"procedure.variants={low: 'optimizer.lr=1e-4', good: 'optimizer.lr=0.1'}\""
        )
    at_least(1, seeds=seeds)
    named = labs(lab, variants)
    check_recorded(named.values(), {"metric": metric, "also": also, "until": until}, test)
    trained = [
        Variant(name, each.train(wanted(each, name, seeds, test, until)))
        for name, each in named.items()
    ]
    runs = [run for each in trained for run in each.runs]
    key = recorded_key(lab, runs, metric)
    more = [recorded_key(lab, runs, each, "also") for each in also or ()]
    metrics = known(told(runs).get("metrics"))
    shared = [_shared(trained, each, metrics) for each in (_LOSS, key, *more)]
    if title:
        shared[0] = replace(shared[0], title=title)
    return Outcome(
        runs=runs,
        values=finite(trained),
        table=[_row(each, key) for each in trained],
        chart=[_apart(each) for each in trained] if apart else shared,
    )


def _shared(trained: Sequence[Variant], key: str, metrics: Mapping[str, Metric]) -> Chart:
    """The course of a value in all variants."""
    split, _, name = key.rpartition("/")
    kind = metrics.get(name)
    what = (kind.label or name if kind else _LABELS.get(key, key)).replace("_", " ")
    title = _TITLES.get(split, "") if kind else what
    return Chart(
        name="contrast",
        x="epoch",
        y=f"{title.lower()} {what}" if kind else what,
        paths={each.name: each.course(key) for each in trained},
        linear=kind.higher_is_better if kind else key == "lr",
        title=title.capitalize(),
    )


def _apart(variant: Variant) -> Chart:
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


def check_recorded(labs: Collection[Lab], asked: Mapping[str, Any], test: bool = False) -> None:
    """Raise Mistake, before any is trained, for a value that no variant comes to have.

    asked: names of values by the settings that ask for them. test: whether test is measured.
    """
    names = {
        key: [some] if isinstance(some, str) else [*(some or ())] for key, some in asked.items()
    }
    each = [name for some in names.values() for name in some]
    wrong = [one.unrecorded(each) for one in labs] if each else []
    for setting, name in ((setting, name) for setting, some in names.items() for name in some):
        split, _, measured = name.rpartition("/")
        if all(name in found for found in wrong):
            raise Mistake(f"procedure.{setting}={name}: {wrong[0][name]}")
        if split == "test" and not test:
            raise Mistake(f"procedure.{setting}={name}: is not measured; use val/{measured}")
        if setting == "until" and (split not in _ENDING or measured == "objective"):
            raise Mistake(f"procedure.until={name}: ends no run; use train/loss or a val/ metric")


def told(runs: Sequence[RecordedRun]) -> Mapping[str, Any]:
    """What the record of a run says that was trained at all."""
    return next((run.info for run in runs if "monitor" in run.info), {})


def recorded_key(
    lab: Lab, runs: Sequence[RecordedRun], metric: str | None, setting: str = "metric"
) -> str:
    """What is drawn, by default the monitored metric. Raises Mistake where no run has it."""
    measured = {name for run in runs for point in run.points for name in point["values"]}
    if metric and metric not in measured:
        right = ", ".join(sorted(measured))
        raise Mistake(f"procedure.{setting}={metric}: no run has recorded it; there are {right}")
    return metric or str(told(runs).get("monitor") or lab.untrained().monitor)


def axis(runs: Sequence[RecordedRun], key: str) -> tuple[str, bool]:
    """What an axis with this key says, and whether it is never logarithmic."""
    among = known(told(runs).get("metrics"))
    if key.rpartition("/")[2] not in among:  # lr, or layer/2/mean of watch=layers
        return key, False
    kind = metric_of(key, among)
    return kind.label or kind.name.replace("_", " "), kind.higher_is_better


def labs(lab: Lab, variants: Mapping[str, Any], setting: str = "variants") -> dict[str, Lab]:
    """The lab of each variant, by its name. Raises Mistake that names the one that cannot be.

    setting: of the procedure, that names them.
    """
    return {
        str(name): varied(lab, str(name), words, where=f"procedure.{setting}.{name}")
        for name, words in variants.items()
    }


def varied(
    lab: Lab, name: str, words: Any, before: Mapping[str, str] | None = None, where: str = ""
) -> Lab:
    """The lab of a variant. Raises Mistake that says `where` it has been typed, now and later.

    before: words that go before those of the variant, unless it has others, by their keys.
    """
    own, where = before or {}, where or f"procedure.variants.{name}"
    try:
        typed = shell.words(words)
        if wrong := [word for word in typed if "=" not in word and not word.startswith("~")]:
            raise Mistake(f"{wrong[0]}: write key=value, e.g. epochs=20")
        keys = {shell.key(word): word for word in typed}
        for key, word in keys.items():
            of_command = key.partition(".")[0] in _OF_COMMAND
            if of_command and (key == "procedure" or key not in own):
                raise Mistake(f"{word}: belongs to the whole command, and changes no variant")
        first = [word for key, word in own.items() if key not in keys]
        return lab.variant([*first, *typed], where)
    except (Mistake, ValueError) as mistake:
        raise Mistake(f"{where}: {mistake}") from None


def wanted(
    lab: Lab, name: str, seeds: int, test: bool = False, until: Mapping[str, float] | None = None
) -> list[Training]:
    """The runs of a variant, each ended by a value of `until` that it reaches."""
    one = Training(name, test=test, may_diverge=True, until=until or {})
    if seeds == 1:
        return [one]
    first = int(lab.recipe["seed"])
    return [
        replace(one, name=f"{name}, seed {seed}", settings={"seed": seed})
        for seed in range(first, first + seeds)
    ]


def finite(trained: Iterable[Variant]) -> dict[str, float]:
    """What variants come to, for the record."""
    values = by_variant({each.name: each.values() for each in trained})
    return {key: value for key, value in values.items() if isfinite(value)}


def _row(variant: Variant, key: str) -> dict[str, Any]:
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
