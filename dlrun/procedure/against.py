"""Train a recipe at several values of one setting, and draw what it comes to against them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dlrun.errors import Mistake
from dlrun.format import is_number
from dlrun.procedure import Lab, Outcome, at_least, procedure
from dlrun.procedure.contrast import (
    Variant,
    axis,
    check_recorded,
    finite,
    labs,
    recorded_key,
    varied,
    wanted,
)
from dlrun.record.sweep import spans_decades
from dlrun.report.chart import Chart
from dlrun.shell import spelled

_LOSS = "train/loss"


@procedure(judged=False)
def against(
    lab: Lab,
    key: str = "",
    values: Sequence[Any] = (),
    variants: dict[str, Any] | None = None,
    seeds: int = 1,
    metric: str | None = None,
    title: str = "",
) -> Outcome:
    """The procedure `against`: each variant at each value of a setting or a group.

    Values: `<variant> <value> <key>`. Raises Mistake, before any is trained, where one cannot be.
    """
    if not key or not values:
        raise Mistake(
            "procedure.key and procedure.values are required: what changes, and to what, e.g. "
            "procedure.key=optimizer.lr 'procedure.values=[0.01,0.1,1]'"
        )
    at_least(1, seeds=seeds)
    named = labs(lab, variants or {})
    places = [v if isinstance(v, str) or is_number(v) else spelled(v) for v in values]
    if twice := [place for place in places if places.count(place) > 1]:
        raise Mistake(f"procedure.values: {twice[0]} is there twice; write each value once")
    where = f"procedure.key={key} procedure.values={spelled(values)}"
    each_at = {
        (name, place): varied(each, name, [f"{key}={spelled(value)}"], where=where)
        for name, each in (named or {"": lab}).items()
        for place, value in zip(places, values, strict=True)
    }
    check_recorded(each_at.values(), {"metric": metric})
    trained = {
        (name, place): _trained(each, f"{name} {place}".strip(), seeds)
        for (name, place), each in each_at.items()
    }
    runs = [run for each in trained.values() for run in each.runs]
    drawn = recorded_key(lab, runs, metric)
    said, linear = axis(runs, drawn)
    return Outcome(
        runs=runs,
        values=finite(trained.values()),
        table=[_row(key, *place, each, drawn) for place, each in trained.items()],
        chart=[
            _chart(key, places, trained, _LOSS, "training loss at the end", False, title),
            _chart(key, places, trained, drawn, said, linear, ""),
        ],
    )


def _trained(lab: Lab, name: str, seeds: int) -> Variant:
    """Its runs, without figures of their own."""
    return Variant(name, lab.train([replace(w, export=False) for w in wanted(lab, name, seeds)]))


def _row(key: str, name: str, value: Any, variant: Variant, drawn: str) -> dict[str, Any]:
    found = variant.values()
    return {
        "variant": name,
        key: value,
        _LOSS: found.get(_LOSS),
        drawn: found.get(drawn),
        "found": ", ".join(variant.found),
    }


def _chart(
    key: str,
    values: Sequence[Any],
    trained: Mapping[tuple[str, Any], Variant],
    drawn: str,
    said: str,
    linear: bool,
    title: str,
) -> Chart:
    """What the variants come to, over numbers at their places, over names side by side."""
    numbers = all(map(is_number, values))
    curves: dict[str, list[float | None]] = {}
    for (name, _), variant in trained.items():
        curves.setdefault(name or said, []).append(variant.values().get(drawn))
    return Chart(
        name="against",
        x=key,
        y=said,
        at=values if numbers else list(range(len(values))),
        curves=curves,
        names=() if numbers else [str(value) for value in values],
        log=numbers and spans_decades(values),
        linear=linear,
        title=title,
    )
