"""Train on a few samples: whatever can learn at all can memorize them."""

import logging
from collections.abc import Mapping, Sequence
from itertools import takewhile
from math import sqrt
from typing import Any

import numpy as np

from dlrun import shell
from dlrun.data import Data, Split
from dlrun.errors import Mistake
from dlrun.finding import FAIL, NOTE, Finding
from dlrun.procedure import Lab, Outcome, RecordedRun, Training, at_least, procedure
from dlrun.report.chart import Chart

FEW = 10
"""So many samples must be memorized, and fewer; more need not be."""
SHARE = 0.01
"""Numbers are memorized where the training loss has come down to this share of the first."""
_BUILT_IN = ("batch_norm", "weight_norm")  # regularization that a network is built with

_log = logging.getLogger("dlrun")


def check_samples(samples: Sequence[int]) -> None:
    """Raise Mistake for what are no numbers of samples."""
    if not samples or min(samples) < 1:
        raise Mistake(f"procedure.samples={list(samples)}: must hold at least one, all above 0")


@procedure(judged=False)
def overfit(
    lab: Lab, samples: Sequence[int] = (1, 4, 5, 10, 100, 1000), steps: int = 1000
) -> Outcome:
    """The procedure `overfit`: trains on so many samples of the training split, for each number.

    steps: at most, for each. Fails where `FEW` samples or fewer are not memorized.

    Raises Mistake for what is no number of samples, and where no run can be built.
    """
    check_samples(samples)
    at_least(1, steps=steps)
    data = lab.data()
    runs = _train(lab, data, sorted(set(samples)), steps)
    rows = [_row(count, run) for count, run in runs.items()]
    guess = guessed(data)
    better = [*takewhile(lambda row: guess and _better(row, *guess), reversed(rows))]
    moves = better[-1] if better else None
    failed = [row for row in rows if row["samples"] <= FEW and not row["memorized"]]
    numbers = {f"{key} of {row['samples']}": row[key] for row in rows for key in _measured(row)}
    text = f"{_said(rows, failed, steps)} {_moved(rows, moves, guess)}".strip()
    finding = Finding("memorized", NOTE, text, numbers)
    if failed:
        command = lab.command({"procedure": "find_lr"})
        finding = Finding("cannot_overfit", FAIL, text, numbers, command)
    memorized = {f"memorized of {row['samples']}": float(row["memorized"]) for row in rows}
    return Outcome(
        runs=list(runs.values()),
        findings=[finding],
        values=numbers | memorized,
        table=[{**row, "memorized": "yes" if row["memorized"] else "no"} for row in rows],
        chart=_chart(rows),
        failure=f"cannot_overfit: {_said(rows, failed, steps)}" if failed else "",
    )


def nested(split: Split, seed: int) -> list[int]:
    """The rows of a split in an order whose beginnings are small samples of it.

    Each has as many samples of every class as of the others, or one more.
    """
    order = np.random.default_rng(seed).permutation(len(split))
    labels = split.y[split.rows].cpu().numpy()[order]
    turn = np.zeros(len(order))  # each class in turn
    for label in np.unique(labels) if labels.dtype.kind == "i" else ():
        turn[labels == label] = np.arange(np.sum(labels == label))
    found: list[int] = split.rows.cpu().numpy()[order[turn.argsort(kind="stable")]].tolist()
    return found


def guessed(data: Data) -> tuple[str, float, float] | None:
    """The metric of validation without looking at the inputs, and what is clearly better.

    The accuracy of the most frequent class, or the mean absolute error of the median, each of the
    training split; better is what lies two standard errors from it. None for other targets, and
    without validation.
    """
    y, val = data.train.y[data.train.rows].cpu(), data.val.y[data.val.rows].cpu()
    if not len(val) or (y.dim() > 1 and data.classes):
        return None
    if data.classes:
        right = (val == y.bincount().argmax()).double()
        return "accuracy", float(right.mean()), float(right.mean() + 2 * _error(right))
    wrong = (val - y.median(0).values).abs().double()
    wrong = (wrong if data.scale is None else wrong * data.scale.std.double()).flatten(1).mean(1)
    return "mae", float(wrong.mean()), float(wrong.mean() - 2 * _error(wrong))


def _error(values: Any) -> float:
    """The standard error of a mean."""
    return float(values.std(unbiased=False)) / sqrt(len(values))


