"""Sweeps whose outcome is planted, as plain data and as directories on disk."""

import json
import math
import random
from dataclasses import replace

import pytest

from dlrun.record.sweep import Dimension, Point, RunResult, Sweep

LR = Dimension("optimizer.lr", "float", "log", 1e-4, 1e-1)
L2 = Dimension("l2", "float", "log", 1e-6, 1.0)
WIDTH = Dimension("width", "int", "linear", 8, 64)
OPTIMIZER = Dimension("optimizer", choices=("sgd", "adam", "rmsprop"))


def _text(value):
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def peak(at):
    """An objective whose optimum over the rate lies at 10^at."""
    return lambda values, draw: 0.9 - 0.1 * (math.log10(values["optimizer.lr"]) - at) ** 2


def grid(sweep, point, dimension, scores, **more):
    points = [
        point(trial, {dimension.key: value}, score)
        for trial, (value, score) in enumerate(zip(dimension.choices, scores, strict=True))
    ]
    listed = ",".join(map(str, dimension.choices))
    command = f"dlrun -m model=mlp {dimension.key}={listed}"
    return sweep([dimension], points, command=command, sampler="grid", **more)


@pytest.fixture(scope="session")
def point():
    """A point from its values and scores."""

    def make(
        trial,
        values,
        *scores,
        status="FINISHED",
        message="",
        epochs=5.0,
        runs=(),
        samples=None,
        loss=None,
        trained_on=None,
    ):
        words = [f"{key}={_text(value)}" for key, value in values.items()]
        found = [
            RunResult(
                seed,
                f"{trial}-{seed}",
                directory=runs[seed] if seed < len(runs) else None,
                status=status,
                value=score,
                loss=loss,
                epochs=epochs,
                message=message,
                samples=samples,
                trained_on=trained_on,
            )
            for seed, score in enumerate(scores or (None,))
        ]
        return Point(trial, f"x{trial}", values, words, found, status)

    return make


@pytest.fixture(scope="session")
def sweep():
    """A sweep from its dimensions and points; more of its fields by name."""

    def make(dimensions, points, **more):
        words = [f"{one.key}=tag(log,interval({one.low},{one.high}))" for one in dimensions]
        command = "dlrun -m sweep=random sweep.trials=20 model=mlp " + " ".join(
            f"'{word}'" for word in words
        )
        known = {
            "id": "a1b2c3",
            "command": command,
            "objective": "val/accuracy",
            "overrides": ("sweep=random", "sweep.trials=20", "model=mlp"),
            "trials": len(points),
            "repeats": max((len(one.runs) for one in points), default=1),
            "sampler": "random",
        }
        return Sweep(dimensions=tuple(dimensions), points=tuple(points), **known | more)

    return make


@pytest.fixture(scope="session")
def drawn(point, sweep):
    """A random sweep over rates, strengths and so on, whose scores a function gives."""

    def make(score, dimensions=(LR, L2), many=22, seed=0, repeats=1, **more):
        draw = random.Random(seed)
        points = []
        for trial in range(many):
            values = {one.key: _draw(one, draw) for one in dimensions}
            scores = [score(values, draw) for _ in range(repeats)]
            bad = not all(math.isfinite(each) for each in scores)
            if bad:
                why = "the loss is nan at step 12"
                points.append(point(trial, values, status="FAILED", message=why))
            else:
                points.append(point(trial, values, *scores))
        return sweep(dimensions, points, repeats=repeats, **more)

    return make


def _draw(one, draw):
    if not one.ranged:
        return draw.choice(one.choices)
    if one.log:
        return math.exp(draw.uniform(math.log(one.low), math.log(one.high)))
    return draw.randint(one.low, one.high) if one.whole else draw.uniform(one.low, one.high)


@pytest.fixture(scope="session")
def on_disk():
    """Write a sweep as the driver does, with runs that have a curve; its directory."""

    def write(outputs, sweep, epochs=5):
        directory = outputs / "sweeps" / sweep.id
        directory.mkdir(parents=True)
        asked = {"started": "2026-11-03T12:34:56+00:00", "settings": {"trials": sweep.trials}}
        (directory / "sweep.json").write_text(json.dumps(sweep.described() | asked))
        with (directory / "ledger.jsonl").open("w") as ledger:
            for point in sweep.points:
                entry = _recorded(outputs, sweep, point, epochs).line()
                ledger.write(json.dumps(entry | {"status": "RUNNING", "runs": []}) + "\n")
                ledger.write(json.dumps(entry) + "\n")
            ledger.write('{"trial": 0, "half')
        return directory

    return write


def _recorded(outputs, sweep, point, epochs):
    """The point with a run on disk for each of its scores."""
    runs = []
    for run in point.runs:
        name = f"runs/{point.trial:03}-{run.seed}"
        folder = outputs / name
        folder.mkdir(parents=True)
        with (folder / "metrics.jsonl").open("w") as file:
            for epoch in range(1, epochs + 1):
                reached = (run.value or 0.1) * (1 - 0.6 * math.exp(-epoch))
                values = {sweep.objective: reached, "val/loss": 1.0}
                file.write(json.dumps({"step": epoch, "epoch": epoch, "values": values}) + "\n")
        runs.append(replace(run, directory=name))
    return replace(point, runs=runs)
