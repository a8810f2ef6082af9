"""Sweeps whose outcome is planted, as plain data and as directories on disk."""

import json
import math
import random

import pytest

from dlrun.report.results import Dimension, Point, Sweep

LR = Dimension("optimizer.lr", 1e-4, 1e-1, log=True)
L2 = Dimension("l2", 1e-6, 1.0, log=True)
WIDTH = Dimension("width", 8, 64, whole=True)
OPTIMIZER = Dimension("optimizer", choices=("sgd", "adam", "rmsprop"))


def _text(value):
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


@pytest.fixture(scope="session")
def point():
    """A point from its values and scores."""

    def make(
        trial, values, *scores, status="FINISHED", message="", epochs=5.0, runs=(), samples=None
    ):
        words = {key: f"{key}={_text(value)}" for key, value in values.items()}
        messages = (message,) if message else ()
        runs = tuple(runs)
        return Point(trial, values, words, status, scores, messages, runs, epochs, samples)

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
            "maximize": True,
            "fixed": ("sweep=random", "sweep.trials=20", "model=mlp"),
            "trials": len(points),
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
        asked = {
            "id": sweep.id,
            "command": sweep.command,
            "started": "2026-11-03T12:34:56+00:00",
            "overrides": list(sweep.fixed),
            "dimensions": [_described(one) for one in sweep.dimensions],
            "objective": sweep.objective,
            "direction": "maximize" if sweep.maximize else "minimize",
            "sampler": sweep.sampler,
            "trials": sweep.trials,
            "repeats": sweep.repeats,
            "settings": {"trials": sweep.trials, "pruner": None},
        }
        (directory / "sweep.json").write_text(json.dumps(asked))
        with (directory / "ledger.jsonl").open("w") as ledger:
            for point in sweep.points:
                entry = _line(outputs, sweep, point, epochs)
                ledger.write(json.dumps(entry | {"status": "RUNNING", "runs": []}) + "\n")
                ledger.write(json.dumps(entry) + "\n")
            ledger.write('{"trial": 0, "half')
        return directory

    return write


def _described(one):
    kind = "categorical" if one.choices else "int" if one.whole else "float"
    choices = list(one.choices) or None
    scale = "log" if one.log else "linear"
    return {
        **{"key": one.key, "kind": kind, "scale": scale, "low": one.low, "high": one.high},
        **{"step": one.step, "choices": choices, "zip": 0 if one.zipped else None},
    }


def _line(outputs, sweep, point, epochs):
    runs = []
    for seed, score in enumerate(point.scores or (None,)):
        name = f"runs/{point.trial:03}-{seed}"
        folder = outputs / name
        folder.mkdir(parents=True)
        (folder / "run.json").write_text('{"data": {"samples": {"train": 999, "val": 360}}}')
        with (folder / "metrics.jsonl").open("w") as file:
            for epoch in range(1, epochs + 1):
                reached = (score or 0.1) * (1 - 0.6 * math.exp(-epoch))
                values = {sweep.objective: reached, "val/loss": 1.0}
                file.write(json.dumps({"step": epoch, "epoch": epoch, "values": values}) + "\n")
        message = point.messages[0] if point.messages else ""
        runs.append(
            {
                **{"seed": seed, "hash": "x", "directory": name, "status": point.status},
                **{"value": score, "epochs": point.epochs, "message": message, "tries": 1},
            }
        )
    return {
        **{"trial": point.trial, "hash": f"x{point.trial}", "values": dict(point.values)},
        **{"overrides": list(point.words.values()), "runs": runs, "status": point.status},
        **{"value": point.mean if point.scores else None, "stderr": point.stderr},
    }