def _train(lab: Lab, data: Data, samples: Sequence[int], steps: int) -> dict[int, RecordedRun]:
    """Train on each number of samples; what cannot be is left out, in one line."""
    order, runs, wrong = nested(data.train, int(lab.recipe["seed"])), {}, []
    held_out = data.val.rows.tolist()
    too_many = [count for count in samples if count > len(order)]
    if too_many:
        listed = ", ".join(f"{count:,}" for count in too_many)
        _log.warning(f"procedure.samples: {listed} left out; there are {len(order):,} to train on")
    for count in samples:
        if count > len(order):
            continue
        assert lab.directory is not None  # begins the record, whose failure is of no number
        training = Training(
            name=f"{count} sample{'s' if count > 1 else ''}",
            settings=_settings(lab.recipe, steps),
            rows={"train": order[:count]} | ({"held_out": held_out} if held_out else {}),
            until={"train/accuracy": 1.0},
            test=False,
        )
        try:
            [runs[count]] = lab.train([training])
        except Mistake as mistake:
            wrong.append(mistake)
            _log.warning(f"procedure.samples: {count} left out: {mistake}")
    if not runs:
        raise wrong[0] if wrong else Mistake(f"procedure.samples={list(samples)}: all left out")
    return runs


def _settings(recipe: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """The recipe without what keeps a network from memorizing; its rate falls to the end."""
    rules = [name for name in recipe["regularization"] or () if name in _BUILT_IN]
    settings: dict[str, Any] = {"augmentation": [], "regularization": rules}
    settings |= {"schedule": "cosine", "warmup": 0, "epochs": f"{steps} steps"}
    settings |= {"log_every": 1, "monitor": "train/loss", "drop_last": False, "preflight": "off"}
    settings |= {"validate_on": None, "train_eval": False}
    if recipe["optimizer"].get("weight_decay"):
        settings["optimizer.weight_decay"] = 0.0
    return settings


def _row(count: int, run: RecordedRun) -> dict[str, Any]:
    """What one number of samples has come to."""
    trained = [point for point in run.points if "train/loss" in point["values"]]
    last = trained[-1]["values"] | run.points[-1]["values"]
    metric = next((name for name in ("accuracy", "mae") if f"train/{name}" in last), "loss")
    losses = [point["values"]["train/loss"] for point in trained]
    if metric == "accuracy":
        memorized, at = last[f"train/{metric}"] == 1, trained[-1]["step"]
    else:
        low = [p["step"] for p in trained if p["values"]["train/loss"] <= SHARE * losses[0]]
        memorized, at = bool(low), (low or [trained[-1]["step"]])[0]
    row = {"samples": count, "memorized": memorized, "steps": at}
    row |= {"train/loss": losses[-1], f"train/{metric}": last[f"train/{metric}"]}
    measured = last.get(f"held_out/{metric}")
    return row if measured is None else row | {f"val/{metric}": measured}


def _measured(row: Mapping[str, Any]) -> list[str]:
    return [key for key in row if key.startswith(("train/", "val/"))]


def _better(row: Mapping[str, Any], metric: str, value: float, clearly: float) -> bool:
    measured = row.get(f"val/{metric}")
    if measured is None:
        return False
    return bool(measured > clearly if clearly >= value else measured < clearly)


def _said(
    rows: Sequence[Mapping[str, Any]], failed: Sequence[Mapping[str, Any]], steps: int
) -> str:
    """Whether the few are memorized."""
    if failed:
        worst = failed[0]
        key = next((key for key in worst if key == "train/accuracy"), "train/loss")
        return (
            f"{_counted(worst['samples'])} not memorized within {shell.counted(steps, 'step')}: "
            f"{key} {_number(worst[key])}."
        )
    done = [row for row in rows if row["memorized"]]
    if not done:
        return f"No number of samples was memorized within {shell.counted(steps, 'step')}."
    most = max(done, key=lambda row: row["samples"])
    return f"{_counted(most['samples'])} memorized, in {shell.counted(most['steps'], 'step')}."


def _counted(count: int) -> str:
    return f"{count:,} samples are" if count > 1 else "1 sample is"


def _moved(
    rows: Sequence[Mapping[str, Any]],
    moves: Mapping[str, Any] | None,
    guess: tuple[str, float, float] | None,
) -> str:
    """From which number of samples on, with all larger ones, validation clearly beats a guess."""
    if guess is None or f"val/{guess[0]}" not in rows[-1]:
        return ""
    metric, value, _ = guess
    if moves is None:
        worth = f"val/{metric} {_number(value)}"
        return f"Validation never beats guessing by two standard errors ({worth})."
    return (
        "Validation beats guessing by two standard errors from "
        f"{shell.counted(moves['samples'], 'sample')} on: "
        f"val/{metric} {_number(moves[f'val/{metric}'])}, guessing {_number(value)}."
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _chart(rows: Sequence[Mapping[str, Any]]) -> Chart:
    keys = [key for key in _measured(rows[0]) if key != "train/loss"] or ["train/loss"]
    names = {"train": "training", "val": "validation"}
    return Chart(
        "samples",
        "training samples",
        keys[0].partition("/")[2],
        [row["samples"] for row in rows],
        {names[key.partition("/")[0]]: [row[key] for row in rows] for key in keys},
        log=True,
    )
