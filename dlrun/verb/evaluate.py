"""`dlrun evaluate`: how good a run is on its test split, or on other labelled data."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from dlrun import format, record, shell
from dlrun.console import screen
from dlrun.record import test_set
from dlrun.verb.asked import Asked
from dlrun.verb.opened import Opened, noting_test, opened, refuse_alone, trained_record

if TYPE_CHECKING:
    from torch import Tensor

    from dlrun.engine.report_card import Bin, Confused, MeanOfClasses, OfClass
    from dlrun.verb.labelled import Labelled

_log = logging.getLogger("dlrun")

_MATRIX = 16
"""Classes, at most, whose confusion is shown as a matrix."""
_CLASSES, _CONFUSED = 30, 10
"""Rows that are shown, at most, of classes and of confusions."""


def run(asked: Asked) -> int:
    """Measure a run, and print what was found."""
    directory = trained_record(asked)
    own = (record.read_json(directory / "run.json").get("data") or {}).get("samples") or {}
    split = asked.choice("split", "test", own) if "split" in asked.words else ""
    with opened(asked, str(directory)) as made:
        from dlrun.verb.labelled import labelled

        samples = labelled(made, split)
        with noting_test(made) if samples.are_test else nullcontext() as noted:
            found = measured(made, samples)
            if noted is not None:
                found["recipes_measured"] = noted()
        _say_undefined(found["values"])
    if "--json" in asked.flags:
        values = {name: None if math.isnan(one) else one for name, one in found["values"].items()}
        print(json.dumps({"run": directory.name, **found, "values": values}))
    else:
        _show(made, samples, found)
    return 0


def measured(made: Opened, samples: "Labelled") -> dict[str, Any]:
    """What is found of a run on samples, as plain values."""
    from dlrun.engine.evaluate import assess, measure
    from dlrun.engine.feed import prepare

    run, split = made.run, samples.samples
    refuse_alone(made, split.x[split.rows])
    feed = prepare(split, run.evaluation, run.device, fixed=False)
    views = run.views if samples.split == "test" or not samples.own else None
    about = {"data": samples.name, "split": samples.split, "samples": len(split)}
    if run.reconstructs:
        return {**about, "values": measure(run, feed, views)}
    values, predicted, y = assess(run, feed, views)
    return {**about, "values": values, **_card(made, predicted, y)}


def _card(made: Opened, predicted: "Tensor", y: "Tensor") -> dict[str, Any]:
    """The answers by class or target, by confidence, and where they are wrong."""
    from dlrun.engine import report_card

    run, classes = made.run, made.info["data"]["classes"]
    names = classes or made.targets(predicted.shape[1])
    if run.regression and not run.labels:
        return {"targets": [asdict(each) for each in report_card.by_target(predicted, y, names)]}
    found: dict[str, Any] = {
        "classes": [asdict(each) for each in report_card.by_class(predicted, y, names)],
        "mean": asdict(report_card.mean_of_classes(predicted, y)),
    }
    if y.dim() == 1:
        counts = report_card.confusion(predicted, y)
        found["confusion"] = counts.tolist()
        confused = report_card.most_confused(counts, names, _CONFUSED)
        found["confused"] = [asdict(each) for each in confused]
    if run.loss.link:
        bins = report_card.reliability(predicted, y)
        found["calibration_error"] = report_card.expected_calibration_error(bins)
        found["reliability"] = [asdict(each) for each in bins]
    return found


def _say_undefined(values: Mapping[str, float]) -> None:
    """Say which metrics have no value where the model answers: too few classes occur for them."""
    without = [name for name, value in values.items() if math.isnan(value)]
    if without and "loss" not in without:
        has = f"{', '.join(without)} {'have' if without[1:] else 'has'}"
        _log.warning(f"{has} no value: these samples are of too few classes")


def _show(made: Opened, samples: "Labelled", found: Mapping[str, Any]) -> None:
    from dlrun.engine.report_card import Bin, Confused, MeanOfClasses, OfClass

    console = screen.wide()

    def say(text: str) -> None:
        screen.say(console, text)

    name = made.info.get("name")
    say(f"{shell.name(name)}  ·  run {made.directory.name}")
    again = made.other_data and samples.own
    say(samples.said + (", the data that it was trained on" if again else ""))
    values = found["values"].items()
    say("  ".join(f"{name} {format.cell(value)}" for name, value in values))
    if "targets" in found:
        rows = [list(each.values()) for each in found["targets"]]
        console.print("", _table(["target", "mae", "rmse", "R²"], rows), sep="\n")
    if "classes" in found:
        classes = [OfClass(**each) for each in found["classes"]]
        console.print("", _classes(classes, MeanOfClasses(**found["mean"])), sep="\n")
    if "confusion" in found:
        confused = [Confused(**each) for each in found["confused"]]
        names = [each["name"] for each in found["classes"]]
        console.print("", *_confusion(found["confusion"], confused, names), sep="\n")
    if "reliability" in found:
        bins = [Bin(**each) for each in found["reliability"]]
        console.print("", *_reliability(bins, found["calibration_error"]), sep="\n")
    if said := test_set.warning(found.get("recipes_measured", 0)):
        console.print()
        say(said)


def _classes(rows: Sequence["OfClass"], mean: "MeanOfClasses") -> Table:
    """The report of all classes, or of the worst ones where there are many."""
    shown = sorted(rows, key=lambda each: each.f1)[:_CLASSES] if len(rows) > _CLASSES else rows
    cells: list[list[Any]] = [list(asdict(each).values()) for each in shown]
    of = "mean" if mean.classes == len(rows) else f"mean of the {mean.classes} that occur"
    cells.append([of, mean.precision, mean.recall, mean.f1, sum(each.support for each in rows)])
    head = "class" if len(shown) == len(rows) else f"the worst {_CLASSES} of {len(rows)} classes"
    return _table([head, "precision", "recall", "f1", "samples"], cells)


def _confusion(
    counts: Sequence[Sequence[int]], confused: Sequence["Confused"], names: Sequence[str]
) -> list[Table | str]:
    """The matrix, or the most frequent confusions where it would be large."""
    if len(names) <= _MATRIX:
        rows = [[name, *map(_blank, row)] for name, row in zip(names, counts, strict=True)]
        return [_table(["true \\ said", *names], rows)]
    if not confused:
        return ["no sample was taken for one of another class"]
    shown = [[each.true, each.said, each.count, f"{each.share:.0%}"] for each in confused]
    return [_table(["true", "taken for", "samples", "of its class"], shown)]


def _blank(count: int) -> str:
    return str(count) if count else "·"


def _reliability(bins: Sequence["Bin"], error: float) -> list[Table | str]:
    rows = [
        [f"{each.low:.2f} to {each.high:.2f}", each.count, each.confidence, each.accuracy]
        for each in bins
    ]
    table = _table(["confidence", "answers", "mean confidence", "right"], rows)
    return [table, f"expected calibration error {format.cell(error)}"]


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """The first column to the left, numbers to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, name in enumerate(head):
        table.add_column(Text(shell.name(name)), justify="right" if place else "left")
    for row in rows:
        table.add_row(*(Text(_cell(each)) for each in row))
    return table


def _cell(value: Any) -> str:
    return format.cell(value) if isinstance(value, float) else shell.name(value)
