"""Training on train and val together, as long as early stopping has found to be right.

Goodfellow et al. 2016, 7.8: algorithm 7.2 is `restart`, algorithm 7.3 `continue`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlrun.errors import Mistake
from dlrun.finding import WARN, Finding
from dlrun.procedure import LENGTH, OBJECTIVE, Lab, Outcome, RecordedRun, Training
from dlrun.report.chart import Chart

RESTART, CONTINUE = "restart", "continue"
STEPS, PASSES = "steps", "passes"


def retrain(
    lab: Lab, strategy: str = RESTART, count: str = STEPS, run: str | None = None
) -> Outcome:
    """The procedure `retrain`; its value is the best validation of the first training.

    strategy: restart, from new weights on train and val for the steps of the best weights; or
        continue, from the best weights until the objective on the former val is what it was on
        train. count: whether restart counts the steps, or the passes over the training split.
    run: which has been trained with this recipe, in place of a first training.

    Raises Mistake where a setting is none of these words, and where there is no val split.
    """
    for name, value, words in (
        ("strategy", strategy, (RESTART, CONTINUE)),
        ("count", count, (STEPS, PASSES)),
    ):
        if value not in words:
            raise Mistake(f"procedure.{name}={value}: must be {' or '.join(words)}")
    data = lab.data()
    if not len(data.val):
        raise Mistake("procedure=retrain: there is no validation split to train on as well")
    first = lab.find(run) if run else lab.train([Training(name="first", test=False)])[0]
    splits = {"train": data.train, "val": data.val, "test": data.test}
    rows = {name: split.rows.numpy() for name, split in splits.items()}
    whole = np.sort(np.concatenate([rows["train"], rows["val"]]))
    parts = {name: some.tolist() for name, some in (rows | {"train": whole}).items()}
    if strategy == RESTART:
        last, findings = _restart(lab, first, parts, count == PASSES), []
    else:
        last = _go_on(lab, first, parts)
        findings = _not_reached(lab, first, last)
    best, ends = _best(first), _starting(last, "val/objective", "target/objective")
    return Outcome(
        value=first.value,
        runs=[first, last],
        result=last,
        findings=findings,
        values=_starting(last, "test/") | ends,
        text=_said(ends),
        table=[
            _row("first", best, first) | {first.info["monitor"]: first.value},
            _row(strategy, last.points[-1], last),
        ],
        chart=_chart(first, last, best["step"], strategy == CONTINUE),
    )


def _best(run: RecordedRun) -> Mapping[str, Any]:
    """The point of the best weights."""
    if not run.at_best:
        raise Mistake(f"procedure=retrain: run {run.directory.name} has no best weights")
    return run.at_best[0]


def _restart(
    lab: Lab, first: RecordedRun, rows: Mapping[str, Sequence[int]], by_passes: bool
) -> RecordedRun:
    """From new weights, with the rates of the first training."""
    best = _best(first)
    training = Training(
        name="retrained",
        settings={"monitor": "train/loss"},  # there is no val any more
        rows={"train": rows["train"], "test": rows["test"]},
        preprocessing=str(first.directory),
        length=best["epoch"] if by_passes else best["step"],
        rates=str(first.directory),
        by_passes=by_passes,
        ends=LENGTH,
    )
    return lab.train([training])[0]


def _go_on(lab: Lab, first: RecordedRun, rows: Mapping[str, Sequence[int]]) -> RecordedRun:
    """From the best weights, with the optimizer's state and the rate at their step.

    A run keeps the weights of its best step and the optimizer's state of its last one: where these
    are two, the first training is done again up to the best step, which comes to the same.
    """
    best = _best(first)["step"]
    there = first
    if first.points[-1]["step"] != best:
        [there] = lab.train([Training(name="to the best", length=best, ends=LENGTH, test=False)])
    training = Training(
        name="retrained",
        rows=rows,
        weights=str(first.directory / "checkpoints" / "best.pt"),
        preprocessing=str(first.directory),
        optimizer=str(there.directory),
        length=best,
        ends=OBJECTIVE,
        # val is trained on here: checks and verdict would call it a leak
        settings={"preflight": "off"},
    )
    return lab.train([training])[0]


def _not_reached(lab: Lab, first: RecordedRun, last: RecordedRun) -> list[Finding]:
    """Whether the objective has stayed above its target."""
    numbers = _starting(last, "val/objective", "target/objective")
    now, target = numbers.values()
    if now < target:
        return []
    text = (
        f"the objective on the former validation split is {now:.4g} after "
        f"{last.points[-1]['step']:,} more steps, and has not fallen below {target:.4g}, what it "
        "was on the training split."
    )
    other = {"procedure": "retrain", "procedure.run": first.directory.name}
    return [Finding("not_reached", WARN, text, numbers, lab.command(other))]


def _said(ends: Mapping[str, float]) -> str:
    """How far the objective has come, where that was asked."""
    if not ends:
        return ""
    now, target = ends.values()
    return (
        f"objective on the former validation split {now:.4g}; on the training split, at the best "
        f"step, it was {target:.4g}"
    )


def _chart(first: RecordedRun, last: RecordedRun, best: int, goes_on: bool) -> Chart:
    """The losses of both trainings over their steps; one that goes on begins at the best step."""
    begun = best if goes_on else 0
    courses = {
        "first, training": _course(first, "train/loss"),
        "first, validation": _course(first, "val/loss"),
        "retrained, training": _course(last, "train/loss", begun),
        "retrained, former validation": _course(last, "val/loss", begun),
    }
    paths = {name: course for name, course in courses.items() if course[0]}
    return Chart("retrain", "step", "loss", paths=paths, lines={"best step": best})


def _course(run: RecordedRun, key: str, begun: int = 0) -> tuple[list[int], list[float]]:
    """The steps, after so many of another training, that have a value, and the values."""
    found = [point for point in run.points if key in point["values"]]
    return [begun + point["step"] for point in found], [point["values"][key] for point in found]


def _row(name: str, point: Mapping[str, Any], run: RecordedRun) -> dict[str, Any]:
    """Of the closing table."""
    tested = _starting(run, "test/")
    return {"": name, "steps": point["step"], "passes": f"{point['epoch']:.4g}", **tested}


def _starting(run: RecordedRun, *starts: str) -> dict[str, float]:
    """The last values of a run whose names begin so."""
    return {name: value for name, value in run.last.items() if name.startswith(starts)}
